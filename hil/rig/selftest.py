"""Whether the rig can fail: each trial that names a sabotage is run against that build, and must be caught by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hil.devices.device import Device
from hil.rig.campaign import Loaded, Trial
from hil.rig.result import TrialResult
from hil.rig.run import Live, prepare, tried
from hil.rig.sabotage import program_of
from hil.rig.verdict import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: fault → sabotage → caught by, or not."""

    trial: str
    faults: str
    sabotage: str
    caught_by: str
    verdict: str
    reading: str


def selftest(loaded: Loaded, device: Device, folder: Path, live: Live) -> list[Row]:
    """Every trial with a sabotage. Raises DeviceFailed where the good device cannot even be made ready."""
    ready = prepare(loaded, device, folder, live)
    rows = []
    for trial in loaded.campaign.trials:
        if trial.sabotage is None or trial.caught_by is None:
            rows.append(_row(trial, "no sabotage", ""))
            continue
        rows.append(_judged(trial, tried(ready, loaded, trial, live, program_of(trial.sabotage))))
    return rows


def _judged(trial: Trial, result: TrialResult) -> Row:
    if result.not_run:
        return _row(trial, "not run", result.why)
    named = next((one for one in result.readings if one.name == trial.caught_by), None)
    if named is None:
        return _row(trial, f"NOT CAUGHT: {result.outcome}", result.why[:200])
    caught = named.outcome is Outcome.FAIL
    value = "not taken" if named.value is None else f"{named.value:g} {named.unit}"
    return _row(trial, "caught" if caught else "NOT CAUGHT", f"{value}, limit {named.limit}")


def _row(trial: Trial, verdict: str, reading: str) -> Row:
    return Row(
        trial=trial.name,
        faults=", ".join(dict.fromkeys(step.fault for step in trial.steps)) or "none",
        sabotage=trial.sabotage or "",
        caught_by=trial.caught_by or "",
        verdict=verdict,
        reading=reading,
    )


def worked(rows: list[Row]) -> bool:
    """Whether every sabotage that was run was caught."""
    return not any(row.verdict.startswith("NOT CAUGHT") for row in rows)
