"""What an outbox gives up, and in which order: the policy of ``outbox_room``, by example and by any sequence."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.bus import Outbox, Priority
from appliance.bus.outbox_room import ALERT_AGES
from appliance.sealing import Envelope

SIZE = 100
DETAILED = (Priority.ENTITY, Priority.PICTURE, Priority.STATUS)


class Clock:
    """Running time in seconds, in a test's hand."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def frame(counter: int, topic: str = "entity/1") -> Envelope:
    data = counter.to_bytes(4, "big") + bytes(SIZE - 4)
    return Envelope(topic=f"edge/v1/alpha/{topic}", kind="frame", epoch=1, counter=counter, data=data)


def held(outbox: Outbox) -> list[int]:
    """Counters of everything that can be sent, in order, without changing anything."""
    outbox.rewind()
    items = outbox.claim(100_000)
    outbox.rewind()
    return [int.from_bytes(item.data[:4], "big") for item in items]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def test_a_link_that_is_behind_costs_older_states_and_keeps_the_newest_of_each_entity(path: Path) -> None:
    outbox = Outbox(path, detail_bytes=10 * SIZE)
    for n in range(60):
        outbox.put(frame(n, f"entity/{n % 6}"))
    left = held(outbox)
    assert left[-6:] == list(range(54, 60)), "the newest state of each of six entities"
    assert len(left) <= 10
    assert outbox.status().shed == {"superseded": 60 - len(left)}
    assert sum(last - first + 1 for first, last in outbox.shed_runs(1)) == 60 - len(left)
    outbox.close()


def test_an_older_status_and_picture_go_before_an_older_entity_and_an_alert_is_never_superseded(path: Path) -> None:
    outbox = Outbox(path, detail_bytes=8 * SIZE + 30)
    kinds = [(Priority.ALERT, "alert"), (Priority.ENTITY, "entity/1"), (Priority.PICTURE, "picture")]
    kinds += [(Priority.STATUS, "status")]
    for n in range(8):
        priority, topic = kinds[n % 4]
        outbox.put(frame(n, topic), priority=priority)
    outbox.put(frame(8, "entity/1"))
    assert outbox.shed_runs(1) == ((3, 3),), "the older status"
    outbox.put(frame(9, "alert"), priority=Priority.ALERT)
    assert outbox.shed_runs(1) == ((2, 3),), "the older picture"
    outbox.put(frame(10, "alert"), priority=Priority.ALERT)
    assert outbox.shed_runs(1) == ((1, 3),), "the oldest of three states"
    for n in range(11, 30):
        outbox.put(frame(n, "alert"), priority=Priority.ALERT)
    left = held(outbox)
    assert {0, 4, 9, *range(10, 30)} <= set(left), "every alert"
    assert {6, 7, 8} <= set(left), "the newest picture, status and state"
    outbox.close()


def test_what_nothing_supersedes_stays_however_far_behind_the_link_is(path: Path) -> None:
    outbox = Outbox(path, detail_bytes=SIZE)
    for n in range(20):
        outbox.put(frame(n, f"entity/{n}"))
    assert held(outbox) == list(range(20))
    assert outbox.status().shed == {}
    outbox.close()


def test_a_full_outbox_gives_up_detail_before_truth(path: Path) -> None:
    outbox = Outbox(path, max_bytes=10 * SIZE)
    for n in range(5):
        outbox.put(frame(n, "entity/old"))
    for n in range(5, 14):
        outbox.put(frame(n, f"entity/{n}"))
    assert held(outbox) == [4, *range(5, 14)]
    assert outbox.status().shed == {"superseded": 4}
    outbox.close()


def test_what_waited_too_long_goes_and_alerts_wait_four_times_as_long(path: Path) -> None:
    clock = Clock()
    outbox = Outbox(path, max_age_s=100.0, steady_s=clock)
    outbox.put(frame(0))
    outbox.put(frame(1, "alert"), priority=Priority.ALERT)
    clock.now_s += 99
    outbox.put(frame(2, "entity/2"))
    assert held(outbox) == [1, 0, 2]
    clock.now_s += 11
    outbox.put(frame(3, "entity/3"))
    assert held(outbox) == [1, 2, 3]
    assert outbox.status().shed == {"age": 1}
    clock.now_s = 1000.0 + 100 * ALERT_AGES + 10
    outbox.put(frame(4, "entity/4"))
    assert held(outbox) == [4]
    assert outbox.shed_runs(1) == ((0, 3),)
    outbox.close()


