"""``appliance provision``: a unit's own broker, and who may meet it there.

Every verb may be called again: it completes what an earlier call could not, and changes nothing where all is in order.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from appliance.cli.output import print_json, print_line
from appliance.errors import UsageError
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

provision_app = App(name="provision", help="A unit's own broker: certificates, access, revocation, configuration.")

ETC: Final = Path("/etc/mosquitto")
Json = Annotated[bool, Parameter(negative="")]


@provision_app.command
def broker(
    unit: str,
    /,
    *,
    listen: str,
    port: int = 8883,
    interface: str = "",
    name: Annotated[tuple[str, ...], Parameter(negative="")] = (),
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
    listen
        The address of the one interface on which recipients come.
    port
        The port there.
    interface
        The interface's name, where the kernel shall hold the broker to it.
    name
        A host name under which recipients reach the broker; it will stand in its certificate.
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
        with path.open("rb") as handle:
            return handle.read(MAX_CSR_BYTES + 1)
    except OSError as e:
        raise UsageError(f"{path}: expected a readable file; {e.strerror}") from e
