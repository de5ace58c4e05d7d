"""The overlay as one uncompressed archive (POSIX ustar): sorted, without times, owners or anything of this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from typing import Final

from appliance.image.overlay import ImageFile

#: What every member is dated: an archive of the same files is the same bytes, whenever it is made.
MEMBER_TIME_S: Final = 0


def pack(files: Iterable[ImageFile]) -> bytes:
    """The archive's bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in sorted(files, key=lambda file: file.path):
            member = tarfile.TarInfo(file.path)
            member.size = len(file.content)
            member.mode = file.mode
            member.mtime = MEMBER_TIME_S
            archive.addfile(member, io.BytesIO(file.content))
    return out.getvalue()


def digest(content: bytes) -> str:
    """SHA-384, lower-case hex."""
    return hashlib.sha384(content).hexdigest()
