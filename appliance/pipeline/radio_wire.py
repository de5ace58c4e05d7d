"""The radio profile's payload: entities and alerts in a few bytes each, as keys and deltas (docs/radio.md).

What this is: the frame's shape, its numbers, and both directions of the conversion. What it is not: it decides nothing
about what is sent when (``radio``) and keeps no state (``radio_state`` does, at the reader).

MessagePack, decoded against typed structs: no element, string or number is taken that the shapes below do not allow,
and nothing is ever decompressed, so a small payload cannot become a large one.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from appliance.errors import BadRecord
from appliance.pipeline.bodies import AlertBody, DisputeBody, EntityBody, PositionBody, ReceiptBody, VelocityBody
from appliance.pipeline.times import time_ns, time_text

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 4096
MAX_ENTITIES: Final = 4096
STATUSES: Final = ("tentative", "confirmed", "coasting", "reported", "deleted")
CLOCKS: Final = ("synchronised", "free-running", "replayed")
INTEGRITIES: Final = ("surveyed", "gnss", "none")
LEFT_OUT: Final = ("categories", "evidence", "receipt.bundles", "receipt.config_digest", "receipt.engines")
"""What an entity of this profile does not have."""

_TICKS_PER_S: Final = 10
_NS_PER_TICK: Final = 10**9 // _TICKS_PER_S
_EXISTENCE_STEPS: Final = 20
_MICRO: Final = 1_000_000
_LEAST_SIGMA_M: Final = 0.1
_SIGMA_STEPS: Final = 4
"""Standard deviations in quarter octaves: at most 9 % off, and a small number that seldom changes."""
_RHO_STEPS: Final = 10
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

#: The fields of a state in their order; a delta's mask has bit n for field n.
FIELDS: Final = ("age", "status", "existence", "count", "lat", "lon", "alt", "se", "sn", "rho", "ve", "vn")
_LAT, _LON = FIELDS.index("lat"), FIELDS.index("lon")
_RELATIVE: Final = frozenset({_LAT, _LON})
#: Least and greatest value of each field.
_RANGES: Final = (
    (0, 10**9), (0, len(STATUSES) - 1), (0, _EXISTENCE_STEPS), (0, 10**6), (-90 * _MICRO, 90 * _MICRO),
    (-180 * _MICRO, 180 * _MICRO), (-10**6, 10**6), (0, 100), (0, 100), (-_RHO_STEPS, _RHO_STEPS),
    (-10**5, 10**5), (-10**5, 10**5),
)  # fmt: skip

Number = Annotated[int, Meta(ge=0, le=2**32)]
Ticks = Annotated[int, Meta(ge=-(10**9), le=10**9)]
Value = Annotated[int, Meta(ge=-(2**31), le=2**31)]
Kind = Annotated[str, Meta(max_length=32)]
Name = Annotated[str, Meta(max_length=64)]
State = tuple[int, ...]


class Key(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An entity in full. ``number`` is its short name within the epoch, ``serial`` counts its keys (modulo 256)."""

    number: Number
    serial: Annotated[int, Meta(ge=0, le=255)]
    ticks: Ticks
    entity_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    category: Annotated[str, Meta(max_length=64)]
    identities: Annotated[dict[Kind, Name], Meta(max_length=16)]
    state: Annotated[tuple[Value, ...], Meta(min_length=12, max_length=12)]


class Delta(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What differs from the key of that serial: one value for each bit of the mask, the lowest first."""

    number: Number
    serial: Annotated[int, Meta(ge=0, le=255)]
    ticks: Ticks
    mask: Annotated[int, Meta(ge=0, le=2 ** len(FIELDS) - 1)]
    values: Annotated[tuple[Value, ...], Meta(max_length=12)]


class Alarm(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A dispute, in the words of the alert."""

    ticks: Ticks
    raised_ticks: Ticks
    entity_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    claimed: Annotated[str, Meta(max_length=512)]
    observed: Annotated[str, Meta(max_length=512)]
    sources: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=16)]


class RadioFrame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One frame: times in it are ticks of a tenth of a second from ``base_s``, seconds since 1970."""

    version: Literal[1]
    base_s: Annotated[int, Meta(ge=0, le=2**40)]
    clock: Annotated[int, Meta(ge=0, le=len(CLOCKS) - 1)]
    integrity: Annotated[int, Meta(ge=0, le=len(INTEGRITIES) - 1)]
    alarms: Annotated[tuple[Alarm, ...], Meta(max_length=64)]
    keys: Annotated[tuple[Key, ...], Meta(max_length=256)]
    deltas: Annotated[tuple[Delta, ...], Meta(max_length=1024)]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(RadioFrame)


def encode(part: msgspec.Struct) -> bytes:
    """A frame, or one part of it for its size."""
    return _encoder.encode(part)


def decode(payload: bytes) -> RadioFrame:
    """A frame from outside. Raises BadRecord (``radio``) for everything that is none."""
    if len(payload) > MAX_FRAME_BYTES:
        raise BadRecord("radio", f"expected a radio frame of at most {MAX_FRAME_BYTES} bytes; found {len(payload)}")
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadRecord("radio", f"expected a radio frame of version {VERSION}; {e}") from e


def ticks(at_ns: int, base_s: int) -> int:
    """A moment in tenths of a second from a frame's base."""
    return round((at_ns - base_s * 10**9) / _NS_PER_TICK)


