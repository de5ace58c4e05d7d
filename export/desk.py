"""Everything from a model file to a verified stick in one call, for a desk where one person holds all the keys.

For demonstrations and development: in service the ceremony, each signer and the media station are different machines
(``trust``, ``bundle``, ``sign``, ``media``). What is made is the same, and is verified in the same way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from appliance.bundles.release import MANIFEST_FILE, Role
from appliance.errors import UsageError
from appliance.slots.checks import Progress, no_progress
from appliance.slots.verify import Verified
from export import golden as goldens
from export import media, repository, sbom, staging
from export.repository import Repository

MODEL_FILE: Final = "model.onnx"
CARD_FILE: Final = "card.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What was made: the stick, the root of trust to provision devices with, and what verification said."""

    stick: Path
    anchor: Path
    verified: Verified


def quiet(line: str) -> None:
    """Says nothing."""


def make(
    *,
    model: Path,
    manifest: Path,
    product: str,
    keys: Path,
    out: Path,
    card: Path | None = None,
    extra: Mapping[str, tuple[Role, Path]] | None = None,
    golden: goldens.Choice = goldens.AUTOMATIC,
    version: str = "1.0.0",
    counter: int | None = None,
    units: tuple[str, ...] = ("*",),
    hw: tuple[str, ...] = (),
    revokes: tuple[str, ...] = (),
    notes: str = "",
    tar: bool = False,
    passphrase: str | None = None,
    now: datetime | None = None,
    say: Callable[[str], None] = quiet,
    progress: Progress = no_progress,
) -> Desk:
    """Holds the ceremony if ``keys`` has none yet, stages, signs with enough keys, writes and verifies the stick.

    ``counter`` None takes the next one of the product; golden files are made unless ``extra`` or ``golden`` has some,
    and so is the SBOM.

    Raises: UsageError, BundleRefused, IdentityRefused, EngineUnavailable.
    """
    now = now or datetime.now(UTC)
    fleet = _fleet(keys, product, now, passphrase, say)
    files: dict[str, tuple[Role, Path]] = {MODEL_FILE: ("onnx", model), MANIFEST_FILE: ("manifest", manifest)}
    if card is not None:
        files[CARD_FILE] = ("card", card)
    files.update(extra or {})
    with tempfile.TemporaryDirectory(prefix="export-stage-") as work:
        stage = Path(work) / "stage"
        if not any(role == "golden" for role, _ in files.values()):
            files.update(goldens.files(golden, model, manifest, Path(work) / "golden", say))
        number = counter if counter is not None else next_counter(fleet, product)
        subject = sbom.Subject(product=product, version=version, counter=number)
        files.update(sbom.files(files, subject, Path(work) / "sbom", now))
        release = staging.ReleaseInput(
            product=product,
            version=version,
            counter=number,
            files=files,
            units=units,
            hw=hw,
            revokes=revokes,
            notes=notes,
        )
        made = staging.stage(fleet, release, stage, now)
        say(f"staged {made.release_id} version {made.version}: {len(made.files)} files, units {', '.join(made.units)}")
        _sign(fleet, stage, product.split("/", maxsplit=1)[0], passphrase, say)
        stick = media.write(
            fleet, stage, fleet.keys / "media.pem", out, now, tar=tar, passphrase=passphrase, progress=progress
        )
    for check in stick.checks:
        say(f"verified {check.name}: {check.says}")
    _remember_counter(fleet, product, made.release_counter)
    say(f"stick {stick.path}; provision devices with {fleet.anchor}")
    return Desk(stick=stick.path, anchor=fleet.anchor, verified=stick.verified)


def next_counter(fleet: Repository, product: str) -> int:
    """One more than the product's last counter on this desk."""
    path = fleet.folder / "counters" / product
    return int(path.read_text()) + 1 if path.is_file() else 1


def _remember_counter(fleet: Repository, product: str, counter: int) -> None:
    path = fleet.folder / "counters" / product
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{counter}\n")


def _fleet(keys: Path, product: str, now: datetime, passphrase: str | None, say: Callable[[str], None]) -> Repository:
    fleet = Repository(folder=keys)
    integrator = product.split("/", maxsplit=1)[0]
    if not fleet.exists():
        fleet = repository.init(keys, integrators=(integrator,), now=now, passphrase=passphrase)
        say(f"ceremony held in {keys}: root 2 of 3, vendor 2 of 3, {integrator} 2 of 2, one media key; ML-DSA-87")
    return fleet


def _sign(fleet: Repository, stage: Path, integrator: str, passphrase: str | None, say: Callable[[str], None]) -> None:
    keys = fleet.key_files(integrator)
    if not keys:
        raise UsageError(f"{fleet.keys}: no keys of {integrator}")
    for key in keys:
        done = staging.sign(stage, key, passphrase)
        say(f"signed as {done.role} by {done.key[:16]}: {done.signatures} of {done.threshold} needed")
        if done.signatures >= done.threshold:
            return
