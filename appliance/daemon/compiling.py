"""Compiled engines come into service while the daemon works: one background thread, one model after the other.

    waiting ─ building (fraction, time left) ─ checking (the gate) ─ serving
                                └──────────────────┴─ unavailable, with the reason; ONNX Runtime goes on

ONNX Runtime serves from the first frame; an engine takes over between two batches once its answers are the network's.
Whatever becomes of an engine, the lane goes on with what it had, and the status says what serves and why.

Loaded only where a mission asks for an engine: what builds them is a tenth of a start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.config.mission import Model
from appliance.daemon.engines import COMPILED, Engine, EngineStatus, NoCompiler, State, served_by
from appliance.engines.build import Build
from appliance.engines.builder import BuildCancelled
from appliance.engines.making import BuildBusy, Site, ensure, gate, look_around, open_engine, verified_network
from appliance.engines.progress import Progress
from appliance.engines.store import NotStored, StoredEngine
from appliance.errors import ApplianceError, EngineRefused, EngineUnavailable
from appliance.host.clock import now_ns
from appliance.inference.detector import Detector
from appliance.inference.lane import Lane
from appliance.inference.runner import Runner, open_runner
from appliance.slots import ActiveModel, Slots

log: Final = logging.getLogger("appliance")

#: How often the log says how far a build is; the status says it as often as it is told.
LOG_EVERY_S: Final = 30.0
#: How often a build that another process keeps us from is tried again.
RETRY_S: Final = 2.0
_JOIN_S: Final = 5.0
_WAIT_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A model that asks for an engine, what serves until then, and the providers that its network is judged by."""

    name: str
    active: ActiveModel
    lane: Lane
    providers: Sequence[str]


