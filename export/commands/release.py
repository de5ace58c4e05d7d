"""From a network and its manifest to a verified stick: golden, bundle, sign, merge, media, desk."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from appliance.bundles.golden import Tolerance
from appliance.bundles.release import MANIFEST_FILE, Role
from appliance.errors import UsageError
from export import desk as desks
from export import golden as goldens
from export import media as sticks
from export import progress, sbom
from export import staging as stages
from export.commands import console
from export.commands.console import Ask, Json, Keys, line, now, print_json
from export.desk import CARD_FILE, MODEL_FILE
from export.progress import Progress
from export.repository import Repository

release_app = App()

Units = Annotated[tuple[str, ...], Parameter(name="--unit", help="Unit or group it is for; `*` for every unit.")]
Golden = Annotated[Path | None, Parameter(name="--golden", help="A golden.json, with golden.bin beside it.")]
Pictures = Annotated[
    tuple[Path, ...], Parameter(name="--golden-picture", help="A picture to make golden outputs from; else drawn ones.")
]
NoGolden = Annotated[bool, Parameter(name="--no-golden", negative="", help="No golden outputs in this release.")]
Extra = Annotated[tuple[str, ...], Parameter(name="--add", help="One more file, as ROLE=PATH or ROLE=PATH=NAME.")]


@release_app.command
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
        print_json({"golden": str(out / goldens.GOLDEN_FILE), "cases": len(made.cases), "bytes": made.data_bytes})
        return
    for case in made.cases:
        line(f"case {case.name} ({case.source}): {', '.join(f'{t.name} {t.shape}' for t in case.outputs)}")
    for name, both in made.tolerances.items():
        line(f"output {name}: runtime {_tolerance(both.tolerance)}; engine {_tolerance(both.engine_tolerance)}")
    line(f"wrote {out / goldens.GOLDEN_FILE} and {made.data_bytes} bytes of numbers, made by {made.made_by}")


@release_app.command
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
            files.update(goldens.files(choice, model, manifest, Path(work), desks.quiet if json else line))
        subject = sbom.Subject(product=product, version=version, counter=counter)
        files.update(sbom.files(files, subject, Path(work), now()))
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
        made = stages.stage(Repository(folder=keys), release, out, now())
    if json:
        print_json({"staged": str(out), "release": made.release_id, "files": [file.path for file in made.files]})
        return
    for file in made.files:
        line(f"listed {file.path} ({file.role}, {file.length} bytes) SHA-384 {file.sha384}")
    line(f"staged {made.release_id} version {made.version} for {', '.join(made.units)} in {out}; not signed yet")


@release_app.command
def sign(staging: Path, /, *, key: Path, passphrase: Ask = False, json: Json = False) -> None:
    """Add one signer's signature, after reading that the payload is what is listed."""
    done = stages.sign(staging, key, console.passphrase(passphrase))
    if json:
        print_json({"role": done.role, "key": done.key, "signatures": done.signatures, "threshold": done.threshold})
    else:
        line(f"read every listed file; signed as {done.role} by {done.key[:16]}")
        line(f"{done.signatures} of {done.threshold} signatures needed")


@release_app.command
def merge(staging: Path, other: Path, /, *, json: Json = False) -> None:
    """Add the signatures that another signer's copy of the same staging folder has."""
    count = stages.merge(staging, other)
    if json:
        print_json({"signatures": count})
    else:
        line(f"the two stage the same release; {count} signatures now")


@release_app.command
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
    with progress.shown("bytes", quiet=json) as show:
        stick = sticks.write(
            fleet,
            staging,
            key or fleet.keys / "media.pem",
            out,
            now(),
            tar=tar,
            passphrase=console.passphrase(passphrase),
            progress=_reading_back(show),
        )
    if json:
        print_json({"stick": str(stick.path), "release_sha384": stick.verified.release_sha384})
        return
    for check in stick.checks:
        line(f"verified {check.name}: {check.says}")
    line(f"wrote {stick.path}; provision devices with {fleet.anchor}")


@release_app.command
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
    with progress.shown("bytes", quiet=json) as show:
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
            passphrase=console.passphrase(passphrase),
            say=desks.quiet if json else line,
            progress=_reading_back(show),
        )
    if json:
        release = made.verified.release
        print_json(
            {
                "stick": str(made.stick),
                "anchor": str(made.anchor),
                "release": release.release_id,
                "release_sha384": made.verified.release_sha384,
            }
        )


def _reading_back(show: Progress) -> Progress:
    """One bar over all files of a stick: the device's verification counts through them."""
    return lambda _, done, total: show("reading back", done, total)


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
