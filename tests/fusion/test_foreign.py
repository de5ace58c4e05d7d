"""Other units' estimates: joined, begun, refused, and never counted twice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from appliance.domain import Entity, Estimate, Identity
from appliance.estimation.gaussian import is_positive_definite
from appliance.estimation.intersection import joined, weight
from appliance.fusion import Fusion, FusionSettings

SECOND = 1_000_000_000


def estimate(world: Any, east: float, north: float, t_ns: int, **more: Any) -> Estimate:
    base: dict[str, Any] = {
        "sensor_id": "east", "unit": "quay-02", "entity_id": "01A", "observed_ns": t_ns,
        "position": world.place(east, north), "covariance_m2": ((400.0, 0.0), (0.0, 400.0)), "velocity_mps": (0.0, 0.0),
        "existence": 0.95, "trust": 0.95, "categories": {"vessel/ship": 0.9}, "identities": (),
        "provenance": ("quay-02/radar",),
    }  # fmt: skip
    return Estimate(**(base | more))


def told(fusion: Fusion, t_ns: int, unit: str, feed: str) -> list[Estimate]:
    """What another unit would get of this one's believed entities."""
    return [
        Estimate(
            sensor_id=feed, unit=unit, entity_id=e.entity_id, observed_ns=t_ns, position=e.position,
            covariance_m2=e.covariance_m2, velocity_mps=e.velocity_mps[:2], existence=e.existence, trust=0.95,
            categories=e.categories, identities=(),
            provenance=e.provenance or tuple(sorted({f"{unit}/{one.source_id}" for one in e.evidence})),
        )
        for e in fusion.entities(t_ns) if e.status in ("confirmed", "coasting")
    ]  # fmt: skip


def test_what_only_another_unit_sees_becomes_an_entity_with_its_provenance_and_goes_when_it_is_told_no_more(
    world: Any,
) -> None:
    fusion = world.fusion()
    for k in range(1, 6):
        fusion.observe_estimates([estimate(world, -20_000, 100, k * SECOND)], k * SECOND)
    (entity,) = fusion.entities(5 * SECOND)
    assert entity.status == "confirmed"
    assert entity.existence <= 0.95 * 0.95 + 1e-6, "no surer than the other unit, as far as it is trusted"
    assert entity.provenance == ("quay-02/radar",)
    assert [e.kind for e in entity.evidence] == ["estimate"]
    assert entity.category == "vessel/ship"
    assert not [e for e in fusion.entities(200 * SECOND) if e.status != "deleted"]


def test_it_joins_what_is_seen_here_and_moves_it_no_more_than_an_intersection_may(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 21):
        fusion.observe_plots("eo", k * SECOND, [world.position(500, 500, k * SECOND, "a")], k * SECOND)
    (before,) = fusion.entities(20 * SECOND)
    fusion.observe_estimates([estimate(world, 520, 490, 20 * SECOND)], 20 * SECOND)
    (after,) = fusion.entities(20 * SECOND)
    assert after.entity_id == before.entity_id
    assert after.provenance == ("quay-02/radar", "test/eo")
    assert np.linalg.det(np.array(after.covariance_m2)) >= 0.9 * np.linalg.det(np.array(before.covariance_m2))


def test_its_mmsi_finds_the_vessel_that_carries_it(world: Any) -> None:
    fusion, mmsi = world.fusion(), Identity(kind="mmsi", value="235000001")
    plots = [
        world.position(e, 500, SECOND, f"{e}", sensor="ais", mmsi=m) for e, m in ((500, mmsi.value), (560, "235000002"))
    ]
    fusion.observe_plots("ais", SECOND, plots, SECOND)
    fusion.observe_estimates([estimate(world, 545, 500, SECOND, identities=(mmsi,))], SECOND)
    (joined_one,) = [e for e in fusion.entities(SECOND) if e.provenance]
    assert mmsi in joined_one.identities


def test_what_rests_on_our_own_data_alone_is_refused_and_what_rests_on_some_raises_no_belief(world: Any) -> None:
    fusion = world.fusion()
    fusion.observe_estimates([estimate(world, 500, 500, SECOND, provenance=("test/radar", "test/eo"))], SECOND)
    assert fusion.refused == {"own data": 1}
    assert not fusion.entities(SECOND)
    fusion.observe_plots("eo", 2 * SECOND, [world.position(500, 500, 2 * SECOND, "a")], 2 * SECOND)
    fusion.observe_plots("eo", 3 * SECOND, [world.position(500, 500, 3 * SECOND, "a")], 3 * SECOND)
    before = fusion.entities(3 * SECOND)
    fusion.observe_estimates(
        [estimate(world, 500, 500, 3 * SECOND, provenance=("quay-02/radar", "test/eo"), existence=0.999)], 3 * SECOND
    )
    after = fusion.entities(3 * SECOND)
    assert [e.existence for e in after] == [e.existence for e in before]
    assert [e.category for e in after] == [e.category for e in before]


