"""From files to a release that waits for its signers: a staging folder that travels between their machines.

    STAGING/m/…                  all published metadata, and the integrator's next version, not signed yet
    STAGING/t/<product>/…        the payload under its content names
    STAGING/stage.json           what is being staged, for people and for the next command

Each signer runs ``sign`` on their own copy or one after the other; signatures are merged by key. Nobody but the media
station makes a stick of it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.bundles.layout import METADATA, metadata_name, target_name, target_path
from appliance.bundles.manifest import parse_manifest
from appliance.bundles.metadata import HASH, parse_strict, to_canonical
from appliance.bundles.network import look_into
from appliance.bundles.policy import MAGIC_BYTES, check_content, check_files
from appliance.bundles.release import (
    MANIFEST_FILE,
    RELEASE_FILE,
    Release,
    ReleaseFile,
    Role,
    encode_release,
    parse_release,
)
from appliance.bundles.tuf7 import Metadata, Root, TargetFile, Targets
from appliance.errors import IdentityRefused, UsageError
from appliance.slots.disk import digest_file, mapped
from export.keys import load_signer
from export.repository import Repository, expiry

STAGE: Final = "stage.json"


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a staging folder holds: which product, signed by which role, in which version of its metadata."""

    product: str
    role: str
    version: int
    release_sha384: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseInput:
    """What a person says about a release. ``files`` maps the name in the bundle to (role, where it lies)."""

    product: str
    version: str
    counter: int
    files: dict[str, tuple[Role, Path]]
    units: tuple[str, ...] = ("*",)
    hw: tuple[str, ...] = ()
    min_app: str = "0"
    revokes: tuple[str, ...] = ()
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """How far the signing has come: key ids that have signed, and how many are needed."""

    role: str
    key: str
    signatures: int
    threshold: int


def stage(repository: Repository, release: ReleaseInput, out: Path, now: datetime) -> Release:
    """Writes a staging folder; every rule that the device will hold the release to is applied here first.

    Raises: UsageError for missing files or a folder in use; BundleRefused where the device would refuse.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: expected a new or empty folder")
    repository.root()
    listed = tuple(_listed(path, role, source) for path, (role, source) in sorted(release.files.items()))
    made = _make(release, listed, now)
    _check_inputs(release, made)
    raw = encode_release(made)
    parse_release(raw)
    role = release.product.split("/")[0]
    metadata = _next_targets(repository, made, raw, now)
    _copy_published(repository, out)
    name = metadata_name(role, metadata.signed.version)
    (out / name).write_bytes(to_canonical(metadata))
    info = metadata.signed.targets[target_path(release.product, RELEASE_FILE)]
    folder = out / "t" / release.product
    folder.mkdir(parents=True)
    (out / target_name(release.product, RELEASE_FILE, info.hashes[HASH])).write_bytes(raw)
    for file in made.files:
        _copy(release.files[file.path][1], out / target_name(release.product, file.path, file.sha384))
    note = Stage(product=release.product, role=role, version=metadata.signed.version, release_sha384=info.hashes[HASH])
    (out / STAGE).write_bytes(msgspec.json.encode(note) + b"\n")
    return made


def load_stage(staging: Path) -> Stage:
    """Reads what a staging folder holds.

    Raises: UsageError.
    """
    try:
        return msgspec.json.decode((staging / STAGE).read_bytes(), type=Stage)
    except (OSError, msgspec.DecodeError) as e:
        raise UsageError(f"{staging}: not a staging folder: {e}") from e


def sign(staging: Path, key: Path, passphrase: str | None = None) -> Signed:
    """Adds one signer's signature to the staged release, after reading that the payload is what is listed.

    Raises: IdentityRefused ("key-role") for a key that may not sign it; UsageError where the payload differs.
    """
    note = load_stage(staging)
    path = staging / metadata_name(note.role, note.version)
    metadata: Metadata[Targets] = parse_strict(path.name, path.read_bytes())
    signer = load_signer(key, passphrase)
    keyids, threshold = _authorised(staging, note.role)
    if signer.public_key.keyid not in keyids:
        raise IdentityRefused("key-role", f"{key}: this key may not sign for {note.role}")
    _check_payload(staging, note, metadata)
    metadata.sign(signer, append=True)
    path.write_bytes(to_canonical(metadata))
    return Signed(role=note.role, key=signer.public_key.keyid, signatures=len(metadata.signatures), threshold=threshold)


def merge(staging: Path, other: Path) -> int:
    """Adds the signatures of another copy of the same staging folder; returns how many there are now.

    Raises: UsageError where the two stage different things.
    """
    note = load_stage(staging)
    name = metadata_name(note.role, note.version)
    mine: Metadata[Targets] = parse_strict(name, (staging / name).read_bytes())
    theirs: Metadata[Targets] = parse_strict(name, (other / name).read_bytes())
    if mine.signed_bytes != theirs.signed_bytes:
        raise UsageError(f"{other}: stages something else than {staging}")
    mine.signatures.update(theirs.signatures)
    (staging / name).write_bytes(to_canonical(mine))
    return len(mine.signatures)


def _listed(path: str, role: Role, source: Path) -> ReleaseFile:
    if not source.is_file():
        raise UsageError(f"{source}: no such file")
    length, sha384 = digest_file(source.resolve())
    return ReleaseFile(path=path, role=role, length=length, sha384=sha384)


def _make(release: ReleaseInput, files: tuple[ReleaseFile, ...], now: datetime) -> Release:
    return Release(
        schema="edge-release/1",
        product=release.product,
        version=release.version,
        release_counter=release.counter,
        files=files,
        units=release.units,
        hw=release.hw,
        min_app=release.min_app,
        issued=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        revokes=release.revokes,
        notes=release.notes,
    )


def _check_inputs(release: ReleaseInput, made: Release) -> None:
    check_files(made)
    for file in made.files:
        with release.files[file.path][1].open("rb") as source:
            check_content(file, source.read(MAGIC_BYTES))
    parse_manifest(release.files[MANIFEST_FILE][1].read_bytes())
    with mapped(release.files[made.the_file("onnx").path][1]) as network:
        look_into(network)


def _next_targets(repository: Repository, made: Release, raw: bytes, now: datetime) -> Metadata[Targets]:
    """The integrator's next metadata: what it published of other products stays, this product is replaced."""
    product = made.product
    role = product.split("/", maxsplit=1)[0]
    previous = repository.newest(role)
    if previous is None:
        _authorised_in(repository.newest("targets"), role)
        targets = Targets(version=1, expires=expiry(now))
    else:
        targets = previous.signed
        targets.version += 1
        targets.expires = expiry(now)
    kept = {path: info for path, info in targets.targets.items() if not path.startswith(product + "/")}
    for file in made.files:
        path = target_path(product, file.path)
        kept[path] = TargetFile(file.length, {HASH: file.sha384}, path)
    path = target_path(product, RELEASE_FILE)
    kept[path] = TargetFile.from_data(path, raw, [HASH])
    targets.targets = kept
    return Metadata(targets)


