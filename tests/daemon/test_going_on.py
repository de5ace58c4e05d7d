"""What goes wrong beside the path is told and ends no run."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from appliance.bus import OutboxStatus
from appliance.config.mission import Model
from appliance.daemon import Daemon
from appliance.daemon import daemon as running
from appliance.daemon import publisher as module
from appliance.daemon.engines import NoEngine, load_engines
from appliance.daemon.health import status_body
from appliance.daemon.publisher import Publisher
from appliance.errors import BundleRefused, BusUnavailable
from appliance.pipeline.results import Result
from appliance.recorder import NoRecording
from appliance.sealing import Closed, Envelope, Opener, Sender, generate

DEVICE, READER = generate("device", "quay-01"), generate("recipient", "ops")


class BrokenDisk:
    """An outbox that keeps in memory what it is given, and cannot read."""

    def __init__(self) -> None:
        self.refuses = False
        self.kept: list[tuple[Envelope, object]] = []

    def put_many(self, envelopes: Sequence[tuple[Envelope, object]]) -> None:
        if self.refuses:
            raise BusUnavailable("no space left on device")
        self.kept.extend(envelopes)

    def shed_runs(self, epoch: int) -> tuple[tuple[int, int], ...]:
        raise BusUnavailable("input/output error")


@pytest.fixture
def disk() -> BrokenDisk:
    return BrokenDisk()


@pytest.fixture
def publisher(disk: BrokenDisk) -> Publisher:
    made = Publisher(Sender("quay-01", 7, DEVICE, (READER.public,), issued_ns=1), disk)  # type: ignore[arg-type]
    made.open()
    return made


def result(payload: bytes = b"{}") -> Result:
    return Result(topic="edge/v1/quay-01/picture", priority="picture", payload=payload)


def test_a_result_that_no_envelope_holds_is_counted_and_the_next_one_goes(
    publisher: Publisher, disk: BrokenDisk
) -> None:
    publisher.publish([result(b"x" * 2_000_000), result()])
    assert publisher.counts["results_too_large"] == 1
    assert publisher.sealed == 1
    assert len(disk.kept) == 2


def test_the_close_goes_out_though_the_outbox_cannot_say_what_it_shed(publisher: Publisher, disk: BrokenDisk) -> None:
    publisher.publish([result()])
    publisher.close()
    opener = Opener(READER, (DEVICE.public,))
    closed = [opener.accept(envelope.topic, envelope.data) for envelope, _ in disk.kept][-1]
    assert isinstance(closed, Closed)
    assert closed.missing == ()


def test_gaps_are_remembered_as_runs_however_long_the_disk_refuses(
    publisher: Publisher, disk: BrokenDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    disk.refuses = True
    for _ in range(300):
        publisher.publish([result()])
    assert publisher._given_up == [(0, 298)]
    assert publisher.counts["results_given_up"] == 299


def test_a_status_with_a_damaged_outbox_set_aside_and_no_recording_is_told() -> None:
    outbox = OutboxStatus(
        state="good",
        trouble=None,
        waiting=0,
        kept=0,
        bytes=0,
        waiting_bytes=0,
        put=0,
        acknowledged=0,
        shed={},
        moved_aside=(Path("state/outbox.sqlite.damaged-1"),),
    )
    body = status_body(
        feeds=[],
        lanes=[],
        missing=(),
        link=msgspec.convert({"state": "connected"}, Linked),  # type: ignore[arg-type]
        outbox=outbox,
        recorder=NoRecording(failure="recordings: Permission denied"),
        counts={},
    )
    assert json.loads(json.dumps(body))["outbox"]["moved_aside"] == ["outbox.sqlite.damaged-1"]
    assert body["sick"] == ["recording: recordings: Permission denied"]


class Linked(msgspec.Struct):
    """What a status says of a link that is up."""

    state: str


class CountingSlots:
    """Slots in which nothing serves; counts how often a daemon's start was told."""

    def __init__(self, views: tuple[Any, ...] = (), *, fails: BaseException | None = None) -> None:
        self.starts = 0
        self.confirmed: list[str] = []
        self._views = views
        self._fails = fails

    def starting(self, product: str, now_ns: int) -> Any:
        self.starts += 1
        return SimpleNamespace(model=Path("absent.onnx"), manifest=None, product=product, version="1")

    def list(self) -> tuple[Any, ...]:
        return self._views

    def confirm(self, product: str, now_ns: int) -> None:
        if self._fails is not None:
            raise self._fails
        self.confirmed.append(product)


