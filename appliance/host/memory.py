"""Memory that the C library holds and nobody uses goes back to the kernel."""

from __future__ import annotations

import ctypes


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