def _authorised(staging: Path, role: str) -> tuple[list[str], int]:
    """Which keys may sign for an integrator, as the staged vendor metadata says, and how many must."""
    newest = max((staging / METADATA).glob("*.targets.json"), key=lambda path: int(path.name.split(".")[0]))
    return _authorised_in(parse_strict(newest.name, newest.read_bytes()), role)


def _authorised_in(targets: Metadata[Any] | None, role: str) -> tuple[list[str], int]:
    delegations = targets.signed.delegations if targets is not None else None
    roles = delegations.roles if delegations is not None and delegations.roles is not None else {}
    if role not in roles:
        raise UsageError(f"the vendor has delegated nothing to {role!r}; known: {', '.join(sorted(roles)) or 'nobody'}")
    return list(roles[role].keyids), roles[role].threshold


def _copy_published(repository: Repository, out: Path) -> None:
    (out / METADATA).mkdir(parents=True, exist_ok=True)
    for path in repository.published.glob("*.json"):
        shutil.copyfile(path, out / METADATA / path.name)


def _check_payload(staging: Path, note: Stage, metadata: Metadata[Targets]) -> None:
    """A signer's machine signs only what it has seen."""
    for path, info in metadata.signed.targets.items():
        if path.startswith(note.product + "/"):
            name = target_name(note.product, path.rsplit("/", 1)[1], info.hashes[HASH])
            if digest_file(staging / name) != (info.length, info.hashes[HASH]):
                raise UsageError(f"{staging / name}: the content is not what would be signed")


def _copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows one (models are large), else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def newest_root(folder: Path) -> Metadata[Root]:
    """The newest root in a metadata folder."""
    path = max(folder.glob("*.root.json"), key=lambda path: int(path.name.split(".")[0]))
    return parse_strict(path.name, path.read_bytes())
