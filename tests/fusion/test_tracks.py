"""Plots to entities: beginning, following, losing; and what must hold for any input."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.domain import CATEGORIES, Entity, Geodetic, Identity, Plot
from appliance.estimation import Sector
from appliance.estimation.gaussian import is_positive_definite
from appliance.fusion import MOORINGS, SensorModel, birth_ratio

SECOND = 1_000_000_000


def _believed(entities: tuple[Entity, ...]) -> list[Entity]:
    return [e for e in entities if e.status in ("confirmed", "coasting")]


def test_a_thing_seen_several_times_among_clutter_becomes_one_confirmed_entity(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 21):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(1000 + 10 * k, 2000, t, "a"), *world.clutter(t, 10)], t)
    (entity,) = _believed(fusion.entities(20 * SECOND))
    east, north, _ = world.frame.local(entity.position)
    assert math.hypot(east - 1200, north - 2000) < 40
    assert abs(entity.velocity_mps[0] - 10) < 4
    assert entity.existence > 0.9
    assert {e.source_id for e in entity.evidence} == {"radar"}
    assert len(entity.evidence) == 8


def test_a_lone_plot_is_not_told_and_soon_forgotten(world: Any) -> None:
    fusion = world.fusion()
    fusion.observe_plots("radar", SECOND, [world.radar(500, 500, SECOND, "a")], SECOND)
    assert not fusion.entities(SECOND)
    fusion.observe_plots("radar", 2 * SECOND, [], 2 * SECOND)
    fusion.observe_plots("radar", 3 * SECOND, [], 3 * SECOND)
    assert len(fusion._state.core.live) == 0


def test_looks_that_find_nothing_end_an_entity_inside_the_view_and_not_outside_it(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 11):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(1000, 1000, t, "in")], t)
        fusion.observe_plots("eo", t, [world.position(9500, 0, t, "out")], t)
    for k in range(11, 26):
        fusion.observe_plots("radar", k * SECOND, [], k * SECOND)
    (left,) = _believed(fusion.entities(25 * SECOND))
    assert left.status == "coasting"
    assert world.frame.local(left.position)[0] > 9000
    deleted = [e for e in fusion.entities(25 * SECOND) if e.status == "deleted"]
    assert len(deleted) == 1
    assert deleted[0].existence == 0.0


def test_bearings_correct_an_entity_and_never_begin_one(world: Any) -> None:
    fusion = world.fusion()
    west = world.place(-3000, 0)
    for k in range(1, 6):
        t = k * SECOND
        fusion.observe_plots("df", t, [world.bearing(0, 3000, t, "a", west)], t)
    assert len(fusion._state.core.live) == 0
    sigmas = []
    for k in range(6, 30):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(0, 3000, t, "a")], t)
        if k > 15:
            fusion.observe_plots("df", t, [world.bearing(0, 3000, t, "a", west)], t)
        found = fusion.entities(t)
        sigmas.append(found[0].covariance_m2[0][0] if found else math.inf)
    (entity,) = _believed(fusion.entities(29 * SECOND))
    assert {e.source_id for e in entity.evidence} == {"radar", "df"}
    assert sigmas[-1] < 0.8 * sigmas[8]


def test_the_first_look_of_the_fifth_sensor_counts_as_any_other(world: Any) -> None:
    """Room is made for four at first; the bank that grows for the next one is the bank that it updates."""
    fusion = world.fusion()
    for k in range(1, 9):
        fusion.observe_plots("radar", k * SECOND, [world.radar(1000, 1000, k * SECOND, "a")], k * SECOND)
    for name in ("two", "three", "four"):
        fusion.observe_plots(name, 8 * SECOND, [], 8 * SECOND)
    vague = fusion.entities(8 * SECOND)[0].covariance_m2[0][0]
    sharp = world.position(1000, 1000, 8 * SECOND, "e", sensor="eo", sigma=1.0)
    fusion.observe_plots("eo", 8 * SECOND, [sharp], 8 * SECOND)
    (entity,) = fusion.entities(8 * SECOND)
    assert {e.source_id for e in entity.evidence} == {"radar", "eo"}
    assert entity.covariance_m2[0][0] < 2.0 < vague


def test_a_moored_vessel_is_better_known_after_minutes_of_silence_than_one_under_way(world: Any) -> None:
    doubts = {}
    for name, speed in (("moored", 0.0), ("under way", 6.0)):
        fusion = world.fusion(confirmed_hold_s=400.0, motion=MOORINGS)
        for k in range(20):
            t = (1 + 10 * k) * SECOND
            fusion.observe_plots("eo", t, [world.position(speed * 10 * k, 0, t, name, sigma=5.0)], t)
        (entity,) = fusion.entities(t + 180 * SECOND)
        doubts[name] = math.sqrt(entity.covariance_m2[0][0])
    assert doubts["moored"] < 60.0
    assert doubts["under way"] > 2.0 * doubts["moored"]


def test_one_that_stood_for_minutes_and_goes_is_the_same_entity(world: Any) -> None:
    fusion = world.fusion(motion=MOORINGS)
    for k in range(1, 181):
        t, gone_s = k * SECOND, max(k - 120, 0)
        east = 0.5 * gone_s**2 if gone_s < 4 else 8.0 + 4.0 * (gone_s - 4)  # a car from the kerb
        fusion.observe_plots("eo", t, [world.position(1000 + east, 2000, t, "a", sigma=5.0)], t)
        if k == 120:
            (stood,) = fusion.entities(t)
    (entity,) = _believed(fusion.entities(t))
    assert entity.entity_id == stood.entity_id
    assert math.hypot(*stood.velocity_mps[:2]) < 1.0
    assert abs(entity.velocity_mps[0] - 4.0) < 0.5


def test_a_car_that_brakes_hard_and_one_that_swerves_are_followed(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 61):
        t = k * SECOND
        braked = 25.0 * k if k < 30 else 750.0 + 25.0 * min(k - 30, 4) - 3.0 * min(k - 30, 4) ** 2
        swerved = 15.0 * k if k < 30 else 450.0
        across = 15.0 * max(k - 30, 0)
        plots = [world.radar(-2000 + braked, 1500, t, "a"), world.radar(-1000 + swerved, -1500 + across, t, "b")]
        fusion.observe_plots("radar", t, plots, t)
        if k == 20:
            before = {entity.entity_id for entity in _believed(fusion.entities(t))}
    after = {entity.entity_id: world.frame.local(entity.position)[:2] for entity in _believed(fusion.entities(t))}
    assert len(before) == 2
    assert set(after) == before
    for east, north in ((-2000 + 802.0, 1500), (-550, -1050)):
        assert min(math.hypot(east - e, north - n) for e, n in after.values()) < 40.0


def test_a_range_rate_tells_the_velocity_along_the_sight_at_once(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 4):
        plain = world.radar(0, 3000 + 20 * k, k * SECOND, "a")
        cov = ((225.0, 0.0, 0.0), (0.0, 0.0087**2, 0.0), (0.0, 0.0, 0.25))
        rated = dataclasses.replace(plain, kind="range_bearing_rate", values=(*plain.values, 20.0), covariance=cov)
        fusion.observe_plots("radar", k * SECOND, [rated], k * SECOND)
    (entity,) = fusion.entities(3 * SECOND)
    assert abs(entity.velocity_mps[1] - 20.0) < 1.5
    assert entity.velocity_covariance_m2ps2[1][1] < 1.0
    assert entity.velocity_covariance_m2ps2[0][0] > 10.0


def test_slant_range_and_elevation_give_the_place_below_and_the_height(world: Any) -> None:
    fusion = world.fusion()
    up = math.radians(30.0)
    for k in range(1, 5):
        cov = ((25.0, 0.0, 0.0), (0.0, 1e-6, 0.0), (0.0, 0.0, 1e-6))
        plot = dataclasses.replace(
            world.radar(0, 3000, k * SECOND, "a"), kind="range_bearing_elevation", values=(2000.0, 0.0, up),
            covariance=cov,
        )  # fmt: skip
        fusion.observe_plots("radar", k * SECOND, [plot], k * SECOND)
    (entity,) = fusion.entities(4 * SECOND)
    assert abs(world.frame.local(entity.position)[1] - 2000.0 * math.cos(up)) < 5.0
    assert abs(entity.position.altitude_m - 1000.2) < 0.5


@pytest.mark.parametrize("kind", [{}, {"person": 0.9}], ids=["things", "people"])
def test_the_order_of_plots_in_one_look_changes_nothing(world: Any, kind: dict[str, float]) -> None:
    looks = []
    for k in range(1, 16):
        t = k * SECOND
        things = [(500, 500 + 5 * k), (560, 500 + 5 * k), (-2000, 100)]
        plots = [world.radar(*at, t, f"{i}") for i, at in enumerate(things)] + world.clutter(t, 8)
        looks.append((t, [dataclasses.replace(plot, categories=kind) for plot in plots]))
    results = []
    for shuffle in (False, True):
        fusion = world.fusion()
        rng = np.random.default_rng(9)
        for t, plots in looks:
            given_plots = [plots[i] for i in rng.permutation(len(plots))] if shuffle else plots
            fusion.observe_plots("radar", t, given_plots, t)
        results.append(repr(fusion.entities(15 * SECOND)))
        assert bool(fusion._state.core.bank.ways.max()) == bool(kind)
    assert results[0] == results[1]


def test_entity_ids_are_ulids_that_a_replay_makes_again(world: Any) -> None:
    def run() -> list[str]:
        fusion = world.fusion()
        for k in range(1, 6):
            t = k * SECOND
            plots = [dataclasses.replace(world.position(100, 100, t, "a"), values=(49.501, 6.101))]
            fusion.observe_plots("eo", t, plots, t)
        return [e.entity_id for e in fusion.entities(5 * SECOND)]

    first = run()
    assert first == run()
    assert len(first[0]) == 26
    assert set(first[0]) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@pytest.mark.parametrize("kind", ["position", "range_bearing"])
def test_errors_are_as_large_as_the_covariance_says(world: Any, kind: str) -> None:
    """NEES of position over many runs; 2 degrees of freedom, so the mean is near 2."""
    nees = []
    for run in range(40):
        world.seed = run
        world.__post_init__()
        fusion = world.fusion()
        start, velocity = world.rng.uniform(-3000, 3000, 2), world.rng.normal(0, 8, 2)
        for k in range(1, 26):
            t = k * SECOND
            at = start + velocity * k
            if kind == "position":
                fusion.observe_plots("eo", t, [world.position(*at, t, "a")], t)
            else:
                fusion.observe_plots("radar", t, [world.radar(*at, t, "a")], t)
        (entity,) = _believed(fusion.entities(25 * SECOND))
        error = np.array(world.frame.local(entity.position)[:2]) - (start + 25 * velocity)
        nees.append(error @ np.linalg.solve(np.array(entity.covariance_m2), error))
    assert 0.8 < np.mean(nees) < 2.6  # below 2: the models allow turns that this scene has not


def test_a_plot_that_comes_late_still_corrects_and_is_evidence(world: Any) -> None:
    on_time, late = world.fusion(), world.fusion()
    held: list[Plot] = []
    for k in range(1, 31):
        t = k * SECOND
        plot = world.position(100 + 12 * k, 300, t, "a")
        on_time.observe_plots("eo", t, [plot], t)
        held.append(plot)
        if k % 5 == 0:  # every fifth second, four plots in the wrong order
            for one in (held[0], held[2], held[1], held[4], held[3]):
                late.observe_plots("eo", one.observed_ns, [one], t)
            held.clear()
    (a,), (b,) = _believed(on_time.entities(30 * SECOND)), _believed(late.entities(30 * SECOND))
    one, two = world.frame.local(a.position), world.frame.local(b.position)
    assert math.hypot(one[0] - two[0], one[1] - two[1]) < 10
    assert is_positive_definite(b.covariance_m2)


def test_plots_from_before_the_lag_or_from_the_future_are_refused_and_counted(world: Any) -> None:
    fusion = world.fusion()
    t = 2000 * SECOND
    fusion.observe_plots("eo", t, [world.position(0, 100, t, "a")], t)
    old, future = t - 1000 * SECOND, t + 60 * SECOND
    fusion.observe_plots("eo", old, [world.position(0, 100, old, "b")], t)
    fusion.observe_plots("eo", future, [world.position(0, 100, future, "c")], t)
    assert fusion.refused["time"] == 2
    assert len(fusion._state.core.live) == 1


_PLACE = Geodetic(latitude_deg=49.5, longitude_deg=6.1)
_DIAGONAL = ((25.0, 0.0, 0.0), (0.0, 0.0001, 0.0), (0.0, 0.0, 0.0001))
_SINGULAR = ((25.0, 0.0, 5.0), (0.0, 0.0001, 0.0), (5.0, 0.0, 1.0))
_BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("values", {"values": (math.nan, 6.1)}),
    ("values", {"values": (49.5,)}),
    ("place", {"values": (49.5, 54.0)}),
    ("place", {"values": (95.0, 6.1)}),
    ("covariance", {"covariance": ((1.0, 5.0), (5.0, 1.0))}),
    ("covariance", {"covariance": ((math.inf, 0.0), (0.0, 1.0))}),
    ("covariance", {"covariance": ((1.0,),)}),
    ("origin", {"kind": "range_bearing", "values": (100.0, 1.0), "covariance": ((1.0, 0.0), (0.0, 0.01))}),
    ("values", {"kind": "range_bearing", "values": (-5.0, 1.0), "covariance": ((1.0, 0.0), (0.0, 0.01)),
                "origin": Geodetic(latitude_deg=49.5, longitude_deg=6.1)}),
    ("kind", {"kind": "smell"}),
    ("values", {"kind": "range_bearing_rate", "values": (100.0, 1.0, 9e9), "covariance": _DIAGONAL, "origin": _PLACE}),
    ("covariance", {"kind": "range_bearing_rate", "values": (100.0, 1.0, 2.0), "covariance": _SINGULAR,
                    "origin": _PLACE}),
    ("values", {"kind": "range_bearing_elevation", "values": (100.0, 1.0, 1.5), "covariance": _DIAGONAL,
                "origin": _PLACE}),
    ("values", {"kind": "range_bearing_elevation", "values": (100.0, 1.0), "covariance": _DIAGONAL, "origin": _PLACE}),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "change"), _BROKEN)
def test_a_plot_that_cannot_be_true_is_refused_alone(world: Any, reason: str, change: dict[str, Any]) -> None:
    fusion = world.fusion()
    good = world.position(100, 100, SECOND, "good")
    bad = dataclasses.replace(world.position(100, 100, SECOND, "bad"), **change)
    fusion.observe_plots("eo", SECOND, [bad, good], SECOND)
    assert sum(fusion.refused.values()) == 1, fusion.refused
    assert reason in fusion.refused
    assert len(fusion._state.core.live) == 1


_NUMBER = st.floats(allow_nan=True, allow_infinity=True)
_SANE = st.floats(-1e4, 1e4)


@st.composite
def _plots(draw: Any) -> Plot:
    sizes = {"position": 2, "range_bearing": 2, "range_bearing_elevation": 3, "range_bearing_rate": 3, "bearing": 1}
    kind = draw(st.sampled_from(sorted(sizes)))
    size = sizes[kind]
    wild = draw(st.booleans())
    number = _NUMBER if wild else st.floats(0.001, 50.0)
    rows = [[draw(number) for _ in range(size)] for _ in range(size)]
    return Plot(
        sensor_id=draw(st.sampled_from(["radar", "eo", "ais"])),
        observation_id=draw(st.text(max_size=4)),
        observed_ns=draw(st.integers(0, 30 * SECOND)),
        kind=kind,
        values=tuple(draw(_NUMBER if wild else st.floats(0.0, 60.0)) for _ in range(size)),
        covariance=tuple(tuple(row) for row in rows),
        origin=draw(st.sampled_from([None, Geodetic(latitude_deg=49.5, longitude_deg=6.1)])),
        identities=draw(st.sampled_from([(), (Identity(kind="mmsi", value="235000001"),),
                                         (Identity(kind="tracklet", value="eo:1"),),
                                         (Identity(kind="mmsi", value="x"),)])),
        categories=draw(
            st.dictionaries(st.sampled_from([*CATEGORIES, "nonsense"]), _NUMBER, max_size=3)
            | st.sampled_from([{"person": 0.9}, {"person": 0.9}, {"vehicle/car": 0.9}])
        ),
        velocity_mps=draw(st.sampled_from([None, (1.0, math.nan), (3.0, -2.0), (1e9, 0.0)])),
        velocity_variance_m2ps2=draw(st.sampled_from([None, 1.0, -1.0, math.nan])),
        altitude_m=draw(st.sampled_from([None, math.nan, 50.0])),
        cooperative=draw(st.booleans()),
        shared_covariance=draw(st.sampled_from([None, None, tuple(tuple(0.5 * x for x in row) for row in rows),
                                                ((1e-9, 0.0), (0.0, 1e-9)), ((math.nan,),), ()])),
    )  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(looks=st.lists(st.lists(_plots(), max_size=6), min_size=1, max_size=8))
def test_no_input_makes_a_nan_or_breaks_a_covariance(world: Any, looks: list[list[Plot]]) -> None:
    fusion = world.fusion(max_range_m=2e7, told_existence=0.0)
    for k, plots in enumerate(looks):
        t = (k + 1) * 3 * SECOND
        fusion.observe_plots("radar", t, plots, t)
        carried: list[Identity] = []
        for entity in fusion.entities(t):
            place = entity.position
            numbers = [
                entity.existence,
                *entity.velocity_mps,
                place.latitude_deg,
                place.longitude_deg,
                place.altitude_m,
            ]
            numbers += entity.categories.values()
            assert all(math.isfinite(x) for x in numbers)
            assert sum(entity.categories.values()) == pytest.approx(1.0)
            assert is_positive_definite(entity.covariance_m2)
            assert is_positive_definite(entity.velocity_covariance_m2ps2)
            carried += entity.identities if entity.status != "deleted" else ()
        assert len(carried) == len(set(carried))
        bank = fusion._state.core.bank
        for slot in fusion._state.core.live.tolist():
            assert bank.w[slot].sum() == pytest.approx(1.0)
            assert all(is_positive_definite(p) for p in bank.p[slot])


@pytest.mark.parametrize("ratio", [0.1, 0.01])
def test_a_thing_is_found_however_rare_new_ones_are(world: Any, ratio: float) -> None:
    """What begins below the odds at which others end must not end where it begins."""
    radar = SensorModel(birth_ratio=ratio, coverage=Sector(origin=world.frame.origin, far_m=8000.0))
    fusion = world.fusion(sensors={"radar": radar})
    for k in range(1, 31):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(1000 + 8 * k, 500, t, "a"), *world.clutter(t, 20)], t)
    (entity,) = _believed(fusion.entities(30 * SECOND))
    assert world.frame.local(entity.position)[0] == pytest.approx(1240.0, abs=40.0)


def test_a_sensor_by_which_nothing_could_ever_begin_is_refused() -> None:
    with pytest.raises(ValueError, match=r"birth_ratio: expected 0\.01 or more"):
        SensorModel(birth_ratio=1e-3)


def test_new_things_are_rarer_among_more_clutter_but_never_too_rare_to_begin() -> None:
    assert [birth_ratio(plots) for plots in (1e-3, 1.0, 4.0, 20.0, 40.0, 1e5)] == [0.1, 0.1, 0.1, 0.02, 0.01, 0.01]
