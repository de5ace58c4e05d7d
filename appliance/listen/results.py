"""From an opened payload to a typed result. Pure; a payload is data and is checked against its schema's shape.

A schema that this version does not know, and a payload that is not what its schema says, become ``Unread``: the unit is
trusted and may be newer, so its word is handed on with the reason, once, and nothing ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from appliance.pipeline.bodies import BODIES, AlertBody, EntityBody, EntityPositionBody, PictureBody, StatusBody
from appliance.sealing import Opened

MAX_SCHEMA_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Unread:
    """A payload that this version cannot read as a result; ``schema`` is what it calls itself, or empty."""

    schema: str
    reason: str


Body = EntityBody | EntityPositionBody | PictureBody | AlertBody | StatusBody | Unread


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One result. (unit, epoch, counter, index) names it for ever, for users who keep their own books."""

    unit: str
    topic: str
    epoch: int
    counter: int
    opened_ns: int
    """When it was opened here, nanoseconds since 1970."""
    body: Body
    payload: bytes
    """The JSON as the unit told it; ``body`` holds the fields that this version knows."""
    index: int = 0
    """Which of the results that came in one frame; 0 but for the radio profile."""
    left_out: tuple[str, ...] = ()
    """Fields of ``body`` that were not sent and hold no information; empty but for the radio profile."""


class _Named(msgspec.Struct):
    schema: str


_named: Final = msgspec.json.Decoder(_Named)
_decoders: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    f"edge/{name}/1": msgspec.json.Decoder(body) for name, body in BODIES.items()
}


def read_body(payload: bytes) -> Body:
    """The typed body of a payload."""
    try:
        schema = _named.decode(payload).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        return Unread("", f"expected a JSON object with a schema; {e}")
    decoder = _decoders.get(schema)
    if decoder is None:
        return Unread(schema[:MAX_SCHEMA_CHARS], f"expected one of {', '.join(_decoders)}")
    try:
        body: Body = decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        return Unread(schema, str(e))
    return body


def read_result(opened: Opened, opened_ns: int) -> Result:
    """An opened frame as a result."""
    return Result(
        unit=opened.unit,
        topic=opened.topic,
        epoch=opened.epoch,
        counter=opened.counter,
        opened_ns=opened_ns,
        body=read_body(opened.payload),
        payload=opened.payload,
    )
