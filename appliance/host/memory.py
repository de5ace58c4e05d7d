"""How the C library keeps this process's memory: large blocks apart, so that they go back when they are let go.

glibc raises its threshold for mapping a block to the largest one ever freed, up to 32 MB (mallopt(3)). From then on
arrays that live for minutes lie in the heap among small blocks that pin it, and it grows for hours with nothing lost.
"""

from __future__ import annotations

import ctypes
from typing import Final

MAPPED_FROM_BYTES: Final = 128 * 1024
"""glibc's own first threshold."""
KEPT_BYTES: Final = 8 * 1024 * 1024
"""What may lie free at the heap's end: giving it back at each frame would cost more than it is worth."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_large_blocks_apart() -> bool:
    """For the whole process, from now on; False where the C library has no such thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
