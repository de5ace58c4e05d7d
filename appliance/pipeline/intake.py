"""Brings the feeds together into one order, each observation with the moment at which it counts as arrived.

Two orders, one protocol. A fast replay merges by observed time and waits for every stream, so that the order is a
function of the data alone. Otherwise observations are taken as they arrive: by the machine's clock, or, where every
feed is a file at its own pace, by the clock of the data. Nothing here decides anything.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from appliance.domain import DetectedFrame, Estimate, Fix, Observation, Plot, Report

_WAIT_S: Final = 0.2
#: So often nothing came after the end before it is believed: an observation may be in a carrier's hand.
_QUIET_TURNS: Final = 2


class Stream(Protocol):
    """One feed's observations, in its own order."""

    name: str

    def take(self, timeout_s: float) -> Observation | None:
        """The next observation, or None where none came within the time."""

    @property
    def ended(self) -> bool:
        """Whether nothing will ever come again."""


def observed_ns(observation: Observation) -> int:
    """When the thing was observed, by the sensor's own time."""
    match observation:
        case DetectedFrame():
            return observation.captured_ns
        case Plot() | Fix() | Estimate():
            return observation.observed_ns
        case Report():
            return observation.received_ns


def replay_order(streams: Sequence[Stream], stopping: Callable[[], bool]) -> Iterator[tuple[Observation, int]]:
    """Observations of all streams by observed time, each with the moment at which it counts as arrived.

    Ties fall to the stream named first. That moment never goes back, even where a stream's own times do.
    """
    heads: list[tuple[int, int, Observation]] = []
    for index, stream in enumerate(streams):
        _push_next(heads, index, stream, stopping)
    arrived_ns = 0
    while heads and not stopping():
        time_ns, index, observation = heapq.heappop(heads)
        arrived_ns = max(arrived_ns, time_ns)
        yield observation, arrived_ns
        _push_next(heads, index, streams[index], stopping)


def _push_next(
    heads: list[tuple[int, int, Observation]], index: int, stream: Stream, stopping: Callable[[], bool]
) -> None:
    while not stopping():
        observation = stream.take(_WAIT_S)
        if observation is not None:
            heapq.heappush(heads, (observed_ns(observation), index, observation))
            return
        if stream.ended:
            return


class DataClock:
    """The clock of a replay at its own pace: it stands where the data stand, runs on between them, never goes back."""

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        self._wall_ns = wall_ns
        self._data_ns: int | None = None
        self._read_ns = 0

    def __call__(self, observation: Observation | None) -> int:
        wall_ns = self._wall_ns()
        here_ns = wall_ns if self._data_ns is None else self._data_ns + max(wall_ns - self._read_ns, 0)
        if observation is not None:
            seen_ns = observed_ns(observation)
            here_ns = seen_ns if self._data_ns is None else max(self._data_ns, seen_ns)
        if self._data_ns is not None or observation is not None:
            self._data_ns, self._read_ns = here_ns, wall_ns
        return here_ns


def live_order(
    streams: Sequence[Stream],
    stopping: Callable[[], bool],
    clock: Callable[[Observation | None], int],
    *,
    idle_s: float,
    done: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Observation | None, int]]:
    """Observations as they arrive, each with the time of arrival; ``None`` where nothing came for ``idle_s``.

    Ends when every stream has ended, when ``done`` and nothing is on its way any more, or when asked to stop. What was
    taken from a stream by then still comes: its sender has been told that it was.
    """
    handover = _Handover(stopping)
    carriers = [
        threading.Thread(target=handover.carry, args=(stream,), name=f"carry-{stream.name}", daemon=True)
        for stream in streams
    ]
    for carrier in carriers:
        carrier.start()
    try:
        quiet = 0
        while not stopping() and quiet < _QUIET_TURNS:
            over = done() or not any(carrier.is_alive() for carrier in carriers)
            observation = handover.take(idle_s)
            quiet = 0 if observation is not None else quiet + over
            yield observation, clock(observation)
        handover.ended.set()
        while any(carrier.is_alive() for carrier in carriers) or not handover.is_empty:
            observation = handover.take(idle_s)
            if observation is not None:
                yield observation, clock(observation)
    finally:
        handover.ended.set()
        handover.deserted.set()
        for carrier in carriers:
            carrier.join(timeout=2 * _WAIT_S)


class _Handover:
    """Where the carriers and the path meet: each stream has at most one observation here.

    A stream is asked for its next observation only when the one before is through: asking tells its sender that we have
    it for good, and we have it for good when its results are durable. ``ended``: take nothing more from the streams.
    ``deserted``: nobody comes for what is in hand either.
    """

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        # Not SimpleQueue: where a signal's handler ends after its time-out, CPython's then waits for ever.
        self._arrivals: queue.Queue[tuple[Observation, threading.Event]] = queue.Queue()
        self._through = threading.Event()
        self.ended = threading.Event()
        self.deserted = threading.Event()

    @property
    def is_empty(self) -> bool:
        return self._arrivals.empty()

    def take(self, timeout_s: float) -> Observation | None:
        """The next observation, or None where none came; asking says that the one before is through."""
        self._through.set()
        try:
            observation, self._through = self._arrivals.get(timeout=timeout_s)
        except queue.Empty:
            return None
        return observation

    def carry(self, stream: Stream) -> None:
        while not (self._stopping() or self.ended.is_set()):
            observation = stream.take(_WAIT_S)
            if observation is not None:
                through = threading.Event()
                self._arrivals.put((observation, through))
                while not (through.wait(_WAIT_S) or self.deserted.is_set()):
                    pass
            elif stream.ended:
                return
