"""What a run of the virtual device found, as a result of the rig: readings with limits, and what was said beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hil.rig.budgets import Limit
from hil.rig.result import Result, TrialResult, digest_of
from hil.rig.verdict import Outcome, Reading, judged


@dataclass(slots=True)
class Report:
    """All readings of one run, in the order in which they were taken."""

    facts: dict[str, str] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    error: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def take(self, what: str, value: float, unit: str, at_most: float | None = None, says: str = "") -> None:
        """One thing measured. ``at_most`` None is told and not judged."""
        self.readings.append(judged(what, what, round(float(value), 3), unit, Limit(at_most=at_most), says))

    @property
    def outcome(self) -> Outcome:
        """ERROR where the run broke off; FAIL where a limit was passed, or where nothing was judged at all."""
        if self.error:
            return Outcome.ERROR
        judged_ones = [reading for reading in self.readings if reading.limit.at_most is not None]
        good = judged_ones and all(reading.outcome is Outcome.PASS for reading in judged_ones)
        return Outcome.PASS if good else Outcome.FAIL

    def result(self, *, verb: str, says: str, device: str, began: str, took_s: float) -> Result:
        """The whole as a campaign of one trial."""
        told = [f"{name}\n{json.dumps(note, indent=1, ensure_ascii=False)}" for name, note in self.notes.items()]
        failed = "; ".join(reading.what for reading in self.readings if reading.outcome is not Outcome.PASS)
        trial = TrialResult(
            name=verb,
            says=says,
            outcome=self.outcome,
            why=self.error or failed,
            readings=tuple(self.readings),
            log="\n\n".join(told),
        )
        return Result(
            campaign=f"virtual device: {verb}",
            says=says,
            digest=digest_of(says),
            outcome=self.outcome,
            device=device,
            facts=dict(self.facts),
            began=began,
            took_s=took_s,
            trials=(trial,),
        )


def worst(values: Sequence[float]) -> float:
    """The largest; infinite where there is none, so that nothing measured never passes."""
    return max(values, default=float("inf"))
