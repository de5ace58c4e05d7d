"""Disputes in a harbour: none in a day of honest traffic, soon where AIS leaves its vessel.

``python -m benchmarks.disputes [--hours 24] [--scenes 20]``.

The harbour is made to be unkind to honest vessels: they cross and overtake within 100 m, go alongside each other (one
radar echo for two hulls), swing at anchor, turn, fall silent on AIS for minutes, lose one report in five, report a
position that is a second old and an antenna's length from the radar's echo, and are received late and out of order.
Everything goes through the public `Fusion` in the order of arrival.

Not a tuning tool: fusion is told what such sensors' data sheets say, the rest are its defaults.
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from appliance.domain import Geodetic, Identity, Plot
from appliance.estimation import Sector
from appliance.fusion import Fusion, FusionSettings, SensorModel
from appliance.geodesy import LocalFrame
from benchmarks.tables import Table

Array = npt.NDArray[np.float64]

ORIGIN: Final = Geodetic(latitude_deg=50.8, longitude_deg=-1.1)
NS: Final = 1_000_000_000
SCAN_S: Final = 2.5
RANGE_SIGMA_M: Final = 12.0
BEARING_SIGMA_RAD: Final = math.radians(0.4)
REACH_M: Final = 12_000.0
SEEN: Final = 0.9
FALSE_ECHOES: Final = 5.0
MERGED_M: Final = 60.0
"""Closer than this along and across, two hulls are one echo."""
ANTENNA_SIGMA_M: Final = 8.0
LOST: Final = 0.2
SILENCES_PER_DAY: Final = 10.0
"""Of each vessel: minutes in which nothing of its AIS is received."""
DRIFT_M: Final = 2_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vessel:
    """One vessel and its day: places to go to one after the other, round and round."""

    name: str
    route: tuple[tuple[float, float], ...]
    speed_mps: float
    length_m: float
    mmsi: str | None
    swings: bool = False
    rest_s: float = 0.0
    """How long it lies at each place before it goes on."""


def vessels() -> tuple[Vessel, ...]:
    """Anchored ships, through traffic in two lanes, ferries, a pilot that goes alongside, and boats without AIS."""
    number = iter(f"2350{n:05d}" for n in range(1000))
    made = [
        Vessel(name=f"anchored-{i}", route=((-2500.0 + 900.0 * i, 2500.0 + 400.0 * (i % 2)),), speed_mps=0.0,
               length_m=120.0 + 40.0 * i, mmsi=next(number), swings=True)
        for i in range(5)
    ]  # fmt: skip
    lanes = [((-11_000.0, -300.0), (11_000.0, 300.0)), ((11_000.0, 380.0), (-11_000.0, -220.0))]
    for i in range(6):
        one, two = (tuple(np.add(end, (0.0, 130.0 * (i - i % 2)))) for end in lanes[i % 2])
        route = (one, (0.0, one[1] * 0.2), two, (0.0, two[1] * 0.2))  # the lanes close up in the middle
        made.append(Vessel(name=f"through-{i}", route=route, speed_mps=5.0 + 1.3 * i, length_m=90.0 + 30.0 * i,
                           mmsi=next(number), rest_s=240.0 * i))  # fmt: skip
    for i in range(3):
        east = -1500.0 + 1400.0 * i
        made.append(Vessel(name=f"ferry-{i}", route=((east, -2600.0), (east + 150.0, 1900.0)), speed_mps=7.5,
                           length_m=60.0, mmsi=next(number), rest_s=420.0 + 60.0 * i))  # fmt: skip
    at = made[1].route[0]
    pilot = ((600.0, -2500.0), (at[0] + 25.0, at[1] + 10.0), (-3000.0, -100.0))
    made.append(Vessel(name="pilot", route=pilot, speed_mps=11.0, length_m=18.0, mmsi=next(number), rest_s=300.0))
    for i in range(4):
        ring = tuple(
            (2200.0 * math.cos(a + i) - 500.0 * i, 900.0 + 1500.0 * math.sin(a)) for a in np.linspace(0.0, 5.5, 7)
        )
        mmsi = next(number) if i % 2 else None
        made.append(Vessel(name=f"boat-{i}", route=ring, speed_mps=3.0 + i, length_m=12.0, mmsi=mmsi))
    return tuple(made)


@dataclass(slots=True)
class Sea:
    """Where everything is, second by second: vessels turn at up to two degrees a second."""

    fleet: tuple[Vessel, ...]
    rng: np.random.Generator
    at: Array = field(init=False)
    course: Array = field(init=False)
    speed: Array = field(init=False)
    leg: npt.NDArray[np.int64] = field(init=False)
    rest_until: Array = field(init=False)
    phase: Array = field(init=False)

    def __post_init__(self) -> None:
        self.at = np.array([vessel.route[0] for vessel in self.fleet])
        self.course = self.rng.uniform(-math.pi, math.pi, len(self.fleet))
        self.speed = np.zeros(len(self.fleet))
        self.leg = np.zeros(len(self.fleet), np.int64)
        self.rest_until = np.array([vessel.rest_s for vessel in self.fleet])
        self.phase = self.rng.uniform(0.0, math.tau, len(self.fleet))

    def step(self, t: float) -> None:
        """One second on."""
        for i, vessel in enumerate(self.fleet):
            if vessel.swings:
                self._swing(i, vessel, t)
            elif t >= self.rest_until[i]:
                self._sail(i, vessel, t)
            else:
                self.speed[i] = 0.0

    def velocity(self, i: int) -> tuple[float, float]:
        return float(self.speed[i] * math.sin(self.course[i])), float(self.speed[i] * math.cos(self.course[i]))

    def _swing(self, i: int, vessel: Vessel, t: float) -> None:
        angle = self.phase[i] + 1.2 * math.sin(t / 2700.0 + self.phase[i])  # tide and wind: slowly to and fro
        self.at[i] = np.array(vessel.route[0]) + 150.0 * np.array([math.sin(angle), math.cos(angle)])
        self.course[i] = angle + math.pi

    def _sail(self, i: int, vessel: Vessel, t: float) -> None:
        goal = np.array(vessel.route[(self.leg[i] + 1) % len(vessel.route)])
        way = goal - self.at[i]
        if math.hypot(*way) < max(40.0, 4.0 * vessel.speed_mps):
            self.leg[i] = (self.leg[i] + 1) % len(vessel.route)
            self.rest_until[i] = t + vessel.rest_s * self.rng.uniform(0.5, 1.5)
            return
        turn = math.remainder(math.atan2(way[0], way[1]) - self.course[i], math.tau)
        self.course[i] += max(-math.radians(2.0), min(math.radians(2.0), turn))
        slow = 0.3 if abs(turn) > 1.0 else 1.0
        self.speed[i] += 0.1 * (vessel.speed_mps * slow - self.speed[i])
        self.at[i] += self.velocity(i)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """From ``begins_s`` on, vessel ``index`` says that it is ``rate_mps`` farther east each second, up to `DRIFT_M`."""

    index: int
    begins_s: float
    rate_mps: float

    def metres(self, t: float) -> float:
        """How far the claim is from the truth."""
        return min(max(t - self.begins_s, 0.0) * self.rate_mps, DRIFT_M)

    def strays(self, plots: tuple[Plot, ...], t: float) -> bool:
        """Whether this is a report of the liar, and so far off that it may begin a dispute."""
        its = any(identity.value == vessels()[self.index].mmsi for plot in plots for identity in plot.identities)
        return its and self.metres(t) > FusionSettings(origin=ORIGIN).dispute_distance_m


class Harbour:
    """Looks of the radar and reports of AIS, in the order of arrival."""

    def __init__(self, seed: int, lie: Lie | None = None) -> None:
        self._rng = np.random.default_rng(seed)
        self.fleet = vessels()
        self._sea = Sea(self.fleet, self._rng)
        self._frame = LocalFrame(ORIGIN)
        self._lie = lie
        self._next_report = self._rng.uniform(0.0, 10.0, len(self.fleet))
        self._silent_until = np.zeros(len(self.fleet))

    def observations(self, seconds: int) -> Iterator[tuple[str, int, int, tuple[Plot, ...]]]:
        """(sensor, observed, arrives, plots), times in ns."""
        waiting: list[tuple[int, int, str, int, tuple[Plot, ...]]] = []
        count, next_scan = 0, SCAN_S
        for t in range(1, seconds + 1):
            self._sea.step(float(t))
            if t >= next_scan:
                next_scan += SCAN_S
                heapq.heappush(waiting, (t * NS, count, "radar", t * NS, self._echoes(t)))
                count += 1
            for plot, arrives_ns in self._reports(t):
                heapq.heappush(waiting, (arrives_ns, count, "ais", plot.observed_ns, (plot,)))
                count += 1
            while waiting and waiting[0][0] <= t * NS:
                arrives_ns, _, sensor, observed_ns, plots = heapq.heappop(waiting)
                yield sensor, observed_ns, arrives_ns, plots

    def _echoes(self, t: int) -> tuple[Plot, ...]:
        places = [self._sea.at[i] for i in range(len(self.fleet)) if self._rng.random() < SEEN]
        merged: list[Array] = []
        for place in places:  # what is too close to an echo that is there already only pulls it
            near = next((m for m in merged if math.hypot(*(m - place)) < MERGED_M), None)
            if near is None:
                merged.append(place.copy())
            else:
                near += 0.5 * (place - near)
        for _ in range(self._rng.poisson(FALSE_ECHOES)):
            far, angle = REACH_M * math.sqrt(self._rng.random()), self._rng.uniform(0.0, math.tau)
            merged.append(np.array([far * math.sin(angle), far * math.cos(angle)]))
        return tuple(self._echo(place, t, k) for k, place in enumerate(merged) if math.hypot(*place) <= REACH_M)

    def _echo(self, place: Array, t: int, k: int) -> Plot:
        far = abs(math.hypot(*place) + self._rng.normal(0.0, RANGE_SIGMA_M))
        bearing = math.atan2(place[0], place[1]) + self._rng.normal(0.0, BEARING_SIGMA_RAD)
        return Plot(
            sensor_id="radar", observation_id=f"radar:{t}:{k}", observed_ns=t * NS, kind="range_bearing",
            values=(far, bearing), origin=ORIGIN,
            covariance=((RANGE_SIGMA_M**2, 0.0), (0.0, BEARING_SIGMA_RAD**2)),
        )  # fmt: skip

    def _reports(self, t: int) -> Iterator[tuple[Plot, int]]:
        for i, vessel in enumerate(self.fleet):
            if vessel.mmsi is None or t < self._next_report[i]:
                continue
            self._next_report[i] += _interval_s(vessel, float(self._sea.speed[i]))
            if self._rng.random() < SILENCES_PER_DAY / 86_400.0 * _interval_s(vessel, float(self._sea.speed[i])):
                self._silent_until[i] = t + self._rng.uniform(180.0, 1200.0)
            if t < self._silent_until[i] or self._rng.random() < LOST:
                continue
            yield self._report(i, vessel, t), round((t + self._rng.uniform(0.2, 3.0)) * NS)

    def _report(self, i: int, vessel: Vessel, t: int) -> Plot:
        east_mps, north_mps = self._sea.velocity(i)
        heading = float(self._sea.course[i])
        antenna = 0.35 * vessel.length_m * np.array([math.sin(heading), math.cos(heading)])
        stale = self._rng.uniform(0.0, 1.0) * np.array([east_mps, north_mps])  # its own fix, rounded to a second
        said = self._sea.at[i] - antenna - stale + self._rng.normal(0.0, ANTENNA_SIGMA_M, 2)
        if self._lie is not None and self._lie.index == i:
            said = said + np.array([self._lie.metres(float(t)), 0.0])
        lat, lon, _ = self._frame.to_geodetic(float(said[0]), float(said[1]), 0.0)
        return Plot(
            sensor_id="ais", observation_id=f"ais:{t}:{vessel.mmsi}", observed_ns=t * NS, kind="position",
            values=(lat, lon), covariance=((100.0, 0.0), (0.0, 100.0)), cooperative=True,
            identities=(Identity(kind="mmsi", value=vessel.mmsi or ""),),
            velocity_mps=(east_mps, north_mps), velocity_variance_m2ps2=0.25, categories={"vessel": 0.95},
        )  # fmt: skip


def _interval_s(vessel: Vessel, speed_mps: float) -> float:
    """ITU-R M.1371-5 table 1, class A; small boats carry class B."""
    if vessel.length_m < 15.0:
        return 30.0 if speed_mps > 1.0 else 180.0
    return 180.0 if speed_mps < 0.5 else 10.0 if speed_mps < 7.2 else 6.0


def settings() -> FusionSettings:
    """What the radar's data sheet says."""
    radar = SensorModel(
        detection_probability=SEEN,
        clutter_density_per_m2=FALSE_ECHOES / (math.pi * REACH_M**2),
        coverage=Sector(origin=ORIGIN, far_m=REACH_M),
    )
    return FusionSettings(origin=ORIGIN, unit="harbour", sensors={"radar": radar})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run raised: (entity id, when it was first told in s, what it says) of every dispute."""

    disputes: tuple[tuple[str, float, str], ...]
    strayed: tuple[float, ...]
    """When each report arrived that lies where a dispute may begin, in s: two are the least that anybody could know."""
    entities: int
    cpu_s: float


def run(seed: int, seconds: int, lie: Lie | None = None) -> Outcome:
    """One run; asks for disputes after everything that arrives."""
    fusion = Fusion(settings())
    raised: dict[tuple[str, int], tuple[float, str]] = {}
    strayed: list[float] = []
    cpu_s, last_ns = 0.0, 0
    for sensor, observed_ns, arrives_ns, plots in Harbour(seed, lie).observations(seconds):
        began = time.thread_time()
        fusion.observe_plots(sensor, observed_ns, plots, arrives_ns)
        for dispute in fusion.disputes(arrives_ns):
            says = f"{dispute.claimed}; {dispute.observed}"
            raised.setdefault((dispute.entity_id, dispute.raised_ns), (arrives_ns / NS, says))
        cpu_s += time.thread_time() - began
        if lie is not None and lie.strays(plots, observed_ns / NS):
            strayed.append(arrives_ns / NS)
        last_ns = arrives_ns
    entities = [e for e in fusion.entities(last_ns) if e.status in {"confirmed", "coasting"}]
    told = sorted((entity_id, *how) for (entity_id, _), how in raised.items())
    return Outcome(disputes=tuple(told), strayed=tuple(strayed), entities=len(entities), cpu_s=cpu_s)


def liar(kind: str) -> int:
    """The index of the first vessel whose name begins with ``kind``."""
    return next(i for i, vessel in enumerate(vessels()) if vessel.name.startswith(kind))


BEGINS_S: Final = 900.0


GOAL_S: Final = 60.0
"""From the moment at which the claim is 2 km off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """One drift: seconds from the lie's beginning and from its 2 km to the dispute, infinite where there was none."""

    from_beginning_s: float
    from_2_km_s: float
    heard: bool
    """Whether two reports that stray had arrived when the goal's time was over."""


