"""The verbs: provision a unit's broker, enrol a recipient, revoke one.

Each reads the record, changes it, and makes the world agree: keys and certificates, revocation list, configuration,
access list, and the broker, where it runs. Order of a revocation: the list first, so that nobody comes back in, then
the session. What fails leaves the record ahead of the world, and the next run of any verb completes it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from appliance.bus.endpoint import TlsFiles
from appliance.errors import IdentityRefused, UsageError
from appliance.provision.access import desired, document, read_document
from appliance.provision.authority import (
    ADMIN,
    Authority,
    ClientKey,
    Csr,
    belongs,
    check_name,
    is_revocation_list,
    issue_client,
    issue_server,
    make_authority,
    make_key,
    public_key_of,
    read_authority,
    read_certificate,
    read_csr,
    revocation_list,
)
from appliance.provision.configuration import BrokerSettings, configuration
from appliance.provision.folder import PRIVATE, PUBLIC, Folder
from appliance.provision.record import Member, Record, Revoked, read_record, write_record
from appliance.provision.running import bring_to, reload, running

RECORD: Final = "provision.json"
CONFIGURATION: Final = "mosquitto.conf"
ACCESS: Final = "broker/dynamic-security.json"
REVOCATIONS: Final = "broker/crl.pem"
PID: Final = "broker/mosquitto.pid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """Where a verb has left the broker. ``changed`` names files below ``folder``; empty where all was in order."""

    folder: Path
    record: Record
    changed: tuple[str, ...]
    told: bool
    """Whether a running broker was told of something new."""

    @property
    def url(self) -> str:
        """Where the broker listens."""
        return _url(self.record.settings)

    def tls(self, name: str) -> TlsFiles:
        """The PEM files of a member, where they stand on this machine. Raises IdentityRefused (``name``)."""
        if name not in self.record.members:
            raise IdentityRefused("name", f"expected a member of this broker; found {name!r}")
        place = self.folder / _place(name, self.record.members[name])
        return TlsFiles(ca=place / "ca.pem", certificate=place / f"{name}.pem", key=place / f"{name}.key")


def provision(root: Path, unit: str, settings: BrokerSettings) -> Provisioned:
    """Make the broker of ``unit``, or complete it, or bring it to new settings.

    Raises IdentityRefused (a name, a CA that is not ours), ConfigError (a record that is not ours), UsageError (the
    folder, or the broker of another unit), BusUnavailable (a running broker that does not answer).
    """
    check_name(unit)
    _check_settings(settings)
    folder = Folder(root, settings.run_as)
    with folder.alone():
        record = _record_of(folder)
        if record is None:
            admin, own = (Member(role=role, serial=_serial()) for role in ("admin", "unit"))
            members = {ADMIN: admin, unit: own}
            record = Record(unit=unit, settings=settings, broker_serial=_serial(), members=members)
        elif record.unit != unit:
            raise UsageError(f"{root}: expected the folder of '{unit}'; found the broker of '{record.unit}'")
        if unit not in record.members:  # its certificate was revoked: it gets another
            _forget(folder, "unit", unit)
            record = _with_member(record, unit, Member(role="unit", serial=_serial()))
        if record.settings != settings:
            record = msgspec.structs.replace(record, settings=settings, broker_serial=_serial())
        return _make(folder, record)


def enrol(root: Path, name: str, csr: Csr | None = None) -> Provisioned:
    """Let a recipient in, with a key made here or the one of its request. The same again changes nothing.

    Raises IdentityRefused (``name``: not one for a certificate, taken, or not the request's), and what ``provision``
    raises.
    """
    check_name(name)
    if csr is not None and csr.name != name:
        raise IdentityRefused("name", f"expected a request of '{name}'; found one of '{csr.name}'")
    folder, record = _open(root)
    with folder.alone():
        member = record.members.get(name)
        if member is not None and member.role != "recipient":
            raise IdentityRefused("name", f"'{name}' is the {member.role} of this broker")
        place = f"recipients/{name}"
        if member is None:
            _forget(folder, place, name)
            if csr is not None:
                folder.write(f"{place}/{name}.csr", csr.pem, PUBLIC)
            record = _with_member(record, name, Member(role="recipient", serial=_serial()))
        elif csr is not None and not _is_key_of(folder, f"{place}/{name}.pem", csr.key):
            raise IdentityRefused("name", f"'{name}' is enrolled with another key: revoke it first")
        return _make(folder, record)


def revoke(root: Path, name: str) -> Provisioned:
    """Put a member out: no new session, and the one that is open ends. Raises as ``enrol`` does.

    The same again changes nothing, and does what a run before this one has left undone.
    """
    folder, record = _open(root)
    with folder.alone():
        if name == ADMIN:
            raise IdentityRefused("name", f"'{ADMIN}' is the broker's own; nobody else could revoke anything then")
        member = record.members.get(name)
        if member is not None:
            record = _without_member(record, name, member)
            folder.write(RECORD, write_record(record), PRIVATE)
            _forget(folder, _place(name, member), name)
        elif name not in {revoked.name for revoked in record.revoked}:
            raise IdentityRefused("name", f"expected a member of this broker; found {name!r}")
        return _make(folder, record)


def read_provisioned(root: Path) -> Provisioned:
    """What stands in a folder; nothing is changed. Raises UsageError, ConfigError."""
    _, record = _open(root)
    return Provisioned(folder=root, record=record, changed=(), told=False)


def _open(root: Path) -> tuple[Folder, Record]:
    record = _record_of(Folder(root))
    if record is None:
        raise UsageError(f"{root}: expected a broker's folder; make it with `appliance provision broker`")
    return Folder(root, record.settings.run_as), record


def _record_of(folder: Folder) -> Record | None:
    content = folder.read(RECORD)
    return None if content is None else read_record(content, file=str(folder.path(RECORD)))


def _make(folder: Folder, record: Record) -> Provisioned:
    """Make everything agree with ``record``."""
    folder.write(RECORD, write_record(record), PRIVATE)
    authority = _authority(folder, record.unit)
    _make_broker_certificate(folder, authority, record)
    for name, member in record.members.items():
        if not member.given or name == ADMIN:
            _make_member(folder, authority, name, member)
    members = {name: msgspec.structs.replace(member, given=True) for name, member in record.members.items()}
    record = msgspec.structs.replace(record, members=members)
    folder.write(RECORD, write_record(record), PRIVATE)
    folder.write(CONFIGURATION, configuration(record.settings).encode())
    told = _admit(folder, authority, record)
    changed = tuple(dict.fromkeys(folder.changed))
    return Provisioned(folder=folder.root, record=record, changed=changed, told=told)


def _authority(folder: Folder, unit: str) -> Authority:
    key = folder.read("ca/ca.key")
    certificate = folder.read("ca/ca.pem")
    if key is None and certificate is not None:
        raise IdentityRefused("key", f"{folder.path('ca/ca.key')}: the CA's key is gone; start with an empty folder")
    if key is None:
        key = make_key()
        folder.write("ca/ca.key", key, PRIVATE)
    if certificate is None:
        certificate = make_authority(unit, key)
        folder.write("ca/ca.pem", certificate)
    return read_authority(key, certificate)


def _make_broker_certificate(folder: Folder, authority: Authority, record: Record) -> None:
    key = _key(folder, "broker/broker.key")
    serial = int(record.broker_serial, 16)
    if not _is_issued(folder, authority, "broker/broker.pem", key, serial):
        names = (record.settings.listen, *record.settings.names)
        folder.write("broker/broker.pem", issue_server(authority, key, serial, names))
    folder.write("broker/ca.pem", folder.read("ca/ca.pem") or b"")


def _make_member(folder: Folder, authority: Authority, name: str, member: Member) -> None:
    place = _place(name, member)
    csr = folder.read(f"{place}/{name}.csr")
    key = read_csr(csr).key if csr is not None else _key(folder, f"{place}/{name}.key")
    serial = int(member.serial, 16)
    if not _is_issued(folder, authority, f"{place}/{name}.pem", key, serial):
        folder.write(f"{place}/{name}.pem", issue_client(authority, name, key, serial))
    if place != "ca":
        folder.write(f"{place}/ca.pem", folder.read("ca/ca.pem") or b"")


def _admit(folder: Folder, authority: Authority, record: Record) -> bool:
    """Revocation list and access list, on the disk or in a broker that runs; whether a running one was told."""
    revoked = [int(one.serial, 16) for one in record.revoked]
    if not is_revocation_list(authority, folder.read(REVOCATIONS) or b"", revoked, record.list_number):
        folder.write(REVOCATIONS, revocation_list(authority, revoked, record.list_number))
    access = desired(record.unit, {name: member.role for name, member in record.members.items()})
    pid = running(folder.path(PID), folder.path(CONFIGURATION))
    if pid is None:
        kept = folder.read(ACCESS)
        if kept is None or read_document(kept) != access:
            folder.write(ACCESS, document(access), PRIVATE)
        pid = running(folder.path(PID), folder.path(CONFIGURATION))  # it may have been started meanwhile
    if pid is None:
        return False
    reload(pid)  # always: a run before this one may have ended between writing the list and saying so
    return bring_to(access, _url(record.settings), _admin_files(folder)) or bool(folder.changed)


def _url(settings: BrokerSettings) -> str:
    host = f"[{settings.listen}]" if ":" in settings.listen else settings.listen
    return f"mqtts://{host}:{settings.port}"


def _admin_files(folder: Folder) -> TlsFiles:
    own = folder.path("ca")
    return TlsFiles(ca=own / "ca.pem", certificate=own / f"{ADMIN}.pem", key=own / f"{ADMIN}.key")


def _is_issued(folder: Folder, authority: Authority, name: str, key: ClientKey, serial: int) -> bool:
    content = folder.read(name)
    try:
        return content is not None and belongs(authority, read_certificate(content), key, serial)
    except IdentityRefused:
        return False  # cut short, or not ours: it is issued again


def _is_key_of(folder: Folder, name: str, key: ClientKey) -> bool:
    content = folder.read(name)
    return content is not None and read_certificate(content).public_key() == key


def _key(folder: Folder, name: str) -> ClientKey:
    content = folder.read(name)
    if content is None:
        content = make_key()
    folder.write(name, content, PRIVATE)
    return public_key_of(content)


def _forget(folder: Folder, place: str, name: str) -> None:
    """Remove what an earlier member of this name had: its key must not live on in a new certificate."""
    for suffix in ("pem", "key", "csr"):
        folder.remove(f"{place}/{name}.{suffix}")


def _without_member(record: Record, name: str, member: Member) -> Record:
    members = {other: kept for other, kept in record.members.items() if other != name}
    revoked = (*record.revoked, Revoked(name=name, serial=member.serial))
    return msgspec.structs.replace(record, members=members, revoked=revoked, list_number=record.list_number + 1)


def _with_member(record: Record, name: str, member: Member) -> Record:
    return msgspec.structs.replace(record, members={**record.members, name: member})


def _place(name: str, member: Member) -> str:
    return {"admin": "ca", "unit": "unit", "recipient": f"recipients/{name}"}[member.role]


def _serial() -> str:
    return f"{x509.random_serial_number():x}"


def _check_settings(settings: BrokerSettings) -> None:
    """Every limit that a type states, and an address that is one."""
    try:
        msgspec.convert(msgspec.to_builtins(settings), BrokerSettings)
        address = ipaddress.ip_address(settings.listen)
    except (msgspec.ValidationError, ValueError) as e:
        raise UsageError(f"the broker's settings: {e}") from e
    if address.is_unspecified or address.is_multicast:
        raise UsageError(f"--listen: expected the address of one interface; found {settings.listen}")