def engine(digest: str) -> Any:
    active = SimpleNamespace(product="acme/people", slot="a", release_digest=digest)
    lane = SimpleNamespace(status=lambda: SimpleNamespace(answered=1000))
    return SimpleNamespace(name="people", active=active, lane=lane)


def confirm(slots: CountingSlots, digest: str) -> list[Any]:
    daemon = Daemon.__new__(Daemon)
    daemon._slots = slots  # type: ignore[assignment]
    daemon._unconfirmed = [engine(digest)]
    daemon._confirm_healthy(1)
    return daemon._unconfirmed


IN_SERVICE = SimpleNamespace(product="acme/people", slot="a", release_digest="11", active=True)


def test_the_release_that_ran_is_confirmed() -> None:
    slots = CountingSlots((IN_SERVICE,))
    assert confirm(slots, "11") == []
    assert slots.confirmed == ["acme/people"]


def test_a_release_that_was_put_in_service_meanwhile_is_not_confirmed_by_the_health_of_another() -> None:
    slots = CountingSlots((IN_SERVICE,))
    confirm(slots, "22")
    assert slots.confirmed == []


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), BundleRefused("trust-state", "tampered with")], ids=str
)
def test_a_confirmation_that_cannot_be_put_on_record_ends_no_service(failure: BaseException) -> None:
    assert confirm(CountingSlots((IN_SERVICE,), fails=failure), "11") == []


def test_two_models_of_one_product_are_one_start_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = CountingSlots()
    refused = BundleRefused("slot-damaged", "not what was signed")
    monkeypatch.setattr("appliance.daemon.engines.open_runner", lambda *_, **__: (_ for _ in ()).throw(refused))
    models = tuple(Model(name=name, bundle="acme/people") for name in ("one", "two"))
    loaded = load_engines(models, slots, 1)  # type: ignore[arg-type]
    assert all(isinstance(each, NoEngine) for each in loaded.values())
    assert slots.starts == 1


FILE = '\n[[feeds]]\nname = "beacons"\nkind = "plots"\nuri = "file:plots.jsonl"\n'
AIS = '\n[[feeds]]\nname = "ais"\nkind = "ais"\nuri = "udp://127.0.0.1:{port}"\n'


def test_a_live_mission_goes_on_after_its_file_is_read_and_a_recording_that_cannot_be_begun_costs_itself_alone(
    house: Any, mosquitto: Any, plots: Any
) -> None:
    plots(house.folder, 5, 50.0)
    (house.folder / "dead").symlink_to("dead")
    house.write_mission(mosquitto.url, FILE + AIS.format(port=house.ais_port), '\n[record]\npath = "dead/end"\n')
    daemon = house.run_daemon()
    with pytest.raises(Exception, match="timed out"):
        daemon.wait(5)
    summary = house.end(daemon)
    assert daemon.returncode == 0
    assert any(line.startswith("recording: ") for line in summary["status"]["sick"])


@pytest.mark.parametrize(("asked", "failed"), [(False, ("feed film", "model people")), (True, ())])
def test_a_run_that_ends_by_itself_names_what_failed(asked: bool, failed: tuple[str, ...]) -> None:
    daemon = Daemon.__new__(Daemon)
    daemon._stopping = threading.Event()
    daemon._missing = {}
    daemon._last_status = {
        "feeds": [{"name": "film", "state": "failed"}, {"name": "ais", "state": "ended"}],
        "lanes": [{"name": "people", "state": "failed"}],
    }
    if asked:
        daemon.stop()
    assert daemon._failed() == failed


def test_free_memory_is_given_back_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, given_back_s = 1_000.0, []
    monkeypatch.setattr(running, "steady_ns", lambda: round(now_s * 1e9))
    monkeypatch.setattr(running, "give_back", lambda: given_back_s.append(now_s))
    daemon = Daemon.__new__(Daemon)
    daemon._give_back_due_ns, daemon._alive_due_ns, daemon._status_due_ns = 0, 1 << 62, 1 << 62
    for now_s in (1_000.0, 1_001.0, 1_059.9, 1_060.0, 1_061.0, 1_200.0):  # noqa: B007 - the clock reads it
        daemon._tell_status()
    assert given_back_s == [1_000.0, 1_060.0, 1_200.0]
