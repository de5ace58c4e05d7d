"""The first boot of a unit: its broker and CA, its own identity, recipients, root of trust, mission.

What people bring is one folder, on a stick or not:

    1.root.json         the fleet's root of trust                            at most one
    mission.toml        the mission                                          at most one
    NAME.public.json    a recipient's identity, as the mission names it
    NAME.csr            the same recipient's request for a broker certificate

Every step may be taken again: what is there stays, what is missing is made. A device identity is never replaced.

The identity reaches the daemon as a *credential* of its service, so that a mission names one path however it is kept:
``/run/credentials/edge-appliance.service/device.json``. On the disk it is sealed to the machine's TPM 2 where there is
one (``device.json.sealed``), else a file that is root's alone (``device.json``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from appliance.errors import IdentityRefused, UsageError
from appliance.host.files import read_at_most, write_whole
from appliance.provision.authority import MAX_CSR_BYTES, read_csr
from appliance.provision.broker import Provisioned, enrol, provision
from appliance.provision.configuration import BrokerSettings
from appliance.sealing.identity import MAX_IDENTITY_BYTES, PublicIdentity, generate
from appliance.slots import Slots

KeptBy = Literal["tpm2", "file"]

SERVICE: Final = "edge-appliance.service"
CREDENTIAL: Final = "device.json"
PLAIN: Final = "device.json"
SEALED: Final = "device.json.sealed"
PUBLIC: Final = "device.public.json"
DROP_IN: Final = f"systemd/system/{SERVICE}.d/50-identity.conf"
ROOT: Final = "1.root.json"
MISSION: Final = "mission.toml"
MAX_ROOT_BYTES: Final = 1024 * 1024
MAX_MISSION_BYTES: Final = 1024 * 1024
MAX_BROUGHT: Final = 256
_SECRET, _CLOSED, _OPEN = 0o600, 0o640, 0o644

Seal = Callable[[str, bytes], bytes]
"""Seals bytes for a name to this machine. Raises Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a unit keeps its things."""

    etc: Path
    """``/etc``: holds ``edge-appliance/``, ``mosquitto/`` and ``systemd/``."""
    state: Path
    owner: str | None
    """The daemon's user and group, who own the state and the unit's bus key; None leaves owners alone."""

    @property
    def ours(self) -> Path:
        return self.etc / "edge-appliance"

    @property
    def broker(self) -> Path:
        return self.etc / "mosquitto"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstBoot:
    """Where the unit stands afterwards. ``changed`` is empty where all was in order."""

    broker: Provisioned
    identity: PublicIdentity
    kept_by: KeptBy
    recipients: tuple[str, ...]
    """Who was enrolled at the broker by a request."""
    trusted: bool
    changed: tuple[str, ...]


def first_boot(
    unit: str, settings: BrokerSettings, places: Places, brought: Path | None, *, seal: Seal | None
) -> FirstBoot:
    """Make a unit of a settled image, or complete one. ``seal`` None keeps the identity in a file.

    Raises: UsageError (what was brought), IdentityRefused (an identity of another unit, a request that is none),
    BundleRefused (a root of trust that is not one, or another one is in place), Unavailable (the TPM), and what
    ``provision`` raises.
    """
    changed: list[str] = []
    identity, kept_by = _identity(unit, places, seal, changed)
    broker = provision(places.broker, unit, settings)
    changed += [f"mosquitto/{name}" for name in broker.changed]
    for name in ("ca.pem", f"{unit}.pem", f"{unit}.key"):
        content = (places.broker / "unit" / name).read_bytes()
        _write(places.ours / "bus" / name, content, _SECRET, changed, owner=places.owner)
    enrolled = _take(places, brought, changed)
    trusted = _trust(places, brought, unit, changed)
    _give_state(places)
    return FirstBoot(
        broker=broker,
        identity=identity,
        kept_by=kept_by,
        recipients=enrolled,
        trusted=trusted,
        changed=tuple(dict.fromkeys(changed)),
    )


def kept(ours: Path) -> KeptBy | None:
    """How the unit's identity lies in its folder; None where there is none."""
    if (ours / SEALED).exists():
        return "tpm2"
    return "file" if (ours / PLAIN).exists() else None


