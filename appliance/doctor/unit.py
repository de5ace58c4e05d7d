"""What a unit rests on: clock, position, keys, trust, slots, audit log, disk, heat. Looks at each and judges it.

Nothing is repaired and nothing is written, also where a folder is missing.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from appliance.bundles.clock import BUILD_NS, reference_time
from appliance.doctor.finding import Finding, listed
from appliance.errors import ApplianceError, IdentityRefused, Refused
from appliance.host import tpm
from appliance.host.credentials import is_credential
from appliance.host.files import read_at_most
from appliance.host.machine import Room, Zone
from appliance.provision.unit import PLAIN, kept
from appliance.sealing import PublicIdentity
from appliance.sealing.identity import MAX_IDENTITY_BYTES
from appliance.sealing.succession import Successor, lineage
from appliance.slots import Slots
from appliance.slots.auditlog import LOG
from appliance.slots.auditlog import verify as verify_log

#: Where a unit's own configuration lies.
OURS: Final = Path("/etc/edge-appliance")
#: Below this the outbox, a recording or an installation soon has no room; above all a bundle of a gigabyte.
LOW_BYTES: Final = 2_000_000_000
#: Below this the next sealed results may find no room.
EMPTY_BYTES: Final = 100_000_000
#: So near to the kernel's own limit a box slows down, and results come late.
NEAR_CRITICAL_CELSIUS: Final = 10.0
#: Where a zone names no limit: the industrial grade's own.
HOT_CELSIUS: Final = 85.0


def judge_clock(now_ns: int, disciplined: Literal["synchronised", "free-running"], floor_ns: int) -> Finding:
    """Whether the machine's clock can be true, and whether anything keeps it so."""
    reference = reference_time(floor_ns=max(floor_ns, BUILD_NS), clock_ns=now_ns)
    at = f"{datetime.fromtimestamp(now_ns // 1_000_000_000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    if reference.clock != "believed":
        return Finding(
            check="clock",
            verdict="bad",
            says=f"the clock says {at}, which cannot be true: {reference.clock}",
            remedy="let a GNSS receiver or a person set it; results carry this time",
        )
    if disciplined == "free-running":
        return Finding(
            check="clock",
            verdict="warning",
            says=f"the clock says {at} and nothing disciplines it; every result says so",
            remedy="give the unit a GNSS receiver, or a time server on its own network",
        )
    return Finding(check="clock", verdict="good", says=f"the clock says {at} and is disciplined")


def judge_position(source: Literal["surveyed", "gnss"], gnss_feeds: Iterable[str]) -> Finding:
    """What the unit takes its own place from."""
    feeds = tuple(gnss_feeds)
    if source == "surveyed":
        return Finding(check="position", verdict="good", says="surveyed: no receiver can move this unit's place")
    if not feeds:
        return Finding(
            check="position",
            verdict="bad",
            says="the mission takes its place from GNSS and has no gnss feed",
            remedy="add a gnss feed, or survey the place",
        )
    return Finding(
        check="position",
        verdict="warning",
        says=f"taken from {listed(feeds)}; a receiver can be deceived, each result's receipt says how well it agreed",
        remedy="survey the place where the unit does not move",
    )


def judge_identity(path: Path, ours: Path = OURS, *, has_tpm: bool | None = None) -> Finding:
    """The device's private identity is there, and nobody else can read it.

    Where the mission names a credential of the service, the file is judged that the service manager makes it from:
    in ``ours``, sealed or plain.
    """
    if is_credential(path):
        return _judge_credential(ours, tpm.has_tpm() if has_tpm is None else has_tpm)
    bad = _readable_by_others(path)
    return bad or Finding(check="identity", verdict="good", says=f"{path.name} is there and is its owner's alone")


def _judge_credential(ours: Path, has_tpm: bool) -> Finding:
    how = kept(ours)
    if how == "tpm2":
        if has_tpm:
            return Finding(check="identity", verdict="good", says="sealed to this machine's TPM 2: no copy of it opens")
        return Finding(
            check="identity",
            verdict="bad",
            says="sealed to a TPM 2, and this machine has none",
            remedy="switch the TPM on in the firmware; a disk from another machine needs an identity of its own",
        )
    bad = _readable_by_others(ours / PLAIN)
    if bad is not None:
        return bad
    if has_tpm:
        return Finding(
            check="identity",
            verdict="warning",
            says="a file that is root's alone, though this machine has a TPM 2",
            remedy="a new unit is sealed to it: `appliance provision unit`",
        )
    return Finding(
        check="identity", verdict="good", says="a file that is root's alone; this machine has no TPM 2 to seal it to"
    )


