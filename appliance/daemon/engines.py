"""Loads the models that a mission names, from the slots in service, and gives each a lane.

What runs is what was verified at installation: the slot's digests are checked again before a model is loaded. A model
that is refused or cannot run here is told by name and reason; the daemon goes on with the feeds that do not need it.

Provider ``tensorrt`` means an engine that is compiled on this device (`compiling`). ONNX Runtime serves from the first
frame, on the other providers that the mission names or on the CPU, until the engine has passed its gate.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import cv2

from appliance.config.mission import Model
from appliance.errors import BundleRefused, EngineRefused, EngineUnavailable
from appliance.inference.detector import Detector
from appliance.inference.lane import Lane
from appliance.inference.runner import open_runner
from appliance.slots import ActiveModel, Slots

log: Final = logging.getLogger("appliance")

COMPILED: Final = "tensorrt"
State = Literal["waiting", "building", "checking", "serving", "unavailable"]
PROVIDERS: Final[Mapping[str, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One loaded model, and the lane it runs in. ``stands_in``: why ONNX Runtime serves for good, where it does."""

    name: str
    active: ActiveModel
    provider: str
    lane: Lane
    stands_in: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoEngine:
    """A model that cannot serve, and why."""

    name: str
    why: BundleRefused | EngineUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class NoCompiler:
    """Why nothing can be compiled on this machine."""

    why: EngineUnavailable | EngineRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """How far a model's engine is. ``serves`` is what answers frames now; ``says`` why there is no engine."""

    model: str
    serves: str
    state: State
    fraction: float | None = None
    left_s: float | None = None
    says: str = ""


def asks_for_engines(models: Iterable[Model]) -> bool:
    """Whether any of them wants to be compiled."""
    return any(COMPILED in model.providers for model in models)


def load_engines(
    models: tuple[Model, ...], slots: Slots, now_ns: int, no_compiler: NoCompiler | None = None
) -> dict[str, Engine | NoEngine]:
    """Every model of the mission by name, loaded in ONNX Runtime or with the reason why not."""
    cv2.setNumThreads(1)  # one lane, one thread: OpenCV's own pool would fight the lanes for cores
    started: dict[str, ActiveModel] = {}
    return {model.name: _load(model, slots, started, now_ns, no_compiler) for model in models}


def standing_in(engines: Iterable[Engine]) -> tuple[EngineStatus, ...]:
    """Models that ask for an engine on a machine that compiles none, and what serves them for good."""
    return tuple(
        EngineStatus(model=each.name, serves=each.lane.status().provider, state="unavailable", says=each.stands_in)
        for each in engines
        if each.stands_in is not None
    )


def _load(
    model: Model, slots: Slots, started: dict[str, ActiveModel], now_ns: int, no_compiler: NoCompiler | None
) -> Engine | NoEngine:
    compiled = COMPILED in model.providers
    try:
        if compiled and no_compiler is not None:
            _require_another(model, no_compiler)
        if model.bundle not in started:  # two models of one product are one start of it
            started[model.bundle] = slots.starting(model.bundle, now_ns)
        active = started[model.bundle]
        runner = open_runner(active.model, active.manifest, providers=served_by(model), threads=model.threads)
    except (BundleRefused, EngineUnavailable) as e:
        log.error("model %s: %s", model.name, e)  # noqa: TRY400 - the reason is the message; a traceback says less
        return NoEngine(name=model.name, why=e)
    lane = Lane(model.name, Detector(active.manifest, runner))
    until = ", until its engine is ready" if compiled and no_compiler is None else ""
    log.info("model %s: %s %s on %s%s", model.name, active.product, active.version, runner.provider, until)
    stands_in = str(no_compiler.why) if compiled and no_compiler is not None else None
    return Engine(name=model.name, active=active, provider=runner.provider, lane=lane, stands_in=stands_in)


def _require_another(model: Model, no_compiler: NoCompiler) -> None:
    """The CPU stands in for good only where the mission says so."""
    if len(model.providers) == 1:
        raise EngineUnavailable(f"{no_compiler.why} (and the mission names no other provider)")


def served_by(model: Model) -> list[str]:
    """ONNX Runtime's providers: those named beside the compiled one, or the CPU."""
    return [PROVIDERS[name] for name in model.providers if name != COMPILED] or [PROVIDERS["cpu"]]
