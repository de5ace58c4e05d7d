"""AIS: AIVDM/AIVDO sentences decoded by pyais, and the CSV layout of recorded position reports.

The only file that imports pyais. What a report means and whether it can be true is decided in ``ais_plots``.

Rules:

- a sentence without a right checksum is refused; parts of one message are put together, and forgotten when too old.
- time: a NMEA 4 tag block (``c:``) or a Gatehouse ``$PGHP`` line before the sentence; else when it was received; in a
  file without either, the replay's own clock moved on by the UTC second that reports carry.
- a file is CSV when its first line is ``Time,MMSI,Latitude_degrees,Longitude_degrees,COG_degrees,SOG_knots``.
"""

from __future__ import annotations

import csv
import math
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal

from pyais.exceptions import AISBaseException, MissingPayloadException
from pyais.messages import AISSentence, GatehouseSentence, NMEASentenceFactory

from appliance.domain import Plot
from appliance.errors import BadRecord
from appliance.feeds.ais_plots import Fleet, Position, check_mmsi, check_place, course_rad, speed_mps
from appliance.feeds.pace import base_ns
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec
from appliance.feeds.times import SECOND_NS, from_datetime, from_iso, from_seconds, nearest

CSV_HEADER: Final = "time,mmsi,latitude_degrees,longitude_degrees,cog_degrees,sog_knots"
MAX_SENTENCE_BYTES: Final = 1024
"""NMEA 0183 allows 82 characters and a tag block 80; receivers exceed both, none by ten times."""
MAX_OPEN_GROUPS: Final = 64
"""Multi-part messages under way at once; four sequence numbers times two channels in theory."""
MAX_CLOCK_DIFFERENCE_NS: Final = 3600 * SECOND_NS
"""A live tag block further from our clock than this is not believed."""

#: What pyais raises on sentences that it cannot take, found by feeding it noise.
_PYAIS_FAULTS: Final = (AISBaseException, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)

_POSITION_TYPES: Final = frozenset({1, 2, 3, 9, 18, 19, 21, 27})
_STATIC_TYPES: Final = frozenset({5, 19, 24})
_NOT_AVAILABLE_KNOTS: Final = {9: 1023.0, 27: 63.0}
_NOT_AVAILABLE_COURSE: Final = {27: 511.0}


