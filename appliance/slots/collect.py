"""What lies in the state folder and serves nobody: found here as values, then removed step by step.

    staging/                work in progress of a process that was killed
    slots/<p>/a or b        files that no record speaks of (killed between clearing a slot and filling it)
    slots/<p>/a or b        a revoked release that is not in service: it may never be put in service again
    slots/<p>/a or b        the release before, if a person asks and the one in service has shown itself healthy
    *.new                   half of a file that was being replaced

Never touched: the slot in service, trust, the audit log and what was set aside of it. A record is changed before its
files go, so that a device that is killed in between has one leftover more and nothing that it cannot serve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.slots.disk import Disk, storage
from appliance.slots.record import ProductRecord, SlotName, save_record

NEW: Final = ".new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One thing that may go. ``slot`` is set where a record speaks of it."""

    path: Path
    length: int
    why: str
    product: str = ""
    slot: SlotName | None = None


def find(
    top: Path, records: Mapping[str, ProductRecord], revoked: frozenset[str], *, previous: bool
) -> tuple[Leftover, ...]:
    """Everything below ``top`` that serves nobody."""
    found: list[Leftover] = []
    if (top / "staging").is_dir():
        found.append(_leftover(top / "staging", "an installation that did not end"))
    for product, record in sorted(records.items()):
        found.extend(_of_product(top / "slots" / product, record, revoked, previous=previous))
    for part in ("trust", "slots"):
        found.extend(
            _leftover(path, "half of a file that was replaced") for path in sorted((top / part).rglob("*" + NEW))
        )
    return tuple(found)


def _of_product(folder: Path, record: ProductRecord, revoked: frozenset[str], *, previous: bool) -> Iterator[Leftover]:
    for name in _NAMES:
        if name == record.active or not (folder / name).exists():
            continue
        slot = record.slot(name)
        if slot is None:
            yield _leftover(folder / name, "files that no record speaks of", record.product)
        elif f"{record.product}#{slot.counter}" in revoked:
            yield _leftover(folder / name, f"version {slot.version} has been revoked", record.product, name)
        elif previous and record.confirmed:
            yield _leftover(folder / name, f"version {slot.version} served before", record.product, name)


_NAMES: Final[tuple[SlotName, SlotName]] = ("a", "b")


def remove(disk: Disk, top: Path, records: Mapping[str, ProductRecord], found: tuple[Leftover, ...]) -> None:
    """Removes them, each record first."""
    changed = dict(records)
    for leftover in found:
        if leftover.slot is not None:
            record = changed[leftover.product].with_slot(leftover.slot, None)
            save_record(disk, top / "slots" / leftover.product, record)
            changed[leftover.product] = record
        if leftover.path.is_dir():
            disk.remove_folder(leftover.path)
        else:
            with storage():
                disk.step(f"remove {leftover.path.name}")
                leftover.path.unlink(missing_ok=True)


def _leftover(path: Path, why: str, product: str = "", slot: SlotName | None = None) -> Leftover:
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return Leftover(path=path, length=sum(file.stat().st_size for file in files), why=why, product=product, slot=slot)
