"""Gathers a rotating sensor's plots into scans, because one look of a sensor is what fusion reasons about.

A scan ends when its period is over in the data, or, where nothing more comes, by the clock. Sensors in which the
thing itself tells its position (AIS, ADS-B) have no scans: each plot is passed on at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from appliance.domain import Plot

#: Plots of one look, bounded; a sensor that sends more in one period is flushed early.
MAX_PLOTS_PER_SCAN: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One look of one sensor, all around or as far as it goes."""

    sensor_id: str
    observed_ns: int
    plots: tuple[Plot, ...]


class ScanGatherer:
    """Open scans by sensor. ``periods_ns`` names the sensors that scan; all others pass through."""

    def __init__(self, periods_ns: Mapping[str, int]) -> None:
        self._periods_ns = dict(periods_ns)
        self._open: dict[str, list[Plot]] = {}
        self._opened_ns: dict[str, int] = {}

    def add(self, plot: Plot, now_ns: int) -> tuple[Scan, ...]:
        """Take a plot; return the scans that it completes, oldest first."""
        period_ns = self._periods_ns.get(plot.sensor_id)
        if period_ns is None or plot.cooperative:
            return (Scan(sensor_id=plot.sensor_id, observed_ns=plot.observed_ns, plots=(plot,)),)
        waiting = self._open.get(plot.sensor_id, [])
        done: tuple[Scan, ...] = ()
        apart_ns = abs(plot.observed_ns - waiting[0].observed_ns) if waiting else 0
        if waiting and (apart_ns >= period_ns or len(waiting) >= MAX_PLOTS_PER_SCAN):
            done = (self._close(plot.sensor_id),)
        if plot.sensor_id not in self._open:
            self._open[plot.sensor_id] = []
            self._opened_ns[plot.sensor_id] = now_ns
        self._open[plot.sensor_id].append(plot)
        return done

    def overdue(self, now_ns: int) -> tuple[Scan, ...]:
        """Scans that have been open for longer than their period, or since a clock was set back, oldest first."""
        late = [name for name, since in self._opened_ns.items() if not 0 <= now_ns - since < self._periods_ns[name]]
        return self._close_all(late)

    def flush(self) -> tuple[Scan, ...]:
        """Every open scan, oldest first."""
        return tuple(
            sorted(
                (self._close(name) for name in list(self._open)), key=lambda scan: (scan.observed_ns, scan.sensor_id)
            )
        )

    def _close_all(self, names: list[str]) -> tuple[Scan, ...]:
        scans = [self._close(name) for name in names]
        return tuple(sorted(scans, key=lambda scan: (scan.observed_ns, scan.sensor_id)))

    def _close(self, sensor_id: str) -> Scan:
        plots = self._open.pop(sensor_id)
        del self._opened_ns[sensor_id]
        return Scan(sensor_id=sensor_id, observed_ns=max(plot.observed_ns for plot in plots), plots=tuple(plots))