def state_of(entity: EntityBody) -> State:
    """An entity's numbers as the profile has them; what they round away is said in docs/radio.md."""
    (ee, en), (_, nn) = entity.position.covariance_m2
    sigma_e, sigma_n = math.sqrt(max(ee, 0.0)), math.sqrt(max(nn, 0.0))
    rho = en / (sigma_e * sigma_n) if sigma_e * sigma_n > 0.0 else 0.0
    values = (
        round((time_ns(entity.produced) - time_ns(entity.time)) / _NS_PER_TICK),
        STATUSES.index(entity.status),
        round(entity.existence * _EXISTENCE_STEPS),
        entity.count,
        round(entity.position.lat * _MICRO),
        round(entity.position.lon * _MICRO),
        round(entity.position.alt_m),
        _sigma_code(sigma_e),
        _sigma_code(sigma_n),
        round(rho * _RHO_STEPS),
        round(entity.velocity_mps.east * 10),
        round(entity.velocity_mps.north * 10),
    )
    return tuple(min(max(value, low), high) for value, (low, high) in zip(values, _RANGES, strict=True))


def delta_of(key: State, now: State) -> tuple[int, tuple[int, ...]]:
    """Mask and values of what differs."""
    mask, values = 0, []
    for n, (was, is_) in enumerate(zip(key, now, strict=True)):
        if was != is_:
            mask |= 1 << n
            values.append(is_ - was if n in _RELATIVE else is_)
    return mask, tuple(values)


def apply(key: State, delta: Delta) -> State:
    """The state that a delta means. Raises BadRecord (``radio``) where mask and values do not fit."""
    if delta.mask.bit_count() != len(delta.values):
        raise BadRecord("radio", f"expected {delta.mask.bit_count()} values of a delta; found {len(delta.values)}")
    values = iter(delta.values)
    state = tuple(
        (next(values) + (was if n in _RELATIVE else 0)) if delta.mask >> n & 1 else was for n, was in enumerate(key)
    )
    check(state)
    return state


def check(state: State) -> None:
    """Raises BadRecord (``radio``) for a field out of its range."""
    for name, value, (low, high) in zip(FIELDS, state, _RANGES, strict=True):
        if not low <= value <= high:
            raise BadRecord("radio", f"expected {name} from {low} to {high}; found {value}")


def entity_of(frame: RadioFrame, key: Key, state: State, at_ticks: int, *, unit: str) -> EntityBody:
    """An entity again; ``LEFT_OUT`` names what it does not have."""
    age, status, existence, count, lat, lon, alt, se, sn, rho, ve, vn = state
    sigma_e, sigma_n = _sigma_m(se), _sigma_m(sn)
    ee, nn = round(sigma_e**2, 3), round(sigma_n**2, 3)
    # Towards zero, and from the rounded variances: else rounding alone would make a covariance that is none.
    en = math.trunc(rho / _RHO_STEPS * math.sqrt(ee * nn) * 1000.0) / 1000.0
    produced_ns = _at_ns(frame, at_ticks)
    return EntityBody(
        unit=unit,
        entity_id=ulid_text(key.entity_id),
        time=_text(max(produced_ns - age * _NS_PER_TICK, 0)),
        produced=_text(produced_ns),
        status=STATUSES[status],
        category=key.category,
        categories={},
        existence=existence / _EXISTENCE_STEPS,
        count=count,
        position=PositionBody(
            lat=lat / _MICRO,
            lon=lon / _MICRO,
            alt_m=float(alt),
            covariance_m2=((ee, en), (en, nn)),
        ),
        velocity_mps=VelocityBody(east=ve / 10, north=vn / 10, up=0.0),
        identities=key.identities,
        evidence=(),
        receipt=ReceiptBody(
            config_digest="",
            bundles={},
            engines={},
            clock=CLOCKS[frame.clock],
            position_integrity=INTEGRITIES[frame.integrity],
        ),
    )


def alarm_of(alert: AlertBody, base_s: int) -> Alarm:
    """An alert in the profile."""
    dispute = alert.dispute
    return Alarm(
        ticks(time_ns(alert.time), base_s),
        ticks(time_ns(dispute.raised), base_s),
        ulid_bytes(dispute.entity_id),
        dispute.claimed[:512],
        dispute.observed[:512],
        tuple(source[:64] for source in dispute.sources[:16]),
    )


def alert_of(frame: RadioFrame, alarm: Alarm, *, unit: str) -> AlertBody:
    """An alert again."""
    return AlertBody(
        unit=unit,
        time=_text(_at_ns(frame, alarm.ticks)),
        dispute=DisputeBody(
            entity_id=ulid_text(alarm.entity_id),
            raised=_text(_at_ns(frame, alarm.raised_ticks)),
            claimed=alarm.claimed,
            observed=alarm.observed,
            sources=alarm.sources,
        ),
    )


def ulid_bytes(text: str) -> bytes:
    """A ULID's 128 bits."""
    number = 0
    for letter in text:
        number = number * 32 + _CROCKFORD.index(letter)
    return number.to_bytes(16, "big")


def ulid_text(raw: bytes) -> str:
    """A ULID from its 128 bits."""
    number = int.from_bytes(raw, "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _sigma_code(sigma_m: float) -> int:
    return round(_SIGMA_STEPS * math.log2(max(sigma_m, _LEAST_SIGMA_M) / _LEAST_SIGMA_M))


def _sigma_m(code: int) -> float:
    return _LEAST_SIGMA_M * math.exp2(code / _SIGMA_STEPS)


def _at_ns(frame: RadioFrame, at_ticks: int) -> int:
    return max(frame.base_s * 10**9 + at_ticks * _NS_PER_TICK, 0)


def _text(at_ns: int) -> str:
    try:
        return time_text(at_ns)
    except (OverflowError, ValueError, OSError) as e:
        raise BadRecord("radio", f"expected a moment before the year 10000; found {at_ns} ns") from e
