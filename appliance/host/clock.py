"""The machine's clock, and whether anything disciplines it.

Times that reach the middle are values; this is where live ones come from.
"""

from __future__ import annotations

import ctypes
import time
from typing import Final, Literal

#: Room for ``struct timex`` on every Linux ABI; the call fills what it knows (adjtimex(2)).
_TIMEX_BYTES: Final = 512
_TIME_ERROR: Final = 5


def now_ns() -> int:
    """Nanoseconds since the Unix epoch, UTC, by the machine's clock."""
    return time.time_ns()


def steady_ns() -> int:
    """Nanoseconds that only go forward, whatever becomes of the machine's clock; for intervals, never for dates."""
    return time.monotonic_ns()


def clock_state() -> Literal["synchronised", "free-running"]:
    """Whether the kernel believes that its clock is disciplined (``adjtimex`` with modes 0, read-only)."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return "free-running"
    return "free-running" if state in (-1, _TIME_ERROR) else "synchronised"
