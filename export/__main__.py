"""``python -m export``: the integrator's bench as commands, one for each person of the chain.

    trust init DIR      the ceremony            root, vendor, integrators, media station
    golden …            what the network must answer on the device
    bundle …            stages a release        the integrator
    trust carry KEY …   into a token        a signer, who then signs with --key pkcs11:…
    sign STAGING --key  adds one signature      each signer, on their own machine
    merge STAGING OTHER joins their copies      the integrator
    media STAGING …     seals, writes, verifies the media station
    desk …              all of it at once       a desk where one person holds all keys

Exit codes and ``--json`` are those of ``appliance``: 0 done · 2 bad usage · 3 refused · 4 unavailable. Every command
prints what it made or proved.
"""

from __future__ import annotations

import getpass
import json as jsonlib
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, CycloptsError, Parameter

from appliance.bundles.golden import Tolerance
from appliance.bundles.release import MANIFEST_FILE, Role
from appliance.errors import ApplianceError, UsageError
from appliance.slots.verify import Progress
from export import desk as desks
from export import golden as goldens
from export import keys as signing_keys
from export import media as sticks
from export import repository as repositories
from export import rotation as rotations
from export import staging as stages
from export.desk import CARD_FILE, MODEL_FILE
from export.repository import Repository

INTERRUPTED: Final = 130

app = App(
    name="export",
    help="The integrator's bench: keys, releases, signatures and sticks.",
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)
trust_app = App(name="trust", help="The roles of a fleet and their keys.")
app.command(trust_app)

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object instead of lines for people.")]
Ask = Annotated[bool, Parameter(name="--passphrase", negative="", help="Ask for the passphrase of the key files.")]
Keys = Annotated[Path, Parameter(name="--keys", help="The fleet's folder, made by `trust init`.")]
Units = Annotated[tuple[str, ...], Parameter(name="--unit", help="Unit or group it is for; `*` for every unit.")]
Golden = Annotated[Path | None, Parameter(name="--golden", help="A golden.json, with golden.bin beside it.")]
Pictures = Annotated[
    tuple[Path, ...], Parameter(name="--golden-picture", help="A picture to make golden outputs from; else drawn ones.")
]
NoGolden = Annotated[bool, Parameter(name="--no-golden", negative="", help="No golden outputs in this release.")]
Extra = Annotated[tuple[str, ...], Parameter(name="--add", help="One more file, as ROLE=PATH or ROLE=PATH=NAME.")]


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
        now=_now(),
        integrator_keys=integrator_keys,
        integrator_threshold=integrator_threshold,
        passphrase=_passphrase(passphrase, twice=True),
        token=token,
    )
    names = sorted(path.name for path in fleet.keys.glob("*.pem"))
    if json:
        _print({"anchor": str(fleet.anchor), "keys": names})
        return
    _line(f"made {len(names)} ML-DSA-87 keys in {fleet.keys}: {', '.join(names)}")
    _line("root and vendor: 2 of 3 signatures needed, 2 given; the media key can add no software")
    for name in integrator:
        _line(f"{name}: {integrator_threshold} of {integrator_keys} signatures needed, for {name}/* and nothing else")
    _line(f"provision devices with {fleet.anchor}")


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
    keyid = signing_keys.carry(key, token, _passphrase(passphrase))
    if json:
        _print({"key": keyid, "token": token})
        return
    _line(f"{keyid[:16]} is in the token, under a key that never leaves it: sign with --key '{token}'")
    _line(f"destroy {key} and every copy of it; without the token the key is lost, and `trust rotate` replaces it")


@trust_app.command
def rotate(key: str, /, *, keys: Keys, passphrase: Ask = False, json: Json = False) -> None:
    """Replace a key that is lost, stolen or due, named as its file is: root-2, vendor-1, media, acme-1.

    What the old key signed is refused by a device from the next stick on (`bundle` and `media`, or `trust stick`).
    """
    done = rotations.rotate(Repository(folder=keys), key, _now(), _passphrase(passphrase))
    if json:
        _print({"old": done.old, "new": done.new, "metadata": done.metadata})
    else:
        _line(f"{key}: {done.old[:16]} is replaced by {done.new[:16]}; signed in {done.metadata}")


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
    checks = sticks.write_metadata(fleet, key or fleet.keys / "media.pem", out, _now(), _passphrase(passphrase))
    if json:
        _print({"stick": str(out)})
        return
    for check in checks:
        _line(f"verified {check.name}: {check.says}")
    _line(f"wrote {out}")


