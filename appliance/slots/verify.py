"""Verification of one product on one stick, from the first root to the last payload byte.

Read ``examine`` aloud: roots, metadata, release, policy, listing, payload. Each step reports what it proved. Payload
files are read exactly once: what is hashed is what is stored, so there is nothing to swap between check and use.
Nothing is committed here except newer roots, and those only when installing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol

from tuf.ngclient.config import UpdaterConfig

from appliance.bundles.clock import Reference, reference_time
from appliance.bundles.layout import (
    MAX_ROOT_BYTES,
    MAX_SNAPSHOT_BYTES,
    MAX_TARGETS_BYTES,
    MAX_TIMESTAMP_BYTES,
    METADATA,
    TARGETS,
    metadata_name,
    root_name,
    target_name,
    target_path,
)
from appliance.bundles.metadata import (
    HASH,
    MAX_DELEGATIONS,
    MAX_ROOT_ROTATIONS,
    Signers,
    root_signers,
    signers_of,
)
from appliance.bundles.policy import MAGIC_BYTES, Device, check_content, check_order, check_release
from appliance.bundles.release import MAX_RELEASE_BYTES, RELEASE_FILE, Release, ReleaseFile, is_product, parse_release
from appliance.bundles.state import TrustState
from appliance.bundles.tuf7 import Metadata, MetaFile, Root, Targets, Updater, set_reference_time
from appliance.errors import BundleRefused
from appliance.slots.checks import Check, Progress, Say, no_progress, say_nothing
from appliance.slots.disk import storage
from appliance.slots.fetcher import MediaFetcher, read_bounded
from appliance.slots.media import Media
from appliance.slots.staged import Staged
from appliance.slots.translate import translated
from appliance.slots.trust import TrustStore

CONFIG: Final = UpdaterConfig(
    max_root_rotations=MAX_ROOT_ROTATIONS,
    max_delegations=MAX_DELEGATIONS,
    root_max_length=MAX_ROOT_BYTES,
    timestamp_max_length=MAX_TIMESTAMP_BYTES,
    snapshot_max_length=MAX_SNAPSHOT_BYTES,
    targets_max_length=MAX_TARGETS_BYTES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A product whose metadata, policy and every payload byte verified."""

    release: Release
    release_sha384: str
    reference: Reference
    signers: tuple[Signers, ...]
    root_version: int
    timestamp_version: int


class Sink(Protocol):
    """Where verified bytes go: a staging folder, or nowhere when only verifying."""

    def reserve(self, length: int) -> None:
        """Raises BundleRefused ("storage") where so many bytes have no room."""

    def store(self, path: str, chunks: Iterator[bytes]) -> None:
        """Takes all the chunks of one file; the iterator raises at its end where they are not what was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a verification. ``commit_roots``: keep newer roots whatever comes of the rest."""

    product: str
    clock_ns: int
    device: Device
    commit_roots: bool
    say: Say = say_nothing
    progress: Progress = no_progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Metadata that verified from the first root to the vendor's list: what a stick without a payload can prove."""

    updater: Updater
    fetcher: MediaFetcher
    root: Metadata[Root]
    timestamp_version: int
    reference: Reference
    signers: tuple[Signers, ...]


def examine_metadata(media: Media, trust: TrustStore, staged: Staged, request: Request) -> Chain:
    """Verifies roots, timestamp, snapshot and vendor's list.

    Raises: BundleRefused with a code of ``bundles.reasons``.
    """
    state = trust.state()
    reference = reference_time(floor_ns=state.floor_ns, clock_ns=request.clock_ns)
    _check_known_roots(media, trust)
    fetcher = MediaFetcher(media)
    updater = _refresh(fetcher, trust, staged, request, reference)
    root = staged.newest_root()
    _check_floors(state, staged, root)
    _check_metadata_listing(media, staged, root)
    return Chain(
        updater=updater,
        fetcher=fetcher,
        root=root,
        timestamp_version=staged.role("timestamp").signed.version,
        reference=reference,
        signers=_top_signers(staged, root),
    )


def examine(media: Media, trust: TrustStore, staged: Staged, request: Request, sink: Sink) -> Verified:
    """Verifies one product. Raises: BundleRefused with a code of ``bundles.reasons``."""
    if not is_product(request.product):
        raise BundleRefused("no-such-product", f"expected integrator/product; found {request.product[:80]!r}")
    chain = examine_metadata(media, trust, staged, request)
    release, release_sha384, targets, more = _release(chain, media, staged, request)
    signers = chain.signers + more
    for entry in signers:
        request.say(Check(name="signers", says=describe(entry)))
    _check_policy(release, request, trust, staged, chain.root)
    _check_lists(release, release_sha384, targets, media)
    sink.reserve(sum(file.length for file in release.files))
    request.say(Check(name="release", says=f"{release.release_id} version {release.version}, issued {release.issued}"))
    _payload(release, media, request, sink)
    sink.store(RELEASE_FILE, iter([_release_bytes(media, release.product, release_sha384)]))
    return Verified(
        release=release,
        release_sha384=release_sha384,
        reference=chain.reference,
        signers=signers,
        root_version=chain.root.signed.version,
        timestamp_version=chain.timestamp_version,
    )


