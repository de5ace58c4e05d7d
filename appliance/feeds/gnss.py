"""The appliance's own GNSS receiver: NMEA 0183 sentences by pynmeagps, among whatever else the receiver sends.

The only file that imports pynmeagps. What it is not: a position filter; and a receiver's claim is not a proof of
place (jamming and spoofing are judged elsewhere).

Rules:

- checksums are enforced; UBX and RTCM 3 frames are recognised by their own checksums and skipped whole, so that a
  ``$`` inside one begins nothing; other bytes are skipped and counted.
- one ``Fix`` per moment, the first that comes: from GGA or GNS; from RMC where the receiver sends neither. RMC and ZDA
  give the date, without one the UTC day nearest to the reference is taken.
- horizontal sigma is HDOP times the error of the fix's quality: a rule of thumb, stated as such.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Iterator
from typing import Any, Final, Literal

from pynmeagps import GET, VALCKSUM, NMEAReader
from pynmeagps.exceptions import NMEAMessageError, NMEAParseError, NMEAStreamError, NMEATypeError

from appliance.domain import Fix, Geodetic
from appliance.errors import BadRecord
from appliance.feeds.pace import base_ns
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec
from appliance.feeds.streams import Chunk
from appliance.feeds.times import SECOND_NS, from_datetime, on_nearest_day

Quality = Literal["none", "autonomous", "differential", "rtk", "estimated"]

MAX_SENTENCE_BYTES: Final = 256
"""NMEA 0183 says 82; proprietary sentences are longer."""
MAX_UBX_BYTES: Final = 8192
MAX_BUFFER_BYTES: Final = 1 << 17
GGA_SILENCE_NS: Final = 10 * SECOND_NS
"""After this long without GGA or GNS, RMC speaks for the receiver."""

SIGMA_PER_HDOP_M: Final[dict[Quality, float]] = {
    "autonomous": 3.0,
    "differential": 1.0,
    "rtk": 0.05,
    "estimated": 30.0,
}
HDOP_UNKNOWN: Final = 2.0
MAX_HDOP: Final = 50.0

#: GGA field 6 (NMEA 0183 v4.11). 4 is RTK fixed, 5 float; 7 and 8 are manual and simulator: not a measurement.
_GGA_QUALITY: Final[dict[int, Quality]] = {
    1: "autonomous",
    2: "differential",
    3: "autonomous",
    4: "rtk",
    5: "differential",
    6: "estimated",
}
#: GNS and RMC mode indicators, best first.
_MODE_QUALITY: Final[tuple[tuple[str, Quality], ...]] = (
    ("R", "rtk"),
    ("F", "differential"),
    ("D", "differential"),
    ("P", "autonomous"),
    ("A", "autonomous"),
    ("E", "estimated"),
)

_NMEA_FAULTS: Final = (
    NMEAParseError,
    NMEAMessageError,
    NMEATypeError,
    NMEAStreamError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
)


class GnssReader:
    """Bytes of one receiver in, fixes out."""

    def __init__(self, spec: FeedSpec) -> None:
        self._splitter = FrameSplitter()
        self._fixes = FixMaker(spec)

    def read(self, chunk: Chunk, tap: Tap) -> Iterator[tuple[int, Fix]]:
        """See ``streams.Reader``."""
        for kind, sentence in self._splitter.split(chunk):
            if kind != "nmea":
                (tap.bad if kind == "garbage" else tap.ignored)(kind)
                continue
            try:
                fix = self._fixes.take(_parse(sentence), chunk.received_ns, tap)
            except BadRecord as e:  # drops this one sentence
                tap.bad(e.reason)
                continue
            if fix is not None:
                yield fix.observed_ns, fix


# -- framing --------------------------------------------------------------------------------------------------------

FrameKind = Literal["nmea", "ubx", "rtcm", "garbage"]


class FrameSplitter:
    """Cuts a receiver's stream into NMEA sentences, UBX and RTCM 3 frames; a run of anything else is one "garbage"."""

    def __init__(self) -> None:
        self._buffer = b""
        self._in_garbage = False

    def split(self, chunk: Chunk) -> Iterator[tuple[FrameKind, bytes]]:
        """The frames that ``chunk`` completes."""
        data = (b"" if chunk.fresh else self._buffer) + chunk.data
        if chunk.fresh:
            self._in_garbage = False
        at = 0
        while at < len(data):
            kind, size = _frame_at(data, at)
            if size == 0 and not chunk.whole and len(data) - at < MAX_BUFFER_BYTES:
                break  # the frame goes on in the next chunk
            if kind == "garbage" or size == 0:
                at += max(size, 1)
                if not self._in_garbage and data[at - 1 : at].strip():
                    self._in_garbage = True
                    yield "garbage", b""
                continue
            self._in_garbage = False
            yield kind, data[at : at + size]
            at += size
        self._buffer = data[at:]


