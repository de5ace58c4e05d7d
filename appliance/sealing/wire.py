"""The bytes of envelopes: topics, canonical CBOR, and the one layout that a frame may have.

Nothing here knows a key or decides on trust; ``docs/envelope.md`` says the same byte by byte.

Rules:

- An envelope is a body with its signature at the end. Nobody parses a body before its signature was verified, but for a
  frame's fixed header, which is compared byte by byte and needs no decoder.
- CBOR is canonical (RFC 8949 §4.2.1 with length-first map order as in §4.2.3) or refused: it must re-encode to itself.
- A frame has one layout. Every other encoding of the same COSE_Encrypt0 is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

import cbor2

from appliance.errors import EnvelopeRefused
from appliance.sealing.identity import NAME_PATTERN, SIGNATURE_BYTES

EnvelopeKind = Literal["grant", "frame", "close"]

SUITE: Final = 1
"""ML-DSA-87, HPKE with ML-KEM-1024 / HKDF-SHA384 / AES-256-GCM, Ed25519 per epoch, AES-256-GCM frames, SHA-384."""
GRANT_CONTEXT: Final = b"edge/grant/v1"
BOX_CONTEXT: Final = b"edge/grant-box/v1"
CLOSE_CONTEXT: Final = b"edge/close/v1"
FRAME_CONTEXT: Final = b"edge/frame/v1"
KEY_CONTEXT: Final = b"edge/frame-key/v1"

DIGEST_BYTES: Final = 48
EPOCH_SIGNATURE_BYTES: Final = 64
TAG_BYTES: Final = 16
REFERENCE_BYTES: Final = 7
MAX_TOPIC_BYTES: Final = 250
MAX_PAYLOAD_BYTES: Final = 1024 * 1024
MAX_RECIPIENTS: Final = 256
MAX_AUDIENCES: Final = 16
MAX_SIGNED_BODY_BYTES: Final = 512 * 1024
"""A grant for 256 recipients in all audiences is 430 kB."""
MAX_EPOCH: Final = 2**48 - 1
MAX_COUNTER: Final = 2**32 - 1
"""Frames of one epoch: NIST SP 800-38D §8.3 allows 2^32 uses of one AES-GCM key; after that a new epoch must start."""

_TOPIC = re.compile(r"edge/v1/([A-Za-z0-9][A-Za-z0-9._-]{0,63})((?:/[A-Za-z0-9][A-Za-z0-9._:-]{0,63}){1,4})")
_NUMBERED = re.compile(r"/(grant|close)/(0|[1-9][0-9]{0,14})")

_FRAME_HEAD: Final = bytes.fromhex("d08343a10103a20448")
"""COSE_Encrypt0 tag, array of 3, protected {1: 3 (A256GCM)}, unprotected map of 2, key 4 (kid), 8 bytes follow."""
_PROTECTED: Final = bytes.fromhex("43a10103")
_IV_LABEL: Final = 0x06
_KID_AT: Final = len(_FRAME_HEAD)
_IV_AT: Final = _KID_AT + REFERENCE_BYTES + 1
_SMALLEST_FRAME: Final = _IV_AT + 3 + 1 + TAG_BYTES + EPOCH_SIGNATURE_BYTES
LARGEST_FRAME: Final = _IV_AT + 2 + 4 + 5 + MAX_PAYLOAD_BYTES + TAG_BYTES + EPOCH_SIGNATURE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Sealed bytes and where they go. ``counter`` is the frame's number in its epoch, and 0 for grant and close."""

    topic: str
    kind: EnvelopeKind
    epoch: int
    counter: int
    data: bytes

    @property
    def retain(self) -> bool:
        """Grants are kept by the broker, so that who comes later can open; nothing else is."""
        return self.kind == "grant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a topic says: whose it is, what it carries, and the epoch where the topic names one."""

    unit: str
    kind: EnvelopeKind
    epoch: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameParts:
    """A frame taken apart, not yet believed. ``reference`` names the grant; ``signed`` is all but the signature."""

    reference: bytes
    audience: int
    counter: int
    ciphertext: bytes
    signed: bytes
    signature: bytes


def address(topic: str) -> Address:
    """What ``topic`` names. Raises EnvelopeRefused (``topic``) for anything that no envelope may stand on."""
    match = _TOPIC.fullmatch(topic) if len(topic) <= MAX_TOPIC_BYTES else None
    if match is None:
        raise EnvelopeRefused("topic", f"expected edge/v1/<unit>/<what>; found {topic[:80]!r}")
    unit, rest = match[1], match[2]
    if rest.split("/")[1] not in ("grant", "close"):
        return Address(unit=unit, kind="frame", epoch=None)
    numbered = _NUMBERED.fullmatch(rest)
    if numbered is None:
        raise EnvelopeRefused("topic", f"expected grant/<epoch> or close/<epoch>; found {topic[:80]!r}")
    kind: EnvelopeKind = "grant" if numbered[1] == "grant" else "close"
    return Address(unit=unit, kind=kind, epoch=int(numbered[2]))


def control_topic(unit: str, kind: EnvelopeKind, epoch: int) -> str:
    """Where the grant or close of an epoch stands."""
    return f"edge/v1/{unit}/{kind}/{epoch}"


