"""Epochs end and begin under a running publisher: no frame is lost, and who was put out opens nothing that follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.bus import Outbox
from appliance.daemon.epochs import Epochs, Limits
from appliance.daemon.publisher import Publisher
from appliance.daemon.recipients import Members
from appliance.errors import BusUnavailable
from appliance.pipeline.results import Result
from appliance.sealing import Closed, Granted, NoGrant, NotForUs, Opened, Opener, PrivateIdentity, generate
from appliance.sealing.wire import MAX_COUNTER

DEVICE = generate("device", "quay-01")
OPS, SECOND, TOWER = (generate("recipient", name) for name in ("ops", "second", "tower"))
POSITION = {"lat": 1.0, "lon": 2.0, "alt_m": 0.0, "covariance_m2": [[1.0, 0.0], [0.0, 1.0]]}
ENTITY_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class Files:
    """A roster whose recipients a test sets."""

    trouble: str | None = None

    def __init__(self, **by_view: tuple[PrivateIdentity, ...]) -> None:
        self.next: Members | None = None
        self.now = self.members(**by_view)

    @staticmethod
    def members(**by_view: tuple[PrivateIdentity, ...]) -> Members:
        named = {view.replace("_", "-"): tuple(who.public for who in members) for view, members in by_view.items()}
        return Members(by_view=named)  # type: ignore[arg-type]

    def read(self) -> Members:
        return self.now

    def changed(self) -> Members | None:
        changed, self.next = self.next, None
        return changed


class Log:
    """An audit log in memory; it fails when told to."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.fails = False

    def append(self, event: str, now_ns: int, **fields: Any) -> int:
        if self.fails:
            raise OSError(28, "No space left on device")
        self.events.append({"event": event, **fields})
        return len(self.events)

    def checkpoint(self) -> bytes:
        return b"checkpoint %d" % len(self.events)


class Bench:
    """Epochs over a real outbox, with a clock that a test moves."""

    def __init__(self, folder: Path, limits: Limits, files: Files) -> None:
        self.outbox = Outbox(folder / "outbox.sqlite")
        self.files, self.log, self.steady_ns = files, Log(), 0
        self.epochs = Epochs(
            device=DEVICE,
            outbox=self.outbox,
            roster=files,  # type: ignore[arg-type]
            audit=self.log,  # type: ignore[arg-type]
            limits=limits,
            now_ns=lambda: 1_790_000_000 * 10**9 + self.steady_ns,
            steady_ns=lambda: self.steady_ns,
        )
        self.publisher: Publisher = self.epochs.begin("mission")

    def publish(self, count: int) -> None:
        for number in range(count):
            self.publisher.publish([entity(number)])
            self.epochs.turn(self.publisher)

    def opened(self, *identities: PrivateIdentity) -> list[Any]:
        """What these identities make of everything that the outbox holds, in the order of the outbox's numbers."""
        opener = Opener(identities, [DEVICE.public])
        sent = sorted(self.outbox.claim(100_000), key=lambda outgoing: outgoing.seq)
        self.outbox.rewind()
        return [opener.accept(outgoing.topic, outgoing.data) for outgoing in sent]


def entity(number: int) -> Result:
    body = {
        "schema": "edge/entity/1",
        "unit": "quay-01",
        "entity_id": ENTITY_ID,
        "time": "2026-01-01T00:00:00.000000000Z",
        "produced": f"2026-01-01T00:00:00.{number:09d}Z",
        "status": "confirmed",
        "category": "vessel/ship",
        "position": POSITION,
        "velocity_mps": {"east": 0.0, "north": 0.0, "up": 0.0},
        "identities": {"mmsi": "secret"},
        "evidence": [{"says": "secret"}],
    }
    return Result(topic=f"edge/v1/quay-01/entity/{ENTITY_ID}", priority="entity", payload=json.dumps(body).encode())


def whole(outcomes: list[Any]) -> list[Closed]:
    """The closes, each of which must say that everything came as it was sealed."""
    closes = [outcome for outcome in outcomes if isinstance(outcome, Closed)]
    assert all((close.missing, close.root) == ((), "matches") for close in closes)
    return closes


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, Limits(age_ns=10**18), Files(full=(OPS, SECOND)))
    yield made
    made.outbox.close()


def test_an_epoch_ends_long_before_its_numbers_do_and_no_frame_is_lost(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Limits(age_ns=10**18, frames=7), Files(full=(OPS,)))
    bench.publish(30)
    bench.publisher.close()
    outcomes = bench.opened(OPS)
    assert len([o for o in outcomes if isinstance(o, Opened)]) == 30 == bench.publisher.sealed
    assert [close.count for close in whole(outcomes)] == [7, 7, 7, 7, 2]
    assert [type(o) for o in outcomes[:9]] == [Granted, *[Opened] * 7, Closed], "the close, then the next grant"
    bench.outbox.close()


def test_an_epoch_ends_when_it_is_old(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Limits(age_ns=60 * 10**9), Files(full=(OPS,)))
    for _ in range(4):
        bench.publish(5)
        bench.steady_ns += 61 * 10**9
        bench.epochs.turn(bench.publisher)
    bench.publisher.close()
    assert [close.count for close in whole(bench.opened(OPS))] == [5, 5, 5, 5, 0]
    assert [event["why"] for event in bench.log.events[1:]] == ["age"] * 4
    bench.outbox.close()


