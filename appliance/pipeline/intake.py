"""Brings the feeds together into one order.

Two ways, one protocol. A replay merges by observed time and waits for every stream, so that the order is a function of
the data alone. Live streams are taken as they arrive. Neither decides anything.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from appliance.domain import DetectedFrame, Fix, Observation, Plot, Report

_WAIT_S: Final = 0.2
#: Room between the streams and the path; small, so that back-pressure reaches the feeds, where dropping is counted.
_HANDOVER: Final = 8


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
        case Plot() | Fix():
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


def live_order(
    streams: Sequence[Stream], stopping: Callable[[], bool], now_ns: Callable[[], int], *, idle_s: float
) -> Iterator[tuple[Observation | None, int]]:
    """Observations as they arrive, each with the time of arrival; ``None`` where nothing came for ``idle_s``.

    Ends when every stream has ended, or when asked to stop.
    """
    arrivals: queue.Queue[Observation] = queue.Queue(maxsize=_HANDOVER)
    carriers = [
        threading.Thread(target=_carry, args=(stream, arrivals, stopping), name=f"carry-{stream.name}", daemon=True)
        for stream in streams
    ]
    for carrier in carriers:
        carrier.start()
    while not stopping():
        try:
            yield arrivals.get(timeout=idle_s), now_ns()
        except queue.Empty:
            if not any(carrier.is_alive() for carrier in carriers) and arrivals.empty():
                break
            yield None, now_ns()
    for carrier in carriers:
        carrier.join(timeout=2 * _WAIT_S)


def _carry(stream: Stream, arrivals: queue.Queue[Observation], stopping: Callable[[], bool]) -> None:
    while not stopping():
        observation = stream.take(_WAIT_S)
        if observation is None:
            if stream.ended:
                return
            continue
        while not stopping():
            try:
                arrivals.put(observation, timeout=_WAIT_S)
                break
            except queue.Full:
                continue