def _identity(unit: str, places: Places, seal: Seal | None, changed: list[str]) -> tuple[PublicIdentity, KeptBy]:
    """The device's identity: the one that is there, or a new one, sealed before anything of it is written."""
    public_path = places.ours / PUBLIC
    how = kept(places.ours)
    if how is None:
        how = "file" if seal is None else "tpm2"
        made = generate("device", unit)
        secret = (made.to_json(None) + "\n").encode()
        name, content = (PLAIN, secret) if seal is None else (SEALED, seal(CREDENTIAL, secret))
        # The public half first: a secret without it would be a unit that nobody can name.
        _write(public_path, (made.public.to_json() + "\n").encode(), _OPEN, changed)
        _write(places.ours / name, content, _SECRET, changed)
    public = PublicIdentity.from_json(_read(public_path, MAX_IDENTITY_BYTES))
    if public.name != unit:
        raise IdentityRefused(
            "name", f"{public_path}: expected the identity of '{unit}'; found that of '{public.name}'"
        )
    _write(places.etc / DROP_IN, _drop_in(places.ours, how).encode(), _OPEN, changed)
    return public, how


def _drop_in(ours: Path, how: KeptBy) -> str:
    where, line = (
        ("sealed to this machine's TPM 2", f"LoadCredentialEncrypted={CREDENTIAL}:{ours / SEALED}")
        if how == "tpm2"
        else ("from a file that is root's alone", f"LoadCredential={CREDENTIAL}:{ours / PLAIN}")
    )
    return f"# Written by `appliance provision unit`: the identity, {where}.\n[Service]\n{line}\n"


def _take(places: Places, brought: Path | None, changed: list[str]) -> tuple[str, ...]:
    """Copy what the unit reads, and enrol who asks. Returns who was enrolled."""
    enrolled: list[str] = []
    for path in _listed(brought):
        if path.name.endswith(".public.json"):
            content = _read(path, MAX_IDENTITY_BYTES)
            PublicIdentity.from_json(content)  # a private one, or none at all, is refused here
            _write(places.ours / path.name, content, _OPEN, changed)
        elif path.suffix == ".csr":
            before = enrol(places.broker, path.stem, read_csr(_read(path, MAX_CSR_BYTES)))
            changed += [f"mosquitto/{name}" for name in before.changed]
            enrolled.append(path.stem)
        elif path.name == MISSION:
            _write(places.ours / MISSION, _read(path, MAX_MISSION_BYTES), _CLOSED, changed, group=places.owner)
    return tuple(enrolled)


def _listed(brought: Path | None) -> list[Path]:
    if brought is None:
        return []
    try:
        found = sorted(path for path in brought.iterdir() if path.is_file() and not path.is_symlink())
    except OSError as e:
        raise UsageError(f"{brought}: expected a folder of what is brought; {e.strerror}") from e
    if len(found) > MAX_BROUGHT:
        raise UsageError(f"{brought}: expected at most {MAX_BROUGHT} files; found {len(found)}")
    return found


def _trust(places: Places, brought: Path | None, unit: str, changed: list[str]) -> bool:
    """Give the root of trust, once. Whether the unit has one now."""
    slots = Slots(places.state)
    if brought is not None and (brought / ROOT).is_file():
        had = (places.state / "trust").exists()
        slots.provision(_read(brought / ROOT, MAX_ROOT_BYTES), unit=unit)
        if not had:
            changed.append("trust")
        return True
    return (places.state / "trust").exists()


def _give_state(places: Places) -> None:
    """What root has made below the state belongs to the daemon."""
    if places.owner is None or os.geteuid() != 0 or not places.state.exists():
        return
    for folder, _, files in os.walk(places.state):
        for path in (folder, *(os.path.join(folder, name) for name in files)):  # noqa: PTH118 - as os.walk gives them
            if not os.path.islink(path):  # noqa: PTH114
                shutil.chown(path, places.owner, places.owner)


def _read(path: Path, most: int) -> bytes:
    try:
        content = read_at_most(path, most)
    except OSError as e:
        raise UsageError(f"{path}: expected a readable file; {e.strerror}") from e
    if len(content) > most:
        raise UsageError(f"{path}: expected at most {most} bytes")
    return content


def _write(
    path: Path, content: bytes, mode: int, changed: list[str], *, owner: str | None = None, group: str | None = None
) -> None:
    """Make a file have this content, mode and owner; nothing is done where it has."""
    try:
        same = path.is_file() and path.read_bytes() == content and path.stat().st_mode & 0o7777 == mode
        if not same:
            write_whole(path, content, mode=mode)
            changed.append(path.name)
        if os.geteuid() == 0 and (owner or group):
            shutil.chown(path, owner or "root", owner or group)
            if owner:
                shutil.chown(path.parent, "root", owner)
                path.parent.chmod(0o750)
    except (OSError, LookupError) as e:
        raise UsageError(f"{path}: cannot be written for {owner or group or 'root'}; {e}") from e