@app.command
def golden(
    *,
    model: Path,
    manifest: Path,
    out: Annotated[Path, Parameter(help="The folder for golden.json and golden.bin.")],
    picture: Annotated[tuple[Path, ...], Parameter(help="A picture to feed; two are drawn if none is given.")] = (),
    json: Json = False,
) -> None:
    """Make golden inputs and outputs, what the network must answer on a device; `bundle` and `desk` do it alone."""
    made = goldens.make(model, manifest, out, pictures=picture)
    if json:
        _print({"golden": str(out / goldens.GOLDEN_FILE), "cases": len(made.cases), "bytes": made.data_bytes})
        return
    for case in made.cases:
        _line(f"case {case.name} ({case.source}): {', '.join(f'{t.name} {t.shape}' for t in case.outputs)}")
    for name, both in made.tolerances.items():
        _line(f"output {name}: runtime {_tolerance(both.tolerance)}; engine {_tolerance(both.engine_tolerance)}")
    _line(f"wrote {out / goldens.GOLDEN_FILE} and {made.data_bytes} bytes of numbers, made by {made.made_by}")


@app.command
def bundle(
    *,
    model: Path,
    manifest: Path,
    product: str,
    version: str,
    counter: int,
    keys: Keys,
    out: Annotated[Path, Parameter(help="The staging folder to make.")],
    card: Path | None = None,
    unit: Units = ("*",),
    hw: tuple[str, ...] = (),
    min_app: str = "0",
    revoke: Annotated[tuple[str, ...], Parameter(help="A release that may no longer run, as product#counter.")] = (),
    notes: str = "",
    golden: Golden = None,
    golden_picture: Pictures = (),
    no_golden: NoGolden = False,
    add: Extra = (),
    json: Json = False,
) -> None:
    """Stage a release: read every file, apply the device's rules, write what is to be signed."""
    choice = goldens.Choice(given=golden, pictures=golden_picture, none=no_golden)
    files = _files(model, manifest, card, add)
    with tempfile.TemporaryDirectory(prefix="export-golden-") as work:
        if not any(role == "golden" for role, _ in files.values()):
            files.update(goldens.files(choice, model, manifest, Path(work), desks.quiet if json else _line))
        release = stages.ReleaseInput(
            product=product,
            version=version,
            counter=counter,
            files=files,
            units=unit,
            hw=hw,
            min_app=min_app,
            revokes=revoke,
            notes=notes,
        )
        made = stages.stage(Repository(folder=keys), release, out, _now())
    if json:
        _print({"staged": str(out), "release": made.release_id, "files": [file.path for file in made.files]})
        return
    for file in made.files:
        _line(f"listed {file.path} ({file.role}, {file.length} bytes) SHA-384 {file.sha384}")
    _line(f"staged {made.release_id} version {made.version} for {', '.join(made.units)} in {out}; not signed yet")


@app.command
def sign(staging: Path, /, *, key: Path, passphrase: Ask = False, json: Json = False) -> None:
    """Add one signer's signature, after reading that the payload is what is listed."""
    done = stages.sign(staging, key, _passphrase(passphrase))
    if json:
        _print({"role": done.role, "key": done.key, "signatures": done.signatures, "threshold": done.threshold})
    else:
        _line(f"read every listed file; signed as {done.role} by {done.key[:16]}")
        _line(f"{done.signatures} of {done.threshold} signatures needed")


@app.command
def merge(staging: Path, other: Path, /, *, json: Json = False) -> None:
    """Add the signatures that another signer's copy of the same staging folder has."""
    count = stages.merge(staging, other)
    if json:
        _print({"signatures": count})
    else:
        _line(f"the two stage the same release; {count} signatures now")


@app.command
def media(
    staging: Path,
    /,
    *,
    out: Annotated[Path, Parameter(help="The stick: an empty or new folder, or with --tar a new file.")],
    keys: Keys,
    key: Annotated[Path | None, Parameter(help="The media station's key, if it lies elsewhere.")] = None,
    tar: Annotated[bool, Parameter(negative="", help="One uncompressed archive instead of a folder.")] = False,
    passphrase: Ask = False,
    json: Json = False,
) -> None:
    """Seal what was signed, write the stick, and run the device's own verification over every byte of it."""
    fleet = Repository(folder=keys)
    stick = sticks.write(
        fleet,
        staging,
        key or fleet.keys / "media.pem",
        out,
        _now(),
        tar=tar,
        passphrase=_passphrase(passphrase),
        progress=_progress(json),
    )
    if json:
        _print({"stick": str(stick.path), "release_sha384": stick.verified.release_sha384})
        return
    for check in stick.checks:
        _line(f"verified {check.name}: {check.says}")
    _line(f"wrote {stick.path}; provision devices with {fleet.anchor}")


