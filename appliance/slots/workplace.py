"""Where an installation works: alone, in an empty folder, with room enough. Nothing here decides anything."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.errors import BundleRefused
from appliance.slots.disk import PRIVATE_FILE, Disk

#: Room that is kept free beside the payload: metadata, records, audit lines.
SPARE_BYTES: Final = 16 * 1024 * 1024


@contextmanager
def locked(top: Path) -> Iterator[None]:
    """One installation at a time on one device; the lock ends with the process that holds it.

    Raises: BundleRefused ("busy").
    """
    descriptor = os.open(top / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise BundleRefused("busy", "another installation is running on this device") from e
        yield
    finally:
        os.close(descriptor)


@contextmanager
def staging(top: Path, disk: Disk) -> Iterator[Path]:
    """An empty folder for work in progress; whatever a power cut left in it before is gone."""
    folder = top / "staging"
    disk.remove_folder(folder)
    disk.make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Keep:
    """Stores verified files in a staging folder, or only reads them where there is none."""

    def __init__(self, disk: Disk, folder: Path | None) -> None:
        self._disk = disk
        self._folder = folder

    def reserve(self, length: int) -> None:
        if self._folder is not None:
            free = shutil.disk_usage(self._folder.parent).free
            if free < length + SPARE_BYTES:
                raise BundleRefused("storage", f"the device has {free} bytes free; {length + SPARE_BYTES} are needed")

    def store(self, path: str, chunks: Iterator[bytes]) -> None:
        if self._folder is None:
            for _ in chunks:
                pass
            return
        self._disk.make_folder(self._folder)
        self._disk.write_stream(self._folder / path, chunks)