def _frame_at(data: bytes, at: int) -> tuple[FrameKind, int]:
    """(kind, bytes) of what begins at ``at``; 0 bytes: not all of it is here yet."""
    first = data[at]
    if first == 0x24:  # $
        return _nmea_at(data, at)
    if first == 0xB5:
        return _ubx_at(data, at)
    if first == 0xD3:
        return _rtcm_at(data, at)
    return "garbage", 1


def _nmea_at(data: bytes, at: int) -> tuple[FrameKind, int]:
    end = data.find(b"\n", at, at + MAX_SENTENCE_BYTES)
    again = data.find(b"$", at + 1, end if end >= 0 else at + MAX_SENTENCE_BYTES)
    if again >= 0:  # a sentence cut off by the next
        return "garbage", again - at
    if end < 0:
        return ("nmea", 0) if len(data) - at < MAX_SENTENCE_BYTES else ("garbage", 1)
    sentence = data[at : end + 1]
    return ("nmea", len(sentence)) if sentence.rstrip().isascii() else ("garbage", 1)


def _ubx_at(data: bytes, at: int) -> tuple[FrameKind, int]:
    """u-blox: B5 62, class, id, length (little endian), payload, two Fletcher bytes."""
    if len(data) - at < 6:
        return ("ubx", 0) if data[at : at + 2] in {b"\xb5", b"\xb5\x62"} or len(data) - at == 1 else ("garbage", 1)
    size = int.from_bytes(data[at + 4 : at + 6], "little") + 8
    if data[at + 1] != 0x62 or size > MAX_UBX_BYTES:
        return "garbage", 1
    if len(data) - at < size:
        return "ubx", 0
    a = b = 0
    for byte in data[at + 2 : at + size - 2]:
        a = (a + byte) & 0xFF
        b = (b + a) & 0xFF
    return ("ubx", size) if data[at + size - 2 : at + size] == bytes((a, b)) else ("garbage", 1)


def _rtcm_at(data: bytes, at: int) -> tuple[FrameKind, int]:
    """RTCM 10403: D3, six zero bits, ten bits of length, payload, CRC-24Q."""
    if len(data) - at < 3:
        return "rtcm", 0
    if data[at + 1] & 0xFC:
        return "garbage", 1
    size = (int.from_bytes(data[at + 1 : at + 3], "big") & 0x3FF) + 6
    if len(data) - at < size:
        return "rtcm", 0
    crc = _crc24q(data[at : at + size - 3])
    return ("rtcm", size) if crc == int.from_bytes(data[at + size - 3 : at + size], "big") else ("garbage", 1)


def _crc24q(data: bytes) -> int:
    """Qualcomm's CRC-24Q (RTCM 10403.3 §4.2), by table: noise full of D3 must not cost a millisecond a byte."""
    table = _crc24q_table()
    crc = 0
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFF) ^ table[(crc >> 16) ^ byte]
    return crc


@functools.cache
def _crc24q_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
        table.append(crc)
    return tuple(table)


# -- meaning --------------------------------------------------------------------------------------------------------


def _parse(sentence: bytes) -> Any:
    if b"*" not in sentence:  # the library would let it pass
        raise BadRecord("checksum", "a sentence without a checksum")
    try:
        message = NMEAReader.parse(sentence.rstrip() + b"\r\n", msgmode=GET, validate=VALCKSUM)
    except _NMEA_FAULTS as e:
        reason = "checksum" if "checksum" in str(e) else "sentence"
        raise BadRecord(reason, f"a sentence that does not parse: {type(e).__name__}") from e
    if message is None:
        raise BadRecord("sentence", "a sentence that does not parse")
    return message


