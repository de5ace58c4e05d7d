"""Nothing is told before it is durable; what a refusing disk cost is told by the close."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.bus import Outbox, Priority
from appliance.daemon import publisher as module
from appliance.daemon.publisher import Publisher, merged
from appliance.errors import BusUnavailable
from appliance.pipeline.results import Result
from appliance.sealing import Closed, Envelope, Granted, Opened, Opener, Sender, generate

DEVICE, READER = generate("device", "quay-01"), generate("recipient", "ops")


class Disk:
    """An outbox whose disk refuses when told to."""

    def __init__(self) -> None:
        self.refuses = False
        self.kept: list[tuple[Envelope, Priority]] = []

    def put_many(self, envelopes: Sequence[tuple[Envelope, Priority]], *, now_ns: int | None = None) -> None:
        if self.refuses:
            raise BusUnavailable("no space left on device")
        self.kept.extend(envelopes)

    def shed_runs(self, epoch: int) -> tuple[tuple[int, int], ...]:
        return ()


def result(number: int) -> Result:
    return Result(topic="edge/v1/quay-01/picture", priority="picture", payload=f'{{"n":{number}}}'.encode())


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def publisher(disk: Disk) -> Publisher:
    made = Publisher(Sender("quay-01", 7, DEVICE, (READER.public,), issued_ns=1), disk)  # type: ignore[arg-type]
    made.open()
    return made


def opened(disk: Disk) -> list[object]:
    opener = Opener(READER, (DEVICE.public,))
    return [opener.accept(envelope.topic, envelope.data) for envelope, _ in disk.kept]


def test_results_come_out_in_order_after_their_grant(publisher: Publisher, disk: Disk) -> None:
    publisher.publish([result(1), result(2)])
    publisher.close()
    granted, first, second, closed = opened(disk)
    assert isinstance(granted, Granted)
    assert isinstance(first, Opened)
    assert first.payload == b'{"n":1}'
    assert isinstance(second, Opened)
    assert isinstance(closed, Closed)
    assert closed.missing == ()


def test_what_a_full_disk_refused_goes_out_when_there_is_room_again(publisher: Publisher, disk: Disk) -> None:
    disk.refuses = True
    publisher.publish([result(1)])
    assert len(disk.kept) == 1
    disk.refuses = False
    publisher.publish([result(2)])
    assert [o.payload for o in opened(disk) if isinstance(o, Opened)] == [b'{"n":1}', b'{"n":2}']
    assert publisher.counts["disk_refusals"] == 1


def test_what_is_given_up_is_counted_and_named_by_the_close(
    publisher: Publisher, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    disk.refuses = True
    publisher.publish([result(n) for n in range(5)])
    disk.refuses = False
    publisher.close()
    closed = opened(disk)[-1]
    assert isinstance(closed, Closed)
    assert closed.shed == ((0, 2),)
    assert publisher.counts["results_given_up"] == 3


def test_results_are_on_the_disk_when_publish_returns(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite")
    made = Publisher(Sender("quay-01", 7, DEVICE, (READER.public,), issued_ns=1), outbox)
    made.open()
    made.publish([result(1)])
    outbox.close()
    again = Outbox(tmp_path / "outbox.sqlite")
    assert len(again.claim(10)) == 2
    again.close()


@pytest.mark.parametrize(
    ("runs", "expected"),
    [([], ()), ([(3, 4), (0, 1)], ((0, 1), (3, 4))), ([(0, 1), (2, 5)], ((0, 5),)), ([(0, 9), (3, 4)], ((0, 9),))],
    ids=["none", "apart", "touching", "inside"],
)
def test_runs_are_merged(runs: list[tuple[int, int]], expected: tuple[tuple[int, int], ...]) -> None:
    assert merged(runs) == expected
