"""How heavy functions are compiled: numba, cached on disk where some cache folder can be written, else in memory.

On a read-only installation the folder beside the source cannot be written; numba then takes ``NUMBA_CACHE_DIR`` or
the user's cache. With none of these the function is still compiled, once for each process. Nothing is compiled at
import; the first call pays (seconds), so whoever must not wait calls once ahead of the first frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """``function`` compiled on first use. It may use numbers, arrays, and other compiled functions only."""
    return _compiled(function)


def leaf(function: F) -> F:
    """`compiled`, for what makes no arrays: it counts no references, which may cost more than the work itself.

    numba refuses to compile a leaf that would make an array.
    """
    return _compiled(function, _nrt=False)


def inlined(function: F) -> F:
    """A `leaf` that is put whole into its callers, where only handing it a look or a bank costs more than its work."""
    return _compiled(function, _nrt=False, forceinline=True)


def _compiled(function: F, **options: bool) -> F:
    compiler: Any = njit  # its stubs know no ``_nrt``
    try:
        return cast(F, compiler(cache=True, error_model="numpy", **options)(function))
    except RuntimeError:  # numba's word for "no folder can be written for the cache"
        return cast(F, compiler(error_model="numpy", **options)(function))
