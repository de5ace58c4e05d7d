"""Real ships from positions alone: the Solent AIS recording without identities, scored against its MMSIs.

``python -m benchmarks.solent``. Every report becomes a nameless position plot; fusion must find out which belong to one
ship. The floor in the same run joins each position to the nearest ship last heard within reach. Truth is the MMSI.

- purity: share of reports whose track holds mostly reports of their own ship;
- completeness: share of reports that lie in the longest track of their ship;
- switches: how often a ship's next report falls to another track than its last one did;
- tracks a ship: how many tracks its reports lie in, of those with at least two.

What fusion is told: positions to 10 m, no false plots to speak of, no field of view, and that a ship is silent for up
to three minutes (ITU-R M.1371-5 table 1); nothing was fitted to this recording.
"""

from __future__ import annotations

import csv
import itertools
import math
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from appliance.domain import Geodetic, Plot
from appliance.fusion import MOORINGS, Fusion, FusionSettings, SensorModel
from appliance.geodesy import LocalFrame
from benchmarks.tables import Table, shared_data

FILE = "feeds/ais/SolentAIS_20160112_130211.csv"
ORIGIN = Geodetic(latitude_deg=50.77, longitude_deg=-1.2)
SIGMA_M = 10.0
SILENCE_S = 180.0
KNOT_MPS = 1852.0 / 3600.0
NS = 1_000_000_000


@dataclass(frozen=True)
class Heard:
    """One report, and whose it is."""

    name: str
    at_ns: int
    mmsi: str
    latitude_deg: float
    longitude_deg: float
    speed_mps: float
    course_rad: float


def read(path: Path) -> list[Heard]:
    """All good rows in time order; a row that is none is left out."""
    found = []
    with path.open(newline="") as stream:
        for k, row in enumerate(csv.DictReader(stream)):
            try:
                at = datetime.fromisoformat(row["Time"]).replace(tzinfo=UTC)
                lat, lon = float(row["Latitude_degrees"]), float(row["Longitude_degrees"])
                speed, course = float(row["SOG_knots"]), float(row["COG_degrees"])
            except (TypeError, ValueError):
                continue
            if abs(lat) <= 90.0 and abs(lon) <= 180.0:
                at_ns = round(at.timestamp() * 1000) * 1_000_000
                found.append(Heard(f"r{k}", at_ns, row["MMSI"], lat, lon, speed * KNOT_MPS, math.radians(course)))
    return sorted(found, key=lambda h: (h.at_ns, h.name))


def by_fusion(heard: list[Heard], *, velocity: bool) -> dict[str, str]:
    """Report → entity, through the public door; with course and speed where ``velocity``."""
    sensor = SensorModel(detection_probability=0.9, clutter_density_per_m2=1e-9, birth_ratio=10.0)
    fusion = Fusion(
        FusionSettings(
            origin=ORIGIN, unit="solent", default_sensor=sensor, motion=MOORINGS, tentative_hold_s=2 * SILENCE_S,
            confirmed_hold_s=4 * SILENCE_S, deleted_hold_s=900.0, evidence_per_source=len(heard) + 1,
        )
    )  # fmt: skip
    owner: dict[str, str] = {}
    asked_ns = heard[0].at_ns
    for one in heard:
        east, north = one.speed_mps * math.sin(one.course_rad), one.speed_mps * math.cos(one.course_rad)
        says = velocity and one.speed_mps < 50.0
        plot = Plot(
            sensor_id="positions", observation_id=one.name, observed_ns=one.at_ns, kind="position",
            values=(one.latitude_deg, one.longitude_deg), covariance=((SIGMA_M**2, 0.0), (0.0, SIGMA_M**2)),
            velocity_mps=(east, north) if says else None, velocity_variance_m2ps2=0.5 if says else None,
        )  # fmt: skip
        fusion.observe_plots("positions", one.at_ns, (plot,), one.at_ns)
        if one.at_ns - asked_ns > 600 * NS or one is heard[-1]:
            asked_ns = one.at_ns
            for entity in fusion.entities(one.at_ns):
                owner.update((evidence.observation_id, entity.entity_id) for evidence in entity.evidence)
    return owner


def by_nearest(heard: list[Heard]) -> dict[str, str]:
    """The floor: the nearest track heard within `SILENCE_S` that 30 m/s can have brought here; else a new one."""
    frame = LocalFrame(ORIGIN)
    last: dict[str, tuple[int, float, float]] = {}
    owner: dict[str, str] = {}
    for one in heard:
        east, north, _ = frame.local(Geodetic(latitude_deg=one.latitude_deg, longitude_deg=one.longitude_deg))
        near = []
        for name, (at_ns, e, n) in last.items():
            gap_s, away_m = (one.at_ns - at_ns) / NS, math.hypot(east - e, north - n)
            if gap_s <= 2 * SILENCE_S and away_m <= 4 * SIGMA_M + 30.0 * gap_s:
                near.append((away_m, name))
        name = min(near)[1] if near else f"t{len(last)}"
        last[name] = (one.at_ns, east, north)
        owner[one.name] = name
    return owner


def score(heard: list[Heard], owner: dict[str, str]) -> tuple[float, float, int, float, int]:
    """(purity, completeness, switches, tracks a ship, reports in no track)."""
    owned = [(one.mmsi, owner[one.name]) for one in heard if one.name in owner]
    by_track: dict[str, Counter[str]] = defaultdict(Counter)
    by_ship: dict[str, list[str]] = defaultdict(list)
    for mmsi, track in owned:
        by_track[track][mmsi] += 1
        by_ship[mmsi].append(track)
    total = len(heard)
    pure = sum(ships.most_common(1)[0][1] for ships in by_track.values())
    whole = sum(Counter(tracks).most_common(1)[0][1] for tracks in by_ship.values())
    switches = sum(a != b for tracks in by_ship.values() for a, b in itertools.pairwise(tracks))
    several = [len({t for t in tracks if sum(by_track[t].values()) > 1}) for tracks in by_ship.values()]
    return pure / total, whole / total, switches, sum(several) / len(several), total - len(owned)


def main() -> None:
    """The table."""
    heard = read(shared_data() / FILE)
    table = Table(["from", "purity", "completeness", "switches", "tracks a ship", "in none", "CPU ms a report"])
    ways = (
        ("nearest last position (floor)", by_nearest),
        ("positions alone", lambda h: by_fusion(h, velocity=False)),
        ("positions, course and speed", lambda h: by_fusion(h, velocity=True)),
    )
    by_fusion(heard[:20], velocity=False)  # compiles
    for name, way in ways:
        start = time.thread_time()
        owner = way(heard)
        spent_ms = 1e3 * (time.thread_time() - start) / len(heard)
        pure, whole, switches, tracks, lost = score(heard, owner)
        table.row(name, f"{pure:.3f}", f"{whole:.3f}", str(switches), f"{tracks:.2f}", str(lost), f"{spent_ms:.2f}")
    ships = len({one.mmsi for one in heard})
    print(f"{len(heard)} reports of {ships} ships in {(heard[-1].at_ns - heard[0].at_ns) / 60 / NS:.0f} minutes")
    print(table)


if __name__ == "__main__":
    sys.exit(main())