def valid_unit(unit: str) -> bool:
    """Whether ``unit`` may stand in a topic."""
    return NAME_PATTERN.fullmatch(unit) is not None


def encode(value: object) -> bytes:
    """Canonical CBOR."""
    return cbor2.dumps(value, canonical=True)


def decode(body: bytes) -> object:
    """Canonical CBOR without tags, floats or nesting beyond five. Raises EnvelopeRefused (``encoding``)."""
    if len(body) > MAX_SIGNED_BODY_BYTES:
        raise EnvelopeRefused("size", f"expected at most {MAX_SIGNED_BODY_BYTES} bytes of CBOR; found {len(body)}")
    try:
        value = cbor2.loads(body, max_depth=5, allow_indefinite=False, allow_duplicate_keys=False)
        again = encode(value)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, EOFError) as e:
        raise EnvelopeRefused("encoding", f"not canonical CBOR: {e}") from e
    if again != body or not _plain(value):
        raise EnvelopeRefused(
            "encoding", "not canonical CBOR: it does not re-encode to itself, or holds tags or floats"
        )
    return value


def _plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(key) is int and _plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    if type(value) is int:
        return -(2**64) <= value < 2**64  # beyond that CBOR writes it with a tag
    return type(value) in (bytes, str)


def split_signed(data: bytes) -> tuple[bytes, bytes]:
    """Body and ML-DSA-87 signature of a grant or close. Raises EnvelopeRefused (``size``)."""
    if not SIGNATURE_BYTES < len(data) <= MAX_SIGNED_BODY_BYTES + SIGNATURE_BYTES:
        raise EnvelopeRefused("size", f"a grant or close cannot have {len(data)} bytes")
    return data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]


def frame_head(reference: bytes, audience: int, counter: int, ciphertext_bytes: int) -> bytes:
    """Everything of a frame before its ciphertext."""
    partial_iv = counter.to_bytes(max(1, (counter.bit_length() + 7) // 8), "big")
    head = _FRAME_HEAD + reference + bytes((audience, _IV_LABEL, 0x40 + len(partial_iv))) + partial_iv
    return head + _byte_string_head(ciphertext_bytes)


def split_frame(data: bytes) -> FrameParts:
    """Take a frame apart by its one layout. Raises EnvelopeRefused (``size`` or ``encoding``)."""
    if not _SMALLEST_FRAME <= len(data) <= LARGEST_FRAME:
        raise EnvelopeRefused("size", f"a frame cannot have {len(data)} bytes")
    iv_size = data[_IV_AT + 1] - 0x40
    ciphertext_at = _IV_AT + 2 + max(iv_size, 0)
    size = len(data) - EPOCH_SIGNATURE_BYTES
    partial_iv = data[_IV_AT + 2 : ciphertext_at]
    ciphertext_size = size - ciphertext_at - _head_size(size - ciphertext_at)
    head = _byte_string_head(max(ciphertext_size, 0))
    good = (
        data.startswith(_FRAME_HEAD)
        and data[_IV_AT] == _IV_LABEL
        and 1 <= iv_size <= 4
        and (iv_size == 1 or partial_iv[0] != 0)
        and ciphertext_size > TAG_BYTES
        and data.startswith(head, ciphertext_at)
        and ciphertext_at + len(head) + ciphertext_size == size
    )
    if not good:
        raise EnvelopeRefused("encoding", "not the one layout that a frame may have")
    return FrameParts(
        reference=data[_KID_AT : _IV_AT - 1],
        audience=data[_IV_AT - 1],
        counter=int.from_bytes(partial_iv, "big"),
        ciphertext=data[ciphertext_at + len(head) : size],
        signed=data[:size],
        signature=data[size:],
    )


def frame_message(topic: str, signed: bytes) -> bytes:
    """What the epoch's Ed25519 key signs: the context, the topic with its length, the COSE_Encrypt0 bytes."""
    name = topic.encode()
    return b"%b%b%b%b" % (FRAME_CONTEXT, len(name).to_bytes(2, "big"), name, signed)


def frame_aad(topic: str) -> bytes:
    """RFC 9052 §5.3 Enc_structure: ["Encrypt0", protected, external_aad]; the external AAD is the topic."""
    name = topic.encode()
    return b"\x83\x68Encrypt0" + _PROTECTED + _byte_string_head(len(name)) + name


def frame_nonce(base_iv: bytes, counter: int) -> bytes:
    """RFC 9052 §3.1: the Partial IV, padded on the left, exclusive-or the Context IV (12 bytes)."""
    return (int.from_bytes(base_iv, "big") ^ counter).to_bytes(12, "big")


def _head_size(remaining: int) -> int:
    """Bytes of the byte-string head in ``remaining`` bytes of head and string together (RFC 8949 §3.1, minimal)."""
    if remaining <= 1 + 23:
        return 1
    if remaining <= 2 + 0xFF:
        return 2
    return 3 if remaining <= 3 + 0xFFFF else 5


def _byte_string_head(size: int) -> bytes:
    if size <= 23:
        return bytes((0x40 + size,))
    if size <= 0xFF:
        return bytes((0x58, size))
    if size <= 0xFFFF:
        return b"\x59" + size.to_bytes(2, "big")
    return b"\x5a" + size.to_bytes(4, "big")
