"""When a key is lost, stolen or due: new metadata that trusts another one.

Root and media keys are replaced by a new root, signed by enough old and enough new root keys; a vendor key likewise;
an integrator's key by new vendor targets. What was signed with the old key is worth nothing to a device from the next
stick on. The old private key file stays where it is, under another name, for the holder to destroy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance.bundles.metadata import to_canonical
from appliance.bundles.tuf7 import Metadata, SSlibKey
from appliance.errors import UsageError
from export.keys import CryptoSigner, load_signer, new_key, public_path, token_of
from export.repository import THRESHOLD, Repository, expiry

#: Which TUF roles a key file's name stands for in the root metadata.
ROOT_ROLES = {"root": ("root",), "vendor": ("targets",), "media": ("snapshot", "timestamp")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What replaced what (key ids), and the metadata that says so."""

    old: str
    new: str
    metadata: str


def rotate(repository: Repository, key_name: str, now: datetime, passphrase: str | None = None) -> Rotated:
    """Replaces one key, named as its file is (``root-2``, ``vendor-1``, ``media``, ``acme-1``), and publishes that.

    Raises: UsageError for a key that is not there.
    """
    path = repository.keys / f"{key_name}.pem"
    if not path.is_file():
        raise UsageError(f"{path}: no such key")
    old, token = load_signer(path, passphrase), token_of(path)
    _retire(repository, path, old.public_key.keyid)
    new = new_key(path, passphrase, token=token).public_key  # kept as the old one was
    change = _Change(family=key_name.rsplit("-", 1)[0], old=old, new=new, now=now, passphrase=passphrase)
    name = _new_root(repository, change) if change.family in ROOT_ROLES else _new_vendor(repository, change)
    return Rotated(old=old.public_key.keyid, new=new.keyid, metadata=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """One key for another. ``family`` is the role in the key's file name."""

    family: str
    old: CryptoSigner
    new: SSlibKey
    now: datetime
    passphrase: str | None


def _retire(repository: Repository, path: Path, keyid: str) -> None:
    retired = repository.keys / "retired"
    retired.mkdir(exist_ok=True)
    for source in (path, public_path(path)):
        source.rename(retired / f"{keyid[:16]}.{source.name}")


def _new_root(repository: Repository, change: _Change) -> str:
    metadata = repository.newest("root")
    assert metadata is not None
    root = metadata.signed
    holders = [change.old, *(load_signer(key, change.passphrase) for key in repository.key_files("root"))]
    signers = {signer.public_key.keyid: signer for signer in holders}
    before = set(root.roles["root"].keyids)
    for role in ROOT_ROLES[change.family]:
        root.revoke_key(change.old.public_key.keyid, role)
        root.add_key(change.new, role)
    root.version += 1
    root.expires = expiry(change.now)
    metadata.signatures.clear()
    for keyid in _enough(before, set(root.roles["root"].keyids)):
        metadata.sign(signers[keyid], append=True)
    name = f"{root.version}.root.json"
    (repository.published / name).write_bytes(to_canonical(metadata))
    if change.family == "vendor":
        _publish_vendor(repository, _vendor(repository), change)
    return name


def _enough(before: set[str], after: set[str]) -> list[str]:
    """The fewest keys that make a threshold of the old root's and of the new root's: common ones first."""
    common = sorted(before & after)[:THRESHOLD]
    missing = THRESHOLD - len(common)
    return [*common, *sorted(before - after)[:missing], *sorted(after - before)[:missing]]


def _new_vendor(repository: Repository, change: _Change) -> str:
    metadata = _vendor(repository)
    if change.family not in metadata.signed.delegations.roles:
        raise UsageError(f"the vendor has delegated nothing to {change.family!r}")
    metadata.signed.revoke_key(change.old.public_key.keyid, change.family)
    metadata.signed.add_key(change.new, change.family)
    return _publish_vendor(repository, metadata, change)


def _vendor(repository: Repository) -> Metadata[Any]:
    metadata = repository.newest("targets")
    assert metadata is not None
    return metadata


def _publish_vendor(repository: Repository, metadata: Metadata[Any], change: _Change) -> str:
    metadata.signed.version += 1
    metadata.signed.expires = expiry(change.now)
    metadata.signatures.clear()
    for key in repository.key_files("vendor")[:THRESHOLD]:
        metadata.sign(load_signer(key, change.passphrase), append=True)
    name = f"{metadata.signed.version}.targets.json"
    (repository.published / name).write_bytes(to_canonical(metadata))
    return name
