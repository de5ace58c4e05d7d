"""Every change that this room makes to the file system, one named step at a time.

A step callback is called before each change. It does nothing in service; a test raises or kills the process in it, at
every step in turn, and then looks whether the box still boots. Nothing here decides anything.

Rules: a file appears under its name only when whole and on the medium (write, fsync, rename, fsync of the folder).
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.errors import BundleRefused

Step = Callable[[str], None]

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600


def no_step(name: str) -> None:
    """The step callback of ordinary service."""


class Disk:
    """The file system below ``state_dir``, with a step before each change."""

    def __init__(self, step: Step = no_step) -> None:
        self.step = step

    def make_folder(self, path: Path) -> None:
        """Makes a folder and its parents, on the medium."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        with storage():
            self.step(f"make {path.name}")
            path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            sync_folder(path.parent)

    def write_whole(self, path: Path, data: bytes) -> None:
        """Replaces ``path`` by ``data``: afterwards the file has its old or its new content, never less."""
        new = path.with_name(path.name + ".new")
        with storage():
            self.step(f"write {path.name}")
            write_synced(new, [data])
            self.step(f"rename {path.name}")
            new.replace(path)
            sync_folder(path.parent)

    def write_stream(self, path: Path, chunks: Iterable[bytes]) -> None:
        """Writes a new file from chunks and puts it on the medium."""
        with storage():
            self.step(f"write {path.name}")
            write_synced(path, chunks)

    def append_line(self, path: Path, line: bytes) -> None:
        """Adds one line to a file, on the medium when this returns."""
        with storage():
            self.step(f"append to {path.name}")
            with path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def move_folder(self, source: Path, target: Path) -> None:
        """Renames a folder to a name that is free."""
        with storage():
            self.step(f"move {source.name} to {target.name}")
            sync_folder(source)
            source.rename(target)
            sync_folder(target.parent)
            sync_folder(source.parent)

    def remove_folder(self, path: Path) -> None:
        """Removes a folder and all in it; nothing happens if it is not there."""
        if path.is_dir():
            with storage():
                self.step(f"remove {path.name}")
                shutil.rmtree(path)


def write_synced(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes, flushes and syncs one file; it may exist and is then replaced in place."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Puts a folder's list of names on the medium."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_small(path: Path, max_bytes: int, reason: str = "trust-state") -> bytes | None:
    """A whole file of the device's own, or None where there is none.

    Raises: BundleRefused (``reason``) for a file longer than it can be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    if len(data) > max_bytes:
        raise BundleRefused(reason, f"{path.name}: longer than {max_bytes} bytes")
    return data


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """A file of the device's own as bytes that are read where they are looked at; nothing may keep them.

    Raises: BundleRefused ("storage") where there is no such file or it is empty.
    """
    with storage(), path.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    yield whole


@contextmanager
def storage() -> Iterator[None]:
    """Says "storage" where the device, not the stick, is full or failing."""
    try:
        yield
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise BundleRefused(
            "storage", "the device is full" if full else f"the device cannot store: {e.strerror}"
        ) from e


def digest_file(path: Path) -> tuple[int, str]:
    """Length and SHA-384 of a stored file, in constant memory.

    Raises: OSError.
    """
    digest, length = hashlib.sha384(), 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
            length += len(chunk)
    return length, digest.hexdigest()
