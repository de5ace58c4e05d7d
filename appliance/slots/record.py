"""Which release stands in which slot of a product, and which slot is in service: one small file, replaced whole.

This file is the pointer. Whatever lies in the slot folders, a release is in service exactly if this file says so and
the folder's files have the digests that the release (whose digest stands here) lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from appliance.bundles.release import DIGEST_PATTERN, Counter, Product
from appliance.errors import BundleRefused
from appliance.slots.disk import Disk, read_small

SlotName = Literal["a", "b"]
RECORD: Final = "slots.json"
MAX_RECORD_BYTES: Final = 64 * 1024


class SlotRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was put into one slot. ``runs_on``: what the self-test ran on."""

    release_sha384: Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN)]
    version: str
    counter: Counter
    installed_ns: int
    runs_on: str


class ProductRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Both slots of one product. ``starts`` counts starts since activation that were not yet confirmed healthy."""

    schema: Literal["edge-slots/1"] = "edge-slots/1"
    product: Product
    a: SlotRecord | None = None
    b: SlotRecord | None = None
    active: SlotName | None = None
    confirmed: bool = False
    starts: int = 0

    def slot(self, name: SlotName) -> SlotRecord | None:
        """What is in a slot; None is an empty one."""
        return self.a if name == "a" else self.b

    def with_slot(self, name: SlotName, record: SlotRecord | None) -> ProductRecord:
        """The same with another content of one slot."""
        if name == "a":
            return msgspec.structs.replace(self, a=record)
        return msgspec.structs.replace(self, b=record)

    def with_active(self, name: SlotName) -> ProductRecord:
        """The same with another slot in service, not yet shown to be healthy."""
        return msgspec.structs.replace(self, active=name, confirmed=False, starts=0)

    @property
    def inactive(self) -> SlotName:
        """The slot into which the next release goes."""
        return "b" if self.active == "a" else "a"


def load_record(folder: Path, product: str) -> ProductRecord:
    """The record of a product; an empty one where nothing was ever installed.

    Raises: BundleRefused ("trust-state").
    """
    raw = read_small(folder / RECORD, MAX_RECORD_BYTES)
    if raw is None:
        return ProductRecord(product=product)
    try:
        record = msgspec.json.decode(raw, type=ProductRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BundleRefused("trust-state", f"{product}: slots.json cannot be read: {e}") from e
    if record.product != product or (record.active and record.slot(record.active) is None):
        raise BundleRefused("trust-state", f"{product}: slots.json contradicts itself")
    return record


def save_record(disk: Disk, folder: Path, record: ProductRecord) -> None:
    """Replaces the record; before this returns the old one holds, afterwards the new one."""
    disk.write_whole(folder / RECORD, msgspec.json.encode(record) + b"\n")