def _readable_by_others(path: Path) -> Finding | None:
    """None where a file is its owner's alone."""
    try:
        facts = path.stat()
    except OSError as e:
        return Finding(
            check="identity",
            verdict="bad",
            says=f"{path}: {e.strerror}",
            remedy="make it: `appliance provision unit UNIT …`, or `appliance keys new device UNIT --out FILE`",
        )
    if stat.S_IMODE(facts.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding(
            check="identity",
            verdict="bad",
            says=f"{path}: others may read it (mode {stat.S_IMODE(facts.st_mode):04o})",
            remedy=f"chmod 600 {path}; if somebody may have read it, make a new one",
        )
    return None


def judge_recipients(paths: Iterable[Path], taken: Path) -> Finding:
    """Who may open results: each public identity reads and is what its fingerprint says.

    ``taken`` is the folder of the next keys that recipients announced and the daemon took: those are sealed to.
    """
    names: list[str] = []
    faults: list[str] = []
    for path in paths:
        try:
            public = PublicIdentity.from_json(read_at_most(path, MAX_IDENTITY_BYTES))
            record = taken / f"{lineage(public)}.json"
            if record.exists():
                public = Successor.from_json(read_at_most(record, MAX_IDENTITY_BYTES), public).identity
            names.append(f"{public.name} ({public.fingerprint[:16]})")
        except OSError as e:
            faults.append(f"{path}: {e.strerror}")
        except IdentityRefused as e:
            faults.append(f"{path}: {e}")
    if faults:
        return Finding(
            check="recipients", verdict="bad", says=listed(faults), remedy="ask the recipient for the public identity"
        )
    return Finding(check="recipients", verdict="good", says=f"results are sealed to {listed(names)} and to nobody else")


def judge_trust(slots: Slots) -> Iterator[Finding]:
    """The root of trust, the floors, and what serves."""
    try:
        slots.trust.anchor()
        slots.trust.state()
    except Refused as e:
        yield Finding(check="trust", verdict="bad", says=str(e), remedy="docs/bundles.md says what each code asks for")
        return
    hardware = slots.trust.witness_is_hardware
    yield Finding(
        check="trust",
        verdict="good" if hardware else "warning",
        says="the trust state is the one written last, "
        + ("witnessed by hardware" if hardware else "witnessed by a file, which who restores the whole disk can forge"),
        remedy="" if hardware else "a device with a TPM or secure storage proves more",
    )


def judge_slots(slots: Slots) -> Iterator[Finding]:
    """Every product: the slot in service, all its files against their signed digests, and one to fall back to."""
    views = slots.list()
    for product in sorted({view.product for view in views}):
        mine = [view for view in views if view.product == product]
        try:
            active = slots.active(product)
        except Refused as e:
            yield Finding(
                check=f"slot {product}",
                verdict="bad",
                says=str(e),
                remedy=f"`appliance bundle rollback {product}`, or install a stick",
            )
            continue
        spare = [view for view in mine if not view.active and not view.revoked]
        yield Finding(
            check=f"slot {product}",
            verdict="good" if active.confirmed else "warning",
            says=f"version {active.version} #{active.counter} in slot {active.slot}, every file as signed; "
            + (f"version {spare[0].version} to fall back to" if spare else "nothing to fall back to"),
            remedy="" if active.confirmed else "not confirmed healthy yet: a run that answers frames does it",
        )


def judge_audit(state: Path) -> Finding:
    """The audit log agrees with its own checkpoint."""
    if not (state / "audit" / LOG).is_file():
        return Finding(check="audit", verdict="unknown", says="no audit log yet", remedy="the first run begins it")
    try:
        verified = verify_log(state / "audit")
    except ApplianceError as e:
        return Finding(check="audit", verdict="bad", says=str(e), remedy="compare with a checkpoint kept elsewhere")
    return Finding(check="audit", verdict="good", says=f"{verified.records} records, as signed")


def judge_disk(room: Room, where: Path) -> Finding:
    """Room for what must not be lost."""
    says = f"{room.free_bytes / 1e9:.1f} of {room.total_bytes / 1e9:.1f} GB free where {where} lies"
    if room.read_only or room.free_bytes < EMPTY_BYTES:
        why = "takes no writes" if room.read_only else "is full"
        return Finding(check="disk", verdict="bad", says=f"{says}; it {why}", remedy="results cannot be made durable")
    low = room.free_bytes < LOW_BYTES
    return Finding(
        check="disk",
        verdict="warning" if low else "good",
        says=says,
        remedy="remove old recordings, or `appliance bundle list` for slots" if low else "",
    )


def judge_heat(zones: Iterable[Zone]) -> Finding:
    """How near the box is to slowing down or switching off."""
    read = tuple(zones)
    if not read:
        return Finding(check="heat", verdict="unknown", says="this machine tells no temperature")
    hot = [zone for zone in read if zone.temperature_celsius >= _limit(zone)]
    warmest = max(read, key=lambda zone: zone.temperature_celsius - _limit(zone))
    says = f"{warmest.name} {warmest.temperature_celsius:.0f} °C of {_limit(warmest):.0f} °C"
    if hot:
        return Finding(
            check="heat", verdict="bad", says=f"too warm: {says}", remedy="shade, airflow, a lower power mode"
        )
    return Finding(check="heat", verdict="good", says=f"{len(read)} zones; the nearest to its limit: {says}")


def _limit(zone: Zone) -> float:
    return HOT_CELSIUS if zone.critical_celsius is None else zone.critical_celsius - NEAR_CRITICAL_CELSIUS
