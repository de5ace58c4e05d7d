"""What time it is, for a device that has no clock to trust.

The *floor* is the latest moment that has certainly passed: the build of this software, and every signed time that
was verified since. It never goes down. The device's clock is believed only where it is at or after the floor and not
absurdly far beyond it; a clock that is not believed can neither let an expired stick in nor lock a good one out, and
it never raises the floor (only signed times do). Nothing here asks a clock: times come in as nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

#: When this version was made. A device that knows nothing else knows that this moment has passed.
BUILD_NS: Final = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 1_000_000_000

#: Longer than any device is left without a stick, shorter than a battery-dead clock's usual jumps (1970, 2080, 2099).
MAX_AHEAD_NS: Final = 10 * 365 * 86_400 * 1_000_000_000

ClockState = Literal["believed", "behind", "far-ahead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The time against which expiry is judged, and whether the device's clock had a part in it."""

    now_ns: int
    clock: ClockState


def reference_time(*, floor_ns: int, clock_ns: int) -> Reference:
    """The best bound on the present: the clock where it can be true, else the floor."""
    if clock_ns < floor_ns:
        return Reference(now_ns=floor_ns, clock="behind")
    if clock_ns > floor_ns + MAX_AHEAD_NS:
        return Reference(now_ns=floor_ns, clock="far-ahead")
    return Reference(now_ns=clock_ns, clock="believed")


def raise_floor(floor_ns: int, verified_ns: int) -> int:
    """The floor after a signed time was verified: it never goes down."""
    return max(floor_ns, verified_ns, BUILD_NS)
