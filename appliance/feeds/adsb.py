"""ADS-B: aircraft that say who and where they are, decoded by rs1090 from a 1090 MHz receiver's frames.

The only file that imports rs1090, and only when such a feed opens. What it is not: a multilateration receiver, and
Mode S without a position (surveillance replies, Comm-B) is counted and left.

Rules (RTCA DO-260B; the messages as in J. Sun, "The 1090 Megahertz Riddle", 2nd ed.):

- frames with a wrong parity are refused; extended squitters of aircraft (DF 17, DF 18 with control field 0 or 6) count,
  what ground stations rebroadcast of radar (TIS-B) or without an ICAO address is ignored.
- a position needs an even and an odd frame within ten seconds; while there is no such pair, the aircraft's own last
  place, or on the ground the receiver's, says which cell is meant. A position out of reach is a *jump*.
- accuracy: as the aircraft states it (NACp), else what its position's type promises (NUCp); beside it three tenths of
  a second of flight, which is what a transponder may be late without saying so.
- height is told where it is one: GNSS, or barometric with the aircraft's own difference to it. A pressure altitude
  alone is none.
- time: when a frame was received; in a file, by the receiver's 12 MHz counter from the start of the replay.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from appliance.domain import Identity, Plot
from appliance.errors import BadRecord
from appliance.feeds.modes_wire import COUNTER_HZ, Heard, ModeSSplitter
from appliance.feeds.pace import base_ns
from appliance.feeds.reach import MAX_AIRCRAFT_MPS, Whereabouts
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec
from appliance.feeds.streams import Chunk
from appliance.feeds.times import SECOND_NS
from appliance.feeds.units import FOOT_M, KNOT_MPS

PAIR_NS: Final = 10 * SECOND_NS
"""How far apart the two frames of a position may lie (DO-260B A.1.7.7)."""
REFERENCE_NS: Final = 60 * SECOND_NS
"""For so long the last place says which cell is meant: no aircraft comes near the 180 nautical miles that would err."""
FRESH_NS: Final = 5 * SECOND_NS
"""A velocity or a difference of heights this old still belongs to a position."""
LATE_S: Final = 0.3
SIGMA_VELOCITY_MPS: Final = 3.0
"""NACv 1 promises 10 m/s at 95 %, most aircraft say 2 (3 m/s); speed comes in steps of a knot."""
SIGMA_LEAST_M: Final = 5.0
"""What the compact position format resolves in the air."""
MAX_COUNTER_STEP_S: Final = 3600.0
MAX_AIRCRAFT: Final = 20_000
"""More than any receiver hears; the longest unheard is forgotten first."""
MAX_CALLSIGN_CHARS: Final = 8

#: NACp → radius in metres that holds 95 % (DO-260B table 2-71).
_NACP_M: Final[Mapping[int, float]] = {11: 3.0, 10: 10.0, 9: 30.0, 8: 92.6, 7: 185.2, 6: 555.6, 5: 926.0, 4: 1852.0}
#: Type code → the same by NUCp (DO-260 table 2-11); what is not here says nothing that helps.
_TYPE_M: Final[Mapping[int, float]] = {
    5: 3.0, 6: 10.0, 7: 92.6, 9: 3.0, 10: 10.0, 11: 92.6, 12: 185.2, 13: 463.0, 14: 926.0, 15: 1852.0, 20: 4.0, 21: 15.0
}  # fmt: skip
_AT_95: Final = 2.4477
"""Radius of 95 % over the sigma of one axis, where both are normal and alike."""
_SURFACE: Final = frozenset(range(5, 9))
_AIRBORNE: Final = frozenset({*range(9, 19), 20, 21, 22})
_GNSS_HEIGHT: Final = frozenset({20, 21, 22})
_OF_AIRCRAFT: Final = {17: frozenset(range(8)), 18: frozenset({0, 6})}

#: (type code, category) of an identification message → what it claims to be.
_AEROPLANE: Final[Mapping[str, float]] = {"aircraft/aeroplane": 0.9, "aircraft": 0.1}
_EMITTERS: Final[Mapping[tuple[int, int], Mapping[str, float]]] = {
    **{(4, category): _AEROPLANE for category in range(1, 7)},
    (4, 7): {"aircraft/helicopter": 0.9, "aircraft": 0.1},
    (3, 1): _AEROPLANE,
    (3, 4): _AEROPLANE,
    (3, 6): {"aircraft/drone": 0.9, "aircraft": 0.1},
    (2, 1): {"vehicle": 1.0},
    (2, 3): {"vehicle": 1.0},
}
_AIRCRAFT: Final[Mapping[str, float]] = {"aircraft": 1.0}

Decode = Callable[..., Any]
Known = TypeVar("Known")


@functools.cache
def _library() -> Decode:
    from rs1090 import decode  # noqa: PLC0415 - see the top of this file

    return decode


@dataclass(slots=True)
class _Aircraft:
    """What has been heard of one aircraft."""

    callsign: str | None = None
    categories: Mapping[str, float] = field(default_factory=lambda: _AIRCRAFT)
    nacp: int | None = None
    velocity: tuple[tuple[float, float], int] | None = None
    height_over_pressure_m: tuple[float, int] | None = None
    frames: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Parity → the last frame of it, and when."""
    whereabouts: Whereabouts = field(default_factory=Whereabouts)


