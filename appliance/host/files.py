"""Files that are written whole or not at all, and read to a limit."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def read_at_most(path: Path, most: int) -> bytes:
    """A file's content, or its first ``most`` + 1 bytes, by which the caller sees that it is longer.

    Takes memory for what is there, not for what might be: a device of 2 GiB cannot promise 2 GiB to one read. Raises:
    OSError.
    """
    with path.open("rb") as file:
        there = os.fstat(file.fileno())
        return file.read((min(there.st_size, most) if stat.S_ISREG(there.st_mode) else most) + 1)


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` so that a power cut leaves the old file or the new one: temporary, fsync, rename, fsync."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
