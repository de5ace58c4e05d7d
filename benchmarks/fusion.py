"""Fusion on the simulated 10 × 10 km scene: accuracy, identity, time. ``python -m benchmarks.fusion [N ...]``.

Runs the scene generator and the scorer of ``../shared/bench/fusion`` unchanged, through the public `Fusion`. Plots are
made ahead; what is timed is `Fusion.observe_plots` alone, in CPU time of this thread, per sensor frame. Tracks for the
score are the confirmed and coasting entities that `Fusion.entities` tells at each whole second (not timed).

Not a tuning tool: what fusion is told of the sensors is what the scene's README states, the rest are its defaults.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from appliance.domain import Entity, Geodetic, Identity, Plot
from appliance.estimation import Sector
from appliance.fusion import Fusion, FusionSettings, Motion, SensorModel, birth_ratio
from appliance.geodesy import LocalFrame
from benchmarks import people, stonesoup_peer
from benchmarks.tables import Table

SCENE = Path(__file__).resolve().parents[2] / "shared" / "bench" / "fusion"
ORIGIN = Geodetic(latitude_deg=49.6, longitude_deg=6.1)
NS = 1_000_000_000
SEED, SECONDS = 335, 120.0
#: How much of the scene Stone Soup is run on: it needs a quarter of an hour for all of it.
PEER_S = {20: 120.0, 100: 30.0, 300: 12.0}
GOAL = {20: (82.0, 0.24, 19), 100: (155.0, 0.64, 55), 300: (290.0, 3.0, 171)}
SENSORS = ("radar", "ais", "camera")


@dataclass(frozen=True)
class Frame:
    """One look of one sensor."""

    sensor: str
    observed_ns: int
    arrives_ns: int
    plots: tuple[Plot, ...]


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"scene_{name}", SCENE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"the scene is not here: expected {SCENE / name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(gen: ModuleType, frame: LocalFrame, **more: Any) -> FusionSettings:
    """What the scene's own header says of its sensors, and what else is asked for."""
    camera = frame.position(*gen.CAM)
    area_m2 = gen.C_HALF * (gen.C_MAX**2 - gen.C_MIN**2)
    heading = math.pi / 2 - gen.C_AZ
    view = Sector(origin=camera, heading_rad=heading, half_angle_rad=gen.C_HALF, near_m=gen.C_MIN, far_m=gen.C_MAX)
    return FusionSettings(
        origin=ORIGIN,
        unit="bench",
        **more,
        sensors={
            "radar": SensorModel(
                detection_probability=gen.R_PD,
                clutter_density_per_m2=gen.R_LAM / (2 * gen.HALF) ** 2,
                birth_ratio=birth_ratio(gen.R_LAM),
                coverage=Sector(origin=ORIGIN, far_m=gen.R_MAX),
                miss_correlation_s=0.0,
            ),
            "camera": SensorModel(
                detection_probability=gen.C_PD,
                clutter_density_per_m2=gen.C_LAM / area_m2,
                birth_ratio=birth_ratio(gen.C_LAM),
                coverage=view,
                miss_correlation_s=0.0,
            ),
            "ais": SensorModel(reporting_interval_s=gen.AIS_T),
        },
    )


def _plot(row: Any, index: int, local: LocalFrame, camera: Geodetic) -> Plot:
    t, sensor, z1, z2, s1, s2, ident = row[:7]
    name = SENSORS[int(sensor)]
    observed_ns = round(t * 10) * NS // 10
    if name == "ais":
        at = local.position(z1, z2)
        return Plot(
            sensor_id=name,
            observation_id=f"p{index}",
            observed_ns=observed_ns,
            kind="position",
            values=(at.latitude_deg, at.longitude_deg),
            covariance=((s1 * s1, 0.0), (0.0, s2 * s2)),
            identities=(Identity(kind="mmsi", value=str(int(ident))),),
            cooperative=True,
        )
    return Plot(
        sensor_id=name,
        observation_id=f"p{index}",
        observed_ns=observed_ns,
        kind="range_bearing",
        values=(z1, math.pi / 2 - z2),
        covariance=((s1 * s1, 0.0), (0.0, s2 * s2)),
        origin=ORIGIN if name == "radar" else camera,
    )