def test_age_is_running_time_so_a_box_that_was_off_gives_nothing_up(path: Path) -> None:
    clock = Clock()
    outbox = Outbox(path, max_age_s=100.0, steady_s=clock)
    outbox.put(frame(0))
    clock.now_s += 90
    outbox.put(frame(1, "entity/2"))
    outbox.close()
    clock.now_s = 5.0  # another boot, weeks later
    again = Outbox(path, max_age_s=100.0, steady_s=clock)
    again.put(frame(2, "entity/3"))
    assert held(again) == [0, 1, 2]
    clock.now_s += 11
    again.put(frame(3, "entity/4"))
    assert held(again) == [1, 2, 3]
    again.close()


def test_a_frame_says_how_long_it_still_lives_and_a_grant_lives_on(path: Path) -> None:
    clock = Clock()
    outbox = Outbox(path, max_age_s=100.0, steady_s=clock)
    outbox.put(Envelope(topic="edge/v1/alpha/grant/1", kind="grant", epoch=1, counter=0, data=b"grant"))
    outbox.put(frame(0))
    clock.now_s += 40.5
    assert [item.expires_s for item in outbox.claim(2)] == [None, 59]
    clock.now_s += 1000
    outbox.rewind()
    assert [item.expires_s for item in outbox.claim(2)] == [None, 1]
    outbox.close()


class AnyOutbox(RuleBasedStateMachine):
    """Whatever is put, claimed, acknowledged or waited for: nothing goes that the policy does not name."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.path = Path(self.folder.name) / "outbox.sqlite"
        self.outbox = self.open()
        self.put: dict[int, tuple[str, Priority, float]] = {}
        self.acknowledged: set[int] = set()
        self.claimed: dict[int, int] = {}

    def open(self) -> Outbox:
        return Outbox(
            self.path, max_bytes=12 * SIZE, detail_bytes=8 * SIZE, max_age_s=60.0, resend_s=1e9, steady_s=self.clock
        )

    def shed(self) -> set[int]:
        return {n for first, last in self.outbox.shed_runs(1) for n in range(first, last + 1)}

    def waiting(self) -> set[int]:
        return self.put.keys() - self.shed() - self.acknowledged

    @rule(
        priority=st.sampled_from([Priority.ALERT, *DETAILED, Priority.ENTITY]),
        of=st.integers(0, 3),
        count=st.integers(1, 4),
    )
    def puts(self, priority: Priority, of: int, count: int) -> None:
        before, shed_before = self.waiting(), self.shed()
        topic = f"{priority.name.lower()}/{of}"
        numbers = range(len(self.put), len(self.put) + count)
        reasons = Counter(self.outbox.status().shed)
        self.outbox.put_many([(frame(n, topic), priority) for n in numbers])
        self.put.update(dict.fromkeys(numbers, (topic, priority, self.clock.now_s)))
        gone = self.shed() - shed_before
        assert gone <= before, "only what waited before"
        added = Counter(self.outbox.status().shed) - reasons
        assert sum(added.values()) == len(gone), "every loss is counted by its reason"
        self.check_reasons(added, gone, before)

    def check_reasons(self, added: Counter[str], gone: set[int], before: set[int]) -> None:
        if set(added) <= {"superseded"}:
            for n in gone:
                topic, priority, _ = self.put[n]
                assert priority in DETAILED, "an alert is never superseded"
                assert any(self.put[m][0] == topic and m > n for m in before - gone), "the newest of a topic stays"
        if "age" not in added:
            kept = {self.put[n][1] for n in before - gone}
            if any(self.put[n][1] is Priority.ALERT for n in gone):
                assert kept <= {Priority.ALERT}, "alerts go last"

    @rule(most=st.integers(1, 5))
    def claims(self, most: int) -> None:
        items = self.outbox.claim(most)
        numbers = [int.from_bytes(item.data[:4], "big") for item in items]
        had = self.acknowledged  # of these the longest acknowledged come first: by the clock, which is none of ours
        order = [(True, 0, 0) if n in had else (False, self.put[n][1], n) for n in numbers]
        assert order == sorted(order), "the important first, and what a broker has had last"
        self.claimed.update({n: item.seq for n, item in zip(numbers, items, strict=True)})

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def acknowledges(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.claimed)))
        shed = self.shed()
        self.outbox.acknowledge([self.claimed.pop(number)])
        if number not in shed:
            self.acknowledged.add(number)

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def is_opened_again(self) -> None:
        self.outbox.close()
        self.outbox = self.open()
        self.claimed.clear()

    @rule()
    def the_link_connects(self) -> None:
        self.outbox.rewind()
        self.claimed.clear()  # no answer of the connection before comes any more

    @invariant()
    def holds_what_it_must_and_no_more(self) -> None:
        status = self.outbox.status()
        assert status.bytes <= 12 * SIZE
        assert status.waiting == len(self.waiting())
        assert status.waiting_bytes == SIZE * len(self.waiting())

    def teardown(self) -> None:
        self.outbox.close()
        self.folder.cleanup()


TestAnyOutbox = AnyOutbox.TestCase
TestAnyOutbox.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