def test_a_recipient_that_was_put_out_opens_nothing_of_the_new_epoch(bench: Bench) -> None:
    bench.publish(3)
    bench.files.next = Files.members(full=(OPS,))
    bench.steady_ns += 10**10
    assert bench.epochs.turn(bench.publisher)
    bench.publish(4)
    bench.publisher.close()
    assert len([o for o in bench.opened(OPS) if isinstance(o, Opened)]) == 7
    out = bench.opened(SECOND)
    assert len([o for o in out if isinstance(o, Opened)]) == 3
    assert [o.kind for o in out if isinstance(o, NotForUs)] == ["grant", *["frame"] * 4]
    assert bench.log.events[-1]["why"] == "recipients"
    assert bench.log.events[-1]["recipients"] == (f"full {OPS.public.fingerprint}",)
    assert whole(bench.opened(OPS))[0].checkpoint == b"checkpoint 2"


def test_a_recipient_that_was_added_opens_the_new_epoch_only(bench: Bench) -> None:
    bench.publish(3)
    bench.files.next = Files.members(full=(OPS, SECOND, TOWER))
    bench.steady_ns += 10**10
    bench.epochs.turn(bench.publisher)
    bench.publish(4)
    assert len([o for o in bench.opened(TOWER) if isinstance(o, Opened)]) == 4


def test_files_that_say_the_same_turn_no_epoch(bench: Bench) -> None:
    bench.files.next = Files.members(full=(OPS, SECOND))
    bench.steady_ns += 10**10
    assert not bench.epochs.turn(bench.publisher)


def test_a_position_only_recipient_opens_positions_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Limits(age_ns=10**18), Files(full=(OPS,), position_only=(TOWER,)))
    picture = Result(topic="edge/v1/quay-01/picture", priority="picture", payload=b'{"secret":1}')
    bench.publisher.publish([entity(1), picture])
    bench.publisher.close()
    seen = bench.opened(TOWER)
    opened = [o for o in seen if isinstance(o, Opened)]
    assert [o.topic for o in opened] == [f"edge/v1/quay-01/position/{ENTITY_ID}"]
    assert b"secret" not in opened[0].payload
    assert len([o for o in seen if isinstance(o, NotForUs)]) == 2
    assert whole(seen)[0].count == 3, "the frames of the other audience are counted, unopened"
    assert [b"secret" in o.payload for o in bench.opened(OPS) if isinstance(o, Opened)] == [True, True]
    bench.outbox.close()


def test_an_epoch_goes_on_while_the_disk_refuses_and_ends_when_it_takes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.publish(2)
    bench.files.next = Files.members(full=(OPS,))
    bench.steady_ns += 10**10
    with monkeypatch.context() as broken:
        broken.setattr(bench.outbox, "put_many", _refuse)
        broken.setattr(bench.outbox, "next_epoch", _refuse)
        bench.publisher.publish([entity(2)])
        assert not bench.epochs.turn(bench.publisher), "something sealed is not durable yet"
    bench.publisher.publish([entity(3)])
    with monkeypatch.context() as broken:
        broken.setattr(bench.outbox, "next_epoch", _refuse)
        assert not bench.epochs.turn(bench.publisher), "no number for another epoch"
    assert bench.epochs.turn(bench.publisher), "what was asked for is not forgotten"
    bench.publish(1)
    bench.publisher.close()
    assert [close.count for close in whole(bench.opened(OPS))] == [4, 1]
    assert len([o for o in bench.opened(SECOND) if isinstance(o, Opened)]) == 4


def test_a_turn_that_the_disk_refuses_half_way_comes_out_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.publish(2)
    bench.files.next = Files.members(full=(OPS,))
    bench.steady_ns += 10**10
    with monkeypatch.context() as broken:
        broken.setattr(bench.outbox, "put_many", _refuse)
        assert bench.epochs.turn(bench.publisher)
        assert not bench.publisher.settled
        monkeypatch.setattr("appliance.daemon.publisher.MAX_WAITING", 1)
        bench.publisher.publish([entity(2), entity(3)])
    bench.publisher.publish([entity(4)])
    bench.publisher.close()
    first, second = whole_or_shed(bench.opened(OPS))
    assert (first.count, second.count, second.shed) == (2, 3, ((0, 0),)), "grant and close are never given up"
    assert not [o for o in bench.opened(SECOND) if isinstance(o, Opened) and o.epoch == second.epoch]


def whole_or_shed(outcomes: list[Any]) -> list[Closed]:
    assert not any(isinstance(outcome, NoGrant) for outcome in outcomes)
    closes = [outcome for outcome in outcomes if isinstance(outcome, Closed)]
    assert all(close.missing == () for close in closes)
    return closes


def test_whoever_is_put_out_is_out_though_the_audit_log_cannot_be_written(bench: Bench) -> None:
    bench.publish(1)
    bench.log.fails = True
    bench.files.next = Files.members(full=(OPS,))
    bench.steady_ns += 10**10
    assert bench.epochs.turn(bench.publisher)
    bench.publish(1)
    assert len([o for o in bench.opened(SECOND) if isinstance(o, Opened)]) == 1


def test_an_epoch_whose_numbers_are_used_up_costs_results_and_ends_no_run(bench: Bench) -> None:
    bench.publisher._sender.sealed = MAX_COUNTER + 1
    bench.publisher.publish([entity(0)])
    assert bench.publisher.counts["results_beyond_the_epoch"] == 1
    assert bench.epochs.turn(bench.publisher)
    bench.publisher.publish([entity(1)])
    assert bench.publisher.sealed_in_epoch == 1


def test_epoch_numbers_go_forward_also_within_one_second(bench: Bench) -> None:
    numbers = [bench.epochs.number]
    for members in ((OPS,), (OPS, SECOND), (OPS,)):
        bench.files.next = Files.members(full=members)
        bench.epochs._look_due_ns = 0
        bench.epochs.turn(bench.publisher)
        numbers.append(bench.epochs.number)
    assert numbers == list(range(numbers[0], numbers[0] + 4))


def _refuse(*_: object, **__: object) -> int:
    raise BusUnavailable("no space left on device")
