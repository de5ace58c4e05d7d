"""A person's words, checked and made a ``Report``. Pure: no file, no socket, no clock.

What it is not: reading. What the words mean is decided by the room ``reading``; here a text is only made safe to carry.

Rules:

- at most 8 KiB of UTF-8; a NUL, invalid UTF-8, an empty text or a field out of its form is a ``BadReport``.
- line ends become ``\\n``; other control characters become spaces; characters that reverse or hide text on a screen
  (bidirectional overrides and isolates, BOM) are taken out: the operator shall see what the machine reads.
- a report without an id gets one from its content, author and time, so that the same report read twice is the same.
"""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Annotated, Final

import msgspec

from appliance.domain import Geodetic, Report
from appliance.errors import BadRecord, BadReport
from appliance.feeds.times import from_iso, from_seconds

MAX_TEXT_BYTES: Final = 8 * 1024
MAX_DOCUMENT_BYTES: Final = 32 * 1024
"""A JSON document may escape every character; more than four times the text is no report."""
ID_HEX_CHARS: Final = 32

_HIDDEN: Final = dict.fromkeys(
    [0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C, 0x00AD], None
)
"""BOM, bidirectional embeddings, overrides, isolates and marks, soft hyphen (Unicode TR 36 §2.6)."""

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class ReportDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report as JSON: ``text``, and what the sender cares to add. ``time`` is ISO 8601 or seconds since 1970."""

    text: str
    author: Short | None = None
    time: str | float | None = None
    grade: Annotated[str, msgspec.Meta(pattern=r"^[A-Fa-f][1-6]$")] | None = None
    id: Short | None = None
    latitude_deg: Annotated[float, msgspec.Meta(ge=-90.0, le=90.0)] | None = None
    longitude_deg: Annotated[float, msgspec.Meta(ge=-180.0, le=180.0)] | None = None


def from_json(raw: bytes, *, sensor_id: str, author: str, received_ns: int | None) -> Report:
    """One JSON document. ``received_ns`` None: the document must state its time. Raises ``BadReport``."""
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise BadReport("too long", f"expected at most {MAX_DOCUMENT_BYTES} bytes; found {len(raw)}")
    try:
        document = msgspec.json.decode(raw, type=ReportDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadReport("document", f"expected a report as JSON: {e}") from e
    return Report(
        sensor_id=sensor_id,
        report_id=document.id or "",
        author=_one_line(document.author or author),
        received_ns=_time(document, received_ns),
        text=clean(document.text),
        grade=None if document.grade is None else document.grade.upper(),
        position=_place(document),
    )


def from_text(raw: bytes, *, sensor_id: str, author: str, received_ns: int) -> Report:
    """Plain UTF-8 text. Raises ``BadReport``."""
    if len(raw) > MAX_TEXT_BYTES:
        raise BadReport("too long", f"expected at most {MAX_TEXT_BYTES} bytes; found {len(raw)}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise BadReport("not UTF-8", "expected text in UTF-8") from e
    return Report(sensor_id=sensor_id, report_id="", author=author, received_ns=received_ns, text=clean(text))


def from_any(raw: bytes, *, sensor_id: str, author: str, received_ns: int) -> Report:
    """JSON if it begins with a brace, else plain text; with its id. Raises ``BadReport``."""
    build = from_json if raw.lstrip().startswith(b"{") else from_text
    return with_id(build(raw, sensor_id=sensor_id, author=author, received_ns=received_ns))


def with_id(report: Report) -> Report:
    """The report with an id; one that it brought stays."""
    if report.report_id:
        given = _one_line(report.report_id)
        return _replaced(report, given)
    digest = hashlib.sha256()
    for part in (report.author, str(report.received_ns), report.text):
        raw = part.encode("utf-8")
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return _replaced(report, digest.hexdigest()[:ID_HEX_CHARS])


def _replaced(report: Report, report_id: str) -> Report:
    return Report(
        sensor_id=report.sensor_id,
        report_id=report_id,
        author=report.author,
        received_ns=report.received_ns,
        text=report.text,
        grade=report.grade,
        position=report.position,
    )


def clean(text: str) -> str:
    """The text as it will be carried, see the rules above. Raises ``BadReport``."""
    if "\0" in text:
        raise BadReport("NUL", "a text that holds NUL")
    _check_size(text)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").translate(_HIDDEN)
    tidy = "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else " " for c in lines)
    tidy = unicodedata.normalize("NFC", tidy).strip()
    if not tidy:
        raise BadReport("empty", "a report without text")
    _check_size(tidy)  # composing may lengthen
    return tidy


def _check_size(text: str) -> None:
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as e:  # a lone surrogate
        raise BadReport("not UTF-8", "a text that cannot be written as UTF-8") from e
    if size > MAX_TEXT_BYTES:
        raise BadReport("too long", f"expected at most {MAX_TEXT_BYTES} bytes of text; found {size}")


def _one_line(text: str) -> str:
    tidy = " ".join(clean(text).split())
    if len(tidy) > 100:
        raise BadReport("document", "expected at most 100 characters")
    return tidy


def _time(document: ReportDocument, received_ns: int | None) -> int:
    try:
        if isinstance(document.time, str):
            return from_iso(document.time)
        if document.time is not None:
            return from_seconds(document.time)
    except BadRecord as e:
        raise BadReport("time", str(e)) from e
    if received_ns is None:
        raise BadReport("time", "expected a time in every report of a file")
    return received_ns


def _place(document: ReportDocument) -> Geodetic | None:
    if document.latitude_deg is None and document.longitude_deg is None:
        return None
    if document.latitude_deg is None or document.longitude_deg is None:
        raise BadReport("document", "expected latitude_deg and longitude_deg together")
    return Geodetic(latitude_deg=document.latitude_deg, longitude_deg=document.longitude_deg)
