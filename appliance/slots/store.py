"""A/B slots per product: the door of this room.

    state_dir/trust/                      what this device trusts and how far it has come (``trust``)
    state_dir/slots/<integrator>/<product>/slots.json    the pointer (``record``)
    state_dir/slots/<integrator>/<product>/a/, b/        the files of a release, as they were signed
    state_dir/anchor.json                 a witness that the trust state is the last one written (``anchor``)
    state_dir/staging/                    work in progress; emptied whenever an installation begins
    state_dir/audit/                      one line for each installation, refusal and change of slot

An installation is: verify all → self-test → put the files in the inactive slot → accept the metadata → switch. The
slot in service is never written to. Killed at any step, the device serves the old release or the new one, whole.
What is served is checked against its signed digests whenever it is opened; expiry and revocation of *keys* stop
installations, never a running device. Time comes in as ``now_ns``. python-tuf is imported by what installs and not by
what serves: a daemon starts without it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from appliance.bundles.golden import GOLDEN_FILE, MAX_GOLDEN_BYTES, parse_golden
from appliance.bundles.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from appliance.bundles.network import look_into
from appliance.bundles.policy import Device
from appliance.bundles.release import MANIFEST_FILE, RELEASE_FILE, Release, is_product, parse_release
from appliance.bundles.state import after_confirm, after_install, after_refresh
from appliance.errors import ApplianceError, BundleRefused
from appliance.slots import collect
from appliance.slots.anchor import FileWitness, Witness
from appliance.slots.auditlog import AuditLog
from appliance.slots.checks import Check, Progress, Say, no_progress, say_nothing
from appliance.slots.collect import Leftover
from appliance.slots.disk import Disk, Step, digest_file, mapped, no_step, read_small
from appliance.slots.media import open_media
from appliance.slots.record import ProductRecord, SlotName, SlotRecord, load_record, save_record
from appliance.slots.selftest import run_self_test
from appliance.slots.trust import TrustStore, Unit
from appliance.slots.views import ActiveModel, Installed, SlotView, facts, view
from appliance.slots.workplace import Keep, locked, staging

if TYPE_CHECKING:
    from appliance.bundles.metadata import Signers
    from appliance.slots.verify import Chain, Request, Verified

#: Starts without a sign of health before the slot before is taken (DESIGN §5: boot loop).
MAX_STARTS: Final = 3

FALLBACK: Final = "bundle.fallback"
#: Of a collection, so many things are named in the audit log; the count says how many there were.
MAX_TOLD: Final = 64

SelfTest = Callable[[Path, str, str], str]
"""Called with the folder, the network's and the manifest's file name; returns what ran it or raises BundleRefused."""


class Slots:
    """The slots of one device. Several processes may use one ``state_dir``; one of them installs at a time."""

    def __init__(
        self,
        state_dir: Path,
        *,
        self_test: SelfTest = run_self_test,
        hardware: frozenset[str] | None = None,
        step: Step = no_step,
        witness: Witness | None = None,
    ) -> None:
        self._disk = Disk(step)
        self._top = state_dir
        self._disk.make_folder(state_dir)
        self._self_test = self_test
        self._hardware = frozenset({platform.machine()}) if hardware is None else hardware
        self.trust = TrustStore(state_dir / "trust", self._disk, witness or FileWitness(state_dir, self._disk))

    def provision(self, root: bytes, *, unit: str = "", groups: tuple[str, ...] = ()) -> Signers:
        """Gives a new device its root of trust and its name; returns who signed that root.

        Raises: BundleRefused: "anchor", "anchor-exists", "metadata", "scheme", "signature".
        """
        from appliance.slots.staged import open_anchor  # noqa: PLC0415 - python-tuf, see the top of this file

        signers = open_anchor(root)
        with locked(self._top):
            self.trust.provision(root, Unit(unit=unit, groups=groups))
        return signers

    def verify(
        self, media: Path, product: str, now_ns: int, *, say: Say = say_nothing, progress: Progress = no_progress
    ) -> Verified:
        """Reads and verifies every byte that an installation would use; changes nothing.

        Raises: BundleRefused, Unavailable.
        """
        with locked(self._top), staging(self._top, self._disk) as work:
            return self._examine(media, work, self._request(product, now_ns, say, progress, commit_roots=False), None)

    def install(
        self,
        media: Path,
        product: str,
        now_ns: int,
        *,
        activate: bool = True,
        say: Say = say_nothing,
        progress: Progress = no_progress,
    ) -> Installed:
        """Verifies, tests and installs the release on a stick into the inactive slot, and puts it in service.

        Raises: BundleRefused, Unavailable; afterwards the slot in service is as it was.
        """
        with (
            self._refusals_logged("bundle.refused", product, now_ns, media=media.name),
            locked(self._top),
            staging(self._top, self._disk) as work,
        ):
            request = self._request(product, now_ns, say, progress, commit_roots=True)
            files = work / "files"
            verified = self._examine(media, work, request, files)
            return self._take(verified, work, files, now_ns, activate=activate, say=say)

    def refresh(self, media: Path, now_ns: int, *, say: Say = say_nothing) -> Chain:
        """Accepts the metadata of a stick and nothing else: how revoked keys become worthless without a new release.

        Sticks older than this one are refused from then on, so a person asks for it and no installation does it alone.

        Raises: BundleRefused, Unavailable.
        """
        from appliance.slots.staged import Staged  # noqa: PLC0415 - python-tuf, see the top of this file
        from appliance.slots.verify import describe, examine_metadata  # noqa: PLC0415

        with (
            self._refusals_logged("trust.refused", "", now_ns, media=media.name),
            locked(self._top),
            staging(self._top, self._disk) as work,
            open_media(media) as opened,
        ):
            self.trust.anchor()
            staged = Staged(self.trust.copy_to(work / "trust"))
            chain = examine_metadata(
                opened, self.trust, staged, self._request("", now_ns, say, no_progress, commit_roots=True)
            )
            versions = {"root_version": chain.root.signed.version, "timestamp_version": chain.timestamp_version}
            self.audit().append("trust.refresh", now_ns, media=media.name, **versions)
            self.trust.commit(staged, after_refresh(self.trust.state(), **versions))
        for entry in chain.signers:
            say(Check(name="signers", says=describe(entry)))
        return chain

    def activate(self, product: str, now_ns: int) -> ActiveModel:
        """Puts the other slot in service.

        Raises: BundleRefused: "slot-empty", "slot-damaged", "revoked", "counter".
        """
        return self._switch(product, now_ns, "bundle.activate")

    def rollback(self, product: str, now_ns: int) -> ActiveModel:
        """Goes back to the release that served before; the audit log says that a person did it.

        Raises: BundleRefused: "slot-empty", "slot-damaged", "revoked".
        """
        return self._switch(product, now_ns, "bundle.rollback")

    def starting(self, product: str, now_ns: int) -> ActiveModel:
        """What a daemon calls as it starts: counts the start, and after three that were never confirmed healthy, or
        where the files are damaged, goes back to the slot before.

        Raises: BundleRefused where neither slot can serve.
        """
        with locked(self._top):
            record = self._record(product)
            if record.active is not None and not record.confirmed:
                record = msgspec.structs.replace(record, starts=record.starts + 1)
                save_record(self._disk, self._folder(product), record)
        looping = not record.confirmed and record.starts > MAX_STARTS
        if looping and record.slot(record.inactive) is not None:
            return self._switch(product, now_ns, FALLBACK, why=f"{MAX_STARTS} starts without a sign of health")
        try:
            return self.active(product)
        except BundleRefused as e:
            if e.reason != "slot-damaged" or record.slot(record.inactive) is None:
                raise
            return self._switch(product, now_ns, FALLBACK, why=e.reason)

    def confirm(self, product: str, now_ns: int) -> None:
        """What a daemon calls once the release works: from here on nothing older is installed from a stick.

        Raises: BundleRefused ("slot-empty").
        """
        with locked(self._top):
            record = self._record(product)
            slot = record.slot(record.active) if record.active else None
            if slot is None:
                raise BundleRefused("slot-empty", f"{product}: nothing is in service")
            if record.confirmed:
                return
            self.audit().append("bundle.confirm", now_ns, product=product, counter=slot.counter)
            self.trust.save_state(after_confirm(self.trust.state(), product, slot.counter))
            save_record(self._disk, self._folder(product), msgspec.structs.replace(record, confirmed=True, starts=0))

    def active(self, product: str) -> ActiveModel:
        """The model in service, every file checked against its signed digest just now.

        Raises: BundleRefused: "slot-empty", "slot-damaged", "revoked".
        """
        record = self._record(product)
        if record.active is None:
            raise BundleRefused("slot-empty", f"{product}: nothing is in service")
        return self._open(record, record.active, self._known_revoked())

    def gc(self, now_ns: int, *, previous: bool = False) -> tuple[Leftover, ...]:
        """Removes what serves nobody (``collect``); with ``previous`` also the release before a healthy one, to which
        nobody can roll back afterwards. Returns what went.

        Raises: BundleRefused: "busy" while an installation runs, "trust-state".
        """
        with locked(self._top):
            records = self._records()
            found = collect.find(self._top, records, self._known_revoked(), previous=previous)
            if found:
                gone = tuple(f"{each.path.relative_to(self._top)}: {each.why}" for each in found[:MAX_TOLD])
                self.audit().append("bundle.gc", now_ns, count=len(found), removed=gone)
                collect.remove(self._disk, self._top, records, found)
        return found

    def _records(self) -> dict[str, ProductRecord]:
        top = self._top / "slots"
        products = ("/".join(path.relative_to(top).parts) for path in sorted(top.glob("*/*")) if path.is_dir())
        return {product: self._record(product) for product in products if is_product(product)}

    def list(self) -> tuple[SlotView, ...]:
        """Every filled slot of every product, by product and slot; contents are not read."""
        views: list[SlotView] = []
        revoked = self._known_revoked()
        for record in self._records().values():
            for name in ("a", "b"):
                slot = record.slot("a" if name == "a" else "b")
                if slot is not None:
                    views.append(view(record, "a" if name == "a" else "b", slot, revoked))
        return tuple(views)

    # --- installing, step by step

    def _request(self, product: str, now_ns: int, say: Say, progress: Progress, *, commit_roots: bool) -> Request:
        from appliance.slots.verify import Request  # noqa: PLC0415 - python-tuf, see the top of this file

        unit = self.trust.unit()
        device = Device(
            unit=unit.unit, groups=frozenset(unit.groups), hardware=self._hardware, app_version=_app_version()
        )
        return Request(
            product=product, clock_ns=now_ns, device=device, commit_roots=commit_roots, say=say, progress=progress
        )

    def _examine(self, media: Path, work: Path, request: Request, files: Path | None) -> Verified:
        from appliance.slots.staged import Staged  # noqa: PLC0415 - python-tuf, see the top of this file
        from appliance.slots.verify import examine  # noqa: PLC0415

        self.trust.anchor()
        with open_media(media) as opened:
            staged = Staged(self.trust.copy_to(work / "trust"))
            return examine(opened, self.trust, staged, request, Keep(self._disk, files))

    def _take(self, verified: Verified, work: Path, files: Path, now_ns: int, *, activate: bool, say: Say) -> Installed:
        release, digest = verified.release, verified.release_sha384
        self._check_pages(release, files)
        record = self._record(release.product)
        already = self._is_serving(record, digest)
        slot = record.inactive
        if already and record.active is not None:
            slot = record.active
        else:
            runs_on = self._self_test(files, release.the_file("onnx").path, MANIFEST_FILE)
            say(Check(name="self-test", says=f"loads and answers on {runs_on}"))
            entry = SlotRecord(
                release_sha384=digest,
                version=release.version,
                counter=release.release_counter,
                installed_ns=now_ns,
                runs_on=runs_on,
            )
            self.audit().append("bundle.install", now_ns, **facts(verified, slot))
            record = self._fill(record, slot, entry, files, work)
        self._accept(verified, work)
        if activate and not already:
            self.audit().append("bundle.activate", now_ns, product=release.product, slot=slot, release=digest)
            save_record(self._disk, self._folder(release.product), record.with_active(slot))
        done = "already in service" if already else ("in service" if activate else "installed, not in service")
        say(Check(name="slot", says=f"{release.release_id} is {done} in slot {slot}"))
        return Installed(
            product=release.product,
            version=release.version,
            counter=release.release_counter,
            slot=slot,
            activated=activate or already,
            already=already,
            release_digest=digest,
            verified=verified,
        )

    def _check_pages(self, release: Release, files: Path) -> None:
        """What the release says of its network, and a look into the network itself, before anything loads it."""
        manifest = self._manifest(files)
        with mapped(files / release.the_file("onnx").path) as network:
            look_into(network)
        if _has_golden(release):
            page = read_small(files / GOLDEN_FILE, MAX_GOLDEN_BYTES, "golden") or b""
            parse_golden(page, model_sha384=release.the_file("onnx").sha384, manifest=manifest)

    def _manifest(self, files: Path) -> Manifest:
        return parse_manifest(read_small(files / MANIFEST_FILE, MAX_MANIFEST_BYTES, "manifest") or b"")

    def _fill(self, record: ProductRecord, slot: SlotName, entry: SlotRecord, files: Path, work: Path) -> ProductRecord:
        """Puts the staged files under the slot's name. The slot counts as empty until the last line."""
        folder = self._folder(record.product)
        self._disk.make_folder(folder)
        if record.slot(slot) is not None:
            record = record.with_slot(slot, None)
            save_record(self._disk, folder, record)
        if (folder / slot).exists():
            self._disk.move_folder(folder / slot, work / "old")
        self._disk.move_folder(files, folder / slot)
        record = record.with_slot(slot, entry)
        save_record(self._disk, folder, record)
        return record

    def _accept(self, verified: Verified, work: Path) -> None:
        from appliance.slots.staged import Staged  # noqa: PLC0415 - python-tuf, see the top of this file

        state = after_install(
            self.trust.state(),
            verified.release,
            root_version=verified.root_version,
            timestamp_version=verified.timestamp_version,
        )
        self.trust.commit(Staged(work / "trust"), state)

    # --- serving

    def _switch(self, product: str, now_ns: int, event: str, **facts: str) -> ActiveModel:
        with self._refusals_logged(f"{event}.refused", product, now_ns), locked(self._top):
            record = self._record(product)
            target = record.inactive
            slot = record.slot(target)
            if slot is None:
                raise BundleRefused("slot-empty", f"{product}: slot {target} is empty")
            person = event != FALLBACK
            revoked = self.trust.state().revoked if person else self._known_revoked()
            self._open(record, target, revoked)
            self.audit().append(
                event, now_ns, product=product, slot=target, release=slot.release_sha384, counter=slot.counter, **facts
            )
            record = record.with_active(target)
            save_record(self._disk, self._folder(product), record)
            return self._open(record, target, revoked)

    def _open(self, record: ProductRecord, name: SlotName, revoked: frozenset[str]) -> ActiveModel:
        """Checks every file of a slot against the digests that were signed. Expiry is not asked here."""
        slot = record.slot(name)
        if slot is None:
            raise BundleRefused("slot-empty", f"{record.product}: slot {name} is empty")
        folder = self._folder(record.product) / name
        release = self._release_in(folder, slot)
        if release.release_id in revoked:
            raise BundleRefused("revoked", f"{release.release_id} has been revoked")
        for file in release.files:
            if _digest_or_none(folder / file.path) != (file.length, file.sha384):
                raise BundleRefused(
                    "slot-damaged", f"{record.product}: {file.path} in slot {name} is not what was signed"
                )
        network = release.the_file("onnx")
        return ActiveModel(
            manifest=self._manifest(folder),
            model=folder / network.path,
            digest=network.sha384,
            product=record.product,
            version=release.version,
            slot=name,
            counter=release.release_counter,
            release_digest=slot.release_sha384,
            confirmed=record.confirmed and name == record.active,
            golden=folder if _has_golden(release) else None,
        )

    def _known_revoked(self) -> frozenset[str]:
        """What may no longer run. A trust state that was tampered with stops installations and what a person asks
        for, but not the service: what stands in a slot was verified when it was put there."""
        try:
            return self.trust.state().revoked
        except BundleRefused:
            return frozenset()

    def _release_in(self, folder: Path, slot: SlotRecord) -> Release:
        if (found := _digest_or_none(folder / RELEASE_FILE)) is None or found[1] != slot.release_sha384:
            raise BundleRefused("slot-damaged", f"{folder.name}: release.json is not what was installed")
        return parse_release((folder / RELEASE_FILE).read_bytes())

    def _is_serving(self, record: ProductRecord, release_sha384: str) -> bool:
        slot = record.slot(record.active) if record.active else None
        if record.active is None or slot is None or slot.release_sha384 != release_sha384:
            return False
        try:
            self._open(record, record.active, self._known_revoked())
        except BundleRefused:
            return False  # damaged since: install it again, into the other slot
        return True

    # --- folders, lock, log

    def _folder(self, product: str) -> Path:
        return self._top / "slots" / product

    def _record(self, product: str) -> ProductRecord:
        if not is_product(product):
            raise BundleRefused("no-such-product", f"expected integrator/product; found {product[:80]!r}")
        return load_record(self._folder(product), product)

    def audit(self) -> AuditLog:
        """The audit log of this device, for whoever else has something to put on record."""
        return AuditLog(self._top / "audit", f"edge-appliance/{self.trust.unit().unit or 'unnamed'}", self._disk)

    @contextmanager
    def _refusals_logged(self, event: str, product: str, now_ns: int, **facts: str) -> Iterator[None]:
        """Every refusal leaves one line, whatever was refused; then it goes on its way."""
        try:
            yield
        except BundleRefused as e:
            self.audit().append(event, now_ns, product=product[:80], reason=e.reason, says=str(e)[:1000], **facts)
            raise
        except ApplianceError as e:
            self.audit().append(event, now_ns, product=product[:80], reason="unavailable", says=str(e)[:1000], **facts)
            raise


def _has_golden(release: Release) -> bool:
    return any(file.role == "golden" for file in release.files)


def _digest_or_none(path: Path) -> tuple[int, str] | None:
    try:
        return digest_file(path)
    except OSError:
        return None  # gone, a link, or unreadable: not what was installed


@cache
def _app_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - only what installs asks

    try:
        return version("edge-appliance")
    except PackageNotFoundError:
        return "0"  # run from a source tree: a release that asks for a version is refused
