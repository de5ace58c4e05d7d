"""How a replay keeps its own time. Sleeps, and nothing else.

At real-time pace an item is due as long after the first one as its stamp says, or, where the mission gives a start
time, as long after that, so that several replays keep step. At fast pace nothing waits.

Rule: a stamp more than an hour away from where the replay stands does not stop it for an hour: the replay goes on
from there. Recordings hold such stamps (a receiver before its first fix, a damaged row).
"""

from __future__ import annotations

import time
from typing import Final

from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec

MAX_WAIT_NS: Final = 3600 * 1_000_000_000


class Pacer:
    """Lets each item of one replay through when it is due."""

    def __init__(self, spec: FeedSpec) -> None:
        self._realtime = spec.pace == "realtime"
        self._start_ns = spec.start_ns
        self._offset_ns: int | None = None  # monotonic minus stamp

    def wait(self, tap: Tap, stamp_ns: int) -> None:
        """Return when an item stamped ``stamp_ns`` is due. Raises ``Stopped``."""
        if not self._realtime:
            tap.check()
            return
        now_ns = time.monotonic_ns()
        if self._offset_ns is None:
            self._offset_ns = now_ns - (stamp_ns if self._start_ns is None else self._start_ns)
        ahead_ns = stamp_ns + self._offset_ns - now_ns
        if abs(ahead_ns) > MAX_WAIT_NS:
            self._offset_ns = now_ns - stamp_ns
            ahead_ns = 0
        tap.wait(ahead_ns / 1e9)


def base_ns(spec: FeedSpec) -> int:
    """The time of the first item of a medium that has only relative stamps, or none."""
    if spec.start_ns is not None:
        return spec.start_ns
    return time.time_ns() if spec.pace == "realtime" else 0
