"""Where a sensor can see: so that "it was not seen" is held against a thing only where it could have been seen.

Not here: terrain, buildings, weather. A field of view is a promise of its sensor's settings; a sensor that cannot
promise one has none (``None``), and then no miss is ever counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from appliance.domain import Geodetic


@dataclass(frozen=True, slots=True, kw_only=True)
class Sector:
    """A slice of a ring on the ground: heading clockwise from true north, half the opening angle, near and far range.

    ``half_angle_rad`` of π is a full circle. Raises `ValueError` for angles or ranges that name no area.
    """

    origin: Geodetic
    heading_rad: float = 0.0
    half_angle_rad: float = math.pi
    near_m: float = 0.0
    far_m: float = math.inf

    def __post_init__(self) -> None:
        if not 0.0 < self.half_angle_rad <= math.pi:
            raise ValueError(f"half_angle_rad: expected above 0 and at most pi; found {self.half_angle_rad}")
        if not 0.0 <= self.near_m < self.far_m:
            raise ValueError(f"expected 0 <= near_m < far_m; found {self.near_m}, {self.far_m}")
        if not math.isfinite(self.heading_rad):
            raise ValueError(f"heading_rad: expected a finite angle; found {self.heading_rad}")


#: What a sensor's model carries. A second shape would join here as a union.
FieldOfView = Sector
