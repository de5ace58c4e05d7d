"""After warming up nothing is compiled or loaded any more, whatever comes: seconds in which frames would be missed."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest

from appliance.domain import Geodetic, Receipt
from appliance.estimation import compiled
from appliance.fusion import FusionSettings
from appliance.pipeline.path import PathPlan
from appliance.pipeline.telling import TellingSettings
from appliance.pipeline.warm import warm
from tests.fusion.test_foreign import estimate

SECOND = 1_000_000_000
HERE = Geodetic(latitude_deg=49.6, longitude_deg=6.1)


def _busy(world: Any) -> None:
    """People who stand and walk, vessels that say who they are, radar, bearings, a camera's shared doubt, other units,
    reports, gaps after which things are seen again."""
    fusion = world.fusion()
    for k in range(2, 240):
        t = k * SECOND // 2
        if 100 < k < 130:
            continue
        walked = 100.0 + 0.7 * max(k - 100, 0)
        person = world.position(walked, 200.0, t, "a", sigma=2.0, categories={"person": 0.9})
        shared = ((4.0, 0.0), (0.0, 1.0))
        vague = world.position(900.0, -300.0, t, "v", sigma=9.0, shared_covariance=shared, categories={"vehicle": 0.8})
        fusion.observe_plots("eo", t, [person, vague], t)
        if k % 5 == 0:
            fusion.observe_plots("radar", t, [world.radar(-2000.0 + 2 * k, 500.0, t, "s"), *world.clutter(t, 4)], t)
            place = (-2000.0 + 2 * k, 500.0) if k < 150 else (math.cos(k) * 400.0, 4000.0)
            fusion.observe_plots("ais", t, [world.position(*place, t, "m", mmsi="211000001")], t)
        if k % 20 == 0:
            fusion.observe_claims([world.claim(-1500.0, 600.0, t, "vessel")], t)
            near = [estimate(world, 905.0, -300.0, t), estimate(world, 3000.0, 3000.0, t, entity_id="01B")]
            fusion.observe_estimates(near, t)
        fusion.entities(t)


def test_nothing_that_fusion_calls_is_compiled_after_warming_up(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in gc.get_objects():
        if type(one) is compiled.Compiled:  # a proxy of what is gone has no class to ask for
            one._variants.clear()
    receipt = Receipt(config_digest="", bundles={}, engines={}, clock="replayed", position_integrity="none")
    telling = TellingSettings(picture_interval_ns=SECOND, entity_interval_ns=0)
    fusion = FusionSettings(origin=HERE, unit="warm")
    warm(PathPlan(unit="warm", origin=HERE, fusion=fusion, telling=telling, receipt=receipt))
    missed: list[str] = []
    load = compiled.Compiled._load

    def noted(self: Any, layout: str, args: Any) -> Any:
        missed.append(f"{self.name} {layout}")
        return load(self, layout, args)

    monkeypatch.setattr(compiled.Compiled, "_load", noted)
    _busy(world)
    assert not missed
