"""What is wrong in all plots of a sensor alike is told however often that sensor looks; others alone shrink it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.domain import Entity, Estimate, Geodetic, Identity, Plot
from appliance.estimation.bank import NONE, SHARERS, Look
from appliance.estimation.gaussian import is_positive_definite, predict_cv
from appliance.fusion import Fusion, FusionSettings, Motion, SensorModel
from appliance.fusion.core import MAX_SENSORS, Core, blind, one_look

SECOND = 1_000_000_000
PIXEL_M, POSE_M, RADAR_M = 15.0, 60.0, 20.0
STRAIGHT = Motion(
    noise_m2ps3=(0.5,), turns_radps=(0.0,), rates_per_s=(0.01,), first_weights=(1.0,), stands=(False,),
    speed_sigma_mps=8.0,
)  # fmt: skip
Array = Any


def _seen(
    world: Any, at: Array, shift: Array, t: int, sensor: str, *, pixel_m: float = PIXEL_M, pose_m: float = POSE_M
) -> Plot:
    """A camera's plot: its own noise, and the shift that all of its plots have."""
    plot: Plot = world.position(*(np.asarray(at) + shift), t, sensor, sensor=sensor, sigma=pixel_m)
    whole, part = pixel_m**2 + pose_m**2, pose_m**2
    return dataclasses.replace(
        plot, covariance=((whole, 0.0), (0.0, whole)), shared_covariance=((part, 0.0), (0.0, part))
    )


def _nees(world: Any, entity: Entity, at: Array) -> float:
    off = np.array(world.frame.local(entity.position)[:2]) - at
    return float(off @ np.linalg.solve(np.array(entity.covariance_m2), off))


def _sigma_m(entity: Entity) -> float:
    return math.sqrt(0.5 * np.trace(entity.covariance_m2))


def _runs(world: Any, count: int, looks: Callable[[Fusion, Array, list[Array], int], None]) -> tuple[float, float]:
    """(mean NEES of place, mean told sigma) after thirty seconds of ``looks``; each run has cameras of its own."""
    nees, sigmas = [], []
    for run in range(count):
        world.rng = np.random.default_rng([5, run])
        fusion = world.fusion(gate=40.0)
        start, speed = world.rng.uniform(-500, 500, 2), world.rng.normal(0, 4, 2)
        shifts = [world.rng.normal(0, POSE_M, 2) for _ in range(2)]
        for k in range(1, 31):
            looks(fusion, start + speed * k, shifts, k)
        entity = max(fusion.entities(30 * SECOND), key=lambda e: e.existence)
        nees.append(_nees(world, entity, start + speed * 30))
        sigmas.append(_sigma_m(entity))
    return float(np.mean(nees)), float(np.mean(sigmas))


BOUND = 2.0 + 3.0 * math.sqrt(4.0 / 60)
"""Mean of sixty values of χ² with two degrees of freedom: three sigmas."""


def test_many_looks_of_a_camera_that_is_turned_wrong_do_not_make_a_place_surer_than_it_is(world: Any) -> None:
    def looks(fusion: Fusion, at: Array, shifts: list[Array], k: int) -> None:
        fusion.observe_plots("a", k * SECOND, [_seen(world, at, shifts[0], k * SECOND, "a")], k * SECOND)

    nees, sigma_m = _runs(world, 60, looks)
    assert 1.2 < nees < BOUND
    assert sigma_m > POSE_M


def test_two_cameras_in_turn_are_wrong_each_in_its_own_way(world: Any) -> None:
    def looks(fusion: Fusion, at: Array, shifts: list[Array], k: int) -> None:
        for i, name in enumerate(("a", "b")):
            t = k * SECOND + i * SECOND // 2
            if t <= 30 * SECOND:
                fusion.observe_plots(name, t, [_seen(world, at, shifts[i], t, name)], t)

    nees, sigma_m = _runs(world, 60, looks)
    assert 1.2 < nees < BOUND
    assert 0.9 * POSE_M / math.sqrt(2.0) < sigma_m < 1.3 * POSE_M / math.sqrt(2.0)


def test_a_radar_that_joins_makes_the_place_as_sure_as_its_own_looks_do(world: Any) -> None:
    def looks(fusion: Fusion, at: Array, shifts: list[Array], k: int) -> None:
        fusion.observe_plots("a", k * SECOND, [_seen(world, at, shifts[0], k * SECOND, "a")], k * SECOND)
        if k > 10:
            plot = world.position(*at, k * SECOND, "r", sensor="radar", sigma=RADAR_M)
            fusion.observe_plots("radar", k * SECOND, [plot], k * SECOND)

    nees, sigma_m = _runs(world, 60, looks)
    assert 1.2 < nees < BOUND
    assert sigma_m < RADAR_M


