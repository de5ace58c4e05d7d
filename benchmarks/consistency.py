"""Are errors as large as fusion says, is 80 % of what it believes to 80 % true? ``python -m benchmarks.consistency``.

**Errors.** For each kind of measurement, Monte Carlo runs in which truth moves as the filter believes (white
acceleration, one model), so that the right answer is known: the squared error in units of the told covariance (NEES,
of place and of velocity, two degrees of freedom each) and the squared innovation in units of its own (NIS), means over
all runs, beside the two-sided 95 % interval of that mean (Bar-Shalom, Li & Kirubarajan 2001, 5.4). The NIS of one run
is taken every fifth second; they are independent by theory. The camera is the product's own (`locate`), a foot's pixel
its only error. The last rows add what is wrong in all of a camera's looks alike (`POSE_OFF`): of place and velocity no
less may be told than is wrong; looks scatter less than the filter expects, which knows of each look's error and not
that it is the same again (``estimation/shared.py``).

**Existence.** On scenes of the fusion benchmark that nothing was chosen on: everything that is told at each whole
second, by its told existence; how much of it lies within 100 m of a true thing of its own (optimal assignment).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2

from appliance.domain import Geodetic, Plot, Track
from appliance.estimation.gaussian import predict_cv
from appliance.estimation.measure import polar_to_local
from appliance.fusion import Fusion, FusionSettings, Motion, SensorModel
from appliance.geodesy import LocalFrame
from appliance.tracking.camera import FOOT_SHARE, MIDDLE_SHARE, PIXEL_SIGMA, CameraModel, locate, project
from benchmarks.charts import chart
from benchmarks.tables import Table

ORIGIN = Geodetic(latitude_deg=49.6, longitude_deg=6.1)
NS = 1_000_000_000
NOISE, SPEED_MPS = 0.5, 12.0
STEPS = 30
FRAME = LocalFrame(ORIGIN)
WEST = FRAME.position(-3000.0, 0.0)
SOUTH = FRAME.position(0.0, -3000.0)
BOX_PX2 = 2.0
Array = Any


@dataclass(frozen=True)
class Kind:
    """One kind of measurement: how to make a plot of a state, and its innovation with covariance at a prediction."""

    name: str
    plot: Callable[[np.random.Generator, Array, int], Plot]
    innovation: Callable[[Plot, Array, Array], tuple[Array, Array]]


def _plot(kind: str, k: int, values: Iterable[float], sigmas: tuple[float, ...], **more: Any) -> Plot:
    cov = tuple(tuple(s * s if i == j else 0.0 for j in range(len(sigmas))) for i, s in enumerate(sigmas))
    base: dict[str, Any] = {"sensor_id": kind, "observation_id": f"p{k}", "observed_ns": k * NS, "kind": kind}
    return Plot(**(base | {"values": tuple(map(float, values)), "covariance": cov} | more))


def _position(rng: np.random.Generator, x: Array, k: int, **more: Any) -> Plot:
    at = FRAME.position(*(x[:2] + rng.normal(0.0, 10.0, 2)))
    return _plot("position", k, (at.latitude_deg, at.longitude_deg), (10.0, 10.0), **more)


def _moving(rng: np.random.Generator, x: Array, k: int) -> Plot:
    said = x[2:] + rng.normal(0.0, 0.7, 2)
    return _position(rng, x, k, velocity_mps=(float(said[0]), float(said[1])), velocity_variance_m2ps2=0.49)


def _polar(rng: np.random.Generator, x: Array, k: int) -> Plot:
    sigmas = (15.0, 0.0087)
    z = np.array([math.hypot(x[0] + 3000.0, x[1]), math.atan2(x[0] + 3000.0, x[1])]) + rng.normal(0.0, 1.0, 2) * sigmas
    return _plot("range_bearing", k, z, sigmas, origin=WEST)


class _Camera:
    """The product's camera over the sea, looking east; at each run's first look it gets the pose that it really has."""

    def __init__(self, up_m: float, *, sigma_deg: float = 0.0, sigma_m: float = 0.0) -> None:
        sigma_rad = math.radians(sigma_deg)
        self._told = self._real = CameraModel(
            pose=dataclasses.replace(WEST, altitude_m=up_m), heading_rad=math.pi / 2.0, pitch_rad=math.radians(5.0),
            width_px=3840, height_px=2160, fx_px=2000.0, fy_px=2000.0, cx_px=1920.0, cy_px=1080.0,
            sigma_heading_rad=sigma_rad, sigma_pitch_rad=sigma_rad, sigma_roll_rad=sigma_rad,
            sigma_position_m=sigma_m, sigma_terrain_m=sigma_m, max_range_m=10_000.0,
        )  # fmt: skip
        self._sea_m = 0.0

    def __call__(self, rng: np.random.Generator, x: Array, k: int) -> Plot:
        if k == 1:
            self._set_up(rng)
        at = FRAME.position(*x[:2])
        pixels, _ = project(at.latitude_deg, at.longitude_deg, self._sea_m, self._real)
        size = 8.0 * self._told.fx_px / math.hypot(x[0] + 3000.0, x[1])  # a box round something 8 m high and wide
        across, down = (
            math.sqrt(BOX_PX2 + (share * size) ** 2 + PIXEL_SIGMA**2) for share in (MIDDLE_SHARE, FOOT_SHARE)
        )
        u, v = pixels[0] + rng.normal(0.0, 1.0, 2) * (across, down)
        seen = Track(
            sensor_id="camera", track_id=1, status="confirmed", box_px=(u - size / 2.0, v - size, u + size / 2.0, v),
            box_variance_px2=(BOX_PX2, BOX_PX2), categories={"vessel": 1.0}, confidence=0.9, first_ns=0,
            updated_ns=k * NS, hits=k,
        )  # fmt: skip
        plot = locate(seen, self._told)
        assert plot is not None
        assert plot.kind == "position"
        return plot

    def _set_up(self, rng: np.random.Generator) -> None:
        told, off = self._told, rng.normal(0.0, 1.0, 7)
        e, n, up = FRAME.local(WEST) + off[:3] * told.sigma_position_m
        heading, pitch, roll = (sigma * float(by) for sigma, by in zip(_angles(told), off[3:6], strict=True))
        self._sea_m = float(off[6]) * told.sigma_terrain_m
        self._real = dataclasses.replace(
            told,
            pose=dataclasses.replace(FRAME.position(e, n), altitude_m=told.pose.altitude_m + up),
            heading_rad=told.heading_rad + heading,
            pitch_rad=told.pitch_rad + pitch,
            roll_rad=roll,
        )


def _angles(camera: CameraModel) -> tuple[float, float, float]:
    return camera.sigma_heading_rad, camera.sigma_pitch_rad, camera.sigma_roll_rad


def _elevated(rng: np.random.Generator, x: Array, k: int) -> Plot:
    """A thing 800 m above the sensor, by slant range and elevation."""
    ground = math.hypot(x[0] + 3000.0, x[1])
    z = (math.hypot(ground, 800.0), math.atan2(x[0] + 3000.0, x[1]), math.atan2(800.0, ground))
    sigmas = (15.0, 0.0087, 0.01)
    return _plot("range_bearing_elevation", k, np.array(z) + rng.normal(0.0, 1.0, 3) * sigmas, sigmas, origin=WEST)


def _rated(rng: np.random.Generator, x: Array, k: int) -> Plot:
    de, dn = x[0] + 3000.0, x[1]
    r = math.hypot(de, dn)
    z = (r, math.atan2(de, dn), (de * x[2] + dn * x[3]) / r)
    sigmas = (15.0, 0.0087, 0.5)
    return _plot("range_bearing_rate", k, np.array(z) + rng.normal(0.0, 1.0, 3) * sigmas, sigmas, origin=WEST)


def _bearing(rng: np.random.Generator, x: Array, k: int) -> Plot:
    """The first a place, then bearings from two sides in turn."""
    if k == 1:
        return _position(rng, x, k)
    origin, (e, n) = ((WEST, (-3000.0, 0.0)), (SOUTH, (0.0, -3000.0)))[k % 2]
    z = math.atan2(x[0] - e, x[1] - n) + rng.normal(0.0, 0.004)
    return _plot("bearing", k, (z,), (0.004,), origin=origin)


def _in_plane(plot: Plot, mean: Array, cov: Array) -> tuple[Array, Array]:
    if plot.kind == "position":
        east, north, _ = FRAME.to_enu(*plot.values, 0.0)
        return np.array([float(east), float(north)]) - mean, cov + np.array(plot.covariance)
    r, b, rr, bb = *plot.values[:2], plot.covariance[0][0], plot.covariance[1][1]
    if plot.kind == "range_bearing_elevation":
        up = plot.values[2]
        r, rr = r * math.cos(up), math.cos(up) ** 2 * rr + (r * math.sin(up)) ** 2 * plot.covariance[2][2]
    e, n, ee, en, nn = polar_to_local(r, b, rr, 0.0, bb)
    return np.array([e - 3000.0, n]) - mean, cov + np.array([[ee, en], [en, nn]])


def _of_bearing(plot: Plot, mean: Array, cov: Array) -> tuple[Array, Array]:
    assert plot.origin is not None
    e, n, _ = FRAME.local(plot.origin)
    de, dn = mean[0] - e, mean[1] - n
    h = np.array([[dn, -de]]) / (de * de + dn * dn)
    off = (plot.values[0] - math.atan2(de, dn) + math.pi) % (2.0 * math.pi) - math.pi
    return np.array([off]), h @ cov @ h.T + np.array(plot.covariance)


KINDS = (
    Kind("position", _position, _in_plane),
    Kind("position and velocity", _moving, _in_plane),
    Kind("range and bearing (radar)", _polar, _in_plane),
    Kind("camera on the ground, 4 % of the range", _Camera(60.0), _in_plane),
    Kind("range, bearing and elevation", _elevated, _in_plane),
    Kind("range, bearing and range rate", _rated, _in_plane),
    Kind("bearing only", _bearing, _of_bearing),
    Kind("camera on the ground, 8 % of the range", _Camera(30.0), _in_plane),
)
POSE_OFF = (
    Kind("camera, its pose off by 0.02° and 0.3 m", _Camera(60.0, sigma_deg=0.02, sigma_m=0.3), _in_plane),
    Kind("camera 200 m up, its pose off by 0.3° and 0.3 m", _Camera(200.0, sigma_deg=0.3, sigma_m=0.3), _in_plane),
)
"""0.3° is how well a mission that says nothing is taken to know a pose; from 200 m up that is 8 % of 3 km."""


def one_run(kind: Kind, rng: np.random.Generator) -> tuple[float, float, list[tuple[float, int]]]:
    """(NEES of place, of velocity, [(NIS, degrees of freedom)]) of one thing that is seen for `STEPS` seconds."""
    motion = Motion(
        noise_m2ps3=(NOISE,), turns_radps=(0.0,), rates_per_s=(0.01,), first_weights=(1.0,), stands=(False,),
        speed_sigma_mps=SPEED_MPS,
    )  # fmt: skip
    sensor = SensorModel(clutter_density_per_m2=1e-12, birth_ratio=100.0)
    fusion = Fusion(FusionSettings(origin=ORIGIN, motion=motion, on_foot=motion, default_sensor=sensor, gate=60.0))
    x = np.array([*rng.uniform(-800.0, 800.0, 2), *rng.normal(0.0, SPEED_MPS, 2)])
    q = np.zeros((4, 4))
    predict_cv(np.zeros(4), q, 1.0, NOISE)
    root = np.linalg.cholesky(q)
    nis: list[tuple[float, int]] = []
    for k in range(1, STEPS + 1):
        if k > 1:
            x[:2] += x[2:]
            x += root @ rng.normal(size=4)
        plot = kind.plot(rng, x, k)
        if k % 5 == 0:
            mean, cov = _told(fusion, k)[:2]
            v, s = kind.innovation(plot, mean, cov)
            nis.append((float(v @ np.linalg.solve(s, v)), len(v)))
        fusion.observe_plots(plot.sensor_id, k * NS, (plot,), k * NS)
    place, cov, velocity, velocity_cov = _told(fusion, STEPS)
    e, v = place - x[:2], velocity - x[2:]
    return float(e @ np.linalg.solve(cov, e)), float(v @ np.linalg.solve(velocity_cov, v)), nis


def _told(fusion: Fusion, k: int) -> tuple[Array, Array, Array, Array]:
    entity = max(fusion.entities(k * NS), key=lambda found: found.existence)
    place = np.array(FRAME.local(entity.position)[:2])
    speed, speed_cov = np.array(entity.velocity_mps[:2]), np.array(entity.velocity_covariance_m2ps2)
    return place, np.array(entity.covariance_m2), speed, speed_cov


def within(values: list[float], freedom: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, least, greatest): the mean of χ² values of ``freedom`` each, and where it belongs."""
    count = len(values) * freedom
    tail = 0.5 * (1.0 - confidence)
    low, high = chi2.ppf([tail, 1.0 - tail], count) / len(values)
    return float(np.mean(values)), float(low), float(high)


