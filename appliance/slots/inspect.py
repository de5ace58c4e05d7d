"""What a stick claims to hold, before anybody believes it: for a person who wonders what is in their hand.

Nothing is verified here and no trust is needed; every line of it may be a lie. ``verify`` is the other command.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.bundles.layout import MAX_TARGETS_BYTES, METADATA, TARGETS
from appliance.bundles.metadata import parse_strict
from appliance.bundles.release import MAX_RELEASE_BYTES, RELEASE_FILE, Release, parse_release
from appliance.errors import BundleRefused
from appliance.slots.fetcher import read_bounded
from appliance.slots.media import Media, open_media

#: A stick for a whole fleet carries some dozens of products.
MAX_RELEASES: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedMetadata:
    """One metadata file: its name, version, expiry and who says to have signed it (key ids)."""

    name: str
    version: int
    expires: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a stick claims. ``faults``: files that cannot even be read as what their name says."""

    releases: tuple[Release, ...]
    metadata: tuple[ClaimedMetadata, ...]
    files: int
    length: int
    faults: tuple[str, ...]


def inspect(path: Path) -> Contents:
    """Reads the small files of a stick and believes nothing.

    Raises: Unavailable, BundleRefused where the medium itself is hostile or unreadable.
    """
    releases: list[Release] = []
    claimed: list[ClaimedMetadata] = []
    faults: list[str] = []
    with open_media(path) as media:
        for name in sorted(media.sizes):
            try:
                if name.startswith(METADATA + "/"):
                    claimed.append(_metadata(media, name))
                elif _is_release(name) and len(releases) < MAX_RELEASES:
                    releases.append(parse_release(b"".join(read_bounded(media, name, MAX_RELEASE_BYTES))))
            except BundleRefused as e:
                faults.append(f"{name}: {e}")
        return Contents(
            releases=tuple(releases),
            metadata=tuple(claimed),
            files=len(media.sizes),
            length=sum(media.sizes.values()),
            faults=tuple(faults),
        )


def _is_release(name: str) -> bool:
    return name.startswith(TARGETS + "/") and name.endswith("." + RELEASE_FILE)


def _metadata(media: Media, name: str) -> ClaimedMetadata:
    metadata = parse_strict(name, b"".join(read_bounded(media, name, MAX_TARGETS_BYTES)))
    return ClaimedMetadata(
        name=name.removeprefix(METADATA + "/"),
        version=metadata.signed.version,
        expires=metadata.signed.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        keys=tuple(sorted(metadata.signatures)),
    )