def drift(kind: str, rate_mps: float, seed: int) -> Flagged:
    """One scene in which the first vessel of this kind leaves its echo."""
    reached_s = BEGINS_S + DRIFT_M / rate_mps
    outcome = run(seed, round(reached_s + 3.0 * GOAL_S), Lie(index=liar(kind), begins_s=BEGINS_S, rate_mps=rate_mps))
    mmsi = vessels()[liar(kind)].mmsi or ""
    at = min((when for _, when, says in outcome.disputes if mmsi in says), default=math.inf)
    heard = sum(when <= reached_s + GOAL_S for when in outcome.strayed) >= 2
    return Flagged(from_beginning_s=at - BEGINS_S, from_2_km_s=at - reached_s, heard=heard)


DRIFTS: Final = (
    ("through", 2000.0), ("through", 33.0), ("through", 10.0), ("ferry", 33.0),
    ("boat-1", 2000.0), ("boat-1", 33.0), ("boat-1", 10.0), ("boat-3", 33.0),
)  # fmt: skip


def drifts(scenes: int) -> Table:
    """Each drift in so many scenes. Who is not heard twice in time cannot be flagged; the rest are to be."""
    table = Table(("vessel", "drift m/s", "heard twice in time", "flagged in time", "median s", "worst s of those"))
    for kind, rate in DRIFTS:
        found = [drift(kind, rate, seed) for seed in range(scenes)]
        heard = [one.from_2_km_s for one in found if one.heard]
        prompt = sum(late <= GOAL_S for late in heard)
        table.row(
            kind, f"{rate:g}", f"{len(heard)}/{len(found)}", f"{prompt}/{len(heard)}", f"{np.median(heard):+.0f}",
            f"{max(heard):+.0f}",
        )  # fmt: skip
        print(f"{kind}, {rate:g} m/s: {[round(one.from_2_km_s, 1) for one in found]}", file=sys.stderr, flush=True)
    return table


def honest(seed: int, hours: float) -> None:
    """Print what honest traffic raised."""
    outcome = run(seed, round(hours * 3600))
    print(f"{hours:g} h of honest traffic, {len(vessels())} vessels, seed {seed}:")
    print(
        f"{len(outcome.disputes)} disputes (goal 0), {outcome.entities} entities, {outcome.cpu_s:.0f} s CPU of fusion"
    )
    for _, when, says in outcome.disputes:
        print(f"  at {when:.0f} s: {says}", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="of honest traffic (24)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=20, help="seeds of each drift (20)")
    arguments = parser.parse_args()
    if arguments.hours:
        honest(arguments.seed, arguments.hours)
    print(f"seconds from the moment at which the claim is 2 km off, goal {GOAL_S:g}:\n{drifts(arguments.scenes)}")


if __name__ == "__main__":
    main()
