"""The trust state on disk: the anchor, the TUF metadata that was accepted, the floors.

    trust/1.root.json      the root of trust, provisioned once with the device, never replaced
    trust/unit.json        who this unit is, provisioned with it
    trust/state.json       floors (``bundles.state``)
    anchor                 a witness of state.json (``anchor``), outside the folder
    trust/tuf/             what python-tuf keeps: root_history/, snapshot.json, targets.json, …, timestamp.json

python-tuf works on a *copy*. Roots are committed as soon as they verify, because a revocation must stick even if the
rest of the stick is bad. Everything else is committed only after every payload byte was verified, the timestamp last:
a damaged newer stick must not lock out the good one before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from appliance.bundles.layout import MAX_ROOT_BYTES, MAX_TARGETS_BYTES
from appliance.bundles.state import MAX_STATE_BYTES, TrustState, encode_state, parse_state
from appliance.errors import BundleRefused, UsageError
from appliance.slots.anchor import Witness, digest_of
from appliance.slots.disk import Disk, read_small, storage

if TYPE_CHECKING:
    from appliance.slots.staged import Staged

MAX_UNIT_BYTES: Final = 64 * 1024


#: As a topic level and an audit origin can hold it; empty is a device without a name, for which only ``*`` is meant.
UnitName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{0,64}\Z")]


class Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who the device is: its unit id and the groups to which releases may be addressed."""

    unit: UnitName = ""
    groups: tuple[UnitName, ...] = ()


class TrustStore:
    """The folder ``trust`` of one device."""

    def __init__(self, folder: Path, disk: Disk, witness: Witness) -> None:
        self.folder = folder
        self._disk = disk
        self._witness = witness

    def provision(self, root: bytes, unit: Unit) -> None:
        """Installs the root of trust, once. ``root``: one that ``staged.open_anchor`` has opened.

        Raises: BundleRefused ("anchor-exists") where another is in place.
        """
        try:
            msgspec.convert(msgspec.to_builtins(unit), type=Unit)
        except msgspec.ValidationError as e:
            raise UsageError(f"a unit or group is letters, digits, dots, dashes and underscores: {e}") from e
        present = read_small(self._anchor, MAX_ROOT_BYTES)
        if present is not None and present != root:
            raise BundleRefused("anchor-exists", "this device already has a root of trust; only a rotation changes it")
        self._disk.make_folder(self.folder / "tuf" / "root_history")
        if read_small(self.folder / "unit.json", MAX_UNIT_BYTES) is None:
            self._disk.write_whole(self.folder / "unit.json", msgspec.json.encode(unit) + b"\n")
        if present is None:
            self._disk.write_whole(self._anchor, root)

    @property
    def witness_is_hardware(self) -> bool:
        """Whether what vouches for the trust state outlives whoever can write all files."""
        return self._witness.hardware

    @property
    def _anchor(self) -> Path:
        return self.folder / "1.root.json"

    def anchor(self) -> bytes:
        """The provisioned root.

        Raises: BundleRefused ("no-anchor").
        """
        root = read_small(self._anchor, MAX_ROOT_BYTES)
        if root is None:
            raise BundleRefused(
                "no-anchor", "no root of trust: run `appliance bundle trust ROOT.json` on the new device"
            )
        return root

    def unit(self) -> Unit:
        """Who this unit is.

        Raises: BundleRefused ("trust-state").
        """
        raw = read_small(self.folder / "unit.json", MAX_UNIT_BYTES)
        try:
            return msgspec.json.decode(raw, type=Unit) if raw is not None else Unit()
        except msgspec.DecodeError as e:
            raise BundleRefused("trust-state", f"unit.json: {e}") from e

    def state(self) -> TrustState:
        """The floors; those of a new device where nothing was installed yet.

        Raises: BundleRefused ("trust-state") where they are not the ones that were written last.
        """
        raw = read_small(self.folder / "state.json", MAX_STATE_BYTES)
        if not self._witness.knows(digest_of(raw)):
            raise BundleRefused("trust-state", "the trust state was wiped, changed or restored from a copy")
        return TrustState() if raw is None else parse_state(raw)

    def save_state(self, state: TrustState) -> None:
        """Puts the floors on the medium, the witness before and after: a power cut leaves one of two known states."""
        raw = encode_state(state)
        before = digest_of(read_small(self.folder / "state.json", MAX_STATE_BYTES))
        if before == digest_of(raw):
            return
        self._witness.remember((before, digest_of(raw)))
        self._disk.write_whole(self.folder / "state.json", raw)
        self._witness.remember((digest_of(raw),))

    def known_root(self, version: int) -> bytes | None:
        """A root that this device has accepted."""
        if version == 1:
            return self.anchor()
        return read_small(self.folder / "tuf" / "root_history" / f"{version}.root.json", MAX_ROOT_BYTES)

    def copy_to(self, work: Path) -> Path:
        """Copies the accepted metadata for python-tuf to work on (``Staged``); returns the new folder."""
        history = work / "root_history"
        with storage():
            history.mkdir(parents=True)
            for source, target in ((self.folder / "tuf", work), (self.folder / "tuf" / "root_history", history)):
                if source.is_dir():
                    for path in sorted(source.glob("*.json")):
                        (target / path.name).write_bytes(read_small(path, MAX_TARGETS_BYTES) or b"")
        return work

    def commit_roots(self, staged: Staged) -> int:
        """Keeps every newer root that verified, whatever comes of the rest; returns the newest version.

        Raises: BundleRefused: "signature", "stray-signature".
        """
        version = 1
        history = self.folder / "tuf" / "root_history"
        while (staged.folder / "root_history" / f"{version + 1}.root.json").is_file():
            version += 1
            staged.check_successor(version)
            if self.known_root(version) is None:
                self._disk.make_folder(history)
                self._disk.write_whole(history / f"{version}.root.json", staged.raw_root(version))
        state = self.state()
        if version > state.root_version:
            kept = staged.timestamp_keys(state.root_version) == staged.timestamp_keys(version)
            count = state.timestamp_version if kept else 0
            self.save_state(msgspec.structs.replace(state, root_version=version, timestamp_version=count))
        return version

    def commit(self, staged: Staged, state: TrustState) -> None:
        """Accepts the metadata that was staged: floors first, then roles, the timestamp last."""
        target = self.folder / "tuf"
        self._disk.make_folder(target)
        self.save_state(state)
        names = sorted(path.name for path in staged.folder.glob("*.json") if not path.is_symlink())
        for name in sorted(names, key=lambda name: (name == "timestamp.json", name == "snapshot.json", name)):
            data = (staged.folder / name).read_bytes()
            if read_small(target / name, MAX_TARGETS_BYTES) != data:
                self._disk.write_whole(target / name, data)
