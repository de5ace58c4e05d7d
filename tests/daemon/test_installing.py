"""A release is installed and put in service while another serves: no frame of the slot in service is lost.

The one that serves is loaded as the daemon loads it; the installer is a process of its own, the command of the field,
with the real self-test.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from appliance.config.mission import Model
from appliance.daemon.engines import Engine, load_engines
from appliance.domain import Frame
from appliance.inference.lane import Lane
from appliance.slots import Slots
from export import desk
from tests.support.networks import MANIFEST, small_network

pytest.importorskip("onnxruntime", reason="the desk's runtime is not installed")

PRODUCT = "acme/people"
WAIT_S = 120.0


class Camera(threading.Thread):
    """Frames as fast as they are taken, until told to stop, and what came back."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(daemon=True)
        self.lane = lane
        self.submitted = 0
        self.answered: list[int] = []
        self.stop = threading.Event()

    def run(self) -> None:
        rng = np.random.default_rng(7)
        while not self.stop.is_set():
            pixels = rng.integers(0, 256, (48, 64, 3), np.uint8)
            pixels.flags.writeable = False
            frame = Frame(sensor_id="quay", sequence=self.submitted, captured_ns=time.time_ns(), pixels=pixels)
            assert self.lane.submit(frame, WAIT_S)
            self.submitted += 1
            self._take(WAIT_S)

    def _take(self, wait_s: float) -> None:
        answer = self.lane.take("quay", wait_s)
        if answer is not None:
            self.answered.append(answer.sequence)

    def end(self) -> None:
        self.stop.set()
        self.join(WAIT_S)
        while self.lane.outstanding("quay"):
            self._take(WAIT_S)


def _stick(folder: Path, name: str, fill: float) -> desk.Desk:
    (folder / "model.onnx").write_bytes(small_network(fill))
    (folder / "model.json").write_text(json.dumps(MANIFEST))
    return desk.make(
        model=folder / "model.onnx",
        manifest=folder / "model.json",
        product=PRODUCT,
        keys=folder / "fleet",
        out=folder / name,
        version=f"{fill}",
    )


def _bundle(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", "bundle", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_frame_of_the_slot_in_service_is_lost_while_another_release_is_installed(tmp_path: Path) -> None:
    one, two = _stick(tmp_path, "one", 0), _stick(tmp_path, "two", 1)
    slots = Slots(tmp_path / "state")
    slots.provision(one.anchor.read_bytes())
    slots.install(one.stick, PRODUCT, time.time_ns())
    engine = load_engines((Model(name="people", bundle=PRODUCT),), slots, time.time_ns())["people"]
    assert isinstance(engine, Engine)
    camera = Camera(engine.lane)
    camera.start()
    try:
        before = camera.submitted
        done = _bundle("install", two.stick, PRODUCT, "--state", tmp_path / "state", "--json")
        during = camera.submitted - before
    finally:
        camera.end()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["activated"]
    status = engine.lane.status()
    engine.lane.close()
    assert during > 0, "frames went through while the release was installed"
    assert camera.answered == list(range(camera.submitted)), "every frame was answered, in order"
    assert (status.answered, status.dropped_oldest, status.let_go, status.failures) == (camera.submitted, 0, 0, 0)
    assert slots.active(PRODUCT).version == "1", "the new release is what the next start loads"
    assert engine.active.version == "0", "the one that was loaded served to the end"
