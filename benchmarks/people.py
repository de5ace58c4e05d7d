"""People who walk, stop and walk on, seen by radar and camera: the scene of ``python -m benchmarks.fusion --people``.

Twelve people in a yard walk from one meeting place to another and stand there for 30 to 120 s, some metres from who
else stands there. Now and then something hides one of them from both sensors. The camera says what it sees, the radar
does not; where it is asked to, the camera also numbers those it sees, and each who comes out of hiding anew.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from appliance.domain import Entity, Geodetic, Identity, Plot
from appliance.estimation import Sector
from appliance.fusion import Fusion, FusionSettings, SensorModel
from appliance.geodesy import LocalFrame

ORIGIN = Geodetic(latitude_deg=49.6, longitude_deg=6.1)
FRAME = LocalFrame(ORIGIN)
NS = 1_000_000_000
COUNT, SECONDS, RATE_HZ = 12, 300, 4
PLACES = np.array([(-60.0, 60.0), (-25.0, 130.0), (15.0, 70.0), (50.0, 120.0), (70.0, 60.0)])
CUTOFF_M = 10.0
VISIBLE_S, HIDDEN_S = 25.0, 6.0
#: Standard deviation along and across the line of sight: metres or a share of the range, radians; chance of detection.
SENSORS = {"radar": (2.0, 0.0, 0.010, 0.8), "camera": (0.0, 0.02, 0.003, 0.9)}
FALSE_PLOTS = {"radar": 2.0, "camera": 0.2}
REACH_M, HALF_RAD = 200.0, math.radians(60.0)
NAMES = {
    "gospa": "GOSPA m", "switches": "switches", "missed": "missed", "false": "false", "speed": "velocity off, m/s",
    "nees": "NEES place",
}  # fmt: skip
Array = Any


def truth(rng: np.random.Generator) -> Array:
    """(steps, people, 2) places at `RATE_HZ`."""
    steps = SECONDS * RATE_HZ
    return np.stack([_one(rng, steps) for _ in range(COUNT)], axis=1)


def _one(rng: np.random.Generator, steps: int) -> Array:
    """Where one person is: to a place at a walk, there for a while, to the next."""
    at = rng.uniform((-80.0, 40.0), (80.0, 140.0))
    out: list[Array] = []
    while len(out) < steps:
        goal = PLACES[rng.integers(len(PLACES))] + rng.normal(0.0, 4.0, 2)
        speed = rng.uniform(0.9, 1.7)
        walk = max(round(math.dist(at, goal) / speed * RATE_HZ), 1)
        out += [at + (goal - at) * k / walk for k in range(walk)]
        sway = np.zeros(2)
        for _ in range(round(rng.uniform(30.0, 120.0) * RATE_HZ)):
            sway = 0.95 * sway + rng.normal(0.0, 0.05, 2)
            out.append(goal + sway)
        at = goal
    return np.array(out[:steps])


def _hidden(rng: np.random.Generator) -> Array:
    """(steps, people) the number of times each came out of hiding by then; −1 while hidden."""
    out = np.full((SECONDS * RATE_HZ, COUNT), -1)
    for person in range(COUNT):
        t, times = 0.0, 0
        while t < SECONDS:
            until = t + rng.exponential(VISIBLE_S)
            out[round(t * RATE_HZ) : round(until * RATE_HZ), person] = times
            t, times = until + rng.exponential(HIDDEN_S), times + 1
    return out


def looks(rng: np.random.Generator, places: Array, *, numbered: bool) -> Iterator[tuple[str, int, list[Plot]]]:
    """(sensor, when in ns, plots): the camera `RATE_HZ` times a second, the radar once."""
    hidden = _hidden(rng)
    for k in range(1, len(places)):
        for sensor in ("radar", "camera") if k % RATE_HZ == 0 else ("camera",):
            found = [
                _plot(rng, sensor, k, f"{person}", at, f"{person}-{times}" if numbered and sensor == "camera" else "")
                for person, (at, times) in enumerate(zip(places[k], hidden[k], strict=True))
                if times >= 0 and rng.random() < SENSORS[sensor][3]
            ]
            for j in range(rng.poisson(FALSE_PLOTS[sensor])):
                r, b = REACH_M * math.sqrt(rng.random()), rng.uniform(-HALF_RAD, HALF_RAD)
                found.append(_plot(rng, sensor, k, f"c{j}", np.array([r * math.sin(b), r * math.cos(b)]), ""))
            yield sensor, k * NS // RATE_HZ, found


def _plot(rng: np.random.Generator, sensor: str, k: int, name: str, at: Array, number: str) -> Plot:
    sigma_m, share, sigma_rad, _ = SENSORS[sensor]
    r = float(np.hypot(*at))
    s = sigma_m + share * r
    return Plot(
        sensor_id=sensor,
        observation_id=f"{sensor}-{k}-{name}",
        observed_ns=k * NS // RATE_HZ,
        kind="range_bearing",
        values=(abs(r + rng.normal(0.0, s)), math.atan2(*at) + rng.normal(0.0, sigma_rad)),
        covariance=((s * s, 0.0), (0.0, sigma_rad**2)),
        origin=ORIGIN,
        identities=(Identity(kind="tracklet", value=f"camera:{number}"),) if number else (),
        categories={"person": 0.9} if sensor == "camera" else {},
    )


def settings(**more: Any) -> FusionSettings:
    """What the scene says of its sensors."""
    area_m2 = HALF_RAD * REACH_M**2
    view = Sector(origin=ORIGIN, heading_rad=0.0, half_angle_rad=HALF_RAD, far_m=REACH_M)
    sensors = {
        name: SensorModel(
            detection_probability=SENSORS[name][3],
            clutter_density_per_m2=FALSE_PLOTS[name] / area_m2,
            coverage=view,
            miss_correlation_s=HIDDEN_S,
        )
        for name in SENSORS
    }
    return FusionSettings(origin=ORIGIN, unit="bench", sensors=sensors, **more)


def run(scorer: ModuleType, seed: int, *, numbered: bool, **more: Any) -> dict[str, float]:
    """One scene; the values that `NAMES` names, means over its whole seconds from the tenth on."""
    rng = np.random.default_rng([seed, COUNT])
    places = truth(rng)
    fusion, last = Fusion(settings(**more)), dict[int, str]()
    rows: list[dict[str, float]] = []
    for sensor, at_ns, plots in looks(rng, places, numbered=numbered):
        fusion.observe_plots(sensor, at_ns, plots, at_ns)
        if sensor != "camera" or at_ns % NS or at_ns < 10 * NS:
            continue
        k = at_ns * RATE_HZ // NS
        told = [e for e in fusion.entities(at_ns) if e.status in ("confirmed", "coasting")]
        rows.append(_judged(scorer, told, places[k], (places[k] - places[k - 1]) * RATE_HZ, last))
    out = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
    return out | {"switches": sum(row["switches"] for row in rows)}


def _judged(scorer: ModuleType, told: list[Entity], at: Array, speed: Array, last: dict[int, str]) -> dict[str, float]:
    """One telling against the truth; ``last`` is whom each person was told as before."""
    found = np.array([FRAME.local(e.position)[:2] for e in told]).reshape(-1, 2)
    near, missed, false, pairs = scorer.gospa(at, found, c=CUTOFF_M)
    off = [found[j] - at[i] for i, j in pairs]
    changed = [i for i, j in pairs if last.get(i, told[j].entity_id) != told[j].entity_id]
    last.update({i: told[j].entity_id for i, j in pairs})
    covs = [np.array(told[j].covariance_m2) for _, j in pairs]
    return {
        "gospa": math.sqrt(near + missed + false),
        "switches": len(changed),
        "missed": missed / (CUTOFF_M**2 / 2),
        "false": false / (CUTOFF_M**2 / 2),
        "speed": statistics.fmean(math.dist(told[j].velocity_mps[:2], speed[i]) for i, j in pairs),
        "nees": statistics.fmean(float(d @ np.linalg.solve(c, d)) for d, c in zip(off, covs, strict=True)),
    }


def summary(results: Sequence[dict[str, float]]) -> list[str]:
    """Mean and standard deviation of each value, in the order of `NAMES`."""
    every = [[result[key] for result in results] for key in NAMES]
    return [f"{statistics.fmean(x):.2f} ± {statistics.stdev(x) if len(x) > 1 else 0.0:.2f}" for x in every]
