"""Time as sensors and people write it, to integer nanoseconds since 1970, UTC. Asks no clock.

Rule: a time without a zone is UTC; a time without a date is on the UTC day that puts it nearest to a reference.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from appliance.errors import BadRecord

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS
MAX_NS: Final = 4_102_444_800 * SECOND_NS
"""2100-01-01: later than any recording that this product will read, and well inside 64 bits."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def from_datetime(moment: datetime) -> int:
    """Exact to the microsecond; a naive ``moment`` is UTC. Raises ``BadRecord`` outside 1970 to 2100."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return _bounded((aware - _EPOCH) // _MICROSECOND * 1000)


def from_iso(text: str) -> int:
    """ISO 8601, with ``T`` or a space. Raises ``BadRecord``."""
    try:
        return from_datetime(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError) as e:
        raise BadRecord("time", f"expected an ISO 8601 time; found {text[:40]!r}") from e


def from_seconds(seconds: float) -> int:
    """Seconds since 1970. Raises ``BadRecord``."""
    if not math.isfinite(seconds) or abs(seconds) > MAX_NS / SECOND_NS:
        raise BadRecord("time", "expected seconds since 1970")
    return _bounded(round(seconds * 1_000_000) * 1000)


def on_nearest_day(since_midnight_ns: int, reference_ns: int) -> int:
    """The instant with that time of day which is nearest to ``reference_ns``; at most half a day from it."""
    return nearest(since_midnight_ns, DAY_NS, reference_ns)


def nearest(phase_ns: int, period_ns: int, reference_ns: int) -> int:
    """The instant nearest to ``reference_ns`` that lies ``phase_ns`` into a period; never before 1970."""
    begun_ns = (reference_ns - phase_ns + period_ns // 2) // period_ns * period_ns
    moment_ns = begun_ns + phase_ns
    return moment_ns if moment_ns >= 0 else moment_ns + period_ns


def _bounded(moment_ns: int) -> int:
    if not 0 <= moment_ns < MAX_NS:
        raise BadRecord("time", "expected a time from 1970 to 2100")
    return moment_ns
