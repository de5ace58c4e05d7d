"""The media station: seals what was signed and writes the stick, then verifies it as a device would.

One key, which signs snapshot and timestamp: it says what is newest and can add nothing. The stick is written beside
its final name and takes that name only after the device's own verification has read every byte of it.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.bundles.layout import METADATA, TARGETS, metadata_name
from appliance.bundles.metadata import parse_strict, to_canonical
from appliance.bundles.policy import EVERY_UNIT
from appliance.bundles.release import RELEASE_FILE, Release, parse_release
from appliance.errors import UsageError
from appliance.slots import Slots
from appliance.slots.checks import Check, Progress, no_progress
from appliance.slots.verify import Verified
from export.keys import CryptoSigner, load_signer
from export.repository import Repository, seal
from export.staging import Stage, load_stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Stick:
    """What was written, and what the device's verification said of it."""

    path: Path
    verified: Verified
    checks: tuple[Check, ...]


def write(
    repository: Repository,
    staging: Path,
    key: Path,
    out: Path,
    now: datetime,
    *,
    tar: bool = False,
    passphrase: str | None = None,
    progress: Progress = no_progress,
) -> Stick:
    """Seals, writes, verifies and publishes.

    Raises: UsageError for a stick that exists; BundleRefused where the device would refuse (nothing is left behind).
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: expected a new file or an empty folder")
    note = load_stage(staging)
    release = _staged_release(staging, note)
    tree, archive = out.with_name(out.name + ".writing"), out.with_name(out.name + ".tar-writing")
    shutil.rmtree(tree, ignore_errors=True)
    try:
        _fill(repository, staging, note, tree)
        _seal(repository, tree, note, load_signer(key, passphrase), now)
        stick = _pack(tree, archive) if tar else tree
        verified, checks = prove(repository.anchor.read_bytes(), stick, release, now, progress)
        _publish(repository, tree / METADATA)
        if out.is_dir():
            out.rmdir()
        stick.rename(out)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
        archive.unlink(missing_ok=True)
    return Stick(path=out, verified=verified, checks=checks)


def write_metadata(
    repository: Repository, key: Path, out: Path, now: datetime, passphrase: str | None = None
) -> tuple[Check, ...]:
    """A stick without a payload: replaced and revoked keys for devices that get no new release.

    Raises: UsageError for a stick that exists; BundleRefused where the device would refuse.
    """
    if out.exists():
        raise UsageError(f"{out}: expected a new folder")
    tree = out.with_name(out.name + ".writing")
    shutil.rmtree(tree, ignore_errors=True)
    checks: list[Check] = []
    try:
        _fill(repository, None, None, tree)
        _seal(repository, tree, None, load_signer(key, passphrase), now)
        with tempfile.TemporaryDirectory(prefix="export-verify-") as folder:
            device = Slots(Path(folder) / "state")
            device.provision(repository.anchor.read_bytes())
            device.refresh(tree, int(now.timestamp() * 1e9), say=checks.append)
        _publish(repository, tree / METADATA)
        tree.rename(out)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    return tuple(checks)


def prove(
    anchor: bytes, stick: Path, release: Release, now: datetime, progress: Progress = no_progress
) -> tuple[Verified, tuple[Check, ...]]:
    """Runs the device's own verification, as a new device of this fleet to which the release is addressed.

    Raises: BundleRefused where that device would refuse.
    """
    checks: list[Check] = []
    unit = "" if EVERY_UNIT in release.units else release.units[0]
    with tempfile.TemporaryDirectory(prefix="export-verify-") as folder:
        device = Slots(Path(folder) / "state", hardware=frozenset(release.hw))
        device.provision(anchor, unit=unit)
        now_ns = int(now.timestamp() * 1e9)
        verified = device.verify(stick, release.product, now_ns, say=checks.append, progress=progress)
    return verified, tuple(checks)


def _staged_release(staging: Path, note: Stage) -> Release:
    path = staging / TARGETS / note.product / f"{note.release_sha384}.{RELEASE_FILE}"
    return parse_release(path.read_bytes())


def _fill(repository: Repository, staging: Path | None, note: Stage | None, tree: Path) -> None:
    """Copies the payload, every root, and the newest metadata of each role."""
    if note is not None:
        published = repository.newest(note.role)
        if note.version != (published.signed.version + 1 if published is not None else 1):
            raise UsageError(f"{staging}: something was published after this was staged; stage it again")
    (tree / METADATA).mkdir(parents=True)
    for path in repository.published.glob("*.root.json"):
        shutil.copyfile(path, tree / METADATA / path.name)
    for role, version in _roles(repository, note).items():
        name = metadata_name(role, version)
        staged = staging is not None and note is not None and role == note.role
        source = staging / name if staged and staging is not None else repository.published / Path(name).name
        shutil.copyfile(source, tree / name)
    if staging is not None:
        shutil.copytree(staging / TARGETS, tree / TARGETS)


def _roles(repository: Repository, note: Stage | None) -> dict[str, int]:
    """Every targets role that belongs on the stick and its version: what was listed before, vendor, and this one."""
    snapshot = repository.newest("snapshot")
    roles = set() if snapshot is None else {name.removesuffix(".json") for name in snapshot.signed.meta}
    staged = {} if note is None else {note.role: note.version}
    return {role: _newest_version(repository, role) for role in (roles | {"targets"}) - set(staged)} | staged


def _newest_version(repository: Repository, role: str) -> int:
    metadata = repository.newest(role)
    if metadata is None:
        raise UsageError(f"{repository.folder}: no published metadata of {role}")
    version: int = metadata.signed.version
    return version


def _seal(repository: Repository, tree: Path, note: Stage | None, signer: CryptoSigner, now: datetime) -> None:
    versions = _roles(repository, note)
    roles = {role: (tree / metadata_name(role, version)).read_bytes() for role, version in versions.items()}
    for role, raw in roles.items():
        parse_strict(role, raw)
    before = repository.newest("snapshot"), repository.newest("timestamp")
    snapshot, timestamp = seal(
        previous_snapshot=before[0].signed if before[0] is not None else None,
        previous_timestamp=before[1].signed if before[1] is not None else None,
        roles=roles,
        signer=signer,
        now=now,
    )
    (tree / metadata_name("snapshot", snapshot.signed.version)).write_bytes(to_canonical(snapshot))
    (tree / metadata_name("timestamp", None)).write_bytes(to_canonical(timestamp))


def _pack(tree: Path, archive: Path) -> Path:
    """The same tree in one uncompressed archive, without times, owners or modes of the desk."""
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            member = tarfile.TarInfo(path.relative_to(tree).as_posix())
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            else:
                member.size, member.mode = path.stat().st_size, 0o644
                with path.open("rb") as file:
                    tar.addfile(member, file)
    return archive


def _publish(repository: Repository, metadata: Path) -> None:
    """What was proved becomes what the next release is added to; the timestamp last."""
    for path in sorted(metadata.glob("*.json"), key=lambda path: path.name == "timestamp.json"):
        shutil.copyfile(path, repository.published / path.name)
