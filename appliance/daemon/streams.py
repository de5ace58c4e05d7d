"""A camera's stream: its feed, the lane that looks at each frame, and the order kept.

One thread a camera carries frames from the feed to the lane. A camera whose feed has failed or ended drains and then
counts as ended; the daemon goes on with the rest.
"""

from __future__ import annotations

import threading
from typing import Final

from appliance.domain import DetectedFrame, Estimate, Fix, Frame, Plot, Report
from appliance.errors import EngineUnavailable
from appliance.feeds import Feed
from appliance.inference.lane import Lane

_WAIT_S: Final = 0.2


class CameraStream:
    """Detected frames of one camera, in the order of its frames."""

    def __init__(self, feed: Feed, lane: Lane) -> None:
        self.name = feed.name
        self._feed = feed
        self._lane = lane
        self._carried_all = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._carry, name=f"frames-{feed.name}", daemon=True)
        lane.add_camera(feed.name, live=feed.live)

    def start(self) -> None:
        """Begin to carry frames."""
        self._thread.start()

    def stop(self) -> None:
        """Carry no more; what the lane has answered can still be taken."""
        self._stopping.set()
        self._thread.join(timeout=2 * _WAIT_S)

    def take(self, timeout_s: float) -> DetectedFrame | None:
        """The next frame with its detections, or None where none came within the time."""
        return self._lane.take(self.name, timeout_s)

    @property
    def ended(self) -> bool:
        """Whether nothing will ever come again."""
        return self._carried_all.is_set() and self._lane.outstanding(self.name) == 0

    def _carry(self) -> None:
        try:
            while not self._stopping.is_set():
                frame = self._feed.take(_WAIT_S)
                if isinstance(frame, Frame):
                    self._submit(frame)
                elif self._feed.ended:
                    return
        except EngineUnavailable:
            return  # the lane says why in its status; without an engine there is nothing to carry to
        finally:
            self._carried_all.set()

    def _submit(self, frame: Frame) -> None:
        while not self._stopping.is_set():
            if self._lane.submit(frame, _WAIT_S) or self._lane.status().state == "closed":
                return


class PlainStream:
    """Plots, fixes or reports of one feed, as they come."""

    def __init__(self, feed: Feed) -> None:
        self.name = feed.name
        self._feed = feed

    def start(self) -> None:
        """Nothing to carry: the feed's own thread does."""

    def stop(self) -> None:
        """Nothing to stop: the feed is stopped by itself."""

    def take(self, timeout_s: float) -> Plot | Fix | Report | Estimate | None:
        """The next observation, or None where none came within the time."""
        item = self._feed.take(timeout_s)
        return None if isinstance(item, Frame) else item

    @property
    def ended(self) -> bool:
        """Whether nothing will ever come again."""
        return self._feed.ended
