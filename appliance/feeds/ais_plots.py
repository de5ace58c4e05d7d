"""What an AIS position report says, checked and made a ``Plot``. Knows no NMEA and no file.

Rules (ITU-R M.1371-5, annex 8):

- "not available" is not a fault: it leaves a field out (speed, course) or makes the report of no use (position).
- what cannot be true is a ``BadRecord``: a position off the globe, a reserved speed or course, a number that is no
  MMSI, and a *jump*: a position that the vessel could not have reached from its last one.
- identity is claimed, not observed: plots are ``cooperative``, and a category comes from the claimed ship type or MMSI.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from appliance.domain import MMSI_PATTERN, Identity, Plot
from appliance.errors import BadRecord
from appliance.feeds.reach import MAX_AIRCRAFT_MPS, MAX_VESSEL_MPS, Whereabouts
from appliance.feeds.spec import FeedSpec
from appliance.feeds.units import KNOT_MPS

SIGMA_ACCURATE_M: Final = 5.0
"""Position accuracy flag 1: better than 10 m (95 %), so 5 m at one sigma."""
SIGMA_PLAIN_M: Final = 10.0
"""Flag 0, an unaugmented GNSS receiver."""
SIGMA_COARSE_M: Final = 60.0
"""Message 27 rounds to 1/10 minute, 185 m: uniform, 53 m at one sigma, and the receiver's own."""
SIGMA_VELOCITY_MPS: Final = 0.5
"""Speed comes in steps of 0.1 knot, course in 0.1°; what remains is the smoothing of the receiver."""

MAX_VESSELS: Final = 20_000
"""More than any receiver hears; the longest unheard is forgotten first."""

