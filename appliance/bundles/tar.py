"""One 512-byte tar header block as a value, and what it may say.

Not a tar library: archives are read in place and never unpacked, so this knows regular files, folders and the two
ways of writing a name longer than 100 characters (GNU ``L``, POSIX ``x`` with nothing but ``path``); anything else in
an archive is refused. POSIX.1-1988 ustar, POSIX.1-2001 pax §4.18, GNU tar "Basic Tar Format".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from appliance.bundles.layout import MAX_NAME
from appliance.errors import BundleRefused

BLOCK: Final = 512
#: A long name and its length field fit many times; a pax header has no other use here.
MAX_LONG_NAME_BYTES: Final = 1024
#: GNU tar pads an archive to 10 KiB; a filesystem image might pad to a mebibyte.
MAX_TRAILING_BYTES: Final = 1024 * 1024

#: What is not printable ASCII, and the other system's separator.
_ODD: Final = re.compile(r"[^\x20-\x7e]|\\")

Kind = Literal["file", "folder", "gnu-name", "pax-name"]
_KINDS: Final[dict[bytes, Kind]] = {b"0": "file", b"\0": "file", b"5": "folder", b"L": "gnu-name", b"x": "pax-name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One header: what follows it, under which (short) name, and how many bytes."""

    kind: Kind
    name: str
    size: int


def padded(size: int) -> int:
    """How many bytes a member of ``size`` bytes takes in the archive."""
    return -(-size // BLOCK) * BLOCK


def parse_header(block: bytes) -> Header | None:
    """Reads one block; None is the zero block that ends an archive.

    Raises: BundleRefused: "media-format", "media-type" for links, pipes, devices and sparse files, "media-path".
    """
    if len(block) != BLOCK:
        raise BundleRefused("media-format", "the archive ends in the middle of a header")
    if block == bytes(BLOCK):
        return None
    expected = sum(block[:148]) + 8 * 32 + sum(block[156:])
    if block[148:156] not in (b"%06o\0 " % expected, b"%07o\0" % expected):
        raise BundleRefused("media-format", "the checksum of an archive header is wrong")
    if block[257:263] not in (b"ustar\0", b"ustar "):
        raise BundleRefused("media-format", "the archive is not a ustar, pax or GNU tar")
    kind = _KINDS.get(block[156:157])
    if kind is None:
        raise BundleRefused("media-type", f"archive member type {block[156:157]!r}: only files and folders are read")
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    name = _text(block[0:100])
    return Header(kind=kind, name=f"{prefix}/{name}" if prefix else name, size=_octal(block[124:136]))


def parse_long_name(header: Header, data: bytes) -> str:
    """The long name that a ``gnu-name`` or ``pax-name`` member carries for the member after it.

    Raises: BundleRefused: "media-format" for a pax record other than ``path``.
    """
    if header.kind == "gnu-name":
        if not data.endswith(b"\0") or data.count(b"\0") != 1:
            raise BundleRefused("media-format", "a long name in the archive is not ended by one zero byte")
        return _decode(data[:-1])
    length, _, record = data.partition(b" ")
    if not length.isdigit() or data[:1] == b"0" or int(length[:8]) != len(data) or not record.endswith(b"\n"):
        raise BundleRefused("media-format", "a pax header in the archive is malformed")
    key, _, value = record[:-1].partition(b"=")
    if key != b"path" or b"\n" in value:
        raise BundleRefused("media-format", f"pax record {key[:32]!r}: only a path is read")
    return _decode(value)


def check_name(name: str) -> str:
    """The name if it is a relative path of plain parts; a folder's closing slash and a leading ``./`` are dropped.

    Raises: BundleRefused ("media-path").
    """
    plain = name.removeprefix("./").removesuffix("/")
    parts = plain.split("/")
    bad = not name or name.startswith("/") or len(name) > MAX_NAME or _ODD.search(name) is not None
    if bad or (plain not in ("", ".") and any(part in ("", ".", "..") for part in parts)):
        raise BundleRefused("media-path", f"a stick may not carry the name {name[:80]!r}")
    return "" if plain == "." else plain


def _text(field: bytes) -> str:
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise BundleRefused("media-path", "a name in the archive has bytes after its end")
    return _decode(text)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError as e:
        raise BundleRefused("media-path", "a name in the archive is not ASCII") from e


def _octal(field: bytes) -> int:
    digits = field.rstrip(b"\0 ")
    if not digits or any(c not in b"01234567" for c in digits):
        raise BundleRefused("media-format", "a size in the archive is not octal")
    return int(digits, 8)
