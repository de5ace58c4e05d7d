"""A sealed engine as a file: a header that anyone may read and nobody may change, then the plan in sealed pieces.

    magic (8) │ header length (4, big endian) │ header (JSON) │ piece 0 │ piece 1 │ …

Each piece is AES-256-GCM over 4 MiB of plan (the last one shorter), nonce = piece number, additional data = SHA-384 of
everything before the first piece, and whether it is the last (the STREAM construction, Hoang, Reyhanitabar, Rogaway and
Vizár 2015). The key is fresh for every file and stands in the header, wrapped under the device's key, which
binds it to the rest of the header. So a piece cannot be moved, repeated, dropped or taken from another file.

Rules: sizes are checked before anything is allocated; every fault is ``EngineRefused`` (``engine-format`` where it is
no such file, ``engine-sealed`` where a byte is not what was sealed, ``engine-key`` where another device sealed it).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta

from appliance.engines.binding import Binding, Digest
from appliance.engines.devicekey import DeviceKey
from appliance.errors import EngineRefused

MAGIC: Final = b"EDGEENG1"
PIECE_BYTES: Final = 4 * 1024 * 1024
TAG_BYTES: Final = 16
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_PLAN_BYTES: Final = 4 * 1024**3
_LENGTH_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_MIDDLE, _LAST = b"\x00", b"\x01"


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands beside the binding: the plan's size and digest, and how its build went."""

    plan_bytes: Annotated[int, Meta(gt=0, le=MAX_PLAN_BYTES)]
    plan_sha384: Digest
    built_ns: int
    seconds: float
    warnings: Annotated[tuple[str, ...], Meta(max_length=16)] = ()


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of the header; ``wrapped_key`` is left out of what it is bound to."""

    binding: Binding
    facts: Facts
    wrapped_key: bytes = b""


def sealed_parts(plan: bytes, binding: Binding, facts: Facts, key: DeviceKey) -> Iterator[bytes]:
    """The bytes of a sealed engine, in order, in parts of at most a little over 4 MiB."""
    file_key = AESGCM.generate_key(256)
    bare = Header(binding=binding, facts=facts)
    header = msgspec.structs.replace(bare, wrapped_key=key.wrap(file_key, _context(bare)))
    encoded = msgspec.json.encode(header)
    front = MAGIC + len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded
    yield front
    aead, bound = AESGCM(file_key), hashlib.sha384(front).digest()
    pieces = -(-len(plan) // PIECE_BYTES)
    view = memoryview(plan)
    for number in range(pieces):
        part = view[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
        yield aead.encrypt(_nonce(number), part, bound + (_LAST if number == pieces - 1 else _MIDDLE))


def read_header(file: BinaryIO) -> tuple[Header, bytes]:
    """The header, not yet proven, and all bytes up to the first piece. Raises ``EngineRefused``."""
    start = file.read(len(MAGIC) + _LENGTH_BYTES)
    if len(start) < len(MAGIC) + _LENGTH_BYTES or not start.startswith(MAGIC):
        raise EngineRefused("engine-format", f"expected a sealed engine beginning with {MAGIC!r}; found another file")
    length = int.from_bytes(start[len(MAGIC) :], "big")
    if not 0 < length <= MAX_HEADER_BYTES:
        raise EngineRefused("engine-format", f"expected a header of at most {MAX_HEADER_BYTES} bytes; found {length}")
    encoded = file.read(length)
    try:
        header = msgspec.json.decode(encoded, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise EngineRefused("engine-format", f"the header cannot be read: {e}") from e
    if msgspec.json.encode(header) != encoded:
        raise EngineRefused("engine-format", "the header is not in its one form")
    return header, start + encoded


def open_sealed(file: BinaryIO, expected: Binding, key: DeviceKey) -> tuple[Header, bytearray]:
    """The plan, if the file is bound to exactly ``expected`` and every byte is as it was sealed.

    Raises ``EngineRefused`` with the reason; nothing of the plan is opened where the binding differs.
    """
    header, front = read_header(file)
    reason = expected.differs(header.binding)
    if reason is not None:
        raise EngineRefused(reason, _difference(expected, header.binding))
    file_key = key.unwrap(header.wrapped_key, _context(msgspec.structs.replace(header, wrapped_key=b"")))
    _require_length(file, len(front), header.facts.plan_bytes)
    plan = _opened(file, AESGCM(file_key), hashlib.sha384(front).digest(), header.facts.plan_bytes)
    if hashlib.sha384(plan).hexdigest() != header.facts.plan_sha384:
        raise EngineRefused("engine-sealed", "the plan is not the one that the header names")
    return header, plan


def _opened(file: BinaryIO, aead: AESGCM, bound: bytes, size: int) -> bytearray:
    plan = bytearray(size)
    pieces = -(-size // PIECE_BYTES)
    for number in range(pieces):
        begin = number * PIECE_BYTES
        length = min(PIECE_BYTES, size - begin)
        try:
            part = aead.decrypt(
                _nonce(number), file.read(length + TAG_BYTES), bound + (_LAST if number == pieces - 1 else _MIDDLE)
            )
        except (InvalidTag, ValueError) as e:
            raise EngineRefused("engine-sealed", f"piece {number} of {pieces} is not what was sealed") from e
        plan[begin : begin + length] = part
    return plan


def _require_length(file: BinaryIO, front: int, size: int) -> None:
    expected = front + size + TAG_BYTES * -(-size // PIECE_BYTES)
    found = os.fstat(file.fileno()).st_size
    if found != expected:
        raise EngineRefused("engine-sealed", f"expected a file of {expected} bytes; found {found}")


def _context(bare: Header) -> bytes:
    return MAGIC + msgspec.json.encode(bare)


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")


def _difference(expected: Binding, found: Binding) -> str:
    names = [f.name for f in msgspec.structs.fields(Binding) if getattr(expected, f.name) != getattr(found, f.name)]
    name = names[0]
    return f"the engine is not for here: {name}: expected {getattr(expected, name)}; found {getattr(found, name)}"