def test_what_one_look_of_a_camera_began_is_told_as_that_look_was_told(world: Any) -> None:
    fusion = world.fusion(told_existence=0.0)
    plot = _seen(world, (800.0, 300.0), np.zeros(2), SECOND, "a")
    fusion.observe_plots("a", SECOND, [plot], SECOND)
    (entity,) = fusion.entities(SECOND)
    assert np.allclose(entity.covariance_m2, plot.covariance, rtol=1e-4)


def test_without_a_shared_part_nothing_else_is_told_than_the_filters_own(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 20):
        plot = _seen(world, (800.0, 300.0), np.zeros(2), k * SECOND, "a")
        fusion.observe_plots("a", k * SECOND, [dataclasses.replace(plot, shared_covariance=None)], k * SECOND)
    core = fusion._state.core
    assert (core.bank.sharers[core.live] == NONE).all()
    assert (core.doubt(core.live) == core.bank.cov[core.live]).all()


# -- against consider analysis ------------------------------------------------------------------------------------


def _look(t: float, noise: Array, part: Array) -> Look:
    look = one_look(np.zeros(2), noise + part @ part.T, t, None, 1.0)
    return look._replace(shared=np.ascontiguousarray(part[None]), log_density=(-40.0, -40.0))


class Considered:
    """The error of the filter's mean by its own gains: its noise, and what each sensor's two errors do to it."""

    def __init__(self, noise: Array, part: Array, sensor: str) -> None:
        self.p = np.diag([0.0, 0.0, STRAIGHT.speed_sigma_mps**2, STRAIGHT.speed_sigma_mps**2])
        self.noise = self.p.copy()
        self.p[:2, :2] = noise + part @ part.T
        self.noise[:2, :2] = noise
        self.shifts = {sensor: np.vstack((part, np.zeros((2, 2))))}

    def predict(self, dt: float) -> None:
        forward = np.eye(4)
        forward[0, 2] = forward[1, 3] = dt
        for cov in (self.p, self.noise):
            predict_cv(np.zeros(4), cov, dt, STRAIGHT.noise_m2ps3[0])
        self.shifts = {name: forward @ shift for name, shift in self.shifts.items()}

    def update(self, noise: Array, part: Array, sensor: str) -> None:
        gain = self.p[:, :2] @ np.linalg.inv(self.p[:2, :2] + noise + part @ part.T)
        keep = np.eye(4) - gain @ np.eye(2, 4)
        self.p = keep @ self.p
        self.noise = keep @ self.noise @ keep.T + gain @ noise @ gain.T
        self.shifts = {name: keep @ shift for name, shift in self.shifts.items()}
        self.shifts[sensor] = self.shifts.get(sensor, np.zeros((4, 2))) + gain @ part

    def told(self) -> Array:
        return self.noise + sum(shift @ shift.T for shift in self.shifts.values())


def test_what_is_told_is_the_error_of_the_filters_own_gains(world: Any) -> None:
    rng = np.random.default_rng(8)
    origin = world.frame.origin
    core = Core(FusionSettings(origin=origin, motion=STRAIGHT, on_foot=STRAIGHT, gate=1e3))
    parts = {f"camera {k}": rng.normal(0.0, 50.0, (2, 2)) for k in range(SHARERS)} | {"radar": np.zeros((2, 2))}
    true, t = None, 0.0
    for k in range(60):
        dt = float(rng.uniform(0.1, 4.0)) if k else 0.0
        sensor = str(rng.choice(list(parts))) if k else "camera 0"
        t, noise = t + dt, np.diag(rng.uniform(20.0, 900.0, 2))
        core.step(sensor, _look(t, noise, parts[sensor]), blind(0.9), t, -1.0, t)
        if true is None:
            true = Considered(noise, parts[sensor], sensor)
        else:
            true.predict(dt)
            true.update(noise, parts[sensor], sensor)
        (slot,) = core.live
        assert np.allclose(core.bank.cov[slot], true.p, rtol=1e-6, atol=1e-6)
        told, exact = core.doubt(core.live)[0], true.told()
        assert np.allclose(told[:2, :2], exact[:2, :2], rtol=1e-6, atol=1e-6)
        assert is_positive_definite(told - exact + 1e-6 * np.eye(4)), "of velocity no less is told"


