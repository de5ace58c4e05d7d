"""The two rare envelopes, grant and close: what they say, how they are written, how they are read back.

Not here: signing, verifying and unwrapping keys (``sender`` and ``opener``).

Rules:

- A body is a canonical CBOR map with small whole numbers as keys; every key is expected and every value has its type
  and its bounds, or the envelope is refused.
- A grant's header (all but the recipients) has a digest. Boxes are bound to it, frames name it by its first 7 bytes,
  and the close repeats it; so none of them can be moved to another grant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.errors import EnvelopeRefused
from appliance.sealing.identity import KID_BYTES
from appliance.sealing.seen import Run
from appliance.sealing.wire import (
    BOX_CONTEXT,
    DIGEST_BYTES,
    KEY_CONTEXT,
    MAX_AUDIENCES,
    MAX_COUNTER,
    MAX_EPOCH,
    MAX_RECIPIENTS,
    REFERENCE_BYTES,
    SUITE,
    decode,
    encode,
    valid_unit,
)

SECRET_BYTES: Final = 32
MAX_CHECKPOINT_BYTES: Final = 16 * 1024
MAX_SHED_RUNS: Final = 4096
MAX_TIME_NS: Final = 2**63 - 1
EPOCH_KEY_BYTES: Final = 32
_MAX_BOX_BYTES: Final = 1568 + 16 + 1 + MAX_AUDIENCES * (2 + 1 + SECRET_BYTES)
_FRAME_KEY_BYTES: Final = 32
_BASE_IV_BYTES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A grant without its recipients. ``epoch_key`` is the Ed25519 public key that signs this epoch's frames."""

    unit: str
    epoch: int
    issued_ns: int
    device_kid: bytes
    epoch_key: bytes
    audiences: int

    def digest(self) -> bytes:
        """SHA-384 over the header's canonical CBOR."""
        return hashlib.sha384(encode(self.fields())).digest()

    def fields(self) -> dict[int, object]:
        """The header as it stands in a grant's body."""
        return {
            1: SUITE,
            2: self.unit,
            3: self.epoch,
            4: self.issued_ns,
            5: self.device_kid,
            6: self.epoch_key,
            7: self.audiences,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Header and wrapped secrets: one box per recipient, by kid."""

    header: Header
    boxes: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """What the unit says at an epoch's end: how many frames it sealed, and the Merkle root over all of them."""

    unit: str
    epoch: int
    header_digest: bytes
    count: int
    audience_counts: tuple[int, ...]
    root: bytes
    shed: tuple[Run, ...]
    checkpoint: bytes


def write_grant(grant: Grant) -> bytes:
    """A grant's body."""
    return encode({**grant.header.fields(), 8: [list(box) for box in grant.boxes]})


def read_grant(body: bytes) -> Grant:
    """A grant from a body whose signature was verified. Raises EnvelopeRefused (``encoding``, ``suite``, ``shape``)."""
    fields = _fields(body, 8)
    header = Header(
        unit=_unit(fields[2]),
        epoch=_number(fields[3], "epoch", MAX_EPOCH),
        issued_ns=_number(fields[4], "issued_ns", MAX_TIME_NS),
        device_kid=_bytes(fields[5], "device", KID_BYTES, KID_BYTES),
        epoch_key=_bytes(fields[6], "epoch key", EPOCH_KEY_BYTES, EPOCH_KEY_BYTES),
        audiences=_number(fields[7], "audiences", MAX_AUDIENCES, smallest=1),
    )
    boxes = tuple(_box(item) for item in _items(fields[8], "recipients", MAX_RECIPIENTS))
    kids = [kid for kid, _ in boxes]
    if kids != sorted(set(kids)):
        raise EnvelopeRefused("shape", "grant: recipients must ascend by kid, each once")
    return Grant(header=header, boxes=boxes)


def write_close(close: Close) -> bytes:
    """A close's body."""
    return encode(
        {
            1: SUITE,
            2: close.unit,
            3: close.epoch,
            4: close.header_digest,
            5: close.count,
            6: list(close.audience_counts),
            7: close.root,
            8: [list(run) for run in close.shed],
            9: close.checkpoint,
        }
    )


def read_close(body: bytes) -> Close:
    """A close from a body whose signature was verified. Raises EnvelopeRefused (``encoding``, ``suite``, ``shape``)."""
    fields = _fields(body, 9)
    count = _number(fields[5], "count", MAX_COUNTER + 1)
    counts = tuple(_number(item, "counts", count) for item in _items(fields[6], "counts", MAX_AUDIENCES))
    if sum(counts) != count:
        raise EnvelopeRefused("shape", f"close: counts of the audiences sum to {sum(counts)}; the count is {count}")
    return Close(
        unit=_unit(fields[2]),
        epoch=_number(fields[3], "epoch", MAX_EPOCH),
        header_digest=_bytes(fields[4], "header digest", DIGEST_BYTES, DIGEST_BYTES),
        count=count,
        audience_counts=counts,
        root=_bytes(fields[7], "root", DIGEST_BYTES, DIGEST_BYTES),
        shed=_shed(fields[8], count),
        checkpoint=_bytes(fields[9], "checkpoint", 0, MAX_CHECKPOINT_BYTES),
    )


def box_info(header_digest: bytes, fingerprint: str) -> bytes:
    """HPKE ``info`` of one recipient's box: context, header digest, the recipient's fingerprint (48 bytes)."""
    return BOX_CONTEXT + header_digest + bytes.fromhex(fingerprint)


def write_secrets(secrets: dict[int, bytes]) -> bytes:
    """The plaintext of a box: audience number → epoch secret."""
    return encode(secrets)


def read_secrets(plaintext: bytes, audiences: int) -> dict[int, bytes]:
    """The secrets of a box that HPKE opened. Raises EnvelopeRefused (``encoding`` or ``shape``)."""
    value = decode(plaintext)
    if not isinstance(value, dict) or not value:
        raise EnvelopeRefused("shape", "grant: a box must hold a map of secrets")
    return {
        _number(audience, "audience", audiences - 1): _bytes(secret, "secret", SECRET_BYTES, SECRET_BYTES)
        for audience, secret in value.items()
    }


def frame_key(secret: bytes, header_digest: bytes, audience: int) -> tuple[bytes, bytes]:
    """AES-256-GCM key and Context IV of one audience: HKDF-SHA384 (RFC 5869), salted with the header's digest."""
    size = _FRAME_KEY_BYTES + _BASE_IV_BYTES
    hkdf = HKDF(hashes.SHA384(), length=size, salt=header_digest, info=KEY_CONTEXT + bytes((audience,)))
    material = hkdf.derive(secret)
    return material[:_FRAME_KEY_BYTES], material[_FRAME_KEY_BYTES:]


def reference(header_digest: bytes) -> bytes:
    """How a frame names its grant: the first 7 bytes of the header's digest."""
    return header_digest[:REFERENCE_BYTES]


def _fields(body: bytes, last: int) -> dict[int, object]:
    value = decode(body)
    if not isinstance(value, dict):
        raise EnvelopeRefused("shape", "expected a map")
    if value.get(1) != SUITE:
        raise EnvelopeRefused("suite", f"expected suite {SUITE}; found {value.get(1)!r}")
    if set(value) != set(range(1, last + 1)):
        raise EnvelopeRefused("shape", f"expected the keys 1 to {last}; found {sorted(value)[:20]}")
    return value


def _number(value: object, what: str, largest: int, *, smallest: int = 0) -> int:
    if type(value) is not int or not smallest <= value <= largest:
        raise EnvelopeRefused("shape", f"{what}: expected a whole number from {smallest} to {largest}")
    return value


def _bytes(value: object, what: str, smallest: int, largest: int) -> bytes:
    if not isinstance(value, bytes) or not smallest <= len(value) <= largest:
        raise EnvelopeRefused("shape", f"{what}: expected {smallest} to {largest} bytes")
    return value


def _unit(value: object) -> str:
    if not isinstance(value, str) or not valid_unit(value):
        raise EnvelopeRefused("shape", "unit: expected a name that may stand in a topic")
    return value


def _items(value: object, what: str, most: int) -> Sequence[object]:
    if not isinstance(value, list) or len(value) > most:
        raise EnvelopeRefused("shape", f"{what}: expected a list of at most {most}")
    return value


def _box(value: object) -> tuple[bytes, bytes]:
    kid, box = _pair(value, "recipient")
    return _bytes(kid, "kid", KID_BYTES, KID_BYTES), _bytes(box, "box", 1, _MAX_BOX_BYTES)


def _pair(value: object, what: str) -> tuple[object, object]:
    if not isinstance(value, list) or len(value) != 2:
        raise EnvelopeRefused("shape", f"{what}: expected a pair")
    return value[0], value[1]


def _shed(value: object, count: int) -> tuple[Run, ...]:
    runs: list[Run] = []
    for item in _items(value, "shed", MAX_SHED_RUNS):
        first, last = (_number(end, "shed", max(count - 1, 0)) for end in _pair(item, "shed"))
        if first > last or (runs and first <= runs[-1][1] + 1) or count == 0:
            raise EnvelopeRefused("shape", "close: shed runs must ascend and not touch")
        runs.append((first, last))
    return tuple(runs)
