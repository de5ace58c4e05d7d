"""Radar plots and tracks in EUROCONTROL ASTERIX, categories 048 and 062.

What it is not: an encoder, and not a tracker. libasterix reads the blocks, in ``asterix_blocks``; what a radar needs of
it is loaded when the feed is made, so that no frame waits for that.

Rules:

- CAT048 (ed. 1.32): a ``range_bearing`` plot from the radar's own place, the slant range laid on the ground where the
  height is known. CAT062 (ed. 1.21): a ``position`` plot with the track's velocity.
- time of day goes on the UTC day nearest to the last known time, so that midnight is no event.
- simulated and test targets are ignored and counted: they are not there. CAT034 and other categories are counted.
- a broken record ends its block; where framing is lost, bytes are skipped to the next block that parses. Both are
  counted, and the stream goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from appliance.domain import Geodetic, Identity, Plot
from appliance.errors import BadRecord
from appliance.feeds.asterix_blocks import ASTERIX_FAULTS, load_radar, parse_records
from appliance.feeds.pace import base_ns
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec
from appliance.feeds.streams import Chunk
from appliance.feeds.times import DAY_NS, SECOND_NS, on_nearest_day
from appliance.feeds.units import FOOT_M, NAUTICAL_MILE_M

FLIGHT_LEVEL_M: Final = 100 * FOOT_M

SIGMA_RANGE_M: Final = 30.0
SIGMA_BEARING_RAD: Final = math.radians(0.15)
"""A monopulse surveillance radar (EUROCONTROL SUR.ET1.ST01 asks for 70 m and 0.08° to 0.15°); others say theirs."""
SIGMA_POSITION_M: Final = 50.0
SIGMA_VELOCITY_MPS: Final = 2.0

HEADER_BYTES: Final = 3
MAX_BLOCK_BYTES: Final = 16_384
"""The length field allows 64 KiB; radars keep to a datagram. A smaller bound loses less to one damaged length."""
CATEGORIES_IN_USE: Final = frozenset(
    {1, 2, 4, 7, 8, 9, 10, 11, 15, 16, 17, 18, 19, 20, 21, 23, 25, 32, 34, 48, 62, 63, 65, 150, 205, 240, 247}
)
"""What may stand at the head of a block; anything else means that framing is lost."""


class RadarReader:
    """Bytes of one ASTERIX feed in, plots out."""

    def __init__(self, spec: FeedSpec) -> None:
        load_radar()
        self._decode = RecordDecoder(spec)
        self._live_reference = base_ns(spec)
        self._buffer = b""
        self._lost = False

    def read(self, chunk: Chunk, tap: Tap) -> Iterator[tuple[int, Plot]]:
        """See ``streams.Reader``."""
        self._buffer = (b"" if chunk.fresh else self._buffer) + chunk.data
        if chunk.received_ns is not None:
            self._live_reference = chunk.received_ns
        while (step := self._step(chunk.whole)) is not None:
            used, category, records, broken = step
            self._buffer = self._buffer[used:]
            if category is None:
                self._lose(tap)
                continue
            self._lost = False
            yield from self._plots(category, records, tap)
            if broken:
                tap.bad("broken record")
        if chunk.whole:
            self._buffer, self._lost = b"", False

    def _lose(self, tap: Tap) -> None:
        if not self._lost:
            tap.bad("lost framing")
        self._lost = True

    def _step(self, whole: bool) -> tuple[int, int | None, list[Any], bool] | None:
        """(bytes used, category or None for skipped bytes, records, whether the last was broken); None: need more."""
        data = self._buffer
        if len(data) < HEADER_BYTES:
            return (len(data), None, [], False) if whole and data else None
        length = _block_length(data)
        if length is None:
            return _skip(data)
        if len(data) < length:
            return _skip(data) if whole else None
        category = data[0]
        records, broken = parse_records(category, data[HEADER_BYTES:length])
        rest = data[length:]
        if broken and (self._lost or (len(rest) >= HEADER_BYTES and _block_length(rest) is None)):
            return _skip(data)
        return length, category, records, broken

    def _plots(self, category: int, records: list[Any], tap: Tap) -> Iterator[tuple[int, Plot]]:
        if category not in {48, 62}:
            tap.ignored("service message" if category == 34 else "other category", max(len(records), 1))
            return
        for record in records:
            try:
                plot = self._decode.plot(category, record, self._live_reference, tap)
            except BadRecord as e:  # drops this one record
                tap.bad(e.reason)
                continue
            except ASTERIX_FAULTS:  # an item whose content the library cannot turn into a number
                tap.bad("item")
                continue
            if plot is not None:
                self._live_reference = plot.observed_ns
                yield plot.observed_ns, plot


def _block_length(data: bytes) -> int | None:
    """The length that a plausible block header states, or None."""
    length = int.from_bytes(data[1:3], "big")
    return length if data[0] in CATEGORIES_IN_USE and HEADER_BYTES < length <= MAX_BLOCK_BYTES else None


def _skip(data: bytes) -> tuple[int, None, list[Any], bool]:
    """Skip to the next byte that can begin a block."""
    for i in range(1, len(data)):
        if data[i] in CATEGORIES_IN_USE:
            return i, None, [], False
    return len(data), None, [], False


class RecordDecoder:
    """Records of one feed to plots; holds the running number."""

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self._number = 0

    def plot(self, category: int, record: Any, reference_ns: int, tap: Tap) -> Plot | None:
        """The record as a plot, or None where it is counted as ignored. Raises ``BadRecord``."""
        self._number += 1
        reason = _reason_to_ignore(category, record)
        if reason is not None:
            tap.ignored(reason)
            return None
        return self._plot048(record, reference_ns) if category == 48 else self._plot062(record, reference_ns)

    def _plot048(self, record: Any, reference_ns: int) -> Plot:
        origin = self._spec.origin
        if origin is None:
            raise BadRecord("no origin", "a range and bearing without the place of the radar")
        slant_m, bearing = _polar(record)
        height = _height048(record)
        range_sigma = self._spec.sigma.range_m or SIGMA_RANGE_M
        bearing_sigma = self._spec.sigma.bearing_rad or SIGMA_BEARING_RAD
        velocity = _velocity048(record)
        return Plot(
            sensor_id=self._spec.name,
            observation_id=f"{self._spec.name}:{self._number}",
            observed_ns=_observed_ns(record, "140", reference_ns),
            kind="range_bearing",
            values=(_ground_range_m(slant_m, height, origin), bearing),
            covariance=((range_sigma**2, 0.0), (0.0, bearing_sigma**2)),
            origin=origin,
            identities=self._identities(record, "161", "TRN", _icao(record, "220"), _text(record, "240")),
            categories={"aircraft": 1.0} if record.get_item("220") is not None else {},
            velocity_mps=velocity,
            velocity_variance_m2ps2=self._velocity_variance() if velocity is not None else None,
            altitude_m=height,
        )

    def _plot062(self, record: Any, reference_ns: int) -> Plot:
        latitude, longitude = _quantity(record, "105", "LAT"), _quantity(record, "105", "LON")
        if latitude is None or longitude is None:
            raise BadRecord("no position", "a track without item 105")
        if abs(latitude) > 90.0 or abs(longitude) > 180.0:
            raise BadRecord("position out of range", f"found latitude {latitude}, longitude {longitude}")
        east, north = _quantity(record, "185", "VX"), _quantity(record, "185", "VY")
        velocity = (east, north) if east is not None and north is not None else None
        name = _text(record, "380", "ID") or _text(record, "245", "CHR")
        icao = _icao(record, "380", "ADR")
        return Plot(
            sensor_id=self._spec.name,
            observation_id=f"{self._spec.name}:{self._number}",
            observed_ns=_observed_ns(record, "070", reference_ns),
            kind="position",
            values=(latitude, longitude),
            covariance=self._covariance062(record, latitude),
            identities=self._identities(record, "040", None, icao, name),
            categories={"aircraft": 1.0} if icao is not None else {},
            velocity_mps=velocity,
            velocity_variance_m2ps2=None if velocity is None else self._velocity_variance(record),
            altitude_m=_height062(record),
        )

    def _covariance062(self, record: Any, latitude_deg: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """The mission's sigma, else the tracker's own accuracy (item 500: APC in metres, APW in degrees)."""
        east = north = self._spec.sigma.position_m
        if east is None:
            east, north = _quantity(record, "500", "APC", "X"), _quantity(record, "500", "APC", "Y")
        if not east or not north:
            lat_deg, lon_deg = _quantity(record, "500", "APW", "LAT"), _quantity(record, "500", "APW", "LON")
            if lat_deg and lon_deg:
                north = lat_deg * 60 * NAUTICAL_MILE_M
                east = lon_deg * 60 * NAUTICAL_MILE_M * math.cos(math.radians(latitude_deg))
        if not east or not north:
            east = north = SIGMA_POSITION_M
        return ((east**2, 0.0), (0.0, north**2))

    def _velocity_variance(self, record: Any | None = None) -> float:
        sigma = self._spec.sigma.velocity_mps
        if sigma is None and record is not None:
            x, y = _quantity(record, "500", "ATV", "X"), _quantity(record, "500", "ATV", "Y")
            sigma = max(x, y) if x and y else None
        return (sigma or SIGMA_VELOCITY_MPS) ** 2

    def _identities(
        self, record: Any, item: str, sub: str | None, icao: str | None, name: str | None
    ) -> tuple[Identity, ...]:
        found = []
        number = _find(record, item) if sub is None else _find(record, item, sub)
        if number is not None:
            source = f"{_uint(record, '010', 'SAC')}/{_uint(record, '010', 'SIC')}"
            found.append(Identity(kind="tracklet", value=f"{self._spec.name}:{source}:{number.as_uint()}"))
        if icao is not None:
            found.append(Identity(kind="icao", value=icao))
        if name is not None:
            found.append(Identity(kind="name", value=name))
        return tuple(found)


# -- items: every getter answers None for what is not there ---------------------------------------------------------


def _find(record: Any, item: str, *path: str) -> Any | None:
    node = record.get_item(item)
    for name in path:
        if node is None:
            return None
        node = node.variation.get_item(name)
    return node


def _quantity(record: Any, item: str, *path: str) -> float | None:
    """In the unit of the specification: NM, °, s, m/s, NM/s, m, ft, FL."""
    node = _find(record, item, *path)
    if node is None:
        return None
    content = node.variation.content
    value = float(content.as_quantity(content.cv_unit))
    return value if math.isfinite(value) else None


def _uint(record: Any, item: str, *path: str) -> int:
    node = _find(record, item, *path)
    return 0 if node is None else int(node.as_uint())


def _text(record: Any, item: str, *path: str) -> str | None:
    node = _find(record, item, *path)
    if node is None:
        return None
    text = str(node.variation.content.as_string()).strip()
    return text if text and text.isascii() and text.isprintable() else None


def _icao(record: Any, item: str, *path: str) -> str | None:
    node = _find(record, item, *path)
    return None if node is None else f"{node.as_uint():06x}"


def _reason_to_ignore(category: int, record: Any) -> str | None:
    if category == 48:
        if _uint(record, "020", "SIM") or _uint(record, "020", "TST"):
            return "simulated target"
        return "track ended" if _uint(record, "170", "TRE") else None
    if _uint(record, "080", "SIM"):
        return "simulated target"
    return "track ended" if _uint(record, "080", "TSE") else None


def _observed_ns(record: Any, item: str, reference_ns: int) -> int:
    """Time of day in 1/128 s, put on the nearest UTC day; without the item, the reference itself."""
    node = record.get_item(item)
    if node is None:
        return reference_ns
    since_midnight_ns = int(node.as_uint()) * SECOND_NS // 128
    if since_midnight_ns >= DAY_NS:
        raise BadRecord("time of day", "expected less than 24 hours")
    return on_nearest_day(since_midnight_ns, reference_ns)


def _polar(record: Any) -> tuple[float, float]:
    """(slant range in m, bearing in rad): item 040 as measured, else item 042 as calculated."""
    rho, theta = _quantity(record, "040", "RHO"), _quantity(record, "040", "THETA")
    if rho is not None and theta is not None:
        return rho * NAUTICAL_MILE_M, math.radians(theta)
    x, y = _quantity(record, "042", "X"), _quantity(record, "042", "Y")
    if x is None or y is None:
        raise BadRecord("no position", "a plot without items 040 and 042")
    return math.hypot(x, y) * NAUTICAL_MILE_M, math.atan2(x, y) % (2 * math.pi)


def _height048(record: Any) -> float | None:
    """Metres: the radar's own height (110), else a validated flight level (090)."""
    measured = _quantity(record, "110", "3DH")
    if measured is not None:
        return measured * FOOT_M
    level = _quantity(record, "090", "FL")
    return None if level is None or _uint(record, "090", "V") else level * FLIGHT_LEVEL_M


def _height062(record: Any) -> float | None:
    """Metres: the geometric altitude (130), else the measured flight level (136)."""
    geometric = _quantity(record, "130")
    if geometric is not None:
        return geometric * FOOT_M
    level = _quantity(record, "136")
    return None if level is None else level * FLIGHT_LEVEL_M


def _ground_range_m(slant_m: float, height_m: float | None, origin: Geodetic) -> float:
    above = 0.0 if height_m is None else height_m - origin.altitude_m
    return math.sqrt(slant_m**2 - above**2) if abs(above) < slant_m else slant_m


def _velocity048(record: Any) -> tuple[float, float] | None:
    """(east, north) in m/s from ground speed (NM/s) and heading."""
    speed, heading = _quantity(record, "200", "GSP"), _quantity(record, "200", "HDG")
    if speed is None or heading is None:
        return None
    mps, angle = speed * NAUTICAL_MILE_M, math.radians(heading)
    return mps * math.sin(angle), mps * math.cos(angle)
