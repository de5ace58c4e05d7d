"""A place in a text, and how uncertain the way it was written makes it.

Rules: a notation names a cell, not a point. The thing is anywhere in the cell, so each axis has the variance of a
uniform distribution, half side squared over three, and never less than that of the receiver it was read from. A
distance and a bearing are uncertain by how they were said. A place that cannot be right, or could be two places, is
a `Place` without a position: it says that the author gave one which is not understood, so that no other is put in
its stead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from appliance.domain import Geodetic
from appliance.geodesy import offset

Covariance = tuple[tuple[float, float], tuple[float, float]]

SIGMA_FLOOR_M: Final = 5.0
"""A hand-held GNSS receiver's one-sigma; no notation, however long, is better than what it was read from."""
METRES_PER_DEGREE: Final = 111_320.0
"""Along a meridian, to 0.5 %: used for the size of a cell, never for a position."""
_LEAST_COSINE: Final = 1e-3
"""A cell at the pole still has a width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """``start``/``end`` in the plain text. ``position`` is None where the place is refused or only a destination."""

    start: int
    end: int
    position: Geodetic | None
    covariance_m2: Covariance | None
    role: Literal["at", "towards"] = "at"


def cell(latitude_deg: float, step_lat_deg: float, step_lon_deg: float) -> Covariance:
    """The covariance of a position written in steps of so many degrees, rounded to the nearest."""
    east = step_lon_deg / 2 * METRES_PER_DEGREE * max(math.cos(math.radians(latitude_deg)), _LEAST_COSINE)
    north = step_lat_deg / 2 * METRES_PER_DEGREE
    return (east**2 / 3 + SIGMA_FLOOR_M**2, 0.0), (0.0, north**2 / 3 + SIGMA_FLOOR_M**2)


def square(half_side_m: float) -> Covariance:
    """The covariance of a square of a grid."""
    return round_about(half_side_m / math.sqrt(3))


def round_about(sigma_m: float) -> Covariance:
    """The same uncertainty in all directions."""
    variance = sigma_m**2 + SIGMA_FLOOR_M**2
    return (variance, 0.0), (0.0, variance)


def away(
    anchor: Geodetic,
    anchor_covariance: Covariance,
    *,
    bearing_rad: float,
    range_m: float,
    bearing_sigma_rad: float,
    range_sigma_m: float,
) -> tuple[Geodetic, Covariance]:
    """The place at a range and bearing from another, first order in the bearing."""
    along, across = range_sigma_m**2, (range_m * bearing_sigma_rad) ** 2
    east, north = math.sin(bearing_rad), math.cos(bearing_rad)
    mixed = (along - across) * east * north
    (a, b), (_, d) = anchor_covariance
    covariance = (
        (a + along * east**2 + across * north**2, b + mixed),
        (b + mixed, d + along * north**2 + across * east**2),
    )
    return offset(anchor, bearing_rad, range_m), covariance
