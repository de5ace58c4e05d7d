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
    try:
        return cast(F, njit(cache=True, error_model="numpy")(function))
    except RuntimeError:  # numba's word for "no folder can be written for the cache"
        return cast(F, njit(error_model="numpy")(function))
