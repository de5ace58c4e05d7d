"""A fleet's TUF repository on a desk: who may sign what, and what was published last.

    DIR/keys/root-1.pem …            private keys (in service each lies on its holder's own machine)
    DIR/published/1.root.json …      the newest published metadata, to which every new release is added

Roles: root and vendor 2 of 3; each integrator m of n, for ``<name>/*`` only, terminating; one media key that makes
snapshot and timestamp and can therefore add no software. Metadata is written in the one form that devices accept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from appliance.bundles.metadata import HASH, parse_strict, to_canonical
from appliance.bundles.tuf7 import DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from appliance.errors import UsageError
from export.keys import CryptoSigner, load_public, load_signer, new_key, public_path

#: A stick may wait long for its device, and a device long for a stick (DESIGN §5).
VALID_YEARS: Final = 5
VALID: Final = timedelta(days=365 * VALID_YEARS)
ROOT_KEYS: Final = 3
THRESHOLD: Final = 2
INTEGRATOR_KEYS: Final = 2
#: ``integrator/product/file``.
DELEGATED: Final = "{name}/*/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """The two folders of one fleet's desk."""

    folder: Path

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def published(self) -> Path:
        return self.folder / "published"

    @property
    def anchor(self) -> Path:
        """What devices are provisioned with."""
        return self.published / "1.root.json"

    def exists(self) -> bool:
        """Whether a ceremony was held here."""
        return self.anchor.is_file()

    def newest(self, role: str) -> Metadata[Any] | None:
        """The newest published metadata of a role; None where there is none yet."""
        if role == "timestamp":
            path = self.published / "timestamp.json"
            return parse_strict(path.name, path.read_bytes()) if path.is_file() else None
        paths = [path for path in self.published.glob(f"*.{role}.json") if path.name.split(".")[0].isdigit()]
        if not paths:
            return None
        path = max(paths, key=lambda path: int(path.name.split(".")[0]))
        return parse_strict(path.name, path.read_bytes())

    def root(self) -> Root:
        """The newest root.

        Raises: UsageError before a ceremony.
        """
        metadata = self.newest("root")
        if metadata is None:
            raise UsageError(f"{self.folder}: no ceremony was held here: `python -m export trust init` holds one")
        root: Root = metadata.signed
        return root

    def key_files(self, name: str) -> tuple[Path, ...]:
        """The private keys of a role that lie on this desk, in order."""
        return tuple(sorted(self.keys.glob(f"{name}-[0-9]*.pem"))) or tuple(self.keys.glob(f"{name}.pem"))


def init(
    folder: Path,
    *,
    integrators: Sequence[str],
    now: datetime,
    integrator_keys: int = INTEGRATOR_KEYS,
    integrator_threshold: int = INTEGRATOR_KEYS,
    passphrase: str | None = None,
    token: str | None = None,
) -> Repository:
    """The ceremony: makes every key, and signs root and vendor targets (delegations only).

    ``token`` is the PKCS#11 URI of a key that wraps every key made here.

    Raises: UsageError where one was held here already, or for names and numbers that cannot be.
    """
    repository = Repository(folder=folder)
    if repository.exists():
        raise UsageError(f"{folder}: a ceremony was held here already")
    if not integrators or not 1 <= integrator_threshold <= integrator_keys:
        raise UsageError("expected at least one integrator, and a threshold of at most its keys")
    for role in ("root", "vendor"):
        for number in range(1, ROOT_KEYS + 1):
            new_key(repository.keys / f"{role}-{number}.pem", passphrase, token=token)
    new_key(repository.keys / "media.pem", passphrase, token=token)
    for name in integrators:
        for number in range(1, integrator_keys + 1):
            new_key(repository.keys / f"{name}-{number}.pem", passphrase, token=token)
    repository.published.mkdir(parents=True, exist_ok=True)
    root = _root(repository, now)
    targets = _vendor(repository, integrators, integrator_threshold, now)
    _sign_and_publish(repository, "1.root.json", root, "root", passphrase)
    _sign_and_publish(repository, "1.targets.json", targets, "vendor", passphrase)
    return repository


def _root(repository: Repository, now: datetime) -> Metadata[Root]:
    root = Root(version=1, expires=expiry(now), consistent_snapshot=True)
    for role, name in (("root", "root"), ("targets", "vendor"), ("snapshot", "media"), ("timestamp", "media")):
        for path in repository.key_files(name):
            root.add_key(load_public(public_path(path)), role)
    root.roles["root"].threshold = root.roles["targets"].threshold = THRESHOLD
    return Metadata(root)


def _vendor(repository: Repository, integrators: Sequence[str], threshold: int, now: datetime) -> Metadata[Targets]:
    delegations = Delegations({}, {})
    assert delegations.roles is not None
    targets = Targets(version=1, expires=expiry(now), delegations=delegations)
    for name in integrators:
        delegations.roles[name] = DelegatedRole(
            name, [], threshold, terminating=True, paths=[DELEGATED.format(name=name)]
        )
        for path in repository.key_files(name):
            targets.add_key(load_public(public_path(path)), name)
    return Metadata(targets)


def _sign_and_publish(
    repository: Repository, name: str, metadata: Metadata[Any], keys: str, passphrase: str | None
) -> None:
    """Signs with as many keys as the threshold asks for."""
    for path in repository.key_files(keys)[:THRESHOLD]:
        metadata.sign(load_signer(path, passphrase), append=True)
    (repository.published / name).write_bytes(to_canonical(metadata))


def expiry(now: datetime) -> datetime:
    """When metadata made now expires (whole seconds: TUF 1.0.34 §4.2.1)."""
    return now.replace(microsecond=0) + VALID


def seal(
    *,
    previous_snapshot: Snapshot | None,
    previous_timestamp: Timestamp | None,
    roles: dict[str, bytes],
    signer: CryptoSigner,
    now: datetime,
) -> tuple[Metadata[Snapshot], Metadata[Timestamp]]:
    """What the media station signs: which versions belong together, and that they are the newest.

    ``roles`` maps each targets role to its canonical metadata. Roles published before and not named here stay listed.
    """
    meta = dict(previous_snapshot.meta) if previous_snapshot is not None else {}
    for role, raw in roles.items():
        meta[f"{role}.json"] = _describe(raw, Metadata[Targets].from_bytes(raw).signed.version)
    version = 1 if previous_snapshot is None else previous_snapshot.version + 1
    snapshot = Metadata(Snapshot(version=version, expires=expiry(now), meta=meta))
    snapshot.sign(signer)
    timestamp = Metadata(
        Timestamp(
            version=1 if previous_timestamp is None else previous_timestamp.version + 1,
            expires=expiry(now),
            snapshot_meta=_describe(to_canonical(snapshot), version),
        )
    )
    timestamp.sign(signer)
    return snapshot, timestamp


def _describe(raw: bytes, version: int) -> MetaFile:
    return MetaFile.from_data(version, raw, [HASH])