def _check_known_roots(media: Media, trust: TrustStore) -> None:
    """A stick of our fleet carries the very roots that we hold: another fleet's is told apart at once."""
    version, known = 1, trust.known_root(1)
    while known is not None:
        name = root_name(version)
        if name in media.sizes and b"".join(read_bounded(media, name, MAX_ROOT_BYTES)) != known:
            raise BundleRefused("other-root", f"{name} is not the root {version} that this device trusts")
        version += 1
        known = trust.known_root(version)


def _refresh(
    fetcher: MediaFetcher, trust: TrustStore, staged: Staged, request: Request, reference: Reference
) -> Updater:
    """The TUF client workflow on the copy; afterwards newer roots are kept even where the rest was refused."""
    with translated(fetcher), storage():  # what the stick does wrong is told by the media; what is left is our disk
        try:
            updater = Updater(str(staged.folder), METADATA, None, TARGETS, fetcher, CONFIG, bootstrap=trust.anchor())
            set_reference_time(updater, reference.now_ns)
            updater.refresh()
        finally:
            if request.commit_roots and staged.begun():
                trust.commit_roots(staged)
    clock = "" if reference.clock == "believed" else f" (the device's clock is {reference.clock} and was not believed)"
    request.say(Check(name="time", says=f"nothing had expired at {_utc(reference.now_ns)}{clock}"))
    return updater


def _check_metadata_listing(media: Media, staged: Staged, root: Metadata[Root]) -> None:
    """Under ``m`` there is nothing but what the snapshot lists, also where this device had no need to read it; a root
    beyond the chain is a skipped one."""
    snapshot = staged.role("snapshot").signed
    described = {metadata_name(name.removesuffix(".json"), meta.version): meta for name, meta in snapshot.meta.items()}
    described[metadata_name("snapshot", snapshot.version)] = staged.role("timestamp").signed.snapshot_meta
    roots = {root_name(version) for version in range(1, root.signed.version + 1)}
    expected = roots | set(described) | {metadata_name("timestamp", None)}
    for name in sorted(media.sizes):
        if name.startswith(METADATA + "/") and name not in expected:
            reason = "root-chain" if name.endswith(".root.json") else "unlisted"
            raise BundleRefused(reason, f"{name} is on the stick and no signed metadata leads to it")
    for name, meta in described.items():
        _check_described(media, name, meta)


def _check_described(media: Media, name: str, meta: MetaFile) -> None:
    if name in media.sizes:
        raw = b"".join(read_bounded(media, name, MAX_TARGETS_BYTES))
        if meta.hashes is None or hashlib.sha384(raw).hexdigest() != meta.hashes[HASH]:
            raise BundleRefused("digest", f"{name}: the content is not what the snapshot lists")


def _check_floors(state: TrustState, staged: Staged, root: Metadata[Root]) -> None:
    """Versions do not go down even where python-tuf's own files were wiped. A root that replaces the media key starts
    that count anew."""
    if root.signed.version < state.root_version:
        raise BundleRefused("trust-state", f"root {state.root_version} was accepted before and is on neither side now")
    version = staged.role("timestamp").signed.version
    same = staged.timestamp_keys(state.root_version) == staged.timestamp_keys(root.signed.version)
    if version < state.timestamp_version and same:
        raise BundleRefused("rollback", f"timestamp {version} is older than {state.timestamp_version}, accepted before")


def _top_signers(staged: Staged, root: Metadata[Root]) -> tuple[Signers, ...]:
    previous = staged.root(root.signed.version - 1).signed if root.signed.version > 1 else None
    roles = ("timestamp", "snapshot", "targets")
    return (
        root_signers(previous, root),
        *(signers_of(role, staged.role(role), root.signed) for role in roles),
    )


def _release(
    chain: Chain, media: Media, staged: Staged, request: Request
) -> tuple[Release, str, Metadata[Targets], tuple[Signers, ...]]:
    """The release that the role responsible for the product signed, and who that was."""
    path = target_path(request.product, RELEASE_FILE)
    with translated(chain.fetcher), storage():
        info = chain.updater.get_targetinfo(path)
    if info is None:
        raise BundleRefused("no-such-product", f"no role that may speak for {request.product} offers it")
    if info.length > MAX_RELEASE_BYTES:
        raise BundleRefused("too-long", f"release.json: at most {MAX_RELEASE_BYTES} bytes; signed {info.length}")
    targets, signers = _speaker(staged, path)
    raw = _release_bytes(media, request.product, info.hashes[HASH])
    return parse_release(raw), info.hashes[HASH], targets, signers


def _release_bytes(media: Media, product: str, sha384: str) -> bytes:
    name = target_name(product, RELEASE_FILE, sha384)
    if name not in media.sizes:
        raise BundleRefused("missing", f"{name} is not on the stick")
    raw = b"".join(read_bounded(media, name, MAX_RELEASE_BYTES))
    if hashlib.sha384(raw).hexdigest() != sha384:
        raise BundleRefused("digest", f"{name}: the content is not what was signed")
    return raw