def errors(runs: int, seed: int) -> dict[str, dict[str, tuple[float, float, float]]]:
    """By kind: NEES of place and velocity and NIS, each with its interval."""
    out = {}
    for index, kind in enumerate(KINDS + POSE_OFF):
        rng = np.random.default_rng([seed, index])
        every = [one_run(kind, rng) for _ in range(runs)]
        freedom = every[0][2][0][1]
        out[kind.name] = {
            "place": within([run[0] for run in every], 2),
            "velocity": within([run[1] for run in every], 2),
            "NIS": within([value for run in every for value, _ in run[2]], freedom),
        }
    return out


def existence(n: int, seeds: Iterable[int], bins: int = 10) -> list[tuple[float, float, int]]:
    """By bin of told existence: (mean told, share that is true, how many)."""
    from benchmarks import fusion as scene  # noqa: PLC0415 needs the shared scene, which the errors do not

    gen = scene._module("gen")
    told: list[tuple[float, bool]] = []
    for seed in seeds:
        truth, looks, local = scene._scene(gen, n, seed, scene.SECONDS, by_arrival=False)
        fusion = Fusion(scene.settings(gen, local, told_existence=0.0))
        due = NS
        for look in looks:
            while look.observed_ns > due:
                told += _judged(fusion, due, truth, local)
                due += NS
            fusion.observe_plots(look.sensor, look.observed_ns, look.plots, look.observed_ns)
    found = np.array(told)
    at = np.minimum((found[:, 0] * bins).astype(int), bins - 1)
    rows = [(found[at == b, 0], found[at == b, 1]) for b in range(bins)]
    return [(float(said.mean()), float(true.mean()), len(said)) for said, true in rows if len(said)]


