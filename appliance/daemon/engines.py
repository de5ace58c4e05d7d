"""Loads the models that a mission names, from the slots in service, and gives each a lane.

What runs is what was verified at installation: the slot's digests are checked again before a model is loaded. A model
that is refused or cannot run here is told by name and reason; the daemon goes on with the feeds that do not need it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2

from appliance.config.mission import Model
from appliance.errors import BundleRefused, EngineUnavailable
from appliance.inference.detector import Detector
from appliance.inference.lane import Lane
from appliance.inference.runner import open_runner
from appliance.slots import ActiveModel, Slots

log: Final = logging.getLogger("appliance")

PROVIDERS: Final[Mapping[str, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One loaded model, and the lane it runs in."""

    name: str
    active: ActiveModel
    provider: str
    lane: Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class NoEngine:
    """A model that cannot serve, and why."""

    name: str
    why: BundleRefused | EngineUnavailable


def load_engines(models: tuple[Model, ...], slots: Slots, now_ns: int) -> dict[str, Engine | NoEngine]:
    """Every model of the mission by name, loaded or with the reason why not."""
    cv2.setNumThreads(1)  # one lane, one thread: OpenCV's own pool would fight the lanes for cores
    started: dict[str, ActiveModel] = {}
    return {model.name: _load(model, slots, started, now_ns) for model in models}


def _load(model: Model, slots: Slots, started: dict[str, ActiveModel], now_ns: int) -> Engine | NoEngine:
    try:
        if model.bundle not in started:  # two models of one product are one start of it
            started[model.bundle] = slots.starting(model.bundle, now_ns)
        active = started[model.bundle]
        providers = [PROVIDERS[name] for name in model.providers]
        runner = open_runner(active.model, active.manifest, providers=providers, threads=model.threads)
    except (BundleRefused, EngineUnavailable) as e:
        log.error("model %s: %s", model.name, e)  # noqa: TRY400 - the reason is the message; a traceback says less
        return NoEngine(name=model.name, why=e)
    lane = Lane(model.name, Detector(active.manifest, runner))
    log.info("model %s: %s %s on %s", model.name, active.product, active.version, runner.provider)
    return Engine(name=model.name, active=active, provider=runner.provider, lane=lane)
