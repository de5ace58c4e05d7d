"""Compiles what the path calls before the first observation comes, so that no real one waits for a compiler.

A throw-away path is fed a few made-up observations of every kind. Seconds on a first start; next to nothing
afterwards, because what was compiled is kept on disk where a cache folder can be written. ``python -m
appliance.pipeline.warm`` does it at installation. What is in memory by then is for good, and the garbage collector is
told so: it would look through all of it every few seconds, and every thread would wait a tenth of a second.
"""

from __future__ import annotations

import gc
from typing import Final

from appliance.domain import Geodetic, Observation, Plot, PlotKind, Receipt
from appliance.fusion import FusionSettings
from appliance.fusion import warm as warm_fusion
from appliance.pipeline.path import OnePath, PathPlan
from appliance.pipeline.telling import TellingSettings
from appliance.tracking import warm as warm_tracker

_SECOND_NS: Final = 1_000_000_000
_LOOKS: Final = 4


def warm(plan: PathPlan) -> None:
    """Run a throw-away path with the plan's receipt and place, and nothing else of it."""
    settings = FusionSettings(origin=plan.origin, unit=plan.unit)
    warm_tracker()
    warm_fusion(settings)
    path = OnePath(
        PathPlan(
            unit=plan.unit,
            origin=plan.origin,
            fusion=settings,
            telling=TellingSettings(picture_interval_ns=_SECOND_NS, entity_interval_ns=0),
            receipt=plan.receipt,
        )
    )
    for look in range(_LOOKS):
        at_ns = (look + 1) * _SECOND_NS
        for observation in _observations(plan.origin, at_ns):
            path.step(observation, at_ns)
    path.finish((_LOOKS + 1) * _SECOND_NS)
    gc.freeze()


def _observations(origin: Geodetic, at_ns: int) -> tuple[Observation, ...]:
    here = (origin.latitude_deg, origin.longitude_deg)
    square = ((25.0, 0.0), (0.0, 25.0))
    polar = ((25.0, 0.0), (0.0, 1e-4))
    return (
        _plot("told", "position", here, square, origin, at_ns, cooperative=True),
        _plot("seen", "position", here, square, origin, at_ns),
        _plot("echo", "range_bearing", (500.0, 1.0), polar, origin, at_ns),
        _plot("heard", "bearing", (1.0,), ((1e-4,),), origin, at_ns),
    )


def _plot(
    sensor_id: str,
    kind: PlotKind,
    values: tuple[float, ...],
    covariance: tuple[tuple[float, ...], ...],
    origin: Geodetic,
    at_ns: int,
    *,
    cooperative: bool = False,
) -> Plot:
    return Plot(
        sensor_id=sensor_id,
        observation_id=f"{sensor_id}:{at_ns}",
        observed_ns=at_ns,
        kind=kind,
        values=values,
        covariance=covariance,
        origin=origin,
        cooperative=cooperative,
    )


if __name__ == "__main__":
    _HERE = Geodetic(latitude_deg=0.0, longitude_deg=0.0)
    warm(
        PathPlan(
            unit="warm",
            origin=_HERE,
            fusion=FusionSettings(origin=_HERE, unit="warm"),
            telling=TellingSettings(picture_interval_ns=_SECOND_NS, entity_interval_ns=0),
            receipt=Receipt(config_digest="", bundles={}, engines={}, clock="replayed", position_integrity="none"),
        )
    )
