"""What comes late ends up where it belongs: as if it had come in order, at a bounded cost, the same at every replay."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import pytest

from appliance.domain import Entity, Plot
from appliance.estimation.gaussian import is_positive_definite
from appliance.fusion import Fusion
from appliance.fusion.snapshots import snapshot
from appliance.fusion.state import DELETED_S

SECOND = 1_000_000_000
Call = tuple[str, int, tuple[Plot, ...]]


def _scene(world: Any, seconds: int = 90) -> list[Call]:
    """Two things on crossing ways and one that reports itself, radar clutter, by the second."""
    calls: list[Call] = []
    for k in range(1, seconds + 1):
        t = k * SECOND
        things = [(-600 + 14 * k, 900 + 3 * k), (700 - 12 * k, 950)]
        plots = [world.radar(*at, t, f"{i}") for i, at in enumerate(things)] + world.clutter(t, 6)
        calls.append(("radar", t, tuple(plots)))
        if k % 7 == 0:
            calls.append(("ais", t + 1, (world.position(2000, 9 * k, t + 1, "m", sensor="ais", mmsi="235000001"),)))
    return calls


def _late(calls: list[Call], within_s: float, seed: int) -> list[tuple[Call, int]]:
    rng = np.random.default_rng(seed)
    arriving = [(call, call[1] + round(rng.uniform(0, within_s) * SECOND)) for call in calls]
    return sorted(arriving, key=lambda one: one[1])


def _feed(fusion: Fusion, arriving: list[tuple[Call, int]]) -> Fusion:
    for (sensor, t, plots), now in arriving:
        fusion.observe_plots(sensor, t, plots, now)
    return fusion


def _places(world: Any, entities: tuple[Entity, ...]) -> list[tuple[float, ...]]:
    believed = [e for e in entities if e.status in ("confirmed", "coasting")]
    return sorted((*world.frame.local(e.position)[:2], e.existence) for e in believed)


@pytest.mark.parametrize("within_s", [3.0, 60.0, 600.0])
def test_a_shuffled_scene_ends_as_it_does_in_order(world: Any, within_s: float) -> None:
    calls = _scene(world)
    in_order = _feed(world.fusion(), [(call, call[1]) for call in calls])
    shuffled = _feed(world.fusion(), _late(calls, within_s, seed=4))
    shuffled.settle()
    end = calls[-1][1]
    one, two = _places(world, in_order.entities(end)), _places(world, shuffled.entities(end))
    assert len(one) == 3
    assert np.allclose(one, two, atol=1e-3)
    then = 45 * SECOND
    ((_, was),) = in_order.history([then])
    ((_, is_known),) = shuffled.history([then])
    assert np.allclose(_places(world, was), _places(world, is_known), atol=1e-3)


def test_what_was_seen_ten_minutes_ago_joins_what_stood_there_then(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 701):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(-3500 + 10 * k, 1500, t, "a")], t)
    before = {e.entity_id for e in fusion.entities(700 * SECOND)}
    then, now = 100 * SECOND + 1, 701 * SECOND
    late = world.position(-2500, 1500, then, "witness", sensor="camera")
    fusion.observe_plots("camera", then, [late], now)
    fusion.settle()
    (entity,) = fusion.entities(now)
    assert {entity.entity_id} == before
    assert late.observation_id in {e.observation_id for e in entity.evidence}
    assert abs(world.frame.local(entity.position)[0] - 3500) < 100


def test_an_entity_keeps_the_name_that_it_was_told_by_though_a_late_plot_came_before_its_first(world: Any) -> None:
    fusion = world.fusion()
    for k in range(10, 40):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(10 * k, 1500, t, "a")], t)
    (told,) = [e for e in fusion.entities(39 * SECOND) if e.status == "confirmed"]
    for k in range(5, 10):
        fusion.observe_plots("radar", k * SECOND, [world.radar(10 * k, 1500, k * SECOND, "a")], 39 * SECOND)
    fusion.settle()
    (again,) = [e for e in fusion.entities(39 * SECOND) if e.status == "confirmed"]
    assert again.entity_id == told.entity_id


def test_late_plots_give_the_same_pictures_at_every_replay(world: Any) -> None:
    arriving = _late(_scene(world, 60), 20.0, seed=8)
    told = []
    for _ in range(2):
        fusion = world.fusion()
        pictures = []
        for (sensor, t, plots), now in arriving:
            fusion.observe_plots(sensor, t, plots, now)
            pictures.append(repr(fusion.entities(now)))
        told.append(pictures)
    assert told[0] == told[1]


def test_no_entity_has_anothers_name_or_identity_while_late_plots_are_put_in_order(world: Any) -> None:
    fusion = world.fusion()
    for (sensor, t, plots), now in _late(_scene(world), 30.0, seed=5):
        fusion.observe_plots(sensor, t, plots, now)
        living = [e for e in fusion.entities(now) if e.status != "deleted"]
        assert len({e.entity_id for e in living}) == len(living)
        identities = [identity for e in living for identity in e.identities]
        assert len(set(identities)) == len(identities)
        assert all(is_positive_definite(e.covariance_m2) for e in living)


def test_one_late_plot_costs_a_few_events_for_each_that_comes_and_not_all_at_once(world: Any) -> None:
    fusion = world.fusion(catch_up_events=4)
    for k in range(1, 201):
        fusion.observe_plots("radar", k * SECOND, [], k * SECOND)
    fusion.observe_plots("radar", 20 * SECOND + 1, [world.radar(500, 500, 20 * SECOND, "late")], 201 * SECOND)
    steps = 0
    while fusion._second is not None:
        before = fusion._second_ns
        steps += 1
        t = (201 + steps) * SECOND
        fusion.observe_plots("radar", t, [], t)
        assert fusion._second is None or fusion._second_ns - before <= 5 * SECOND
    assert steps > 20


def test_memory_of_the_past_is_bounded_and_what_is_older_is_refused(world: Any) -> None:
    fusion = world.fusion(lag_plots=300)
    for k in range(1, 1001):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(1000, 1000, t, "a")], t)
    assert fusion._weight <= 300 + 2 * 40
    assert sum(event.weight for event in fusion._log) == fusion._weight
    assert len(fusion._checkpoints) < 20
    fusion.observe_plots("radar", 500 * SECOND, [world.radar(0, 1000, 500 * SECOND, "b")], 1001 * SECOND)
    assert fusion.refused["time"] == 1
    assert len(fusion._checkpoints) >= 1


def test_checkpoints_of_an_hour_are_few_and_reach_back_the_whole_lag_and_hardly_further(world: Any) -> None:
    fusion = world.fusion()
    furthest = 0.0
    for k in range(1, 3601):
        fusion.observe_plots("radar", k * SECOND, [], k * SECOND)
        furthest = max(furthest, k - fusion._log[0].at_ns / SECOND)
    ages = [3600 - c.at_ns / SECOND for c in fusion._checkpoints]
    assert len(ages) < 40
    assert max(ages) >= 900
    assert furthest <= 900 + 60 + 10
    assert ages[-1] <= 20


def test_a_snapshot_goes_its_own_way(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 11):
        fusion.observe_plots("radar", k * SECOND, [world.radar(1000, 1000, k * SECOND, "a")], k * SECOND)
    kept = snapshot(fusion._present)
    before = repr(kept.entities(10 * SECOND))
    for k in range(11, 31):
        t = k * SECOND
        own = world.position(1000, 1000, t, "m", sensor="ais", mmsi="235000001")
        fusion.observe_plots("radar", t, [world.radar(1000, 1000, t, "a"), own], t)
    assert repr(kept.entities(10 * SECOND)) == before
    assert kept.carrier(own.identities[0]) is None
    assert math.isfinite(kept._state.core.bank.mean.sum())


def test_what_late_plots_have_had_read_again_is_gone_at_once(world: Any) -> None:
    """A present that refers to itself would stay until the interpreter looks for rings: megabytes each minute."""
    arriving = _late(_scene(world), 60.0, seed=4)
    _feed(world.fusion(), arriving)  # whatever is made once for the process
    fusion = world.fusion()
    gc.collect()
    gc.disable()
    try:
        _feed(fusion, arriving).settle()
        assert fusion._second is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_what_is_gone_is_forgotten_after_two_minutes(world: Any) -> None:
    fusion = world.fusion(confirmed_hold_s=2.0)
    for k in range(1, 601):
        t = k * SECOND
        place = (-6000 + 300 * (k // 15 % 40), 3000)
        seen = [world.radar(*place, t, "a")] if k % 15 < 8 else []
        fusion.observe_plots("radar", t, seen, t)
    ages = [600 - entry[0] for entry in fusion._state.deleted]
    assert 5 <= len(ages) <= 10
    assert max(ages) <= DELETED_S + 15
