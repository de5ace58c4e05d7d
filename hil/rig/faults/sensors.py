"""Sensors that are there and wrong: frozen, silent, garbage, everything twice, another time, a receiver deceived."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from hil.demo.score import Opened
from hil.devices.device import CannotDo
from hil.rig.bench import Bench
from hil.rig.campaign import Step
from hil.rig.faults.table import Facts, FaultKind
from hil.scene.camera import Mood
from hil.scene.wires import Bend, garbage, off_by, silent, straight, stuck, twice

DRIFT_MPS = 5.0
_EARTH_M_PER_DEG = 111_320.0
CAMERA_MOODS: dict[str, Mood] = {"sensor-freeze": "frozen", "sensor-garbage": "garbage", "sensor-silence": "silent"}
TIME_JUMP_S = 600.0


@contextlib.contextmanager
def wrong(bench: Bench, step: Step) -> Iterator[Facts]:
    """A sensor goes wrong in the way that the fault is called. Raises CannotDo for a target that cannot."""
    if step.target == "camera":
        with _camera(bench, step):
            yield {}
        return
    wire = bench.players.wires.get(step.target)
    if wire is None:
        known = ", ".join(bench.players.wires)
        raise CannotDo(f"{step.fault}: expected a target of camera, {known}; found {step.target!r}")
    wire.bend = _bend(step)
    try:
        yield {}
    finally:
        wire.bend = straight


@contextlib.contextmanager
def _camera(bench: Bench, step: Step) -> Iterator[None]:
    if step.fault == "sensor-time-jump":
        bench.camera.pts_jump_s += step.amount or TIME_JUMP_S
        yield
        bench.camera.pts_jump_s = 0.0
        return
    if step.fault not in CAMERA_MOODS:
        raise CannotDo(f"{step.fault}: a camera's frames carry numbers; none comes twice")
    bench.camera.mood = CAMERA_MOODS[step.fault]
    try:
        yield
    finally:
        bench.camera.mood = "well"


def _bend(step: Step) -> Bend:
    match step.fault:
        case "sensor-freeze":
            return stuck()
        case "sensor-silence":
            return silent
        case "sensor-garbage":
            return garbage(7)
        case "sensor-duplication":
            return twice
        case _:
            return off_by(round((step.amount or TIME_JUMP_S) * 1e9))


@contextlib.contextmanager
def gnss_spoof(bench: Bench, step: Step) -> Iterator[Facts]:
    """A transmitter pulls the receiver away, slowly, as one does who does not want to be seen.

    ``moved_m`` is how far things that stand still have moved in the unit's picture, in metres.
    """
    facts: Facts = {}
    began, began_ns = time.monotonic(), time.time_ns()
    speed = step.amount or DRIFT_MPS
    bench.players.gnss_drift = lambda now: ((now - began) * speed, 0.0)
    try:
        yield facts
        facts["moved_m"] = moved_m(bench.ear.look(lambda heard: list(heard.opened)), began_ns)
    finally:
        bench.players.gnss_drift = lambda _: (0.0, 0.0)


def moved_m(opened: list[Opened], since_ns: int) -> float:
    """The farthest that a truck was told from every place of a vehicle before; NaN where none was told.

    Places, not names: what moves faster than its sensors believe gets a new name.
    """
    vehicles = [
        (one.opened_ns, one.body["category"], (one.body["position"]["lat"], one.body["position"]["lon"]))
        for one in opened
        if one.body["schema"].startswith("edge/entity/")
        and one.body["status"] == "confirmed"
        and one.body["category"].startswith("vehicle/")
    ]
    before = [place for at_ns, _, place in vehicles if at_ns <= since_ns]
    after = [place for at_ns, kind, place in vehicles if at_ns > since_ns and kind == "vehicle/truck"]
    if not before or not after:
        return math.nan
    return max(min(_metres(place, known) for known in before) for place in after)


def _metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    east = (b[1] - a[1]) * math.cos(math.radians(a[0]))
    return math.hypot(b[0] - a[0], east) * _EARTH_M_PER_DEG


TABLE = {
    "sensor-freeze": FaultKind(act=wrong, says="lets a sensor say the same again and again"),
    "sensor-silence": FaultKind(act=wrong, says="lets a sensor stay connected and say nothing"),
    "sensor-garbage": FaultKind(act=wrong, says="mixes noise, damaged and cut words into a sensor's words"),
    "sensor-duplication": FaultKind(act=wrong, says="lets a sensor say everything twice"),
    "sensor-time-jump": FaultKind(act=wrong, says="sets a sensor's clock wrong"),
    "gnss-spoof": FaultKind(act=gnss_spoof, says="pulls the unit's own GNSS receiver away, a few metres each second"),
}