class AisParser:
    """Lines of one AIS feed in, plots out."""

    def __init__(self, spec: FeedSpec) -> None:
        self._name = spec.name
        self._fleet = Fleet(spec)
        self._groups: OrderedDict[tuple[int, str, int], dict[int, AISSentence]] = OrderedDict()
        self._clock_ns = base_ns(spec)
        self._stamped_ns: int | None = None
        self._csv = False

    def parse(self, line: bytes, number: int, received_ns: int | None, tap: Tap) -> Iterator[tuple[int, Plot]]:
        """See ``streams.Parse``."""
        if number == 1 and received_ns is None and _is_header(line):
            self._csv = True
            return
        plot = self._row(line, number, tap) if self._csv else self._sentence(line, number, received_ns, tap)
        if plot is not None:
            yield plot.observed_ns, plot

    # -- recorded reports as CSV --------------------------------------------------------------------------------

    def _row(self, line: bytes, number: int, tap: Tap) -> Plot | None:
        fields = _fields(line)
        if len(fields) != 6:
            raise BadRecord("columns", f"expected six fields; found {len(fields)}")
        observed_ns = from_iso(fields[0])
        mmsi = check_mmsi(fields[1])
        latitude, longitude, course, speed = (_number(text) for text in fields[2:])
        if not check_place(latitude, longitude):
            tap.ignored("position not available")
            return None
        position = Position(
            mmsi=mmsi,
            latitude_deg=latitude,
            longitude_deg=longitude,
            speed_mps=speed_mps(speed, 102.3),
            course_rad=course_rad(course),
            accuracy="plain",
        )
        return self._fleet.plot(position, observed_ns, f"{self._name}:{number}")

    # -- sentences ----------------------------------------------------------------------------------------------

    def _sentence(self, line: bytes, number: int, received_ns: int | None, tap: Tap) -> Plot | None:
        if len(line) > MAX_SENTENCE_BYTES:
            raise BadRecord("line too long", f"expected at most {MAX_SENTENCE_BYTES} bytes")
        if line.startswith(b"#"):
            return None  # a comment: recordings hold them
        sentence = _produce(line)
        if isinstance(sentence, GatehouseSentence):
            self._stamped_ns = _gatehouse_time(sentence)
            return None
        if not isinstance(sentence, AISSentence):
            raise BadRecord("not AIS", "expected an AIVDM or AIVDO sentence")
        if not sentence.is_valid:
            raise BadRecord("checksum", "the checksum of a sentence is wrong")
        self._note_tag_time(sentence, received_ns, tap)
        whole = self._assemble(sentence, tap) if sentence.is_multi else sentence
        return None if whole is None else self._message(_decode(whole), number, received_ns, tap)

    def _note_tag_time(self, sentence: AISSentence, received_ns: int | None, tap: Tap) -> None:
        stamp_ns = _tag_time(sentence)
        if stamp_ns is None:
            return
        if received_ns is not None and abs(stamp_ns - received_ns) > MAX_CLOCK_DIFFERENCE_NS:
            tap.ignored("tag block time")
            return
        self._stamped_ns = stamp_ns

    def _assemble(self, sentence: AISSentence, tap: Tap) -> AISSentence | None:
        """The whole message once its last part is there."""
        key = (sentence.seq_id or 0, str(sentence.channel), sentence.frag_cnt)
        if not 1 <= sentence.frag_num <= sentence.frag_cnt <= 9:
            raise BadRecord("parts", f"part {sentence.frag_num} of {sentence.frag_cnt}")
        parts = self._groups.setdefault(key, {})
        if sentence.frag_num in parts:  # the same numbers again: a new message, the old one stays incomplete
            tap.bad("incomplete message")
            parts.clear()
        parts[sentence.frag_num] = sentence
        if len(parts) == sentence.frag_cnt:
            del self._groups[key]
            return _joined([parts[i] for i in sorted(parts)])
        if len(self._groups) > MAX_OPEN_GROUPS:
            self._groups.popitem(last=False)
            tap.bad("incomplete message")
        return None

    def _message(self, message: Any, number: int, received_ns: int | None, tap: Tap) -> Plot | None:
        kind = int(message.msg_type)
        mmsi = check_mmsi(f"{int(_needed(message, 'mmsi')):09d}")
        observed_ns = self._time_of(message, received_ns)
        if kind in _STATIC_TYPES:
            self._fleet.learn(mmsi, name=_text(message, "shipname"), ship_type=_ship_type(message))
        if kind == 21:
            self._fleet.learn(mmsi, name=_text(message, "name"))
        if kind not in _POSITION_TYPES:
            tap.ignored("static message" if kind in _STATIC_TYPES else "other message")
            return None
        if kind == 21 and message.virtual_aid:
            tap.ignored("virtual aid")  # nothing floats there
            return None
        if not check_place(_needed(message, "lat"), _needed(message, "lon")):
            tap.ignored("position not available")
            return None
        return self._fleet.plot(_position(kind, mmsi, message), observed_ns, f"{self._name}:{number}")

    def _time_of(self, message: Any, received_ns: int | None) -> int:
        stamped_ns, self._stamped_ns = self._stamped_ns, None
        if stamped_ns is not None:
            self._clock_ns = stamped_ns
            return stamped_ns
        if received_ns is not None:
            return received_ns
        second = getattr(message, "second", None)
        if not isinstance(second, int) or not 0 <= second <= 59:
            return self._clock_ns
        moment_ns = nearest(second * SECOND_NS, 60 * SECOND_NS, self._clock_ns)
        self._clock_ns = max(self._clock_ns, moment_ns)
        return moment_ns


