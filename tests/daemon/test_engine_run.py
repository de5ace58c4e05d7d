"""A whole run whose mission asks for a compiled engine: who served is told in status, receipts and recording.

Everything is the field's own but the GPU: what compiles enters through the daemon's own door (``find_works``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from appliance.cli import call
from appliance.config import load_mission
from appliance.daemon import Daemon
from appliance.daemon.daemon import Summary
from appliance.recorder import Recording, open_recording
from appliance.sealing import generate
from appliance.slots import Slots
from export import desk
from export.repository import Repository
from tests.daemon.test_compiling import NAME, FakeWorks, nothing
from tests.engines.conftest import BASE, bright_network
from tests.support.brokers import free_port

MISSION = """\
schema = "edge-mission/1"
[unit]
id = "quay-01"
origin = {{ latitude_deg = 50.8, longitude_deg = -1.1 }}
identity = "device.json"
demo = true
[bus]
url = "embedded:{port}"
recipients = ["ops.public.json"]
[picture]
interval_s = 0.2
status_interval_s = 1
[[models]]
name = "lights"
bundle = "acme/bright"
providers = ["tensorrt", "cpu"]
[[feeds]]
name = "mast"
kind = "video"
uri = "file:clip.mp4"
model = "lights"
pace = "fast"
start = 2026-01-01T12:00:00Z
pose = {{ latitude_deg = 50.8, longitude_deg = -1.1, altitude_m = 10, heading_deg = 0, pitch_deg = 20 }}
lens = {{ width_px = 64, height_px = 64, hfov_deg = 60, max_range_m = 200 }}
[record]
path = "recordings"
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unit with the model in service and a clip of a bright wall; each test has a copy of nothing but the mission."""
    folder = tmp_path_factory.mktemp("unit")
    device = generate("device", "quay-01")
    (folder / "device.json").write_text(device.to_json())
    (folder / "ops.public.json").write_text(generate("recipient", "ops").public.to_json())
    (folder / "model.onnx").write_bytes(bright_network())
    (folder / "model.json").write_text(json.dumps(BASE))
    fleet = Repository(folder=folder / "fleet")
    desk.make(
        keys=fleet.folder,
        out=folder / "stick",
        model=folder / "model.onnx",
        manifest=folder / "model.json",
        product="acme/bright",
    )
    slots = Slots(folder / "state", self_test=lambda *_: "a test")
    slots.provision(fleet.anchor.read_bytes(), unit="quay-01")
    slots.install(folder / "stick", "acme/bright", time.time_ns())
    write_clip(folder / "clip.mp4")
    return folder


def write_clip(path: Path, frames: int = 40) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            pixels = np.full((64, 64, 3), 180 + number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
        out.mux(stream.encode())


Run = Callable[..., tuple[Summary, Recording]]


@pytest.fixture
def run(template: Path) -> Run:
    def once(find_works: Any) -> tuple[Summary, Recording]:
        path = template / "mission.toml"
        path.write_text(MISSION.format(port=free_port()))
        summary = Daemon(load_mission(path), until_end=True, find_works=find_works).run()
        newest = max((template / "recordings").glob("*.mcap"))
        return summary, open_recording(newest)

    return once


def receipts(recording: Recording) -> set[str]:
    bodies = [json.loads(payload) for _, payload in recording.told()]
    return {body["receipt"]["engines"]["lights"] for body in bodies if "receipt" in body}


def boxes(recording: Recording) -> list[Any]:
    return [
        [(each.label, round(each.confidence, 4), each.box_px) for each in arrival.observation.detections]
        for arrival in recording.arrivals()
        if arrival.observation is not None and hasattr(arrival.observation, "detections")
    ]


def test_an_engine_serves_a_whole_run_and_every_receipt_names_its_digest(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    works = FakeWorks(bright_network())
    works.built.set()
    summary, recording = run(lambda *_: works)
    assert summary.failed == ()
    status = summary.status
    assert [(each["state"], each["serves"]) for each in status["engines"]] == [("serving", NAME)]
    assert not [each for each in status["sick"] if each.startswith("model")]
    assert receipts(recording) == {NAME}
    assert call(["replay", str(recording.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] is None
    plain, other = run(nothing)
    assert boxes(other) == boxes(recording)
    assert len(boxes(other)) == 40
    assert plain.failed == ()
    assert [each["state"] for each in plain.status["engines"]] == ["unavailable"]
    assert any(each.startswith("model lights: no engine: expected an NVIDIA driver") for each in plain.status["sick"])
    assert {each[:11] for each in receipts(other)} == {"onnxruntime"}


def test_an_engine_that_does_not_pass_costs_nothing_but_its_speed(run: Run) -> None:
    works = FakeWorks(bright_network(gain=0.5))
    works.built.set()
    summary, recording = run(lambda *_: works)
    assert summary.failed == ()
    assert summary.status["engines"][0]["state"] == "unavailable"
    assert "engine-parity" in summary.status["engines"][0]["says"]
    assert len(boxes(recording)) == 40
    assert {each[:11] for each in receipts(recording)} == {"onnxruntime"}
