"""Engines come into service while frames are answered: who serves, what the status says, and that nothing is lost.

The lanes, detectors and ONNX Runtime are real. What compiles is a fake that enters by the front door (``Works``) and
gives engines that compute on a fake GPU; the gate in between is the real one.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from appliance.config.mission import Model
from appliance.daemon.compiling import Compiler, Wanted, Works, compiler_for, find_works
from appliance.daemon.compiling import try_works as try_works_here
from appliance.daemon.engines import (
    Engine,
    EngineStatus,
    NoCompiler,
    NoEngine,
    asks_for_engines,
    load_engines,
    standing_in,
)
from appliance.daemon.health import status_body
from appliance.domain import DetectedFrame, Frame
from appliance.engines.builder import BuildCancelled
from appliance.engines.making import BuildBusy, hold
from appliance.engines.nvidia import find_gpu
from appliance.engines.progress import paced
from appliance.errors import EngineRefused, EngineUnavailable
from appliance.inference.detector import Detector
from appliance.inference.lane import Lane
from appliance.inference.runner import Runner, open_runner
from appliance.slots import ActiveModel
from tests.engines.conftest import bright_network, page
from tests.engines.test_runners import on_fake
from tests.support.brokers import until

NAME = "tensorrt 11.4.1 plan sha384:00"


class FakeWorks(Works):
    """Builds when it is let, and gives an engine of ``network``; the gate decides about it."""

    def __init__(self, network: bytes) -> None:
        self.network = network
        self.built = threading.Event()
        self.fails: list[EngineUnavailable] = []
        self.asked = 0
        self.cancelled = threading.Event()
        self.runner: Runner | None = None
        self.gpu_engine: Any = None

    def ensure(self, model: ActiveModel, tell: Any, started: Any) -> Any:
        self.asked += 1
        if self.fails:
            raise self.fails.pop(0)
        started(self)
        tell(paced(0.25, "Timing graph nodes", 30.0))
        while not self.built.wait(0.01):
            if self.cancelled.is_set():
                raise BuildCancelled("the build was cancelled")
        return "a stored engine"

    def cancel(self) -> None:
        self.cancelled.set()

    def open(self, stored: Any, model: ActiveModel, providers: Sequence[str]) -> Runner:
        runner, _, self.gpu_engine = on_fake(self.network, model.manifest)
        parity = hold(model, open_runner(model.model, model.manifest, providers=providers), runner)
        if not parity.passed:
            raise EngineRefused("engine-parity", "; ".join(parity.faults))
        self.runner = runner
        return runner


@pytest.fixture
def active(tmp_path: Path) -> ActiveModel:
    network = bright_network()
    path = tmp_path / "model.onnx"
    path.write_bytes(network)
    return ActiveModel(
        manifest=page(),
        model=path,
        digest=hashlib.sha384(network).hexdigest(),
        product="acme/bright",
        version="1",
        slot="a",
        counter=1,
        release_digest="0" * 96,
        confirmed=True,
    )


@pytest.fixture
def lane(active: ActiveModel) -> Iterator[Lane]:
    made = Lane("bright", Detector(active.manifest, open_runner(active.model, active.manifest)))
    made.add_camera("cam", live=False)
    yield made
    made.close()


@pytest.fixture
def works() -> FakeWorks:
    return FakeWorks(bright_network())


@pytest.fixture
def compile_with(active: ActiveModel, lane: Lane) -> Iterator[Callable[[FakeWorks], Compiler]]:
    made: list[Compiler] = []

    def start(works: FakeWorks) -> Compiler:
        wanted = Wanted(name="bright", active=active, lane=lane, providers=["CPUExecutionProvider"])
        made.append(Compiler([wanted], works))
        made[-1].start()
        return made[-1]

    yield start
    for compiler in made:
        compiler.stop()


def state_of(compiler: Compiler) -> EngineStatus:
    return compiler.status()[0]


def ask(lane: Lane, sequence: int) -> DetectedFrame:
    pixels = np.full((64, 64, 3), 204, np.uint8)
    pixels.setflags(write=False)
    assert lane.submit(Frame(sensor_id="cam", sequence=sequence, captured_ns=sequence, pixels=pixels), 10.0)
    answer = lane.take("cam", 10.0)
    assert answer is not None
    return answer


Start = Callable[[FakeWorks], Compiler]


def test_onnx_runtime_serves_until_the_engine_has_passed_and_no_frame_is_lost(
    works: FakeWorks, compile_with: Start, lane: Lane
) -> None:
    compiler = compile_with(works)
    until(lambda: state_of(compiler).state == "building", 10)
    building = state_of(compiler)
    assert (building.fraction, building.left_s) == (0.25, 90.0)
    assert building.serves.startswith("onnxruntime")
    answers = [ask(lane, number) for number in range(20)]
    works.built.set()
    while state_of(compiler).state != "serving":
        answers.append(ask(lane, len(answers)))
        assert len(answers) < 5000
    answers += [ask(lane, len(answers) + number) for number in range(20)]
    assert [answer.sequence for answer in answers] == list(range(len(answers)))
    engines = [answer.engine for answer in answers]
    assert engines[0].startswith("onnxruntime")
    assert engines[-1] == NAME
    assert len(set(engines)) == 2
    assert engines == sorted(engines), "once the engine serves, it serves"
    assert {round(answer.detections[0].confidence, 3) for answer in answers} == {0.8}
    assert state_of(compiler) == EngineStatus(model="bright", serves=NAME, state="serving")


def test_an_engine_whose_answers_are_not_its_networks_never_serves(compile_with: Start, lane: Lane) -> None:
    works = FakeWorks(bright_network(gain=0.5))
    works.built.set()
    compiler = compile_with(works)
    until(lambda: state_of(compiler).state == "unavailable", 10)
    status = state_of(compiler)
    assert "'scores'" in status.says
    assert "[engine-parity]" in status.says
    assert status.serves.startswith("onnxruntime")
    assert ask(lane, 0).engine.startswith("onnxruntime")
    assert round(ask(lane, 1).detections[0].confidence, 3) == 0.8


def test_a_build_that_fails_leaves_onnx_runtime_in_service_and_says_why(
    works: FakeWorks, compile_with: Start, lane: Lane
) -> None:
    works.fails = [EngineUnavailable("the build process was killed by SIGSEGV")]
    compiler = compile_with(works)
    until(lambda: state_of(compiler).state == "unavailable", 10)
    assert state_of(compiler).says == "the build process was killed by SIGSEGV"
    assert ask(lane, 0).engine.startswith("onnxruntime")
    assert lane.status().failures == 0


def test_while_another_process_builds_the_daemon_waits_and_says_so(works: FakeWorks, compile_with: Start) -> None:
    works.fails = [BuildBusy("another build is running on this device")]
    works.built.set()
    compiler = compile_with(works)
    until(lambda: state_of(compiler).says.startswith("another build"), 10)
    assert state_of(compiler).state == "waiting"
    until(lambda: state_of(compiler).state == "serving", 10)
    assert works.asked == 2


def test_an_engine_that_stops_answering_is_left_and_the_status_says_so(
    works: FakeWorks, compile_with: Start, lane: Lane
) -> None:
    works.built.set()
    compiler = compile_with(works)
    until(lambda: state_of(compiler).state == "serving", 10)
    works.gpu_engine.broken = True
    assert ask(lane, 0).engine.startswith("onnxruntime")
    status = state_of(compiler)
    assert (status.state, status.serves[:11]) == ("unavailable", "onnxruntime")
    assert status.says == f"{NAME}: CUDA: an illegal memory access was encountered"


def test_the_end_of_the_daemon_cancels_a_build(works: FakeWorks, compile_with: Start) -> None:
    compiler = compile_with(works)
    until(lambda: state_of(compiler).state == "building", 10)
    begun = time.monotonic()
    compiler.stop()
    assert works.cancelled.is_set()
    assert time.monotonic() - begun < 2.0


def test_a_replay_waits_for_its_engines_before_its_first_frame(works: FakeWorks, compile_with: Start) -> None:
    compiler = compile_with(works)
    threading.Timer(0.2, works.built.set).start()
    compiler.wait(threading.Event())
    assert state_of(compiler).state == "serving"


def test_a_replay_that_is_stopped_waits_no_longer(works: FakeWorks, compile_with: Start) -> None:
    stopping = threading.Event()
    stopping.set()
    compile_with(works).wait(stopping)
    assert not works.built.is_set()


# --- what a mission asks for


def told(engines: Sequence[EngineStatus]) -> dict[str, Any]:
    """The status of a daemon whose engines are so."""
    link = SimpleNamespace(state="connected", last_error=None)
    outbox = SimpleNamespace(state="good", trouble=None)
    known = {"feeds": (), "lanes": (), "missing": (), "recorder": None, "counts": {}}
    return status_body(engines=engines, link=link, outbox=outbox, **known)  # type: ignore[arg-type]


class FakeSlots:
    """One product in service."""

    def __init__(self, active: ActiveModel) -> None:
        self._active = active

    def starting(self, product: str, now_ns: int) -> ActiveModel:
        return self._active


def models(*providers: Any) -> tuple[Model, ...]:
    return (Model(name="bright", bundle="acme/bright", providers=providers),)


@pytest.fixture
def loaded() -> Iterator[Callable[..., dict[str, Engine | NoEngine]]]:
    made: list[Engine] = []

    def load(*arguments: Any) -> dict[str, Engine | NoEngine]:
        found = load_engines(*arguments)
        made.extend(engine for engine in found.values() if isinstance(engine, Engine))
        return found

    yield load
    for engine in made:
        engine.lane.close()


def nothing(state: Path, slots: Any) -> Works:
    raise EngineUnavailable("expected an NVIDIA driver; found no libcuda.so.1")


def test_a_machine_that_compiles_nothing_serves_by_what_the_mission_names_beside_and_says_so(
    active: ActiveModel, loaded: Any, tmp_path: Path
) -> None:
    asked = models("tensorrt", "cpu")
    found = try_works_here(tmp_path, FakeSlots(active), nothing)  # type: ignore[arg-type]
    assert isinstance(found, NoCompiler)
    engine = loaded(asked, FakeSlots(active), 1, found)["bright"]
    assert isinstance(engine, Engine)
    statuses = standing_in([engine])
    body = told(statuses)
    assert body["engines"][0]["state"] == "unavailable"
    assert body["sick"][0].startswith(
        "model bright: no engine: expected an NVIDIA driver; found no libcuda.so.1; onnxruntime"
    )


def test_a_mission_that_names_nothing_beside_has_no_engine_there(
    active: ActiveModel, loaded: Any, tmp_path: Path
) -> None:
    found = NoCompiler(why=EngineUnavailable("expected a GPU"))
    missing = loaded(models("tensorrt"), FakeSlots(active), 1, found)["bright"]
    assert isinstance(missing, NoEngine)
    assert str(missing.why) == "expected a GPU (and the mission names no other provider)"


def test_where_engines_are_compiled_onnx_runtime_begins_also_for_a_mission_that_names_nothing_beside(
    active: ActiveModel, loaded: Any, works: FakeWorks
) -> None:
    asked = models("tensorrt")
    engine = loaded(asked, FakeSlots(active), 1)["bright"]
    assert isinstance(engine, Engine)
    assert engine.provider.endswith("CPUExecutionProvider")
    compiler = compiler_for(asked, {"bright": engine}, works)
    assert compiler.status()[0].state == "waiting"


def test_a_mission_that_asks_for_no_engine_loads_nothing_that_builds_them() -> None:
    assert asks_for_engines(models("cuda", "tensorrt"))
    assert not asks_for_engines(models("cpu"))
    code = (
        "import sys, appliance.config, appliance.daemon\n"
        "late = {'appliance.daemon.compiling', 'appliance.engines', 'appliance.reading', 'appliance.recorder'}\n"
        "assert not late & set(sys.modules), late & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_this_machine_says_what_it_lacks(tmp_path: Path, active: ActiveModel) -> None:
    try:
        find_gpu()
    except EngineUnavailable:
        found = try_works_here(tmp_path, FakeSlots(active), find_works)  # type: ignore[arg-type]
        assert isinstance(found, NoCompiler)
        assert "expected" in str(found.why)
    else:
        pytest.skip("this machine has a GPU")