def test_the_same_estimate_again_and_again_makes_nothing_surer(world: Any) -> None:
    fusion = world.fusion()
    one = estimate(world, -20_000, 100, SECOND)
    fusion.observe_estimates([one], SECOND)
    (before,) = fusion.entities(SECOND)
    for _ in range(50):
        fusion.observe_estimates([one], SECOND)
    (after,) = fusion.entities(SECOND)
    assert np.linalg.det(np.array(after.covariance_m2)) >= 0.99 * np.linalg.det(np.array(before.covariance_m2))
    assert after.existence <= before.existence
    assert after.categories == before.categories


def test_two_things_of_one_unit_never_become_one(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 4):
        pair = [estimate(world, -20_000 + 5 * i, 100, k * SECOND, entity_id=f"0{i}") for i in range(2)]
        fusion.observe_estimates(pair, k * SECOND)
    assert len(fusion.entities(3 * SECOND)) == 2


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("covariance", {"covariance_m2": ((math.nan, 0.0), (0.0, 1.0))}),
        ("covariance", {"covariance_m2": ((1.0, 5.0), (5.0, 1.0))}),
        ("time", {"observed_ns": 10**15}),
    ],
)
def test_an_estimate_that_cannot_be_true_is_counted(world: Any, reason: str, change: dict[str, Any]) -> None:
    fusion = world.fusion()
    fusion.observe_estimates([estimate(world, 500, 500, SECOND, **change)], SECOND)
    assert fusion.refused == {reason: 1}
    assert not fusion.entities(SECOND)


def test_an_intersection_is_never_surer_than_the_truth_allows_and_stays_positive_definite() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        a, b = rng.normal(size=(4, 4)), rng.normal(size=(2, 2))
        p, r = a @ a.T + 0.1 * np.eye(4), b @ b.T * rng.uniform(0.01, 100) + 0.01 * np.eye(2)
        w = weight(p, r)
        assert 0.0 < w <= 1.0
        if w < 1.0:
            _, cov = joined(np.zeros(4), p, np.ones(2), r, w)
            assert is_positive_definite(cov)
            assert np.linalg.slogdet(cov)[1] <= np.linalg.slogdet(p)[1] + 1e-9
    assert weight(np.eye(4), 1e9 * np.eye(2)) == 1.0, "what tells nothing new changes nothing"


def _exchange(world: Any, seed: int, *, naive: bool) -> tuple[float, int]:
    """(NEES at the end, entities) of unit A: it and B see one thing, each with its own sensor, and tell each other."""
    rng = np.random.default_rng(seed)
    a, b = (Fusion(FusionSettings(origin=world.frame.origin, unit=name)) for name in ("a", "b"))
    start, speed = rng.uniform(-2000, 2000, 2), rng.normal(0, 5, 2)
    world.rng = rng
    for k in range(1, 41):
        t, at = k * SECOND, start + speed * k
        a.observe_plots("eo-a", t, [world.position(*at, t, "x", sensor="eo-a", sigma=20.0)], t)
        b.observe_plots("eo-b", t, [world.position(*at, t, "x", sensor="eo-b", sigma=20.0)], t)
        from_a, from_b = told(a, t, "a", "a"), told(b, t, "b", "b")
        if naive:  # as if the other's estimates were a sensor's plots
            a.observe_plots("b", t, [_plot(world, one) for one in from_b], t)
            b.observe_plots("a", t, [_plot(world, one) for one in from_a], t)
        else:
            a.observe_estimates(from_b, t)
            b.observe_estimates(from_a, t)
    believed = sorted((e for e in a.entities(t) if e.status == "confirmed"), key=lambda e: -e.existence)
    error = np.array(world.frame.local(believed[0].position)[:2]) - at
    return float(error @ np.linalg.solve(np.array(believed[0].covariance_m2), error)), len(believed)


def _plot(world: Any, one: Estimate) -> Any:
    import dataclasses  # noqa: PLC0415

    east, north, _ = world.frame.local(one.position)
    plot = world.position(east, north, one.observed_ns, one.entity_id, sensor=one.sensor_id, sigma=1e-9)
    return dataclasses.replace(plot, covariance=one.covariance_m2)


def test_units_that_tell_each_other_what_they_told_each_other_stay_as_sure_as_they_may_be(world: Any) -> None:
    """NEES of two degrees of freedom over Monte Carlo runs with shared information: 2, and not above its 95 % bound."""
    runs = 30
    honest = [_exchange(world, seed, naive=False) for seed in range(runs)]
    naive = [_exchange(world, seed, naive=True) for seed in range(runs)]
    bound = 2.0 + 1.96 * math.sqrt(2.0 * 2.0 / runs)  # normal approximation of χ²(2·runs)/runs
    assert np.mean([nees for nees, _ in honest]) < bound
    assert {count for _, count in honest} == {1}
    assert np.mean([nees for nees, _ in naive]) > 1.5 * bound, "adding them up is what this is not"


def test_a_third_units_data_are_known_again(world: Any) -> None:
    entity: Entity
    fusion = world.fusion()
    via = ("quay-02/radar", "quay-03/eo")
    fusion.observe_estimates([estimate(world, -20_000, 100, SECOND, provenance=via)], SECOND)
    (entity,) = fusion.entities(SECOND)
    assert entity.provenance == via
