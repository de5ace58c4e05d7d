"""``appliance provision``: the first boot of a unit, its own broker, and who may meet it there.

Every verb may be called again: it completes what an earlier call could not, and changes nothing where all is in order.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from appliance.cli.output import print_json, print_line
from appliance.cli.places import STATE
from appliance.config import load_mission
from appliance.doctor import Finding, examine
from appliance.errors import ConfigError, UsageError
from appliance.host.files import read_at_most
from appliance.host.tpm import AUTOMATIC, has_tpm, seal
from appliance.provision import (
    MAX_CONNECTIONS,
    BrokerSettings,
    Provisioned,
    enrol,
    provision,
    read_csr,
    read_provisioned,
)
from appliance.provision import revoke as revoke_member
from appliance.provision.authority import MAX_CSR_BYTES
from appliance.provision.configuration import MEMORY_BYTES, PLUGIN
from appliance.provision.unit import FirstBoot, Places, Seal, first_boot

provision_app = App(
    name="provision", help="A unit's first boot and its own broker: identity, certificates, access, revocation."
)

ETC: Final = Path("/etc/mosquitto")
Json = Annotated[bool, Parameter(negative="")]
Listen = Annotated[str, Parameter(help="The address of the one interface on which recipients come.")]
Port = Annotated[int, Parameter(help="The port there.")]
Interface = Annotated[str, Parameter(help="The interface's name, where the kernel shall hold the broker to it.")]
Names = Annotated[
    tuple[str, ...],
    Parameter(
        negative="", help="A host name under which recipients reach the broker; it will stand in its certificate."
    ),
]


@provision_app.command
def broker(
    unit: str,
    /,
    *,
    listen: Listen,
    port: Port = 8883,
    interface: Interface = "",
    name: Names = (),
    out: Path = ETC,
    home: Path | None = None,
    run_as: str = "mosquitto",
    plugin: Path | None = None,
    max_connections: int = MAX_CONNECTIONS,
    memory: int = MEMORY_BYTES,
    json: Json = False,
) -> int:
    """Make the broker of UNIT: a CA of its own, certificates, access list and mosquitto.conf.

    Parameters
    ----------
    unit
        The unit's id, as in the mission.
    out
        The folder to make.
    home
        Where that folder will stand on the device, if it is made elsewhere.
    run_as
        The broker's user.
    plugin
        Mosquitto's dynamic-security plugin; found where it is not named.
    max_connections
        How many clients the broker serves.
    memory
        How many bytes the broker may take.
    json
        One JSON object on standard output.
    """
    settings = BrokerSettings(
        listen=_address(listen),
        port=port,
        interface=interface,
        names=name,
        run_as=run_as,
        home=str((home or out).absolute()),
        plugin=str(plugin or _installed_plugin()),
        max_connections=max_connections,
        memory_bytes=memory,
    )
    _tell(provision(out.absolute(), unit, settings), json=json)
    return 0


@provision_app.command
def unit(
    unit: str,
    /,
    *,
    listen: Listen,
    port: Port = 8883,
    interface: Interface = "",
    name: Names = (),
    brought: Annotated[Path | None, Parameter(name="--from")] = None,
    keep: Literal["auto", "tpm2", "file"] = "auto",
    tpm: str = AUTOMATIC,
    etc: Path = Path("/etc"),
    state: Path = STATE,
    run_as: str = "edge",
    broker_run_as: str = "mosquitto",
    json: Json = False,
) -> int:
    """First boot: identity (sealed to the TPM 2 where there is one), broker and CA, recipients, trust, mission, doctor.

    Parameters
    ----------
    unit
        The unit's id, as in the mission.
    brought
        A folder with what people bring: 1.root.json, mission.toml, NAME.public.json, NAME.csr.
    keep
        How the identity's secret is kept: by the TPM 2, in a file of root's, or (auto) the first where there is one.
    tpm
        The TPM 2, as systemd-creds names it (--tpm2-device).
    etc
        The folder of configuration.
    state
        Where trust, slots and the audit log lie.
    run_as
        The daemon's user.
    broker_run_as
        The broker's user.
    json
        One JSON object on standard output.
    """
    settings = BrokerSettings(
        listen=_address(listen),
        port=port,
        interface=interface,
        names=name,
        run_as=broker_run_as,
        home=str((etc / "mosquitto").absolute()),
        plugin=str(_installed_plugin()),
    )
    owner = run_as if os.geteuid() == 0 and run_as else None
    done = first_boot(
        unit,
        settings,
        Places(etc=etc.absolute(), state=state.absolute(), owner=owner),
        brought,
        seal=_seal(keep, tpm),
    )
    return _tell_first_boot(done, etc.absolute(), state, json=json)


@provision_app.command
def recipient(name: str, /, *, csr: Path | None = None, out: Path = ETC, json: Json = False) -> int:
    """Let a recipient in: a certificate for its request, or a key and a certificate made here.

    Parameters
    ----------
    name
        Letters, digits, dots, dashes and underscores.
    csr
        The recipient's certificate request in PEM, bearing the same name; its key then never leaves the recipient.
    out
        The broker's folder.
    json
        One JSON object on standard output.
    """
    request = None if csr is None else read_csr(_read(csr))
    done = enrol(out.absolute(), name, request)
    _tell(done, json=json, files=str(done.tls(name).certificate.parent))
    return 0


@provision_app.command
def revoke(name: str, /, *, out: Path = ETC, json: Json = False) -> int:
    """Put a recipient out, or the unit's own certificate: its session ends, and no new one begins.

    Parameters
    ----------
    name
        Whose certificate no longer counts.
    out
        The broker's folder.
    json
        One JSON object on standard output.
    """
    _tell(revoke_member(out.absolute(), name), json=json)
    return 0


@provision_app.command
def show(*, out: Path = ETC, json: Json = False) -> int:
    """Show who may meet on the broker; nothing is changed.

    Parameters
    ----------
    out
        The broker's folder.
    json
        One JSON object on standard output.
    """
    _tell(read_provisioned(out.absolute()), json=json)
    return 0


def _tell(done: Provisioned, *, json: bool, files: str | None = None) -> None:
    members = {name: member.role for name, member in sorted(done.record.members.items())}
    revoked = [one.name for one in done.record.revoked]
    if json:
        body = {"unit": done.record.unit, "url": done.url, "members": members, "revoked": revoked}
        print_json({**body, "changed": list(done.changed), "told": done.told, **({"files": files} if files else {})})
        return
    print_line(f"broker of {done.record.unit} at {done.url}")
    for name, role in members.items():
        print_line(f"  {role}: {name}")
    for name in revoked:
        print_line(f"  revoked: {name}")
    for changed in done.changed:
        print_line(f"  written: {changed}")
    if done.told:
        print_line("  the running broker was told")
    if files:
        print_line(f"  to hand over: {files}")


def _seal(keep: Literal["auto", "tpm2", "file"], tpm: str) -> Seal | None:
    if keep == "file" or (keep == "auto" and not has_tpm()):
        return None
    return partial(seal, device=tpm)


def _tell_first_boot(done: FirstBoot, etc: Path, state: Path, *, json: bool) -> int:
    """What was done and what the doctor says of it; exit 1 where the doctor finds something bad."""
    mission = etc / "edge-appliance" / "mission.toml"
    findings = list(_examined(mission, state))
    bad = [finding for finding in findings if finding.verdict == "bad"]
    if json:
        print_json(
            {
                "unit": done.identity.name,
                "fingerprint": done.identity.fingerprint,
                "identity_kept_by": done.kept_by,
                "url": done.broker.url,
                "recipients": done.recipients,
                "trusted": done.trusted,
                "changed": done.changed,
                "doctor": findings,
            }
        )
        return 1 if bad else 0
    _tell(done.broker, json=False)
    print_line(f"unit {done.identity.name}, fingerprint {done.identity.fingerprint}")
    print_line(
        f"  identity: {'sealed to this machine’s TPM 2' if done.kept_by == 'tpm2' else 'a file that is root’s alone'}"
    )
    print_line("  root of trust: " + ("in place" if done.trusted else "none yet: `appliance bundle trust 1.root.json`"))
    for changed in done.changed:
        print_line(f"  written: {changed}")
    for finding in bad:
        print_line(f"  doctor: {finding.check}: {finding.says}")
    return 1 if bad else 0


def _examined(mission: Path, state: Path) -> Iterator[Finding]:
    """What the doctor finds; a mission that cannot be run is one more finding, and what was made stays made."""
    loaded = None
    if mission.exists():
        try:
            loaded = load_mission(mission)
        except ConfigError as e:
            yield Finding(check="mission", verdict="bad", says=str(e), remedy=f"`appliance check {mission}`")
    yield from examine(loaded, state)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as e:
        raise UsageError(f"--listen: expected an address of this machine; found {text!r}") from e


def _installed_plugin() -> Path:
    """Where Debian's package has put it; on a desk that makes an image, where it will be on a Jetson."""
    return next(iter(sorted(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))), Path(PLUGIN))


def _read(path: Path) -> bytes:
    try:
        return read_at_most(path, MAX_CSR_BYTES)
    except OSError as e:
        raise UsageError(f"{path}: expected a readable file; {e.strerror}") from e
