"""When a frame was captured, from the stream's own time stamps. Pure: the wall clock comes in with each frame.

- A file: the first frame is at the base time, every other as much later as its stamp says.
- A live stream: the stamps say how far frames lie apart, the arrival says where they lie. The anchor is the smallest
  delay seen between stamp and arrival, since whatever a frame took longer than that was waiting (the usual minimum
  filter of clock recovery). A stream that drifts, pauses or starts its stamps anew is anchored again.

Times always increase. A missing stamp is one nominal frame after the last.
"""

from __future__ import annotations

from typing import Final

from appliance.feeds.video_wire import NO_PTS

REANCHOR_NS: Final = 2_000_000_000
"""A live frame that would be this much older than its arrival, or any amount younger, is anchored anew."""
NOMINAL_NS: Final = 40_000_000
"""25 frames a second, where the stream states no rate."""
MAX_STEP_NS: Final = 3600 * 1_000_000_000
"""A larger step between two frames of a file is a damaged stamp."""


class StreamClock:
    """The clock of one stream."""

    def __init__(self, base_ns: int | None) -> None:
        """``base_ns`` None: a live stream."""
        self._base_ns = base_ns
        self._offset_ns: int | None = None  # captured minus stamp
        self._last_ns: int | None = None
        self.nominal_ns = NOMINAL_NS

    def captured_ns(self, pts_ns: int, wall_ns: int) -> int:
        """The capture time of the next frame: stamp and arrival, both in nanoseconds."""
        moment_ns = self._live(pts_ns, wall_ns) if self._base_ns is None else self._recorded(pts_ns, self._base_ns)
        if self._last_ns is not None and moment_ns <= self._last_ns:
            moment_ns = self._last_ns + 1
        self._last_ns = moment_ns
        return moment_ns

    def _live(self, pts_ns: int, wall_ns: int) -> int:
        if pts_ns == NO_PTS:
            return wall_ns
        if self._offset_ns is None or wall_ns - (pts_ns + self._offset_ns) > REANCHOR_NS:
            self._offset_ns = wall_ns - pts_ns
        self._offset_ns = min(self._offset_ns, wall_ns - pts_ns)
        return pts_ns + self._offset_ns

    def _recorded(self, pts_ns: int, base_ns: int) -> int:
        expected_ns = base_ns if self._last_ns is None else self._last_ns + self.nominal_ns
        if pts_ns == NO_PTS:
            return expected_ns
        if self._offset_ns is None:
            self._offset_ns = base_ns - pts_ns
        moment_ns = pts_ns + self._offset_ns
        if self._last_ns is not None and not self._last_ns < moment_ns <= self._last_ns + MAX_STEP_NS:
            # The stamps begin anew (joined recordings) or are damaged: go on one frame after the last.
            self._offset_ns = expected_ns - pts_ns
            return expected_ns
        return moment_ns
