"""The faults by name. A campaign may name these and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType

from hil.rig.bench import Bench
from hil.rig.campaign import Step

Facts = dict[str, float]
Act = Callable[[Bench, Step], AbstractContextManager[Facts]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """``says`` tells a reader of the report what the rig does; ``target`` what the step's target may be."""

    act: Act
    says: str
    target: str = ""


def gathered(*tables: Mapping[str, FaultKind]) -> Mapping[str, FaultKind]:
    """One table of several; a name stands once."""
    whole: dict[str, FaultKind] = {}
    for table in tables:
        twice = whole.keys() & table.keys()
        if twice:
            raise ValueError(f"expected each fault once; found {', '.join(sorted(twice))} again")
        whole.update(table)
    return MappingProxyType(whole)
