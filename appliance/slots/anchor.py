"""A witness that the trust state on disk is the one that was written last, and no older copy of it.

Files alone cannot tell: whoever can restore a folder can restore all of it. Hardware can (a TPM's NV counter, OP-TEE
secure storage), and implements ``Witness``. What is here is the file for a device without: it stands outside the trust
folder, so it notices when that folder alone was wiped or restored, and it says that it is no hardware.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

import msgspec

from appliance.bundles.release import DIGEST_PATTERN
from appliance.errors import BundleRefused
from appliance.slots.disk import Disk, read_small

ANCHOR: Final = "anchor.json"
MAX_ANCHOR_BYTES: Final = 4096
#: The digest by which a device without any trust state is known.
NOTHING: Final = hashlib.sha384(b"no trust state").hexdigest()


def digest_of(state: bytes | None) -> str:
    """What a witness keeps of a trust state: its SHA-384."""
    return NOTHING if state is None else hashlib.sha384(state).hexdigest()


class Witness(Protocol):
    """Keeps which states may be on disk: one, or two while one replaces the other."""

    @property
    def hardware(self) -> bool:
        """Whether what it keeps outlives whoever can write all files."""

    def knows(self, digest: str) -> bool:
        """Whether this state is one that may be on disk."""

    def remember(self, digests: tuple[str, ...]) -> None:
        """From now on exactly these may be on disk."""


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["edge-anchor/1"] = "edge-anchor/1"
    count: int
    states: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN)], ...], msgspec.Meta(min_length=1, max_length=2)
    ]


class FileWitness:
    """The witness of a device without hardware for it: a file, which proves less and says so."""

    hardware = False

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / ANCHOR
        self._disk = disk

    def knows(self, digest: str) -> bool:
        kept = self._kept()
        return digest == NOTHING if kept is None else digest in kept.states

    def remember(self, digests: tuple[str, ...]) -> None:
        kept = self._kept()
        new = _Kept(count=1 if kept is None else kept.count + 1, states=digests)
        self._disk.write_whole(self._path, msgspec.json.encode(new) + b"\n")

    def _kept(self) -> _Kept | None:
        raw = read_small(self._path, MAX_ANCHOR_BYTES)
        try:
            return None if raw is None else msgspec.json.decode(raw, type=_Kept)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise BundleRefused("trust-state", f"{ANCHOR}: {e}") from e
