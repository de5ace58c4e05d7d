"""Things break; each break is told in a clear state, and the daemon goes on with the rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pyais import encode_dict

from tests.support.brokers import free_port, until

CAMERA = """
[[feeds]]
name = "{name}"
kind = "video"
uri = "{uri}"
model = "people"
pose = {{ latitude_deg = 50.8, longitude_deg = -1.1, altitude_m = 8, heading_deg = 90, pitch_deg = 10 }}
lens = {{ width_px = 768, height_px = 432, hfov_deg = 60 }}
"""
MODEL = '\n[[models]]\nname = "people"\nbundle = "acme/people"\n'
AIS = '\n[[feeds]]\nname = "ais"\nkind = "ais"\nuri = "udp://127.0.0.1:{port}"\n'


@pytest.fixture(scope="session")
def installed(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with YOLOX-Nano in service, for a unit named quay-01."""
    folder = tmp_path_factory.mktemp("installed")
    script = (
        "import sys, time; from pathlib import Path; from appliance.slots import Slots; from export import desk\n"
        "folder, model, manifest = map(Path, sys.argv[1:])\n"
        "made = desk.make(model=model, manifest=manifest, product='acme/people', keys=folder / 'k', out=folder / 's')\n"
        "slots = Slots(folder / 'state'); slots.provision(made.anchor.read_bytes(), unit='quay-01')\n"
        "slots.install(made.stick, 'acme/people', time.time_ns())\n"
    )
    root = Path(__file__).resolve().parents[2]
    arguments = [folder, shared_data / "models" / "yolox_nano.onnx", root / "models" / "manifests" / "yolox_nano.json"]
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True)
    return folder / "state"


class Ship:
    """Something with a transponder."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._turn = 0

    def report(self) -> None:
        self._turn += 1
        said = {
            "type": 1,
            "mmsi": 235000001,
            "lat": 50.81 + 1e-5 * self._turn,
            "lon": -1.1,
            "speed": 2.0,
            "course": 0.0,
        }
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for sentence in encode_dict(said, radio_channel="A"):
                sock.sendto(sentence.encode() + b"\r\n", self._address)


def sail(ship: Ship, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ship.report()
        time.sleep(0.1)


def sick(summary: dict[str, Any]) -> str:
    return "\n".join(summary["status"]["sick"])


def entities(house: Any, reader: Any) -> list[dict[str, Any]]:
    return [body for body in house.results(reader) if body["schema"] == "edge/entity/1"]


def test_a_malformed_video_and_a_vanished_camera_are_told_and_ships_are_still_seen(
    house: Any, mosquitto: Any, installed: Path
) -> None:
    shutil.copytree(installed, house.folder / "state")
    (house.folder / "bad.mp4").write_bytes(os.urandom(100_000))
    feeds = CAMERA.format(name="film", uri="file:bad.mp4") + CAMERA.format(name="mast", uri="v4l2:/dev/video99")
    house.write_mission(mosquitto.url, feeds + AIS.format(port=house.ais_port), MODEL)
    reader = house.listen(mosquitto.url)
    daemon = house.run_daemon()
    sail(Ship(house.ais_port), 8)
    summary = house.end(daemon)
    assert daemon.returncode == 0
    assert "feed film: failed" in sick(summary)
    assert "feed mast: backing-off" in sick(summary)
    until(lambda: bool(entities(house, reader)), 30)
    assert {body["identities"]["mmsi"] for body in entities(house, reader)} == {"235000001"}
    statuses = [body for body in house.results(reader) if body["schema"] == "edge/status/1"]
    assert any("mast" in line for body in statuses for line in body["sick"]), "the recipient is told too"


@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_a_damaged_model_is_refused_by_name_and_ships_are_still_seen(
    damage: str, house: Any, mosquitto: Any, installed: Path
) -> None:
    shutil.copytree(installed, house.folder / "state")
    (model,) = (house.folder / "state").rglob("model.onnx")
    if damage == "truncated":
        model.write_bytes(model.read_bytes()[:100_000])
    else:
        model.unlink()
    camera = CAMERA.format(name="mast", uri="v4l2:/dev/video99")
    house.write_mission(mosquitto.url, camera + AIS.format(port=house.ais_port), MODEL)
    reader = house.listen(mosquitto.url)
    daemon = house.run_daemon()
    sail(Ship(house.ais_port), 4)
    summary = house.end(daemon)
    assert daemon.returncode == 0
    assert "model people" in sick(summary)
    assert "slot-damaged" in sick(summary)
    until(lambda: bool(entities(house, reader)), 30)


def test_without_any_feed_that_could_be_served_the_daemon_ends_with_the_reason(house: Any, mosquitto: Any) -> None:
    house.write_mission(mosquitto.url, CAMERA.format(name="mast", uri="v4l2:/dev/video99"), MODEL)
    daemon = house.run_daemon()
    assert daemon.wait(60) == 3
    assert "acme/people" in house.log_of(daemon)


def test_a_dead_broker_costs_nothing_once_it_is_back(house: Any, make_mosquitto: Any) -> None:
    broker = make_mosquitto()
    url, port = broker.url, broker.port
    broker.kill()
    house.write_mission(url, AIS.format(port=house.ais_port))
    daemon = house.run_daemon()
    sail(Ship(house.ais_port), 3)
    broker.port = port
    daemon.send_signal(signal.SIGTERM)  # the end waits for acknowledgements: the broker comes back meanwhile
    time.sleep(1)
    broker.start()
    reader = house.listen(url)
    assert daemon.wait(90) == 0, house.log_of(daemon)
    summary = json.loads(house.out_of(daemon))
    assert summary["left_in_outbox"] == 0
    house.write_mission(url, AIS.format(port=free_port()))
    again = house.run_daemon()  # the window goes out once more for a reader that came after
    until(lambda: len(house.results(reader)) >= summary["sealed"], 60)
    house.end(again)
    first = [body["counter"] for body in house.results(reader) if body["epoch"] == summary["epoch"]]
    assert sorted(first) == list(range(summary["sealed"]))


def test_a_mission_that_is_wrong_ends_with_exit_2_before_anything_is_touched(house: Any) -> None:
    house.write_mission("http://nowhere", AIS.format(port=house.ais_port))
    daemon = house.start("run", "mission.toml")
    assert daemon.wait(60) == 2
    assert "bus.url" in house.log_of(daemon)
    assert not (house.folder / "state").exists()
