"""A stick, as a set of named files: a folder, or one uncompressed tar that is read in place.

Nothing is ever unpacked and no name from the media is used as a path: a file is opened by the name that *we* expect.
Links, pipes, devices, duplicates and odd names are refused when the stick is opened, before anything is read. A
folder may hold other things beside ``m`` and ``t`` (a stick is a person's); an archive may not.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from appliance.bundles.layout import MAX_MEMBERS, METADATA, TARGETS
from appliance.bundles.tar import (
    BLOCK,
    MAX_LONG_NAME_BYTES,
    MAX_TRAILING_BYTES,
    Header,
    check_name,
    padded,
    parse_header,
    parse_long_name,
)
from appliance.errors import BundleRefused, Unavailable

CHUNK_BYTES: Final = 64 * 1024
"""A piece stays in the processor's cache while it is hashed; the kernel reads ahead of a file that is read in order."""
#: ``t/integrator/product/file`` is four deep.
MAX_DEPTH: Final = 4
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not make us wait for its other end


class Media(Protocol):
    """Named files of stated sizes, read by expected name."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Every file under ``m`` and ``t`` and its length in bytes."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of one file in pieces; stops early where the medium has less.

        Raises: BundleRefused ("media-read") when the medium fails.
        """


@contextmanager
def open_media(path: Path) -> Iterator[Media]:
    """Opens a stick.

    Raises: Unavailable where there is nothing; BundleRefused: "media-type", "media-path", "media-duplicate",
    "media-format", "media-read", "unlisted".
    """
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as e:
        raise Unavailable(f"no stick at {path}: {e.strerror}") from e
    try:
        with reading():
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                yield FolderMedia(descriptor)
            elif stat.S_ISREG(mode):
                yield TarMedia(descriptor)
            else:
                raise BundleRefused("media-type", f"{path.name}: expected a folder or an archive file")
    finally:
        os.close(descriptor)


@contextmanager
def reading() -> Iterator[None]:
    """Says "media-read" where the stick fails under us (pulled out, bad sector)."""
    try:
        yield
    except OSError as e:
        raise BundleRefused("media-read", f"the stick cannot be read: {e.strerror or e}") from e


class FolderMedia:
    """The tree in a folder, opened part by part below one descriptor and never through a link."""

    def __init__(self, descriptor: int) -> None:
        self._top = descriptor
        self._sizes: dict[str, int] = {}
        for part in (METADATA, TARGETS):
            if part in os.listdir(descriptor):
                self._walk(descriptor, part, part, 1)

    @property
    def sizes(self) -> Mapping[str, int]:
        return self._sizes

    def _walk(self, parent: int, entry: str, name: str, depth: int) -> None:
        mode = os.stat(entry, dir_fd=parent, follow_symlinks=False)
        check_name(name)
        if stat.S_ISREG(mode.st_mode):
            self._sizes[name] = mode.st_size
        elif not stat.S_ISDIR(mode.st_mode):
            raise BundleRefused("media-type", f"{name}: not a regular file or folder")
        elif depth > MAX_DEPTH:
            raise BundleRefused("media-path", f"{name}: deeper than a stick's folders go")
        else:
            with _opened(entry, parent, os.O_DIRECTORY) as folder:
                for child in _some_names(folder, MAX_MEMBERS - len(self._sizes)):
                    self._walk(folder, child, f"{name}/{child}", depth + 1)

    def chunks(self, name: str) -> Iterator[bytes]:
        with reading():
            yield from self._read(self._top, name.split("/"), name)

    def _read(self, parent: int, parts: list[str], name: str) -> Iterator[bytes]:
        if len(parts) > 1:
            with _opened(parts[0], parent, os.O_DIRECTORY) as folder:
                yield from self._read(folder, parts[1:], name)
            return
        with _opened(parts[0], parent, 0) as file:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise BundleRefused("media-type", f"{name}: not a regular file")
            while chunk := os.read(file, CHUNK_BYTES):
                yield chunk


class TarMedia:
    """The tree in one uncompressed tar: an index of offsets, read with ``pread``."""

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor
        self._end = os.fstat(descriptor).st_size
        self._places: dict[str, tuple[int, int]] = {}
        self._index()

    @property
    def sizes(self) -> Mapping[str, int]:
        return {name: size for name, (_, size) in self._places.items()}

    def _index(self) -> None:
        offset, long_name, members = 0, "", 0
        seen: set[str] = set()
        while (header := parse_header(self._block(offset))) is not None:
            members += 1
            if members > 2 * MAX_MEMBERS:
                raise BundleRefused("media-format", f"more than {MAX_MEMBERS} members in the archive")
            offset += BLOCK
            self._check_extent(header, offset)
            if header.kind in ("gnu-name", "pax-name"):
                if long_name or header.size > MAX_LONG_NAME_BYTES:
                    raise BundleRefused("media-format", "a long name in the archive is absurd")
                long_name = parse_long_name(header, self._pread(offset, header.size))
            else:
                self._add(header, check_name(long_name or header.name), offset, seen)
                long_name = ""
            offset += padded(header.size)
        self._check_tail(offset, long_name)

    def _add(self, header: Header, name: str, offset: int, seen: set[str]) -> None:
        if name in seen:
            raise BundleRefused("media-duplicate", f"{name}: twice in the archive")
        seen.add(name)
        if name and name.split("/", maxsplit=1)[0] not in (METADATA, TARGETS):
            raise BundleRefused("unlisted", f"{name}: an archive holds nothing beside {METADATA} and {TARGETS}")
        if header.kind == "folder":
            if header.size:
                raise BundleRefused("media-format", f"{name}: a folder with content")
            return
        self._places[name] = (offset, header.size)

    def _check_extent(self, header: Header, offset: int) -> None:
        """A member lies within the archive, and the bytes that fill its last block are zero."""
        end = offset + padded(header.size)
        if end > self._end:
            raise BundleRefused("truncated", "the archive ends in the middle of a member")
        filling = self._pread(offset + header.size, end - offset - header.size)
        if filling.strip(b"\0"):
            raise BundleRefused("media-format", "the archive has bytes between its members")

    def _check_tail(self, offset: int, long_name: str) -> None:
        rest = self._end - offset
        if long_name or rest < 2 * BLOCK:
            raise BundleRefused("truncated", "the archive has no end mark")
        if rest > MAX_TRAILING_BYTES or self._pread(offset, rest).strip(b"\0"):
            raise BundleRefused("media-format", "the archive has bytes after its end")

    def _block(self, offset: int) -> bytes:
        block = self._pread(offset, BLOCK)
        if len(block) != BLOCK:
            raise BundleRefused("truncated", "the archive has no end mark")
        return block

    def _pread(self, offset: int, length: int) -> bytes:
        with reading():
            return os.pread(self._file, length, offset)

    def chunks(self, name: str) -> Iterator[bytes]:
        offset, left = self._places[name]
        while left > 0:
            chunk = self._pread(offset, min(CHUNK_BYTES, left))
            if not chunk:
                return
            yield chunk
            offset, left = offset + len(chunk), left - len(chunk)


@contextmanager
def _opened(entry: str, parent: int, flags: int) -> Iterator[int]:
    descriptor = os.open(entry, _OPEN | os.O_NOFOLLOW | flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _some_names(folder: int, most: int) -> list[str]:
    """The names in a folder, refusing one that has more than a stick can have."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > most:
                raise BundleRefused("media-path", f"more than {MAX_MEMBERS} files on the stick")
    return sorted(names)
