"""No plaintext of a result on the bus or on the disk; each identity opens what is for it and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import until
from tests.support.wire import Wiretap

#: Words that stand in opened results, and in nothing that a broker may see.
MARKS = (b'"category"', b"vessel/ship", b"235000007", b'"evidence"', b"covariance_m2", b'"lat"', b"reported by")
FEEDS = """
[[feeds]]
name = "beacons"
kind = "plots"
uri = "file:plots.jsonl"
"""


@pytest.fixture
def tap(mosquitto: Any) -> Wiretap:
    return Wiretap(mosquitto.port)


def run_and_listen(house: Any, tap: Wiretap, plots: Callable[[Path, int, float], Path], *args: object) -> Any:
    plots(house.folder, 300, 60.0)
    house.write_mission(tap.url, FEEDS)
    reader = house.listen(tap.url, "ops", *args)
    daemon = house.run_daemon("--until-end")
    assert daemon.wait(120) == 0, house.log_of(daemon)
    return reader, json.loads(house.out_of(daemon))


def test_every_byte_on_the_wire_is_sealed_and_the_recipient_opens_all(house: Any, tap: Wiretap, plots: Any) -> None:
    reader, summary = run_and_listen(house, tap, plots)
    until(lambda: len(house.results(reader)) >= summary["sealed"], 60)
    opened = house.out_of(reader).encode()
    assert len(house.results(reader)) == summary["sealed"]
    for mark in MARKS[:-1]:
        assert mark in opened, f"{mark!r} is a word of the results"
        assert mark not in tap.heard
    assert b"edge/v1/quay-01/entity/" in tap.heard, "the tap heard the traffic"


def test_nothing_on_the_disk_is_in_plain(house: Any, tap: Wiretap, plots: Any) -> None:
    reader, summary = run_and_listen(house, tap, plots)
    until(lambda: len(house.results(reader)) >= summary["sealed"], 60)
    own = {"plots.jsonl", "mission.toml", f"out-{house.children.index(reader)}"}
    kept = [path for path in house.folder.rglob("*") if path.is_file() and path.name not in own]
    assert any("outbox" in path.name for path in kept)
    for path in kept:
        content = path.read_bytes()
        assert not [mark for mark in MARKS if mark in content], path


def test_a_stranger_is_told_that_nothing_is_for_it(house: Any, tap: Wiretap, plots: Any) -> None:
    stranger = house.listen(tap.url, "stranger")
    run_and_listen(house, tap, plots)
    assert stranger.wait(30) == 3
    assert house.out_of(stranger) == ""
    assert "nothing on this bus is for this identity" in house.log_of(stranger)


def test_a_listener_that_comes_late_still_gets_the_grant(house: Any, mosquitto: Any, plots: Any) -> None:
    plots(house.folder, 3000, 100.0)
    house.write_mission(mosquitto.url, FEEDS)
    house.run_daemon("--until-end")
    late = house.listen(mosquitto.url, "ops", "--count", 20)
    assert late.wait(60) == 0
    assert len(house.results(late)) == 20


def test_a_unit_that_is_not_trusted_is_not_believed(house: Any, mosquitto: Any, plots: Any) -> None:
    plots(house.folder, 200, 100.0)
    house.write_mission(mosquitto.url, FEEDS)
    other = house.folder / "other.json"
    assert house.start("keys", "new", "device", "quay-01", "--out", other).wait(60) == 0
    (house.folder / "device.public.json").write_text((house.folder / "other.public.json").read_text())
    reader = house.listen(mosquitto.url, "ops", "--wait", 4)
    assert house.run_daemon("--until-end").wait(120) == 0
    assert reader.wait(60) == 4
    assert house.results(reader) == []


def test_over_mutual_tls_a_unit_and_its_reader_meet(
    house: Any, make_ca: Any, make_mosquitto: Any, plots: Any, tmp_path: Path
) -> None:
    ca = make_ca(tmp_path / "tls")
    broker = make_mosquitto(ca)
    unit, reader_files = ca.issue("quay-01"), ca.issue("ops")
    plots(house.folder, 300, 100.0)
    tls = f'ca = "{unit.ca}"\ncertificate = "{unit.certificate}"\nkey = "{unit.key}"\n'
    path = house.write_mission(broker.url, FEEDS)
    path.write_text(path.read_text().replace("resend_window_s", tls + "resend_window_s"))
    files = ("--ca", reader_files.ca, "--certificate", reader_files.certificate, "--key", reader_files.key)
    reader = house.listen(broker.url, "ops", *files)
    daemon = house.run_daemon("--until-end")
    assert daemon.wait(120) == 0, house.log_of(daemon)
    summary = json.loads(house.out_of(daemon))
    until(lambda: len(house.results(reader)) >= summary["sealed"], 60)
    anonymous = house.listen(broker.url.replace("mqtts", "mqtt"), "ops", "--state", tmp_path / "other.sqlite")
    assert anonymous.wait(60) == 4
    assert house.results(anonymous) == []


def test_an_absent_broker_is_unavailable_to_a_listener(house: Any) -> None:
    reader = house.listen("mqtt://127.0.0.1:9")
    assert reader.wait(60) == 4
    assert "the broker cannot be reached" in house.log_of(reader)
