"""Whether a thing that says where it is can have come there: the rule by which AIS and ADS-B refuse a jump."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

MAX_VESSEL_MPS: Final = 60.0
"""AIS itself ends at 102.2 knots, 52.6 m/s."""
MAX_AIRCRAFT_MPS: Final = 530.0
"""AIS message 9 ends at 1022 knots, 526 m/s, and so does an ADS-B velocity below the speed of sound."""
JUMP_SLACK_M: Final = 2000.0
"""Receivers, antennas and late stamps disagree by that much without anything being wrong."""

_EARTH_RADIUS_M: Final = 6_371_008.8


@dataclass(slots=True)
class Whereabouts:
    """The last place that was believed of one thing, and the last that was not."""

    place: tuple[float, float, int] | None = None
    refused: tuple[float, float, int] | None = None

    def accept(self, latitude_deg: float, longitude_deg: float, observed_ns: int, limit_mps: float) -> bool:
        """Take a report in, or refuse it as out of reach; a second one that agrees with the first refused is where it
        now is.

        Without the second rule a wrong first position, or a station that was away for a day with a damaged clock,
        would shut a thing out for good.
        """
        here = (latitude_deg, longitude_deg, observed_ns)
        known = [place for place in (self.place, self.refused) if place is not None]
        if self.place is not None and not any(_reachable(place, here, limit_mps) for place in known):
            self.refused = here
            return False
        self.place, self.refused = here, None
        return True


def _reachable(a: tuple[float, float, int], b: tuple[float, float, int], limit_mps: float) -> bool:
    return _distance_m(a, b) <= JUMP_SLACK_M + limit_mps * abs(b[2] - a[2]) / 1e9


def _distance_m(a: tuple[float, float, int], b: tuple[float, float, int]) -> float:
    """Great-circle distance on a sphere (haversine): half a percent is plenty for a gate."""
    north = math.radians(b[0] - a[0])
    east = math.radians(b[1] - a[1])
    h = math.sin(north / 2) ** 2 + math.cos(math.radians(a[0])) * math.cos(math.radians(b[0])) * math.sin(east / 2) ** 2
    return 2 * _EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))
