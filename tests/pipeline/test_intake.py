from __future__ import annotations

import threading
from collections import deque
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Observation, Report
from appliance.pipeline.intake import live_order, replay_order


def report(name: str, at_ns: int) -> Report:
    return Report(sensor_id=name, report_id=f"{name}{at_ns}", author="a", received_ns=at_ns, text="t")


class ListStream:
    """A stream that holds what it was given; a None stands for a moment in which nothing comes."""

    def __init__(self, name: str, times: list[int | None]) -> None:
        self.name = name
        self._left: deque[int | None] = deque(times)

    def take(self, timeout_s: float) -> Observation | None:
        at_ns = self._left.popleft() if self._left else None
        return None if at_ns is None else report(self.name, at_ns)

    @property
    def ended(self) -> bool:
        return not self._left


def never() -> bool:
    return False


def test_a_replay_merges_by_observed_time_and_waits_for_every_stream() -> None:
    streams = [ListStream("a", [1, 5, None, None, 6]), ListStream("b", [None, None, 2, 3])]
    assert [(o.sensor_id, t) for o, t in replay_order(streams, never)] == [
        ("a", 1),
        ("b", 2),
        ("b", 3),
        ("a", 5),
        ("a", 6),
    ]


def test_a_tie_falls_to_the_stream_named_first() -> None:
    streams = [ListStream("a", [4]), ListStream("b", [4])]
    assert [o.sensor_id for o, _ in replay_order(streams, never)] == ["a", "b"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 99), max_size=8), max_size=4))
def test_the_moment_of_arrival_never_goes_back_and_nothing_is_lost(times: list[list[int]]) -> None:
    streams = [ListStream(f"s{i}", list(each)) for i, each in enumerate(times)]
    arrived = [t for _, t in replay_order(streams, never)]
    assert len(arrived) == sum(map(len, times))
    assert all(before <= after for before, after in pairwise(arrived))


def test_live_streams_end_when_all_have_ended() -> None:
    streams = [ListStream("a", [1, 2]), ListStream("b", [3])]
    taken = [o for o, _ in live_order(streams, never, lambda: 7, idle_s=0.05) if o is not None]
    assert sorted(o.sensor_id for o in taken) == ["a", "a", "b"]


def test_live_streams_stop_when_asked() -> None:
    class Endless(ListStream):
        @property
        def ended(self) -> bool:
            return False

    stop = threading.Event()
    order = live_order([Endless("a", [])], stop.is_set, lambda: 7, idle_s=0.01)
    assert next(order) == (None, 7)
    stop.set()
    assert list(order) == []