def test_bearings_of_a_camera_shrink_the_doubt_across_no_further_than_it_is_turned_wrong(world: Any) -> None:
    turned, here = 0.02, Geodetic(latitude_deg=49.5, longitude_deg=6.1)
    fusion = world.fusion(sensors={"df": SensorModel(clutter_density_per_m2=1e-10)})
    for k in range(1, 6):
        first = world.position(0.0, 2000.0, k * SECOND, "x", sensor="eo", sigma=80.0)
        fusion.observe_plots("eo", k * SECOND, [first], k * SECOND)
    for k in range(6, 61):
        plot = world.bearing(0.0, 2000.0, k * SECOND, "x", here)
        variance = 0.005**2 + turned**2
        plot = dataclasses.replace(plot, covariance=((variance,),), shared_covariance=((turned**2,),))
        fusion.observe_plots("df", k * SECOND, [plot], k * SECOND)
    (entity,) = fusion.entities(60 * SECOND)
    assert 0.9 * turned * 2000.0 < math.sqrt(entity.covariance_m2[0][0]) < 1.5 * turned * 2000.0


# -- other units, disputes, the past ------------------------------------------------------------------------------


def _estimate(world: Any, at: Array, t: int, sigma_m: float) -> Estimate:
    return Estimate(
        sensor_id="peer", unit="other", entity_id="E", observed_ns=t, position=world.place(*at),
        covariance_m2=((sigma_m**2, 0.0), (0.0, sigma_m**2)), velocity_mps=(0.0, 0.0), existence=0.9, trust=1.0,
        categories={"vessel": 1.0}, identities=(), provenance=("other/radar",),
    )  # fmt: skip


def test_another_units_estimate_takes_from_a_cameras_shift_what_it_takes_from_the_state(world: Any) -> None:
    """An intersection holds whatever the two share: its bound is at least the error that gains like its leave."""
    fusion = world.fusion()
    for k in range(1, 21):
        fusion.observe_plots("a", k * SECOND, [_seen(world, (0, 900), np.zeros(2), k * SECOND, "a")], k * SECOND)
    (before,) = fusion.entities(20 * SECOND)
    fusion.observe_estimates([_estimate(world, (5, 905), 20 * SECOND, 10.0)], 20 * SECOND)
    (after,) = fusion.entities(20 * SECOND)
    assert _sigma_m(before) > POSE_M
    assert 10.0 < _sigma_m(after) < 0.6 * _sigma_m(before)
    fusion.observe_estimates([_estimate(world, (5, 905), 20 * SECOND, 2000.0)], 20 * SECOND)
    (vague,) = fusion.entities(20 * SECOND)
    assert vague.covariance_m2 == after.covariance_m2, "what tells nothing new changes nothing"


def _boat_seen_beside_herself(world: Any, says_m: float, *, known: bool) -> Fusion:
    """Moored, with one report at first and more after four minutes; a camera sees her 900 m, 1.5 sigma, beside."""
    fusion: Fusion = world.fusion(sensors={"a": SensorModel(clutter_density_per_m2=1e-10)})
    for k in range(1, 300):
        t = k * SECOND
        seen = _seen(world, (0, 3000), np.array([900.0, 0.0]), t, "a", pose_m=600.0)
        fusion.observe_plots("a", t, [seen if known else dataclasses.replace(seen, shared_covariance=None)], t)
        if k == 1 or (k % 10 == 0 and k >= 250):
            said = world.position(0 if k == 1 else says_m, 3000, t, "ais", sensor="ais", mmsi="235000001")
            fusion.observe_plots("ais", t, [said], t)
    return fusion


@pytest.mark.parametrize(
    ("says_m", "known", "disputed"), [(0.0, False, True), (0.0, True, False), (-4000.0, True, True)]
)
def test_what_a_camera_sees_beside_is_no_dispute_sooner_than_its_pose_allows(
    world: Any, says_m: float, known: bool, disputed: bool
) -> None:
    fusion = _boat_seen_beside_herself(world, says_m, known=known)
    assert (len(fusion.disputes(300 * SECOND)) == 1) is disputed


def test_where_a_thing_was_is_told_with_the_doubt_that_it_had(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 61):
        fusion.observe_plots("a", k * SECOND, [_seen(world, (0, 900), np.zeros(2), k * SECOND, "a")], k * SECOND)
    state = fusion._state
    (slot,) = state.core.live
    _, cov = state.at(int(slot), 30.0)
    assert math.sqrt(0.5 * np.trace(cov)) > POSE_M


def test_a_forgotten_sensors_shift_is_not_taken_for_that_of_the_one_that_got_its_row(world: Any) -> None:
    core = Core(FusionSettings(origin=world.frame.origin, motion=STRAIGHT, on_foot=STRAIGHT, gate=1e3))
    part = POSE_M * np.eye(2)
    core.step("first", _look(1.0, np.eye(2), part), blind(0.9), 1.0, -1.0, 1.0)
    for k in range(MAX_SENSORS):
        core.sensor(f"another {k}")
    core.step("late", _look(2.0, np.eye(2), part), blind(0.9), 2.0, -1.0, 2.0)
    (slot,) = core.live
    assert sorted(core.bank.sharers[slot]) == [NONE, NONE, core.sensor("late"), MAX_SENSORS]


