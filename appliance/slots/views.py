"""What the slots say: the model in service, what an installation did, what stands where. Values without methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.bundles.manifest import Manifest
from appliance.slots.record import ProductRecord, SlotName, SlotRecord

if TYPE_CHECKING:
    from appliance.slots.verify import Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveModel:
    """A model in service, its files just checked. ``digest`` is the SHA-384 of the network.

    ``golden`` is the folder that holds ``golden.json`` and ``golden.bin``; None where the release has none.
    """

    manifest: Manifest
    model: Path
    digest: str
    product: str
    version: str
    slot: SlotName
    counter: int
    release_digest: str
    confirmed: bool
    golden: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an installation did. ``already``: this very release was in service and intact, so nothing changed."""

    product: str
    version: str
    counter: int
    slot: SlotName
    activated: bool
    already: bool
    release_digest: str
    verified: Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """One filled slot, for a list. A revoked release is never put in service."""

    product: str
    slot: SlotName
    active: bool
    confirmed: bool
    revoked: bool
    version: str
    counter: int
    release_digest: str
    installed_ns: int


def facts(verified: Verified, slot: SlotName) -> dict[str, str | int | tuple[str, ...]]:
    """What an installation leaves in the audit log."""
    release = verified.release
    return {
        "product": release.product,
        "version": release.version,
        "counter": release.release_counter,
        "slot": slot,
        "release": verified.release_sha384,
        "files": tuple(f"{file.path} {file.sha384}" for file in release.files),
        "signers": tuple(f"{entry.role} {key}" for entry in verified.signers for key in entry.keys),
        "clock": verified.reference.clock,
    }


def view(record: ProductRecord, name: SlotName, slot: SlotRecord, revoked: frozenset[str]) -> SlotView:
    active = record.active == name
    return SlotView(
        product=record.product,
        slot=name,
        active=active,
        confirmed=active and record.confirmed,
        revoked=f"{record.product}#{slot.counter}" in revoked,
        version=slot.version,
        counter=slot.counter,
        release_digest=slot.release_sha384,
        installed_ns=slot.installed_ns,
    )
