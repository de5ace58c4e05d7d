"""What a video feed and its decoder process say to each other. Shared by both; imports neither of them.

One ``SOCK_SEQPACKET`` pair: messages keep their bounds and an end of file says that the other side is dead. Down go
the order (once, JSON) and slot numbers to use again; up come fixed headers, some with a short text. Pixels do not
travel here: they lie in the ring, a sealed memfd that the parent made and that both have mapped.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import msgspec

HEADER: Final = struct.Struct("<BxHIIqqq")
"""kind, slot or reason, width_px, height_px, index, pts_ns, wall_ns."""
RELEASE: Final = struct.Struct("<H")
NO_PTS: Final = -(2**63)
MAX_ORDER_BYTES: Final = 65_536
MAX_TEXT_BYTES: Final = 300
MAX_MESSAGE_BYTES: Final = HEADER.size + MAX_TEXT_BYTES

#: Why a frame was skipped; the number travels in the place of the slot.
REASONS: Final[tuple[str, ...]] = ("undecodable packet", "damaged frame", "frame too large", "damaged container")


class Kind(IntEnum):
    """What a message from the decoder says."""

    OPENED = 1  # pts_ns: nominal time between frames, 0 if unknown
    FRAME = 2  # slot, size, index, pts, wall
    BAD = 3  # reason
    OVERRUN = 4  # a live frame found no free slot
    END = 5  # the file is read to its end
    AWAY = 6  # text: the camera or file cannot be opened or has gone
    UNUSABLE = 7  # text: this medium will never give a frame


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a decoder shall do; sent to it once."""

    url: str
    input_format: str | None
    input_options: dict[str, str]
    live: bool
    skip_frames: int
    slots: int
    slot_bytes: int
    max_width_px: int
    max_height_px: int
    max_pixels: int
    decode_threads: int
    memory_bytes: int
    open_s: float
    read_s: float


class Message(msgspec.Struct, frozen=True):
    """One message from the decoder, taken apart."""

    kind: Kind
    slot: int = 0
    width_px: int = 0
    height_px: int = 0
    index: int = 0
    pts_ns: int = NO_PTS
    wall_ns: int = 0
    text: str = ""


def pack(message: Message) -> bytes:
    """As it travels."""
    head = HEADER.pack(
        message.kind,
        message.slot,
        message.width_px,
        message.height_px,
        message.index,
        message.pts_ns,
        message.wall_ns,
    )
    return head + message.text.encode("utf-8")[:MAX_TEXT_BYTES]


def unpack(raw: bytes) -> Message:
    """Raises ``ValueError`` for what a decoder never says."""
    if len(raw) < HEADER.size:
        raise ValueError("short message")
    kind, slot, width, height, index, pts_ns, wall_ns = HEADER.unpack_from(raw)
    text = raw[HEADER.size :].decode("utf-8", "replace")
    return Message(Kind(kind), slot, width, height, index, pts_ns, wall_ns, text)