def _speaker(staged: Staged, path: str) -> tuple[Metadata[Targets], tuple[Signers, ...]]:
    """Follows the delegations as TUF does (pre-order) to the role that lists ``path``, collecting who signed each."""
    signers: list[Signers] = []
    waiting: list[tuple[str, Metadata[Any] | None]] = [("targets", None)]
    seen: set[str] = set()
    while waiting and len(seen) <= MAX_DELEGATIONS:
        role, delegator = waiting.pop()
        if role in seen:
            continue
        seen.add(role)
        metadata: Metadata[Targets] = staged.role(role)
        if delegator is not None:
            signers.append(signers_of(role, metadata, delegator.signed))
        if path in metadata.signed.targets:
            return metadata, tuple(signers)
        if metadata.signed.delegations is None:
            continue
        children: list[tuple[str, Metadata[Any] | None]] = []
        for child, terminating in metadata.signed.delegations.get_roles_for_target(path):
            children.append((child, metadata))
            if terminating:
                waiting = []
                break
        waiting.extend(reversed(children))
    raise BundleRefused("no-such-product", f"no role lists {path}")


def _check_policy(release: Release, request: Request, trust: TrustStore, staged: Staged, root: Metadata[Root]) -> None:
    state = trust.state()
    check_release(release, product=request.product, device=request.device)
    check_order(release, floor_counter=state.floor_counter(release.product), revoked=state.revoked)
    ends = [root.signed.expires, *(staged.role(role).signed.expires for role in ("timestamp", "snapshot", "targets"))]
    if release.issued_ns >= int(min(ends).timestamp()) * 1_000_000_000:
        raise BundleRefused("issued", f"issued {release.issued}, after the metadata that carries it expires")
    request.say(
        Check(name="policy", says=f"for this product and unit ({request.device.unit or 'unnamed'}); file types allowed")
    )


def _check_lists(release: Release, release_sha384: str, targets: Metadata[Targets], media: Media) -> None:
    """Three lists must be one: the release's, the signed targets', and what lies on the stick."""
    product = release.product
    listed = {target_path(product, file.path): (file.length, file.sha384) for file in release.files}
    signed = {
        path: (info.length, info.hashes[HASH])
        for path, info in targets.signed.targets.items()
        if path.startswith(product + "/") and path != target_path(product, RELEASE_FILE)
    }
    if listed != signed:
        names = sorted(path for path in {*listed, *signed} if listed.get(path) != signed.get(path))
        raise BundleRefused("release-mismatch", f"release.json and the signed targets differ in {names[0]}")
    expected = {target_name(product, file.path, file.sha384) for file in release.files}
    expected.add(target_name(product, RELEASE_FILE, release_sha384))
    present = {name for name in media.sizes if name.startswith(f"{TARGETS}/{product}/")}
    for name in sorted(present - expected):
        raise BundleRefused("unlisted", f"{name} is on the stick and is not part of {release.release_id}")
    for name in sorted(expected - present):
        raise BundleRefused("missing", f"{name} is not on the stick")


def _payload(release: Release, media: Media, request: Request, sink: Sink) -> None:
    total = sum(file.length for file in release.files)
    done = 0
    for file in release.files:
        name = target_name(release.product, file.path, file.sha384)
        sink.store(file.path, _checked(file, media, name, partial(_show, request, file.path, done, total)))
        done += file.length
        request.say(Check(name="file", says=f"{file.path} ({file.role}, {file.length} bytes) SHA-384 {file.sha384}"))


def _show(request: Request, path: str, before: int, total: int, read: int) -> None:
    request.progress(path, before + read, total)


def _checked(file: ReleaseFile, media: Media, name: str, progress: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of one file on their way to the sink; raises at the end unless they are what was signed."""
    if media.sizes[name] != file.length:
        reason = "truncated" if media.sizes[name] < file.length else "too-long"
        raise BundleRefused(reason, f"{file.path}: expected {file.length} bytes; found {media.sizes[name]}")
    digest, length, head = hashlib.sha384(), 0, b""
    for chunk in read_bounded(media, name, file.length):
        digest.update(chunk)
        length += len(chunk)
        if len(head) < MAGIC_BYTES:
            head += chunk[:MAGIC_BYTES]
            check_content(file, head)
        progress(length)
        yield chunk
    if length != file.length:
        raise BundleRefused("truncated", f"{file.path}: expected {file.length} bytes; found {length}")
    if digest.hexdigest() != file.sha384:
        raise BundleRefused("digest", f"{file.path}: the content is not what was signed")


def describe(entry: Signers) -> str:
    """Who signed a role, in one line."""
    keys = ", ".join(key[:16] for key in entry.keys)
    return (
        f"{entry.role} v{entry.version}: {len(entry.keys)} of {entry.of} keys signed, {entry.threshold} needed: {keys}"
    )


def _utc(now_ns: int) -> str:
    return datetime.fromtimestamp(now_ns // 1_000_000_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