# -- whatever comes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shared",
    [
        ((1.0,),), ((1.0, 0.0),), ((math.nan, 0.0), (0.0, 1.0)), ((-1.0, 0.0), (0.0, 1.0)), ((1.0, 2.0), (2.0, 1.0)),
        ((1e9, 0.0), (0.0, 1.0)), ((math.inf, 0.0), (0.0, 1.0)), ((1.0, 1e200), (1e200, 1.0)),
        ((1e308, 0.0), (0.0, 1.0)),
    ],
)  # fmt: skip
def test_a_shared_part_that_cannot_be_is_refused_with_its_plot_alone(world: Any, shared: Any) -> None:
    fusion = world.fusion()
    good = _seen(world, (100, 100), np.zeros(2), SECOND, "eo")
    bad = dataclasses.replace(good, observation_id="bad", shared_covariance=shared)
    fusion.observe_plots("eo", SECOND, [bad, good], SECOND)
    assert fusion.refused == {"covariance": 1}
    assert len(fusion._state.core.live) == 1


@st.composite
def _looks(draw: Any) -> tuple[str, float, Plot | None]:
    """(sensor, seconds since the last look, plot): seven cameras, a radar with rates, AIS with velocities."""
    sensor = draw(st.sampled_from([*(f"camera {k}" for k in range(7)), "radar", "ais"]))
    east, north, pixel, turn = (
        draw(st.floats(*span)) for span in ((-80.0, 80.0), (1900.0, 2100.0), (0.1, 90.0), (0.0, math.pi))
    )
    kind = draw(st.sampled_from(["position", "range_bearing", "bearing"]))
    sizes = np.array([draw(st.floats(0.0, 300.0)), draw(st.floats(0.0, 300.0))]) if "camera" in sensor else np.zeros(2)
    spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    shared = spin @ np.diag(sizes**2) @ spin.T
    if kind != "position":
        shared = shared / np.array([[1.0, 2e3], [2e3, 4e6]])
    scale = np.array([pixel, pixel if kind == "position" else pixel / 2e3]) ** 2
    if kind == "bearing":
        shared, scale = shared[1:, 1:], scale[1:]
    cov = shared + np.diag(scale)
    here = Geodetic(latitude_deg=49.5, longitude_deg=6.1)
    values = {"position": (49.5 + north / 111_230.0, 6.1 + east / 72_400.0), "bearing": (math.atan2(east, north),),
              "range_bearing": (math.hypot(east, north), math.atan2(east, north))}[kind]  # fmt: skip
    plot = Plot(
        sensor_id=sensor, observation_id="p", observed_ns=0, kind=kind, values=values, covariance=_tuples(cov),
        origin=here, shared_covariance=_tuples(shared) if "camera" in sensor else None,
        cooperative=sensor == "ais" and kind == "position",
        identities=(Identity(kind="mmsi", value="235000001"),) if sensor == "ais" and kind == "position" else (),
        velocity_mps=(1.0, 0.0) if sensor == "ais" else None,
        velocity_variance_m2ps2=draw(st.sampled_from([1.0, 0.01])) if sensor == "ais" else None,
    )  # fmt: skip
    return sensor, draw(st.sampled_from([-1.5, 0.0, 0.04, 1.0, 7.0, 90.0])), draw(st.sampled_from([plot, plot, None]))


def _tuples(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(looks=st.lists(_looks(), min_size=3, max_size=25), abroad=st.integers(2, 9))
def test_what_is_told_stays_a_covariance_under_any_mix(
    world: Any, looks: list[tuple[str, float, Plot | None]], abroad: int
) -> None:
    fusion = world.fusion(told_existence=0.0, gate=1e4)
    now_s = 10.0
    for k, (sensor, after_s, plot) in enumerate(looks):
        now_s += max(after_s, 0.0)
        at_ns = round((now_s + min(after_s, 0.0)) * 1e9)
        seen = [] if plot is None else [dataclasses.replace(plot, observation_id=f"p{k}", observed_ns=at_ns)]
        fusion.observe_plots(sensor, at_ns, seen, round(now_s * 1e9))
        if k % abroad == 0:
            fusion.observe_estimates([_estimate(world, (0.0, 2000.0), at_ns, 40.0)], round(now_s * 1e9))
        core = fusion._state.core
        for whole in core.doubt(core.live):
            assert (whole == whole.T).all()
            assert is_positive_definite(whole)
        for entity in fusion.entities(round((now_s + 3.0) * 1e9)):
            assert is_positive_definite(entity.covariance_m2)
            assert is_positive_definite(entity.velocity_covariance_m2ps2)
    assert not fusion.refused.keys() & {"covariance", "values"}
