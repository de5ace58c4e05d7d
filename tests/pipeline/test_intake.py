from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Observation, Report
from appliance.pipeline.intake import DataClock, live_order, replay_order


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
    taken = [o for o, _ in live_order(streams, never, lambda _: 7, idle_s=0.05) if o is not None]
    assert sorted(o.sensor_id for o in taken) == ["a", "a", "b"]


def test_live_streams_stop_when_asked() -> None:
    class Endless(ListStream):
        @property
        def ended(self) -> bool:
            return False

    stop = threading.Event()
    order = live_order([Endless("a", [])], stop.is_set, lambda _: 7, idle_s=0.01)
    assert next(order) == (None, 7)
    stop.set()
    assert list(order) == []


def test_nothing_is_left_behind_when_the_files_are_read() -> None:
    stream, silent = ListStream("a", list(range(100))), ListStream("b", [None] * 10_000)
    order = live_order([stream, silent], never, lambda _: 7, idle_s=0.01, done=lambda: stream.ended)
    assert len([o for o, _ in order if o is not None]) == 100


def test_the_clock_of_the_data_stands_where_the_data_stand_and_runs_on_between_them() -> None:
    wall = iter([1000, 1010, 1025, 1030])
    clock = DataClock(lambda: next(wall))
    assert clock(report("a", 50)) == 50
    assert clock(None) == 60
    assert clock(report("a", 55)) == 60, "it never goes back"
    assert clock(report("a", 90)) == 90


def test_before_the_first_observation_the_clock_of_the_data_is_the_wall_clock() -> None:
    assert DataClock(lambda: 1000)(None) == 1000


def test_the_clock_of_the_data_does_not_follow_a_machine_clock_that_is_set_back() -> None:
    wall = iter([1000, 400, 410])
    clock = DataClock(lambda: next(wall))
    assert [clock(report("a", 50)), clock(None), clock(None)] == [50, 50, 60]


def test_what_was_taken_from_a_stream_still_comes_when_asked_to_stop() -> None:
    class Counted(ListStream):
        taken = 0

        def take(self, timeout_s: float) -> Observation | None:
            observation = super().take(timeout_s)
            self.taken += observation is not None
            return observation

    streams = [Counted(name, list(range(1000))) for name in ("a", "b", "c")]
    stop = threading.Event()
    order = live_order(streams, stop.is_set, lambda _: 7, idle_s=0.01)
    came = [next(order)[0] for _ in range(5)]
    stop.set()
    came += [observation for observation, _ in order]
    assert len([o for o in came if o is not None]) == sum(stream.taken for stream in streams)


def test_an_order_to_stop_that_comes_while_nothing_does_ends_it() -> None:
    """A signal whose handler ends after the wait should have: the main thread must not wait for ever."""
    code = """
import os, signal, threading, time
from appliance.pipeline.intake import live_order

class Silent:
    name, ended = "silent", False
    def take(self, timeout_s):
        time.sleep(0.01)

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: (stop.set(), time.sleep(0.2)))
order = live_order([Silent()], stop.is_set, lambda _: 7, idle_s=0.1)
next(order)
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
list(order)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_carriers_end_when_nobody_comes_for_what_they_hold() -> None:
    order = live_order([ListStream("deserted", list(range(1000)))], never, lambda _: 7, idle_s=0.01)
    next(order)
    order.close()  # type: ignore[attr-defined]
    assert "carry-deserted" not in {thread.name for thread in threading.enumerate()}


def test_a_stream_is_asked_again_only_when_the_observation_before_is_through() -> None:
    """Asking acknowledges: a report that is asked past before its results are durable would be lost by a kill."""

    class Acknowledging(ListStream):
        asked = 0

        def take(self, timeout_s: float) -> Observation | None:
            self.asked += 1
            return super().take(timeout_s)

    stream = Acknowledging("inbox", [1, 2, 3])
    order = live_order([stream], never, lambda _: 7, idle_s=0.5)
    for number in (1, 2, 3):
        assert next(order)[0] is not None
        time.sleep(0.05)
        assert stream.asked == number, "the path still works on it"
    order.close()