class AdsbReader:
    """Bytes of one receiver in, plots out."""

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self._decode = _library()
        self._splitter = ModeSSplitter()
        self._known: OrderedDict[str, _Aircraft] = OrderedDict()
        self._clock_ns = base_ns(spec)
        self._counter: int | None = None
        self._number = 0

    def read(self, chunk: Chunk, tap: Tap) -> Iterator[tuple[int, Plot]]:
        """See ``streams.Reader``."""
        for piece in self._splitter.split(chunk):
            if piece == "garbage":
                tap.bad("garbage")
            elif piece == "other":
                tap.ignored("not Mode S")
            else:
                try:
                    plot = self._take(piece, chunk.received_ns, tap)
                except BadRecord as e:  # drops this one frame
                    tap.bad(e.reason)
                    continue
                if plot is not None:
                    yield plot.observed_ns, plot

    def _take(self, heard: Heard, received_ns: int | None, tap: Tap) -> Plot | None:
        self._number += 1
        frame = heard.frame
        if len(frame) != 14 or frame[0] & 7 not in _OF_AIRCRAFT.get(frame[0] >> 3, ()):
            tap.ignored("not ADS-B")
            return None
        observed_ns = self._moment(heard, received_ns)
        message = self._decode(frame.hex())
        if message is None:
            raise BadRecord("parity", "a frame that its parity does not confirm, or with a reserved content")
        kind = frame[4] >> 3
        aircraft = self._of(str(message["icao24"]))
        if kind in _SURFACE or kind in _AIRBORNE:
            return self._position(aircraft, message, kind, frame.hex(), observed_ns, tap)
        _learn(aircraft, message, kind, frame[4] & 7, observed_ns)
        tap.ignored("no position")
        return None

    def _moment(self, heard: Heard, received_ns: int | None) -> int:
        """Raises BadRecord for a recorded frame without a time."""
        if received_ns is not None:
            return received_ns
        if heard.counter is None:
            raise BadRecord("no time", "expected the receiver's counter before each frame of a recording")
        before, self._counter = self._counter, heard.counter
        step_s = 0.0 if before is None else (heard.counter - before) / COUNTER_HZ
        if 0.0 <= step_s <= MAX_COUNTER_STEP_S:  # else: another receiver, or started again
            self._clock_ns += round(step_s * SECOND_NS)
        return self._clock_ns

    def _of(self, icao: str) -> _Aircraft:
        aircraft = self._known.setdefault(icao, _Aircraft())
        self._known.move_to_end(icao)
        if len(self._known) > MAX_AIRCRAFT:
            self._known.popitem(last=False)
        return aircraft

    def _position(
        self, aircraft: _Aircraft, message: Any, kind: int, frame: str, observed_ns: int, tap: Tap
    ) -> Plot | None:
        if kind in _SURFACE:
            _note_velocity(aircraft, message, observed_ns)
        place = self._place(aircraft, message, kind, frame, observed_ns)
        sigma_m = self._spec.sigma.position_m or _sigma_m(aircraft.nacp, kind)
        if place is None or sigma_m is None:
            tap.ignored("half a position" if place is None else "position without accuracy")
            return None
        if not aircraft.whereabouts.accept(*place, observed_ns, MAX_AIRCRAFT_MPS):
            raise BadRecord("jump", f"{message['icao24']} cannot have moved there since its last report")
        velocity = _fresh(aircraft.velocity, observed_ns)
        sigma_mps = self._spec.sigma.velocity_mps or SIGMA_VELOCITY_MPS
        name = () if aircraft.callsign is None else (Identity(kind="name", value=aircraft.callsign),)
        return Plot(
            sensor_id=self._spec.name,
            observation_id=f"{self._spec.name}:{self._number}",
            observed_ns=observed_ns,
            kind="position",
            values=place,
            covariance=_covariance(max(sigma_m, SIGMA_LEAST_M), velocity or (0.0, 0.0)),
            identities=(Identity(kind="icao", value=str(message["icao24"]).upper()), *name),
            categories=aircraft.categories,
            velocity_mps=velocity,
            velocity_variance_m2ps2=None if velocity is None else sigma_mps**2,
            altitude_m=_altitude_m(aircraft, message, kind, observed_ns),
            cooperative=True,
        )

    def _place(
        self, aircraft: _Aircraft, message: Any, kind: int, frame: str, observed_ns: int
    ) -> tuple[float, float] | None:
        """Latitude and longitude in degrees; None while only half of a position is known."""
        parity = str(message["parity"])
        other = aircraft.frames.get("odd" if parity == "even" else "even")
        if kind in _AIRBORNE:
            aircraft.frames[parity] = (frame, observed_ns)
            if other is not None and 0 <= observed_ns - other[1] <= PAIR_NS:
                pair = self._decode([other[0], frame], [other[1] / SECOND_NS, observed_ns / SECOND_NS])
                return _degrees(pair[-1])
        else:
            aircraft.frames.clear()  # the air's cells are four times the ground's
        last, origin = aircraft.whereabouts.place, self._spec.origin
        if last is not None and 0 <= observed_ns - last[2] <= REFERENCE_NS:
            return _degrees(self._decode(frame, reference=last[:2]))
        if kind in _SURFACE and origin is not None:
            return _degrees(self._decode(frame, reference=(origin.latitude_deg, origin.longitude_deg)))
        return None


