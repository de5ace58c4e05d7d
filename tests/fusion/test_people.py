"""People walk or stand, and move as nobody else does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from appliance.domain import Plot
from appliance.estimation.gaussian import is_positive_definite
from appliance.fusion import FusionSettings, Motion
from appliance.geodesy import LocalFrame

SECOND = 1_000_000_000
PERSON, CAR = {"person": 0.9}, {"vehicle/car": 0.9}
Path = Callable[[float], float]


def _walk(world: Any, fusion: Any, path: Path, until_s: int, *, unseen: range = range(0), kind: Any = None) -> None:
    """Two looks a second at one who goes east along ``path``, its position by the time."""
    for k in range(2, 2 * until_s + 1):
        t = k * SECOND // 2
        plots = [world.position(path(k / 2), 200.0, t, "a", sigma=2.0, categories=kind or PERSON)]
        fusion.observe_plots("eo", t, [] if k // 2 in unseen else plots, t)


def _one(fusion: Any, at_s: float) -> Any:
    (entity,) = [e for e in fusion.entities(round(at_s * SECOND)) if e.status in ("confirmed", "coasting")]
    return entity


def _stands_then(speed_mps: float) -> Path:
    return lambda t: 100.0 + 1.4 * min(t, 30.0) + speed_mps * max(t - 120.0, 0.0)


def test_where_a_person_stands_is_known_better_than_where_anything_else_does(world: Any) -> None:
    off: dict[str, list[float]] = {"person": [], "car": []}
    for seed in range(12):
        for name, kind in (("person", PERSON), ("car", CAR)):
            world.seed = seed
            world.__post_init__()
            fusion = world.fusion()
            _walk(world, fusion, _stands_then(0.0), 70, kind=kind)
            east, north, _ = world.frame.local(_one(fusion, 70.0).position)
            off[name].append((east - 142.0) ** 2 + (north - 200.0) ** 2)
    assert np.mean(off["person"]) < 0.5 * np.mean(off["car"])


@pytest.mark.parametrize("speed_mps", [0.5, 1.4, 5.0])
@pytest.mark.parametrize("unseen", [range(0), range(120, 124)])
def test_a_person_who_stood_and_strolls_walks_or_runs_off_is_the_same_entity(
    world: Any, speed_mps: float, unseen: range
) -> None:
    """Seen throughout, and where the start is hidden for four seconds."""
    path = _stands_then(speed_mps)
    fusion = world.fusion()
    _walk(world, fusion, path, 119)
    stood = _one(fusion, 119.0)
    assert math.hypot(*stood.velocity_mps[:2]) < 0.3
    fusion = world.fusion()
    world.__post_init__()
    _walk(world, fusion, path, 140, unseen=unseen)
    gone = _one(fusion, 140.0)
    assert gone.entity_id == stood.entity_id
    assert gone.velocity_mps[0] == pytest.approx(speed_mps, abs=0.4)
    assert world.frame.local(gone.position)[0] == pytest.approx(path(140.0), abs=4.0)


def test_what_turns_out_to_be_something_else_keeps_its_place_and_moves_as_that_does(world: Any) -> None:
    fusion = world.fusion()
    bank = fusion._state.core.bank
    ways = set()
    for k in range(1, 61):
        kind = (CAR, PERSON, CAR)[k // 21]
        _step(world, fusion, k, kind)
        (slot,) = fusion._state.core.live.tolist()
        assert bank.w[slot].sum() == pytest.approx(1.0)
        assert (bank.w[slot] > 0.0).all()
        assert all(is_positive_definite(p) for p in bank.p[slot])
        assert is_positive_definite(bank.cov[slot])
        ways.add((int(bank.ways[slot]), kind.get("person", 0.0)))
    assert {way for way, _ in ways} == {0, 1}
    entity = _one(fusion, 60.0)
    assert int(bank.ways[slot]) == 0
    assert entity.velocity_mps[0] == pytest.approx(1.4, abs=0.5)


def _step(world: Any, fusion: Any, k: int, kind: dict[str, float]) -> None:
    plot: Plot = world.position(1.4 * k, 100.0, k * SECOND, "a", sigma=2.0, categories=kind)
    fusion.observe_plots("eo", k * SECOND, [plot], k * SECOND)


def test_the_next_thing_in_a_person_s_slot_moves_as_things_do(world: Any) -> None:
    fusion = world.fusion()
    _walk(world, fusion, _stands_then(0.0), 10)
    assert fusion._state.core.bank.ways.max() == 1
    fusion.entities(400 * SECOND)
    assert len(fusion._state.core.live) == 0
    t = 400 * SECOND
    fusion.observe_plots("eo", t, [world.position(0.0, 500.0, t, "b")], t)
    (slot,) = fusion._state.core.live.tolist()
    assert fusion._state.core.bank.ways[slot] == 0


def test_people_move_in_no_more_ways_than_others(world: Any) -> None:
    one = Motion(noise_m2ps3=(0.5,), turns_radps=(0.0,), rates_per_s=(0.1,), first_weights=(1.0,), stands=(False,))
    with pytest.raises(ValueError, match="on_foot: expected no more ways of moving than motion has, 1; found 4"):
        FusionSettings(origin=world.frame.origin, motion=one)


def test_errors_of_people_who_walk_and_stand_are_no_larger_than_told(world: Any) -> None:
    """NEES of place while walking, standing and four seconds after setting off; two degrees of freedom."""
    nees: dict[int, list[float]] = {25: [], 60: [], 119: [], 124: [], 140: []}
    path = _stands_then(1.4)
    for run in range(30):
        world.seed = run
        world.__post_init__()
        fusion = world.fusion()
        for k in range(2, 281):
            t = k * SECOND // 2
            fusion.observe_plots("eo", t, [world.position(path(k / 2), 200.0, t, "a", sigma=2.0, categories=PERSON)], t)
            if k % 2 == 0 and k // 2 in nees:
                nees[k // 2].append(_squared_error(world.frame, _one(fusion, k / 2), path(k / 2)))
    means = {at_s: float(np.mean(values)) for at_s, values in nees.items()}
    assert all(0.4 < mean < (4.5 if at_s == 124 else 2.6) for at_s, mean in means.items()), means
    assert 0.9 < np.mean(list(means.values())) < 2.6, means


def _squared_error(frame: LocalFrame, entity: Any, east: float) -> float:
    error = np.array(frame.local(entity.position)[:2]) - (east, 200.0)
    return float(error @ np.linalg.solve(np.array(entity.covariance_m2), error))