def frames(gen: ModuleType, detections: Any, seconds: float, *, by_arrival: bool) -> list[Frame]:
    """All looks, empty ones of the camera and radar too, in the order in which they are taken."""
    local = LocalFrame(ORIGIN)
    camera = local.position(*gen.CAM)
    groups: dict[tuple[int, str], list[tuple[Plot, int]]] = {}
    for tick in range(1, round(seconds * 10) + 1):
        groups[tick * NS // 10, "camera"] = []
        if tick % 10 == 0:
            groups[tick * NS // 10, "radar"] = []
    for index, row in enumerate(detections):
        plot = _plot(row, index, local, camera)
        groups.setdefault((plot.observed_ns, plot.sensor_id), []).append((plot, round(row[8] * NS)))
    out = []
    for (observed_ns, sensor), found in groups.items():
        if sensor == "ais" and by_arrival:
            out += [Frame(sensor, observed_ns, arrives_ns, (plot,)) for plot, arrives_ns in found]
        else:
            delay = {"radar": NS // 20, "camera": 12 * NS // 100, "ais": 0}[sensor]
            arrives = observed_ns + delay if by_arrival else observed_ns
            out.append(Frame(sensor, observed_ns, arrives, tuple(plot for plot, _ in found)))
    return sorted(out, key=lambda f: (f.arrives_ns, f.observed_ns, SENSORS.index(f.sensor)))


def _tracks(
    entities: Iterable[Entity], now_ns: int, local: LocalFrame, ids: dict[str, int]
) -> Iterator[tuple[float, ...]]:
    for entity in entities:
        if entity.status in ("confirmed", "coasting"):
            east, north, _ = local.local(entity.position)
            yield now_ns / NS, float(ids.setdefault(entity.entity_id, len(ids))), east, north


def shuffled(looks: list[Frame], within_s: float, seed: int) -> list[Frame]:
    """The same looks, each arriving up to ``within_s`` after it was observed, in the order in which they arrive."""
    rng = np.random.default_rng(seed)
    late = [replace(f, arrives_ns=f.observed_ns + round(rng.uniform(0.0, within_s) * NS)) for f in looks]
    return sorted(late, key=lambda f: (f.arrives_ns, f.observed_ns, SENSORS.index(f.sensor)))


def _scene(
    gen: ModuleType, n: int, seed: int, seconds: float, *, by_arrival: bool
) -> tuple[Any, list[Frame], LocalFrame]:
    rng = np.random.default_rng([seed, n])
    truth = gen.truth(n, seconds, rng)
    return truth, frames(gen, gen.detect(truth, n, seconds, rng), seconds, by_arrival=by_arrival), LocalFrame(ORIGIN)


def peer_run(n: int, seed: int, until_s: float) -> dict[str, Any]:
    """Stone Soup on the first ``until_s`` seconds of the same scene."""
    gen, scorer = _module("gen"), _module("score")
    truth, looks, local = _scene(gen, n, seed, SECONDS, by_arrival=False)
    told, spent_s, count = stonesoup_peer.run(gen, [f for f in looks if f.observed_ns <= until_s * NS], local)
    result: dict[str, Any] = scorer.score(truth, np.array(told).reshape(-1, 4), 10.0, until_s)
    return result | {"ms": 1e3 * spent_s / count}


def told_apart(n: int, seed: int) -> dict[str, Any]:
    """The floor of any association: each target is followed alone, by the plots that are its own, without clutter.

    What switches then are no mistakes of identity: the scorer matches by place, and two that are nearer to each other
    than their tracks are to them change places in it.
    """
    gen, scorer = _module("gen"), _module("score")
    rng, local = np.random.default_rng([seed, n]), LocalFrame(ORIGIN)
    truth = gen.truth(n, SECONDS, rng)
    detections = gen.detect(truth, n, SECONDS, rng)
    ids: dict[str, int] = {}
    told: list[tuple[float, ...]] = []
    for target in range(n):
        fusion, due = Fusion(settings(gen, local)), NS
        for look in frames(gen, detections[detections[:, 7] == target], SECONDS, by_arrival=False):
            while look.arrives_ns > due:
                told += _tracks(fusion.entities(due), due, local, ids)
                due += NS
            fusion.observe_plots(look.sensor, look.observed_ns, look.plots, look.arrives_ns)
        told += _tracks(fusion.entities(due), due, local, ids)
    result: dict[str, Any] = scorer.score(truth, np.array(told).reshape(-1, 4), 10.0, SECONDS)
    return result


def run(
    n: int, seed: int, *, seconds: float = 120.0, by_arrival: bool = False, shuffle_s: float = 0.0,
    until_s: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One scene; returns the scorer's dictionary and the time per frame. ``until_s``: only its first so many seconds.

    With ``shuffle_s`` the score is of the history as it is known when everything has arrived, and ``now`` is that of
    the pictures as they were told meanwhile.
    """
    gen, scorer = _module("gen"), _module("score")
    truth, looks, local = _scene(gen, n, seed, seconds, by_arrival=by_arrival)
    if until_s is not None:
        looks = [look for look in looks if look.observed_ns <= until_s * NS]
    if shuffle_s:
        looks = shuffled(looks, shuffle_s, seed)
    fusion = Fusion(settings(gen, local))
    ids: dict[str, int] = {}
    told: list[tuple[float, ...]] = []
    spent: dict[str, list[float]] = {name: [] for name in SENSORS}
    due = NS
    for look in looks:
        while look.arrives_ns > due:
            told += _tracks(fusion.entities(due), due, local, ids)
            due += NS
        start = time.thread_time()
        fusion.observe_plots(look.sensor, look.observed_ns, look.plots, look.arrives_ns)
        spent[look.sensor].append(time.thread_time() - start)
    told += _tracks(fusion.entities(due), due, local, ids)
    if shuffle_s:
        start = time.thread_time()
        fusion.settle()
        print(f"settled in {time.thread_time() - start:.1f} s of CPU", file=sys.stderr)
        every_second = range(NS, round(seconds * NS) + 1, NS)
        told = [row for at, found in fusion.history(every_second) for row in _tracks(found, at, local, ids)]
    result: dict[str, Any] = scorer.score(truth, np.array(told).reshape(-1, 4), 10.0, until_s or seconds)
    every = [s for times in spent.values() for s in times]
    result["ms"] = 1e3 * statistics.fmean(every)
    result["ms_by_sensor"] = {name: round(1e3 * statistics.fmean(times), 3) for name, times in spent.items() if times}
    return result


def compare(sizes: Iterable[int]) -> None:
    """Our figures on seed 335 beside the goals, and on the same looks beside Stone Soup's in this run."""
    table = Table(["targets", "GOSPA", "goal", "switches", "goal", "ms a frame", "goal"])
    beside = Table(
        ["targets", "first s", "GOSPA", "Stone Soup", "switches", "Stone Soup", "ms", "Stone Soup", "times faster"]
    )
    missing = stonesoup_peer.absent()
    for n in sizes:
        whole, goal = run(n, SEED), GOAL.get(n, ("", "", ""))
        table.row(
            str(n), *(str(x) for x in (whole["gospa"], goal[0], whole["idsw"], goal[2], f"{whole['ms']:.2f}", goal[1]))
        )
        if missing is None:
            until_s = PEER_S.get(n, 10.0)
            ours, peer = run(n, SEED, until_s=until_s), peer_run(n, SEED, until_s)
            cells = [f"{x[key]}" for key in ("gospa", "idsw") for x in (ours, peer)]
            print(f"{n} targets: ours {ours}\nStone Soup {peer}", file=sys.stderr, flush=True)
            times = f"{ours['ms']:.2f}", f"{peer['ms']:.1f}", f"{peer['ms'] / ours['ms']:.0f}"
            beside.row(str(n), f"{until_s:.0f}", *cells, *times)
    print(table)
    print(f"\n{missing}" if missing else f"\nStone Soup: {stonesoup_peer.SETTINGS}\n{beside}")


def compare_people(seeds: Iterable[int]) -> None:
    """People on the scene of `people`: moving as everything does, and as people do."""
    scorer, every = _module("score"), list(seeds)
    table = Table(["the camera", "people move", *people.NAMES.values()])
    for numbered, camera in ((False, "gives no numbers"), (True, "numbers whom it sees")):
        for says, more in (("as all else", {"on_foot": Motion()}), ("on foot", {})):
            results = [people.run(scorer, seed, numbered=numbered, **more) for seed in every]
            table.row(camera, says, *people.summary(results))
    print(f"seeds {every}, mean ± standard deviation\n{table}")


def main() -> None:
    """Table of the sizes and seeds that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[20, 100, 300])
    parser.add_argument("--seeds", default="335", help="a list such as 335 or 1-10")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--by-arrival", action="store_true", help="take late AIS as it comes, not as it was observed")
    parser.add_argument("--shuffle", type=float, default=0.0, metavar="S", help="each look arrives up to S s late")
    parser.add_argument("--told-apart", action="store_true", help="the floor: each target alone, by its own plots")
    parser.add_argument("--people", action="store_true", help="another scene: people who walk, stand and walk on")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    first, _, last = args.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if args.people:
        compare_people(seeds)
        return
    run(5, 1, seconds=12.0)  # compiles
    plain = not (args.by_arrival or args.shuffle or args.told_apart)
    if args.seeds == "335" and plain and not args.json:
        compare(args.sizes)
        return
    for n in args.sizes:
        results = [
            told_apart(n, seed)
            if args.told_apart
            else run(n, seed, seconds=args.seconds, by_arrival=args.by_arrival, shuffle_s=args.shuffle)
            for seed in seeds
        ]
        for seed, result in zip(seeds, results, strict=True):
            line = json.dumps({"n": n, "seed": seed} | result) if args.json else f"N={n} seed={seed} {result}"
            print(line, flush=True)
        if len(results) > 1:
            for key in [key for key in ("gospa", "loc", "missed_n", "false_n", "idsw", "ms") if key in results[0]]:
                values = [float(r[key]) for r in results]
                print(f"N={n} {key}: mean {statistics.fmean(values):.2f} sd {statistics.stdev(values):.2f}", flush=True)
        if n in GOAL:
            print(f"N={n} goal GOSPA/ms/switches {GOAL[n]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