def _learn(aircraft: _Aircraft, message: Any, kind: int, category: int, observed_ns: int) -> None:
    """Take note of a message without a position."""
    if 1 <= kind <= 4:
        callsign = str(message.get("callsign") or "").strip()
        if callsign.isascii() and callsign.isalnum() and len(callsign) <= MAX_CALLSIGN_CHARS:
            aircraft.callsign = callsign
        aircraft.categories = _EMITTERS.get((kind, category), _AIRCRAFT)
    elif kind == 19:
        _note_velocity(aircraft, message, observed_ns)
        difference_ft = message.get("geo_minus_baro")
        if difference_ft is not None:
            aircraft.height_over_pressure_m = float(difference_ft) * FOOT_M, observed_ns
    elif kind == 31 and message.get("NACp") is not None:
        aircraft.nacp = int(message["NACp"])


def _note_velocity(aircraft: _Aircraft, message: Any, observed_ns: int) -> None:
    """Over the ground; a heading with an airspeed is none."""
    speed, track = message.get("groundspeed"), message.get("track")
    if speed is None or track is None:
        aircraft.velocity = None
        return
    speed_mps, track_rad = float(speed) * KNOT_MPS, math.radians(float(track))
    if speed_mps <= MAX_AIRCRAFT_MPS:
        aircraft.velocity = (speed_mps * math.sin(track_rad), speed_mps * math.cos(track_rad)), observed_ns


def _fresh(noted: tuple[Known, int] | None, observed_ns: int) -> Known | None:
    return noted[0] if noted is not None and abs(observed_ns - noted[1]) <= FRESH_NS else None


def _sigma_m(nacp: int | None, kind: int) -> float | None:
    """Of one axis; None where the aircraft itself does not vouch for its position."""
    radius_m = _TYPE_M.get(kind) if nacp is None else _NACP_M.get(nacp)
    return None if radius_m is None else radius_m / _AT_95


def _covariance(sigma_m: float, velocity_mps: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """In m², east and north: alike in all directions, and longer along the flight."""
    east, north = (component * LATE_S for component in velocity_mps)
    return (sigma_m**2 + east * east, east * north), (east * north, sigma_m**2 + north * north)


def _altitude_m(aircraft: _Aircraft, message: Any, kind: int, observed_ns: int) -> float | None:
    """Above the ellipsoid; None where only a pressure altitude is known."""
    altitude_ft = message.get("altitude")
    if altitude_ft is None:
        return None
    if kind in _GNSS_HEIGHT:
        return float(altitude_ft) * FOOT_M
    over_m = _fresh(aircraft.height_over_pressure_m, observed_ns)
    return None if over_m is None else float(altitude_ft) * FOOT_M + over_m


def _degrees(message: Any) -> tuple[float, float] | None:
    latitude, longitude = message.get("latitude"), message.get("longitude")
    if latitude is None or longitude is None:
        return None
    place = float(latitude), float(longitude)
    if not (abs(place[0]) <= 90.0 and abs(place[1]) <= 180.0):  # also refuses NaN
        raise BadRecord("position out of range", f"found latitude {place[0]}, longitude {place[1]}")
    return place