class Works:
    """What the thread does with the outside: finding, building and loading engines. Tests give another."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def ensure(
        self, model: ActiveModel, tell: Callable[[Progress], None], started: Callable[[Build], None]
    ) -> StoredEngine:
        """The stored engine, built where there is none. Raises ``EngineUnavailable``, ``EngineRefused``."""
        return ensure(self._site, model, tell, now_ns(), heard=_say_why, started=started)

    def open(self, stored: StoredEngine, model: ActiveModel, providers: Sequence[str]) -> Runner:
        """The engine, loaded and past the gate. Raises ``EngineUnavailable``, ``EngineRefused``, ``BundleRefused``."""
        runner = open_engine(self._site, stored, model)
        reference = open_runner(verified_network(model), model.manifest, providers=providers)
        parity = gate(self._site, model, stored, reference, runner, now_ns())
        log.info("engine of %s: the gate passed: %s", model.product, parity)
        return runner


FindWorks = Callable[[Path, Slots], Works]
"""What can compile on this machine. Raises ``EngineUnavailable`` naming what is missing."""


def find_works(state: Path, slots: Slots) -> Works:
    """TensorRT and a GPU, where both are here. Raises ``EngineUnavailable``."""
    return Works(look_around(state, slots))


def try_works(state: Path, slots: Slots, find: FindWorks | None) -> Works | NoCompiler:
    """What compiles here by ``find`` (None: `find_works`), or why nothing does."""
    try:
        return (find or find_works)(state, slots)
    except (EngineUnavailable, EngineRefused) as e:
        log.warning("no engine will be compiled: %s", e)
        return NoCompiler(why=e)


def compiler_for(models: Sequence[Model], engines: Mapping[str, Engine], works: Works) -> Compiler:
    """The thread that brings the engines that were asked for into service."""
    wanted = [
        Wanted(
            name=model.name,
            active=engines[model.name].active,
            lane=engines[model.name].lane,
            providers=served_by(model),
        )
        for model in models
        if COMPILED in model.providers and model.name in engines
    ]
    return Compiler(wanted, works)


class Compiler:
    """Brings engines into service. ``status`` is for any thread."""

    def __init__(self, wanted: Sequence[Wanted], works: Works) -> None:
        self._wanted = tuple(wanted)
        self._works = works
        self._lock = threading.Lock()
        self._states: dict[str, EngineStatus] = {}
        self._stopping = threading.Event()
        self._build: Build | None = None
        self._said_s = 0.0
        for each in self._wanted:
            self._set(each, "waiting")
        self._thread = threading.Thread(target=self._work, name="engines", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Cancel a build that runs and end."""
        self._stopping.set()
        with self._lock:
            if self._build is not None:
                self._build.cancel()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def wait(self, stopping: threading.Event) -> None:
        """Until every engine serves or never will, or ``stopping`` is set."""
        while self._thread.is_alive() and not stopping.wait(_WAIT_S):
            pass

    def status(self) -> tuple[EngineStatus, ...]:
        """How far each engine is, in the order of the mission."""
        with self._lock:
            states = [self._states[each.name] for each in self._wanted]
        return tuple(_seen_from(state, each.lane) for state, each in zip(states, self._wanted, strict=True))

    def _work(self) -> None:
        for each in self._wanted:
            if self._stopping.is_set():
                return
            try:
                self._bring(each)
            except BuildCancelled:
                self._set(each, "waiting")
            except ApplianceError as e:
                self._give_up(each, str(e))
            except Exception as e:  # noqa: BLE001 - boundary: a thread that dies of a mistake must say so, not vanish
                self._give_up(each, f"{type(e).__name__}: {e}")

    def _bring(self, each: Wanted) -> None:
        stored = self._ensured(each)
        self._set(each, "checking")
        runner = self._works.open(stored, each.active, each.providers)
        if self._stopping.is_set():
            return
        each.lane.replace(Detector(each.active.manifest, runner))
        self._set(each, "serving")
        log.info("model %s: from now on %s", each.name, runner.provider)

    def _ensured(self, each: Wanted) -> StoredEngine:
        while True:
            try:
                return self._works.ensure(each.active, lambda p: self._advance(each, p), self._started)
            except BuildBusy as e:
                self._set(each, "waiting", says=str(e))
                if self._stopping.wait(RETRY_S):
                    raise BuildCancelled("the daemon ends") from e

    def _started(self, build: Build) -> None:
        with self._lock:
            self._build = build
        if self._stopping.is_set():
            build.cancel()

    def _advance(self, each: Wanted, progress: Progress) -> None:
        self._set(each, "building", fraction=round(progress.fraction, 3), left_s=progress.left_s)
        if progress.elapsed_s - self._said_s >= LOG_EVERY_S or progress.elapsed_s < self._said_s:
            self._said_s = progress.elapsed_s
            left = "" if progress.left_s is None else f", about {progress.left_s:.0f} s left"
            serves = each.lane.status().provider
            log.info("model %s: engine %.0f %%%s; %s serves", each.name, 100 * progress.fraction, left, serves)

    def _give_up(self, each: Wanted, why: str) -> None:
        self._set(each, "unavailable", says=why)
        log.error("model %s: no engine: %s; %s goes on", each.name, why, each.lane.status().provider)

    def _set(
        self, each: Wanted, state: State, *, fraction: float | None = None, left_s: float | None = None, says: str = ""
    ) -> None:
        status = EngineStatus(model=each.name, serves="", state=state, fraction=fraction, left_s=left_s, says=says)
        with self._lock:
            self._states[each.name] = status


def _seen_from(state: EngineStatus, lane: Lane) -> EngineStatus:
    """With what the lane really runs on, which may have gone back from an engine that failed."""
    found = lane.status()
    gone_back = state.state == "serving" and found.reverted is not None
    return EngineStatus(
        model=state.model,
        serves=found.provider,
        state="unavailable" if gone_back else state.state,
        fraction=state.fraction,
        left_s=None if state.left_s is None else round(state.left_s, 1),
        says=found.reverted or "" if gone_back else state.says,
    )


def _say_why(why: NotStored) -> None:
    log.info("engine: %s [%s]; building", why.says, why.reason)
