"""``trust …``: the roles of a fleet and their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from export import keys as signing_keys
from export import media as sticks
from export import repository as repositories
from export import rotation as rotations
from export.commands import console
from export.commands.console import Ask, Json, Keys, line, now, print_json
from export.repository import Repository

trust_app = App(name="trust", help="The roles of a fleet and their keys.")


@trust_app.command(name="init")
def trust_init(
    folder: Path,
    /,
    *,
    integrator: Annotated[tuple[str, ...], Parameter(help="An integrator, who may sign `<name>/*`.")] = ("acme",),
    integrator_keys: int = repositories.INTEGRATOR_KEYS,
    integrator_threshold: int = repositories.INTEGRATOR_KEYS,
    passphrase: Ask = False,
    token: Annotated[
        str | None,
        Parameter(help="A PKCS#11 URI of the key in a token that wraps every key file; see docs/bundles.md."),
    ] = None,
    json: Json = False,
) -> None:
    """Hold the ceremony: make every key and sign root and vendor metadata. Then carry each key to its holder."""
    fleet = repositories.init(
        folder,
        integrators=integrator,
        now=now(),
        integrator_keys=integrator_keys,
        integrator_threshold=integrator_threshold,
        passphrase=console.passphrase(passphrase, twice=True),
        token=token,
    )
    names = sorted(path.name for path in fleet.keys.glob("*.pem"))
    if json:
        print_json({"anchor": str(fleet.anchor), "keys": names})
        return
    line(f"made {len(names)} ML-DSA-87 keys in {fleet.keys}: {', '.join(names)}")
    line("root and vendor: 2 of 3 signatures needed, 2 given; the media key can add no software")
    for name in integrator:
        line(f"{name}: {integrator_threshold} of {integrator_keys} signatures needed, for {name}/* and nothing else")
    line(f"provision devices with {fleet.anchor}")


@trust_app.command(name="carry")
def trust_carry(
    key: Path,
    /,
    *,
    token: Annotated[str, Parameter(help="Where to: pkcs11:token=…;object=NAME?module-path=…&pin-source=file:…")],
    passphrase: Ask = False,
    json: Json = False,
) -> None:
    """Put a signing key into its holder's token: `--key pkcs11:token=…;object=NAME?…` then signs with it."""
    keyid = signing_keys.carry(key, token, console.passphrase(passphrase))
    if json:
        print_json({"key": keyid, "token": token})
        return
    line(f"{keyid[:16]} is in the token, under a key that never leaves it: sign with --key '{token}'")
    line(f"destroy {key} and every copy of it; without the token the key is lost, and `trust rotate` replaces it")


@trust_app.command
def rotate(key: str, /, *, keys: Keys, passphrase: Ask = False, json: Json = False) -> None:
    """Replace a key that is lost, stolen or due, named as its file is: root-2, vendor-1, media, acme-1.

    What the old key signed is refused by a device from the next stick on (`bundle` and `media`, or `trust stick`).
    """
    done = rotations.rotate(Repository(folder=keys), key, now(), console.passphrase(passphrase))
    if json:
        print_json({"old": done.old, "new": done.new, "metadata": done.metadata})
    else:
        line(f"{key}: {done.old[:16]} is replaced by {done.new[:16]}; signed in {done.metadata}")


@trust_app.command
def stick(
    *,
    out: Annotated[Path, Parameter(help="The stick: a new folder.")],
    keys: Keys,
    key: Annotated[Path | None, Parameter(help="The media station's key, if it lies elsewhere.")] = None,
    passphrase: Ask = False,
    json: Json = False,
) -> None:
    """Write a stick without a payload, which carries replaced and revoked keys; `appliance bundle refresh` takes it."""
    fleet = Repository(folder=keys)
    checks = sticks.write_metadata(fleet, key or fleet.keys / "media.pem", out, now(), console.passphrase(passphrase))
    if json:
        print_json({"stick": str(out)})
        return
    for check in checks:
        line(f"verified {check.name}: {check.says}")
    line(f"wrote {out}")
