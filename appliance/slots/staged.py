"""The copy of the accepted metadata on which python-tuf works, and the root of trust that a person hands over.

With ``verify``, what an installation needs of python-tuf; a daemon that serves imports neither, and starts sooner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.bundles.layout import MAX_TARGETS_BYTES
from appliance.bundles.metadata import Signers, parse_strict, root_signers
from appliance.bundles.tuf7 import Metadata, Root
from appliance.errors import BundleRefused
from appliance.slots.disk import read_small


class Staged:
    """The copy on which python-tuf works, and what it left there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begun(self) -> bool:
        """Whether python-tuf has put the first root there."""
        return (self.folder / "root_history" / "1.root.json").is_file()

    def raw_root(self, version: int) -> bytes:
        return (self.folder / "root_history" / f"{version}.root.json").read_bytes()

    def root(self, version: int) -> Metadata[Root]:
        """A root of the chain that python-tuf accepted."""
        return parse_strict(f"{version}.root.json", self.raw_root(version))

    def check_successor(self, version: int) -> None:
        """A root after the first one is signed as the one before it and it itself ask.

        Raises: BundleRefused: "signature", "stray-signature".
        """
        root_signers(self.root(version - 1).signed, self.root(version))

    def timestamp_keys(self, version: int) -> frozenset[str]:
        """Who may say what is newest, by one root of the chain. Other keys count anew, so that a stolen media key
        cannot have counted beyond all reach (TUF 1.0.34 §5.3.11, fast-forward recovery)."""
        return frozenset(self.root(version).signed.roles["timestamp"].keyids)

    def newest_root(self) -> Metadata[Root]:
        """The root at the end of the chain."""
        version = 1
        while (self.folder / "root_history" / f"{version + 1}.root.json").is_file():
            version += 1
        return self.root(version)

    def role(self, name: str) -> Metadata[Any]:
        """A role's metadata as python-tuf accepted it.

        Raises: BundleRefused ("metadata").
        """
        raw = read_small(self.folder / f"{name}.json", MAX_TARGETS_BYTES)
        if raw is None:
            raise BundleRefused("missing", f"{name}: no metadata of this role was accepted")
        return parse_strict(f"{name}.json", raw)


def open_anchor(raw: bytes) -> Signers:
    """A root of trust that a person hands over: version 1, ours in every rule, signed by itself.

    Raises: BundleRefused: "anchor", "metadata", "scheme", "signature", "stray-signature".
    """
    metadata = parse_strict("root", raw)
    if not isinstance(metadata.signed, Root):
        raise BundleRefused("anchor", "expected root metadata")
    if metadata.signed.version != 1:
        raise BundleRefused("anchor", f"expected version 1 of the root; found {metadata.signed.version}")
    return root_signers(None, metadata)