Station = Literal["vessel", "aircraft", "aid", "coast", "person"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One position report with "not available" already taken out."""

    mmsi: str
    latitude_deg: float
    longitude_deg: float
    speed_mps: float | None
    course_rad: float | None
    accuracy: Literal["accurate", "plain", "coarse"]
    altitude_m: float | None = None
    aircraft: bool = False


def station_of(mmsi: str) -> Station:
    """What kind of station an MMSI belongs to (ITU-R M.585)."""
    if mmsi.startswith("111"):
        return "aircraft"
    if mmsi.startswith("99"):
        return "aid"
    if mmsi.startswith("00"):
        return "coast"
    return "person" if mmsi.startswith("972") else "vessel"


_STATION_CATEGORIES: Final[Mapping[Station, Mapping[str, float]]] = {
    "vessel": {"vessel": 1.0},
    "aircraft": {"aircraft": 1.0},
    "aid": {"unknown": 1.0},
    "coast": {"unknown": 1.0},
    "person": {"person": 1.0},
}

#: Ship type (M.1371 table 53) from which a size follows well enough; claimed, hence nine in ten.
_SHIP: Final[Mapping[str, float]] = {"vessel/ship": 0.9, "vessel/boat": 0.1}
_BOAT: Final[Mapping[str, float]] = {"vessel/ship": 0.1, "vessel/boat": 0.9}
_BOAT_TYPES: Final = frozenset({30, 36, 37, 50, 51, 53, 55})  # fishing, sailing, pleasure, pilot, SAR, tender, police


def categories_of(mmsi: str, ship_type: int | None) -> Mapping[str, float]:
    """The claimed category distribution."""
    station = station_of(mmsi)
    if station == "vessel" and ship_type is not None:
        if ship_type in _BOAT_TYPES:
            return _BOAT
        if 60 <= ship_type <= 89:  # passenger, cargo, tanker
            return _SHIP
    return _STATION_CATEGORIES[station]


def check_mmsi(text: str) -> str:
    """``text`` if it is an MMSI. Raises ``BadRecord``."""
    if not MMSI_PATTERN.fullmatch(text) or text == "000000000":
        raise BadRecord("mmsi", f"expected an MMSI of nine digits; found {text[:20]!r}")
    return text


def check_place(latitude_deg: float, longitude_deg: float) -> bool:
    """Whether a position is available; raises ``BadRecord`` for one off the globe. 91 and 181 say "not available"."""
    if latitude_deg == 91.0 or longitude_deg == 181.0:
        return False
    if not (abs(latitude_deg) <= 90.0 and abs(longitude_deg) <= 180.0):  # also refuses NaN
        raise BadRecord("position out of range", f"found latitude {latitude_deg}, longitude {longitude_deg}")
    return True


def speed_mps(knots: float, unavailable: float) -> float | None:
    """Speed over ground; ``unavailable`` is the value that says so. Raises ``BadRecord``."""
    if knots == unavailable:
        return None
    if not 0.0 <= knots < unavailable:
        raise BadRecord("speed out of range", f"expected 0 to {unavailable} knots; found {knots}")
    return knots * KNOT_MPS


def course_rad(degrees: float, unavailable: float = 360.0) -> float | None:
    """Course over ground. Raises ``BadRecord`` for the reserved values."""
    if degrees == unavailable:
        return None
    if not 0.0 <= degrees < 360.0:
        raise BadRecord("course out of range", f"expected 0 to 360 degrees; found {degrees}")
    return math.radians(degrees)


@dataclass(slots=True)
class _Known:
    """What has been heard of one station so far."""

    name: str | None = None
    ship_type: int | None = None
    whereabouts: Whereabouts = field(default_factory=Whereabouts)


class Fleet:
    """What has been heard of every station: names, types, last positions. State of one AIS feed."""

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def learn(self, mmsi: str, *, name: str | None = None, ship_type: int | None = None) -> None:
        """Take note of a static message."""
        known = self._of(mmsi)
        known.name = name or known.name
        known.ship_type = ship_type or known.ship_type

    def plot(self, position: Position, observed_ns: int, observation_id: str) -> Plot:
        """The report as a plot. Raises ``BadRecord`` for a jump."""
        known = self._of(position.mmsi)
        limit_mps = MAX_AIRCRAFT_MPS if position.aircraft else MAX_VESSEL_MPS
        if not known.whereabouts.accept(position.latitude_deg, position.longitude_deg, observed_ns, limit_mps):
            raise BadRecord("jump", f"{position.mmsi} cannot have moved there since its last report")
        sigma_m = self._spec.sigma.position_m or _SIGMAS_M[position.accuracy]
        velocity = _velocity(position)
        sigma_mps = self._spec.sigma.velocity_mps or SIGMA_VELOCITY_MPS
        name = () if known.name is None else (Identity(kind="name", value=known.name),)
        return Plot(
            sensor_id=self._spec.name,
            observation_id=observation_id,
            observed_ns=observed_ns,
            kind="position",
            values=(position.latitude_deg, position.longitude_deg),
            covariance=((sigma_m**2, 0.0), (0.0, sigma_m**2)),
            identities=(Identity(kind="mmsi", value=position.mmsi), *name),
            categories=categories_of(position.mmsi, known.ship_type),
            velocity_mps=velocity,
            velocity_variance_m2ps2=None if velocity is None else sigma_mps**2,
            altitude_m=position.altitude_m,
            cooperative=True,
        )

    def _of(self, mmsi: str) -> _Known:
        known = self._known.setdefault(mmsi, _Known())
        self._known.move_to_end(mmsi)
        if len(self._known) > MAX_VESSELS:
            self._known.popitem(last=False)
        return known


_SIGMAS_M: Final = {"accurate": SIGMA_ACCURATE_M, "plain": SIGMA_PLAIN_M, "coarse": SIGMA_COARSE_M}


def _velocity(position: Position) -> tuple[float, float] | None:
    """(east, north) in m/s; a station at rest needs no course."""
    if position.speed_mps is None:
        return None
    if position.course_rad is None:
        return (0.0, 0.0) if position.speed_mps < 0.5 * KNOT_MPS else None
    return (
        position.speed_mps * math.sin(position.course_rad),
        position.speed_mps * math.cos(position.course_rad),
    )
