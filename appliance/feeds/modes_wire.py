"""Mode S frames out of a 1090 MHz receiver's bytes: Beast binary and AVR text. Decodes nothing.

What receivers speak (readsb and dump1090 on ports 30005 and 30002, Mode-S Beast, Radarcape):

- Beast: 0x1A, a type (1 Mode A/C, 2 short, 3 long, 4 status), six bytes of a 12 MHz counter, one of signal level, the
  frame; 0x1A within is doubled. (wiki.jetvision.de, "Mode-S Beast: Data Output Formats")
- AVR: ``*8D40621D58C382D690C8AC2863A7;``, with the counter in front ``@0123456789AB8D40…;``.

Both may follow each other in one stream. A run of anything else is one "garbage", and the stream goes on behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from appliance.feeds.streams import Chunk

COUNTER_HZ: Final = 12_000_000
COUNTER_BYTES: Final = 6
ESCAPE: Final = 0x1A
_MARK: Final = bytes([ESCAPE])
#: Beast type → bytes of the frame behind counter and level.
_SIZES: Final = {ord("1"): 2, ord("2"): 7, ord("3"): 14, ord("4"): 14}
_MODE_S: Final = frozenset(b"23")
_MAX_TEXT_BYTES: Final = 48
_TEXT: Final = re.compile(rb"(?:\*|@([0-9A-Fa-f]{12}))([0-9A-Fa-f]{4}|[0-9A-Fa-f]{14}|[0-9A-Fa-f]{28})")
_SPACE: Final = b" \t\r\n\0"


@dataclass(frozen=True, slots=True)
class Heard:
    """One Mode S frame of 7 or 14 bytes; ``counter`` in ticks of ``COUNTER_HZ``, None where the receiver keeps none."""

    frame: bytes
    counter: int | None


Piece = Heard | Literal["other", "garbage"]
"""``other``: Mode A/C replies and receiver status."""


class ModeSSplitter:
    """Cuts one receiver's stream into frames; keeps what a chunk has begun for the next."""

    def __init__(self) -> None:
        self._buffer = b""
        self._in_garbage = False

    def split(self, chunk: Chunk) -> Iterator[Piece]:
        """The frames that ``chunk`` completes."""
        data = (b"" if chunk.fresh else self._buffer) + chunk.data
        if chunk.fresh:
            self._in_garbage = False
        at = 0
        while at < len(data):
            if data[at] in _SPACE:
                at += 1
                continue
            piece, size = _piece_at(data, at)
            if size == 0 and not chunk.whole:
                break  # the frame goes on in the next chunk
            at += max(size, 1)
            if piece != "garbage" or not self._in_garbage:
                yield piece
            self._in_garbage = piece == "garbage"
        self._buffer = data[at:]


def _piece_at(data: bytes, at: int) -> tuple[Piece, int]:
    """(what begins at ``at``, its bytes); 0 bytes: more is needed to tell."""
    if data[at] == ESCAPE:
        return _beast(data, at)
    if data[at] in b"*@":
        return _text(data, at)
    return "garbage", 1


def _beast(data: bytes, at: int) -> tuple[Piece, int]:
    if at + 1 == len(data):
        return "garbage", 0
    kind = data[at + 1]
    if kind not in _SIZES:
        return "garbage", 1
    body, end = _unescaped(data, at + 2, COUNTER_BYTES + 1 + _SIZES[kind])
    if body is None:  # it goes on in what is to come, or another frame begins within it
        return "garbage", end - at if end < len(data) else 0
    if kind not in _MODE_S:
        return "other", end - at
    counter = int.from_bytes(body[:COUNTER_BYTES], "big")
    return Heard(body[COUNTER_BYTES + 1 :], counter or None), end - at


def _unescaped(data: bytes, at: int, size: int) -> tuple[bytes | None, int]:
    """(``size`` bytes with doubled escapes made one, where they end); None and where it breaks off otherwise."""
    body = bytearray()
    while len(body) < size:
        width = 2 if data[at : at + 1] == _MARK else 1
        if at + width > len(data):
            return None, len(data)
        if width == 2 and data[at + 1] != ESCAPE:
            return None, at
        body.append(data[at])
        at += width
    return bytes(body), at


def _text(data: bytes, at: int) -> tuple[Piece, int]:
    end = data.find(b";", at, at + _MAX_TEXT_BYTES)
    if end < 0:
        return "garbage", 0 if len(data) - at < _MAX_TEXT_BYTES else 1
    found = _TEXT.fullmatch(data, at, end)
    if found is None:
        return "garbage", 1
    if len(found[2]) == 4:
        return "other", end + 1 - at
    counter = int(found[1], 16) if found[1] else 0
    return Heard(bytes.fromhex(found[2].decode()), counter or None), end + 1 - at