def _judged(fusion: Fusion, now_ns: int, truth: Array, local: LocalFrame) -> list[tuple[float, bool]]:
    living = [e for e in fusion.entities(now_ns) if e.status != "deleted"]
    there = truth[np.abs(truth[:, 0] - now_ns / NS) < 1e-6][:, 2:4]
    if now_ns < 10 * NS or not living:
        return []
    places = np.array([local.local(e.position)[:2] for e in living])
    away = np.minimum(np.hypot(*(places[:, None] - there[None]).transpose(2, 0, 1)), 100.0)
    rows, columns = linear_sum_assignment(away)
    true = {int(i) for i, j in zip(rows, columns, strict=True) if away[i, j] < 100.0}
    return [(e.existence, i in true) for i, e in enumerate(living)]


def main() -> None:
    """Both tables; the chart of the second where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=3, help="scenes of 100 targets for existence; 0 for none")
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    table = Table(["kind", "what", "mean", "95 % interval", "inside"])
    for kind, rows in errors(args.runs, args.seed).items():
        for what, (mean, low, high) in rows.items():
            inside = "yes" if low <= mean <= high else "below" if mean < low else "NO"
            table.row(
                kind, what if what == "NIS" else f"NEES {what}", f"{mean:.3f}", f"{low:.3f} to {high:.3f}", inside
            )
    print(f"{args.runs} runs of each kind\n{table}")
    if not args.scenes:
        return
    curve = existence(100, range(2001, 2001 + args.scenes))
    table = Table(["told existence", "true", "told so"])
    for said, true, count in curve:
        table.row(f"{said:.3f}", f"{true:.3f}", str(count))
    total = sum(count for *_, count in curve)
    off = sum(abs(said - true) * count for said, true, count in curve) / total
    print(f"\nexistence, {args.scenes} scenes of 100 targets, {total} tellings")
    print(f"expected calibration error {off:.3f}\n{table}")
    if args.svg is not None:
        lines = {"measured": [(said, true) for said, true, _ in curve], "perfect": [(0.0, 0.0), (1.0, 1.0)]}
        args.svg.write_text(chart("Existence: told and true", "told", "share that is true", lines))


if __name__ == "__main__":
    sys.exit(main())
