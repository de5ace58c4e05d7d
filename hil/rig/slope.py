"""A line through what a process holds over time, with an interval for its slope.

Least squares over the medians of each minute, Student's t for the interval (Draper and Smith, Applied Regression
Analysis, §1.4). Minutes of one process are not independent, so the interval is, if anything, too narrow.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import linregress, t

MIN_MINUTES = 5
CONFIDENCE = 0.95
_HOUR_S = 3600.0
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Per hour, with the ends of the interval."""

    per_hour: float
    low: float
    high: float
    minutes: int


def fitted(points: Sequence[tuple[float, float]]) -> Slope | None:
    """(seconds, value) → the line; None of fewer than ``MIN_MINUTES`` minutes."""
    minutes: dict[int, list[tuple[float, float]]] = {}
    for at_s, value in points:
        minutes.setdefault(int(at_s // _MINUTE_S), []).append((at_s, value))
    if len(minutes) < MIN_MINUTES:
        return None
    hours = [statistics.fmean(at for at, _ in inside) / _HOUR_S for inside in minutes.values()]
    values = [statistics.median(value for _, value in inside) for inside in minutes.values()]
    line = linregress(hours, values)
    error = 0.0 if math.isnan(line.stderr) else float(line.stderr)  # of values that are all the same
    reach = float(t.ppf((1.0 + CONFIDENCE) / 2.0, len(minutes) - 2)) * error
    slope = float(line.slope)
    return Slope(per_hour=slope, low=slope - reach, high=slope + reach, minutes=len(minutes))
