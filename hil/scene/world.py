"""The nouns of a scene and where everything is at a moment; nothing here draws, sends or sleeps.

Local axes are east and north, in metres, around the scene's origin. Everything stands on one plane, the surface of
the ellipsoid: quay and water alike, as a camera on a mast assumes. Headings are radians clockwise from true north.
Times are seconds since the scene began; ``Scene.start_ns`` says when that was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from pyproj import CRS, Transformer

from appliance.domain import Geodetic

Kind = Literal["person", "car", "truck", "boat", "ship"]

#: The scene's own kinds in the category tree of the product.
CATEGORY_OF: dict[str, str] = {
    "person": "person",
    "car": "vehicle/car",
    "truck": "vehicle/truck",
    "boat": "vessel/boat",
    "ship": "vessel/ship",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A closed ellipse, walked for ever. ``along_m`` zero means that the thing stands still.

    ``axis_rad`` is the bearing of the long half-axis. ``speed_mps`` is the mean speed; ``turn`` is +1 for clockwise
    seen from above. A standing thing points along ``axis_rad``.
    """

    east_m: float
    north_m: float
    along_m: float = 0.0
    across_m: float = 0.0
    axis_rad: float = 0.0
    speed_mps: float = 0.0
    phase_rad: float = 0.0
    turn: int = 1

    @property
    def rate_radps(self) -> float:
        """Phase per second, so that the mean speed over one round is close to ``speed_mps``."""
        mean_radius_m = math.hypot(self.along_m, self.across_m) / math.sqrt(2.0)
        return self.speed_mps / mean_radius_m if mean_radius_m > 0.0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Where a thing is, and how it moves, at one moment."""

    east_m: float
    north_m: float
    east_mps: float
    north_mps: float
    heading_rad: float

    @property
    def speed_mps(self) -> float:
        return math.hypot(self.east_mps, self.north_mps)


def motion(loop: Loop, time_s: float) -> Motion:
    """Position, velocity and heading on ``loop`` at ``time_s``."""
    rate = loop.rate_radps
    phase = loop.phase_rad + rate * time_s
    sin_axis, cos_axis = math.sin(loop.axis_rad), math.cos(loop.axis_rad)
    along, across = loop.along_m * math.cos(phase), loop.turn * loop.across_m * math.sin(phase)
    v_along, v_across = -loop.along_m * rate * math.sin(phase), loop.turn * loop.across_m * rate * math.cos(phase)
    east_mps = v_along * sin_axis + v_across * cos_axis
    north_mps = v_along * cos_axis - v_across * sin_axis
    still = rate == 0.0
    return Motion(
        east_m=loop.east_m + along * sin_axis + across * cos_axis,
        north_m=loop.north_m + along * cos_axis - across * sin_axis,
        east_mps=east_mps,
        north_mps=north_mps,
        heading_rad=loop.axis_rad if still else math.atan2(east_mps, north_mps),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transponder:
    """What a vessel says about itself over AIS. ``ship_type`` is the code of ITU-R M.1371 table 53."""

    mmsi: int
    name: str
    callsign: str
    ship_type: int
    class_a: bool
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One real thing with truth. ``look`` seeds its colours and fittings."""

    name: str
    kind: Kind
    length_m: float
    beam_m: float
    height_m: float
    loop: Loop
    look: int = 0
    transponder: Transponder | None = None
    radar_section: float = 0.0
    """Probability that one radar turn sees it; 0 for what stands in the blanked sector over the quay."""

    @property
    def category(self) -> str:
        return CATEGORY_OF[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fixed solid: container stack, shed, breakwater. It hides what is behind it and is nobody's target."""

    east_m: float
    north_m: float
    length_m: float
    width_m: float
    height_m: float
    axis_rad: float
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """The hour and the weather, as far as a picture shows them."""

    sun_azimuth_rad: float = 2.6
    sun_elevation_rad: float = 0.7
    brightness: float = 1.0
    warmth: float = 0.0
    haze_m: float = 4000.0
    chop: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One true world. ``quay`` is a polygon of (east_m, north_m) corners."""

    seed: int
    name: str
    origin: Geodetic
    start_ns: int
    things: tuple[Thing, ...]
    blocks: tuple[Block, ...]
    quay: tuple[tuple[float, float], ...]
    light: Light

    def started(self, start_ns: int) -> Scene:
        """The same scene, beginning at another moment."""
        return replace(self, start_ns=start_ns)

    def thing(self, name: str) -> Thing:
        return next(thing for thing in self.things if thing.name == name)

    def time_ns(self, time_s: float) -> int:
        return self.start_ns + round(time_s * 1e9)


class Ground:
    """Local metres ↔ WGS84 for one origin, by PROJ's topocentric conversion (EPSG method 9837, IOGP 373-7-2).

    A topocentric plane and the ellipsoid part by 8 cm at 1 km; points are laid on the ellipsoid, so that part is lost.
    """

    def __init__(self, origin: Geodetic) -> None:
        lat, lon = origin.latitude_deg, origin.longitude_deg
        pipeline = (
            "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step +proj=cart +ellps=WGS84 "
            f"+step +proj=topocentric +ellps=WGS84 +lon_0={lon!r} +lat_0={lat!r} +h_0=0"
        )
        self._topocentric = Transformer.from_pipeline(pipeline)

    def to_geodetic(self, east_m: float, north_m: float) -> Geodetic:
        lon, lat, _ = self._topocentric.transform(east_m, north_m, 0.0, direction="INVERSE")
        return Geodetic(latitude_deg=float(lat), longitude_deg=float(lon), altitude_m=0.0)

    def to_local(self, place: Geodetic) -> tuple[float, float]:
        east, north, _ = self._topocentric.transform(place.longitude_deg, place.latitude_deg, 0.0)
        return float(east), float(north)


def utm(place: Geodetic) -> tuple[int, str, float, float]:
    """UTM zone, latitude band letter, easting and northing in metres (northern hemisphere only)."""
    zone = int((place.longitude_deg + 180.0) // 6.0) + 1
    to_utm = Transformer.from_crs(CRS.from_epsg(4326), CRS.from_epsg(32600 + zone), always_xy=True)
    easting, northing = to_utm.transform(place.longitude_deg, place.latitude_deg)
    band = "CDEFGHJKLMNPQRSTUVWX"[int((place.latitude_deg + 80.0) // 8.0)]
    return zone, band, float(easting), float(northing)
