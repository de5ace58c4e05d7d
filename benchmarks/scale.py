"""Cost of a frame as the picture grows: ``python -m benchmarks.scale [--svg FILE]``.

20 to 5,000 things at the density of the fusion scene's 300 (three on a square kilometre), so that the area grows and
ambiguity does not; one radar, one look a second, 90 % detected, 0.4 false plots on a square kilometre. What is timed is
`Fusion.observe_plots`, in CPU time of this thread, once all things are confirmed; *n log n* is drawn through the first
size. Plots are made ahead.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from appliance.domain import Geodetic, Plot
from appliance.estimation import Sector
from appliance.fusion import Fusion, FusionSettings, SensorModel
from appliance.geodesy import LocalFrame
from benchmarks.charts import chart
from benchmarks.tables import Table

ORIGIN = Geodetic(latitude_deg=49.6, longitude_deg=6.1)
NS = 1_000_000_000
PER_M2, CLUTTER_PER_M2, DETECTED, SIGMA_M = 3e-6, 4e-7, 0.9, 15.0
WARM_S, TIMED_S = 8, 12
SIZES = (20, 100, 300, 1_000, 2_000, 5_000)


def looks(n: int) -> tuple[float, list[tuple[Plot, ...]]]:
    """(half the side in m, the plots of each second)."""
    rng = np.random.default_rng(n)
    frame, half = LocalFrame(ORIGIN), 0.5 * math.sqrt(n / PER_M2)
    place, velocity = rng.uniform(-half, half, (n, 2)), rng.normal(0.0, 8.0, (n, 2))
    found = []
    for k in range(1, WARM_S + TIMED_S + 1):
        seen = (place + k * velocity)[rng.random(n) < DETECTED]
        seen = seen + rng.normal(0.0, SIGMA_M, seen.shape)
        clutter = rng.uniform(-half, half, (rng.poisson(CLUTTER_PER_M2 * 4.0 * half * half), 2))
        plane = np.vstack((seen, clutter))
        lat, lon, _ = frame.to_geodetic(plane[:, 0], plane[:, 1], np.zeros(len(plane)))
        found.append(
            tuple(
                Plot(
                    sensor_id="radar", observation_id=f"p{k}-{j:05d}", observed_ns=k * NS, kind="position",
                    values=(float(lat[j]), float(lon[j])), covariance=((SIGMA_M**2, 0.0), (0.0, SIGMA_M**2)),
                )
                for j in range(len(plane))
            )
        )  # fmt: skip
    return half, found


def measure(n: int) -> tuple[float, int, float]:
    """(mean CPU ms a frame, checkpoints included, confirmed at the end, plots a frame)."""
    half, found = looks(n)
    radar = SensorModel(
        detection_probability=DETECTED, clutter_density_per_m2=CLUTTER_PER_M2, miss_correlation_s=0.0,
        coverage=Sector(origin=ORIGIN, far_m=3.0 * half),
    )  # fmt: skip
    fusion = Fusion(FusionSettings(origin=ORIGIN, unit="scale", sensors={"radar": radar}))
    spent = []
    for k, plots in enumerate(found, start=1):
        start = time.thread_time()
        fusion.observe_plots("radar", k * NS, plots, k * NS)
        if k > WARM_S:
            spent.append(1e3 * (time.thread_time() - start))
    confirmed = sum(e.status in ("confirmed", "coasting") for e in fusion.entities((WARM_S + TIMED_S) * NS))
    return statistics.fmean(spent), confirmed, statistics.fmean(map(len, found))


def main() -> None:
    """The table, and the chart where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    measure(20)  # compiles
    table = Table(["things", "plots a frame", "confirmed", "CPU ms a frame", "µs a thing", "n log n from the first"])
    measured: list[tuple[float, float]] = []
    law: list[tuple[float, float]] = []
    for n in args.sizes:
        ms, confirmed, plots = measure(n)
        measured.append((n, ms))
        first_n, first_ms = measured[0]
        law.append((n, first_ms * n * math.log(n) / (first_n * math.log(first_n))))
        table.row(str(n), f"{plots:.0f}", str(confirmed), f"{ms:.2f}", f"{1e3 * ms / n:.1f}", f"{law[-1][1]:.2f}")
    print(table)
    if args.svg is not None:
        lines = {"measured": measured, "n log n": law}
        args.svg.write_text(chart("Cost of a radar frame", "things", "CPU ms a frame", lines, logarithmic=True))


if __name__ == "__main__":
    sys.exit(main())