def _position(kind: int, mmsi: str, message: Any) -> Position:
    altitude = _needed(message, "alt") if kind == 9 else 4095.0
    accuracy: Literal["accurate", "plain"] = "accurate" if message.accuracy else "plain"
    fixed = kind == 21
    return Position(
        mmsi=mmsi,
        latitude_deg=_needed(message, "lat"),
        longitude_deg=_needed(message, "lon"),
        speed_mps=0.0 if fixed else speed_mps(_needed(message, "speed"), _NOT_AVAILABLE_KNOTS.get(kind, 102.3)),
        course_rad=None if fixed else course_rad(_needed(message, "course"), _NOT_AVAILABLE_COURSE.get(kind, 360.0)),
        accuracy="coarse" if kind == 27 else accuracy,
        altitude_m=altitude if altitude < 4095.0 else None,
        aircraft=kind == 9,
    )


def _needed(message: Any, field: str) -> float:
    """A field without which a report means nothing; pyais gives None for what a short message does not hold."""
    value = getattr(message, field, None)
    if not isinstance(value, int | float):
        raise BadRecord("short message", f"a message that ends before its {field}")
    return float(value)


def _produce(line: bytes) -> Any:
    try:
        return NMEASentenceFactory.produce(line.strip())
    except _PYAIS_FAULTS as e:
        raise BadRecord("not AIS", f"expected an AIVDM sentence: {type(e).__name__}") from e


def _decode(sentence: AISSentence) -> Any:
    try:
        return sentence.decode()
    except MissingPayloadException as e:
        raise BadRecord("empty payload", "a sentence without a payload") from e
    except _PYAIS_FAULTS as e:
        raise BadRecord("payload", f"a payload that does not decode: {type(e).__name__}") from e


def _joined(parts: list[AISSentence]) -> AISSentence:
    try:
        return AISSentence.assemble_from_iterable(parts)
    except _PYAIS_FAULTS as e:
        raise BadRecord("parts", f"parts that do not join: {type(e).__name__}") from e


def _tag_time(sentence: AISSentence) -> int | None:
    """NMEA 4.10 tag block ``c:``: seconds since 1970, in some receivers milliseconds."""
    block = sentence.tag_block
    if block is None:
        return None
    try:
        block.init()
        text = block.receiver_timestamp if block.is_valid else None
        if text is None:
            return None
        seconds = int(text)
        return from_seconds(seconds / 1000 if seconds > 10**11 else seconds)
    except (*_PYAIS_FAULTS, BadRecord):
        return None  # a bad tag block does not spoil its sentence


def _gatehouse_time(sentence: GatehouseSentence) -> int | None:
    stamp = sentence.timestamp
    return from_datetime(stamp) if isinstance(stamp, datetime) else None


def _text(message: Any, field: str) -> str | None:
    """A name as printable ASCII, or None where the message has none."""
    value = getattr(message, field, None)
    if not isinstance(value, str):
        return None
    text = " ".join(value.replace("@", " ").split())
    return text if text and text.isascii() and text.isprintable() else None


def _ship_type(message: Any) -> int | None:
    value = getattr(message, "ship_type", None)
    return int(value) if isinstance(value, int) and 0 < int(value) < 256 else None


def _is_header(line: bytes) -> bool:
    text = line.removeprefix(b"\xef\xbb\xbf").decode("ascii", "replace")
    return text.replace('"', "").replace(" ", "").strip().lower() == CSV_HEADER


def _fields(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode("utf-8")], strict=True), [])
    except (UnicodeDecodeError, csv.Error) as e:
        raise BadRecord("columns", "expected one row of CSV in UTF-8") from e


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as e:
        raise BadRecord("number", f"expected a number; found {text[:20]!r}") from e
    if not math.isfinite(value):
        raise BadRecord("number", f"expected a finite number; found {text[:20]!r}")
    return value