@app.command
def desk(
    *,
    model: Path,
    manifest: Path,
    product: str,
    keys: Keys,
    out: Annotated[Path, Parameter(help="The stick: an empty or new folder, or with --tar a new file.")],
    card: Path | None = None,
    version: str = "1.0.0",
    counter: Annotated[int | None, Parameter(help="The release counter; the next one if not given.")] = None,
    unit: Units = ("*",),
    hw: tuple[str, ...] = (),
    revoke: tuple[str, ...] = (),
    notes: str = "",
    golden: Golden = None,
    golden_picture: Pictures = (),
    no_golden: NoGolden = False,
    add: Extra = (),
    tar: Annotated[bool, Parameter(negative="")] = False,
    passphrase: Ask = False,
    json: Json = False,
) -> None:
    """Ceremony, bundle, signatures and stick in one go, where one person holds all the keys."""
    made = desks.make(
        model=model,
        manifest=manifest,
        product=product,
        keys=keys,
        out=out,
        card=card,
        extra=_extra(add),
        golden=goldens.Choice(given=golden, pictures=golden_picture, none=no_golden),
        version=version,
        counter=counter,
        units=unit,
        hw=hw,
        revokes=revoke,
        notes=notes,
        tar=tar,
        passphrase=_passphrase(passphrase),
        say=desks.quiet if json else _line,
        progress=_progress(json),
    )
    if json:
        release = made.verified.release
        _print(
            {
                "stick": str(made.stick),
                "anchor": str(made.anchor),
                "release": release.release_id,
                "release_sha384": made.verified.release_sha384,
            }
        )


def call(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    try:
        app(arguments)
    except CycloptsError as e:
        _note(f"export: {e} [usage]")
        return UsageError.exit_code
    except ApplianceError as e:
        _note(f"export: {e}")
        return e.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _tolerance(tolerance: Tolerance) -> str:
    return f"± {tolerance.absolute:g} ± {100 * tolerance.relative:g} %, {100 * tolerance.outliers:g} % outliers"


def _files(model: Path, manifest: Path, card: Path | None, add: Sequence[str]) -> dict[str, tuple[Role, Path]]:
    files: dict[str, tuple[Role, Path]] = {MODEL_FILE: ("onnx", model), MANIFEST_FILE: ("manifest", manifest)}
    if card is not None:
        files[CARD_FILE] = ("card", card)
    return {**files, **_extra(add)}


#: What ``--add`` may add; the network and the manifest have options of their own.
EXTRA_ROLES: Final[dict[str, Role]] = {
    "calibration": "calibration",
    "labels": "labels",
    "golden": "golden",
    "sbom": "sbom",
    "card": "card",
}


def _extra(add: Sequence[str]) -> dict[str, tuple[Role, Path]]:
    files: dict[str, tuple[Role, Path]] = {}
    for text in add:
        role, _, rest = text.partition("=")
        path, _, name = rest.partition("=")
        if role not in EXTRA_ROLES or not path:
            raise UsageError(f"--add: expected ROLE=PATH with a role of {', '.join(EXTRA_ROLES)}; found {text!r}")
        files[name or Path(path).name] = (EXTRA_ROLES[role], Path(path))
    return files


def _passphrase(ask: bool, *, twice: bool = False) -> str | None:
    """Asks on the terminal; a passphrase never stands in a command line or an environment."""
    if not ask:
        return None
    text = getpass.getpass("passphrase of the key files: ")
    if not text or (twice and getpass.getpass("once more: ") != text):
        raise UsageError("expected the same passphrase twice, and not an empty one")
    return text


def _progress(json: bool) -> Progress:
    """A line for each tenth, on standard error."""
    said = -1

    def show(name: str, done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(total, 1)
        if not json and tenth > said:
            said = tenth
            _note(f"reading back {name}: {done} of {total} bytes, {10 * tenth} %")

    return show


def _now() -> datetime:
    return datetime.now(UTC)


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")


def _print(fields: dict[str, Any]) -> None:
    sys.stdout.write(jsonlib.dumps(fields, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(call())
