"""What a plot tells of the errors that it shares with all of its sensor's plots, as the arrays that the scan reads.

The errors of one sensor are two, of standard deviation one each: what moves a plot to the right of the line from the
sensor to it (how the sensor is turned, most of all), and what else moves it along that line. So they are the same two
wherever it looks.

Not here: what they do to a state (``estimation.shared``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from appliance.domain import Plot
from appliance.estimation.gaussian import Array
from appliance.estimation.measure import MAX_SIGMA_M

Factor = tuple[tuple[float, float], tuple[float, float]]
_ROUNDING: Final = 1e-9
_NONE: Final[Factor] = ((0.0, 0.0), (0.0, 0.0))


def factors(plots: Sequence[Plot], z: Array, origins: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """L (J, 2, 2), and (J,) whether it can be: positive semidefinite, and no more than the whole covariance.

    ``z`` and ``origins`` (J, 2) are east and north of the plots (not of bearings) and of their sensors.
    """
    found = [
        _factor(plot, (at[0] - here[0], at[1] - here[1]))
        for plot, at, here in zip(plots, z.tolist(), origins.tolist(), strict=True)
    ]
    told = np.array([_NONE if one is None else one for one in found], np.float64).reshape(-1, 2, 2)
    return told, np.array([one is not None for one in found], np.bool_)


def _factor(plot: Plot, away: tuple[float, float]) -> Factor | None:
    shared = plot.shared_covariance
    if shared is None:
        return _NONE
    if [len(row) for row in shared] != [len(plot.covariance)] * len(plot.covariance):
        return None
    if plot.kind == "bearing":
        variance = shared[0][0]
        return ((math.sqrt(variance), 0.0), (0.0, 0.0)) if 0.0 <= variance <= plot.covariance[0][0] else None
    if plot.kind not in {"position", "range_bearing"}:
        return _NONE
    return _in_plane(plot, shared, away) if _is_part(shared, plot.covariance) else None


def _is_part(part: Sequence[Sequence[float]], whole: Sequence[Sequence[float]]) -> bool:
    """Whether 0 ≤ ``part`` ≤ ``whole``, both (2, 2), in the order of positive semidefinite matrices."""
    rest = [[whole[a][b] - part[a][b] for b in range(2)] for a in range(2)]
    return all(
        -_ROUNDING * abs(whole[0][0]) <= m[0][0] <= MAX_SIGMA_M**2
        and -_ROUNDING * abs(whole[1][1]) <= m[1][1] <= MAX_SIGMA_M**2
        and abs(m[0][1] + m[1][0]) <= 2.0 * MAX_SIGMA_M**2
        and (0.5 * (m[0][1] + m[1][0])) ** 2 <= m[0][0] * m[1][1] + _ROUNDING * abs(whole[0][0] * whole[1][1])
        for m in (part, rest)
    )


def _in_plane(plot: Plot, shared: Sequence[Sequence[float]], away: tuple[float, float]) -> Factor:
    """Columns: to the right of the line of sight, and along it; rows: east, north."""
    distance = math.hypot(*away)
    sin, cos = (away[0] / distance, away[1] / distance) if distance > 0.0 else (0.0, 1.0)
    one, both, two = shared[0][0], 0.5 * (shared[0][1] + shared[1][0]), shared[1][1]
    if plot.kind == "position":
        across = cos * cos * one - 2.0 * sin * cos * both + sin * sin * two
        mixed = sin * cos * (one - two) + (cos * cos - sin * sin) * both
        along = sin * sin * one + 2.0 * sin * cos * both + cos * cos * two
    else:
        across, mixed, along = distance * distance * two, distance * both, one
    right = math.sqrt(max(across, 0.0))
    slant = mixed / right if right > 0.0 else 0.0
    deep = math.sqrt(max(along - slant * slant, 0.0))
    return (right * cos + slant * sin, deep * sin), (slant * cos - right * sin, deep * cos)
