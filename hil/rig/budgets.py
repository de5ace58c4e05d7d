"""Limits with units and reasons: what a reading is held against. A trial may have its own, and a kind of device."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """At least one bound, both included. ``why`` is for whoever wonders where the number comes from."""

    at_most: float | None = None
    at_least: float | None = None
    why: str = ""

    def holds(self, value: float) -> bool:
        """Whether a value lies within."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def __str__(self) -> str:
        low = [] if self.at_least is None else [f"≥ {self.at_least:g}"]
        high = [] if self.at_most is None else [f"≤ {self.at_most:g}"]
        return " and ".join([*low, *high]) or "told, not judged"


def family(kind: str) -> str:
    """What a device's kind is one of, as ``[on.…]`` names it: ``qemu`` for ``qemu-amd64``."""
    return kind.partition("-")[0]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A budget file: limits by the name of the measurement, and what is different on a `family` of devices."""

    schema: Annotated[Literal["edge-budgets/1"], Meta(description="'edge-budgets/1'")]
    limits: dict[str, Limit]
    on: dict[str, dict[str, Limit]] = {}

    def of(self, name: str, kind: str, own: dict[str, Limit]) -> Limit:
        """The limit that holds: the kind's, which is what such a device can do; the trial's own; everybody's."""
        there = self.on.get(family(kind), {})
        return there.get(name) or own.get(name) or self.limits[name]