class FixMaker:
    """Parsed sentences of one receiver to fixes."""

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self._reference_ns = base_ns(spec)
        self._last_full_ns: int | None = None
        self._last_fix_ns: int | None = None

    def take(self, message: Any, received_ns: int | None, tap: Tap) -> Fix | None:
        """A fix, or None where the sentence gives none. Raises ``BadRecord``."""
        if received_ns is not None:
            self._reference_ns = received_ns
        kind = getattr(message, "msgID", "")
        try:
            if kind in {"GGA", "GNS"}:
                return self._full(kind, message, tap)
            if kind in {"RMC", "ZDA"}:
                return self._dated(kind, message, tap)
        except _NMEA_FAULTS as e:  # a field of another type than the sentence's
            raise BadRecord("field", f"a {kind} field that cannot be used: {type(e).__name__}") from e
        tap.ignored("other sentence")
        return None

    def _full(self, kind: str, message: Any, tap: Tap) -> Fix | None:
        quality = _GGA_QUALITY.get(int(message.quality)) if kind == "GGA" else _mode_quality(str(message.posMode))
        if quality is None or not _has_place(message):
            tap.ignored("no fix")
            return None
        moment_ns = self._moment(message.time)
        self._last_full_ns = moment_ns
        if moment_ns == self._last_fix_ns:
            tap.ignored("same moment")
            return None
        hdop = _number(message.HDOP)
        separation = _number(message.sep) or 0.0
        altitude = (_number(message.alt) or 0.0) + separation  # NMEA gives mean sea level; we keep the ellipsoid
        satellites = int(_number(message.numSV) or 0)
        return self._fix(message, moment_ns, quality, hdop=hdop, satellites=satellites, altitude_m=altitude)

    def _dated(self, kind: str, message: Any, tap: Tap) -> Fix | None:
        day = message.date if kind == "RMC" else datetime.date(int(message.year), int(message.month), int(message.day))
        if not isinstance(day, datetime.date) or not isinstance(message.time, datetime.time):
            tap.ignored("no fix")
            return None
        moment_ns = from_datetime(datetime.datetime.combine(day, message.time, datetime.UTC))
        self._reference_ns = moment_ns
        if kind == "ZDA" or self._full_speaks(moment_ns):
            tap.ignored("date")
            return None
        quality = _mode_quality(str(getattr(message, "posMode", "") or "A")) or "autonomous"
        if message.status != "A" or not _has_place(message):
            tap.ignored("no fix")
            return None
        if moment_ns == self._last_fix_ns:
            tap.ignored("same moment")
            return None
        return self._fix(message, moment_ns, quality, hdop=None, satellites=0, altitude_m=0.0)

    def _full_speaks(self, moment_ns: int) -> bool:
        return self._last_full_ns is not None and abs(moment_ns - self._last_full_ns) < GGA_SILENCE_NS

    def _moment(self, time_of_day: Any) -> int:
        if not isinstance(time_of_day, datetime.time):
            raise BadRecord("time", "expected a time of day in a fix")
        seconds = (time_of_day.hour * 60 + time_of_day.minute) * 60 + time_of_day.second
        moment_ns = on_nearest_day(seconds * SECOND_NS + time_of_day.microsecond * 1000, self._reference_ns)
        self._reference_ns = moment_ns
        return moment_ns

    def _fix(
        self,
        message: Any,
        moment_ns: int,
        quality: Quality,
        *,
        hdop: float | None,
        satellites: int,
        altitude_m: float,
    ) -> Fix:
        latitude, longitude = float(message.lat), float(message.lon)
        if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0 and math.isfinite(altitude_m)):
            raise BadRecord("position out of range", f"found latitude {latitude}, longitude {longitude}")
        self._last_fix_ns = moment_ns
        spread = min(max(hdop or HDOP_UNKNOWN, 0.5), MAX_HDOP)
        return Fix(
            sensor_id=self._spec.name,
            observed_ns=moment_ns,
            position=Geodetic(latitude_deg=latitude, longitude_deg=longitude, altitude_m=altitude_m),
            horizontal_sigma_m=spread * (self._spec.sigma.position_m or SIGMA_PER_HDOP_M[quality]),
            satellites=satellites,
            quality=quality,
        )


def _mode_quality(modes: str) -> Quality | None:
    """The best of the systems' mode indicators; None where all say "no fix"."""
    return next((quality for letter, quality in _MODE_QUALITY if letter in modes), None)


def _has_place(message: Any) -> bool:
    return isinstance(message.lat, float | int) and isinstance(message.lon, float | int)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, float | int) and math.isfinite(value) else None
