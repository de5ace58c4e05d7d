"""Loads the models that a mission names, from the slots in service, and gives each a lane.

What runs is what was verified at installation: the slot's digests are checked again before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from appliance.config import LoadedMission
from appliance.config.mission import Model
from appliance.inference.detector import Detector
from appliance.inference.lane import Lane
from appliance.inference.runner import open_runner
from appliance.slots import ActiveModel, Slots

PROVIDERS: Final[Mapping[str, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One loaded model, the cameras it serves, and the lane it runs in."""

    name: str
    active: ActiveModel
    provider: str
    lane: Lane


def load_engines(loaded: LoadedMission, slots: Slots, now_ns: int) -> tuple[Engine, ...]:
    """Load every model of the mission.

    Raises BundleRefused where no verified bundle is in service and EngineUnavailable where a model cannot run here.
    """
    return tuple(_load(model, slots, now_ns) for model in loaded.mission.models)


def _load(model: Model, slots: Slots, now_ns: int) -> Engine:
    active = slots.starting(model.bundle, now_ns)
    runner = open_runner(active.model, active.manifest, providers=_providers(model.providers), threads=model.threads)
    lane = Lane(model.name, Detector(active.manifest, runner))
    return Engine(name=model.name, active=active, provider=runner.provider, lane=lane)


def _providers(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(PROVIDERS[name] for name in names)
