"""Memory: what nobody uses goes back to the kernel, and what stays for good is not looked through for garbage."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def give_back() -> bool:
    """Free pages of every heap, in its middle too, are the kernel's again; False where the C library cannot do that.

    glibc keeps them: each thread's heap stays at the most it ever held, and for hours that most is now and then
    surpassed by a little, with nothing lost. malloc_trim(3) takes a millisecond; musl has none, and keeps less.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(ctypes.c_size_t(0))
    return True


@contextmanager
def for_good() -> Iterator[None]:
    """What is made within stays, and so no garbage is looked for among it, neither meanwhile nor ever after."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collected:
            gc.enable()
