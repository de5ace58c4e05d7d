"""What a trial of the virtual device found: readings with a unit, a limit and an outcome, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from appliance.host.files import write_whole

Outcome = Literal["PASS", "FAIL", "ERROR"]
SCHEMA = "edge-hil-vm/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One thing measured. ``limit`` is an upper bound, included; None is told and not judged."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    says: str = ""

    @property
    def outcome(self) -> Outcome:
        return "PASS" if self.limit is None or self.value <= self.limit else "FAIL"


@dataclass(slots=True)
class Report:
    """All readings of one run, in the order in which they were taken."""

    facts: dict[str, str] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    error: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def take(self, name: str, value: float, unit: str, limit: float | None = None, says: str = "") -> Reading:
        reading = Reading(name=name, value=round(float(value), 3), unit=unit, limit=limit, says=says)
        self.readings.append(reading)
        return reading

    @property
    def outcome(self) -> Outcome:
        """ERROR where the run broke off; FAIL where a limit was passed, or where nothing was judged at all."""
        if self.error:
            return "ERROR"
        judged = [reading for reading in self.readings if reading.limit is not None]
        return "PASS" if judged and all(reading.outcome == "PASS" for reading in judged) else "FAIL"

    def write(self, path: Path) -> None:
        """As JSON, whole."""
        body = {
            "schema": SCHEMA,
            "outcome": self.outcome,
            "error": self.error,
            "facts": self.facts,
            "readings": [{**asdict(reading), "outcome": reading.outcome} for reading in self.readings],
            **self.notes,
        }
        write_whole(path, (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode())


def show(report: Report, console: Console) -> None:
    """The same for people."""
    table = Table(box=None, pad_edge=False)
    for heading in ("reading", "value", "unit", "limit", "", "says"):
        table.add_column(heading, justify="right" if heading in {"value", "limit"} else "left")
    for one in report.readings:
        limit = "" if one.limit is None else f"≤ {one.limit:g}"
        table.add_row(
            one.name, f"{one.value:g}", one.unit, limit, one.outcome if one.limit is not None else "", one.says
        )
    console.print(table)
    for name, value in report.facts.items():
        console.print(f"{name}: {value}", markup=False)
    console.print(f"{report.outcome}{': ' + report.error if report.error else ''}", markup=False)


def worst(values: Sequence[float]) -> float:
    """The largest; infinite where there is none, so that nothing measured never passes."""
    return max(values, default=float("inf"))
