"""Whether the rig can fail: each trial that names a sabotage is run against that build, and must be caught by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from hil.devices.device import Device
from hil.rig.campaign import TIMEOUT, Loaded, Trial
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
    """Every trial, once for each build that it must catch. Raises DeviceFailed where no device can be made ready."""
    ready = prepare(loaded, device, folder, live)
    rows = []
    for trial in loaded.campaign.trials:
        if not trial.catches:
            rows.append(_row(trial, "", "", "no sabotage", ""))
        for build, caught_by in trial.catches.items():
            result = tried(ready, loaded, _named(trial, build), live, program_of(build))
            rows.append(_row(trial, build, caught_by, *_judged(caught_by, result)))
    return rows


def _named(trial: Trial, build: str) -> Trial:
    """The trial under a name that says which build it is run against."""
    return msgspec.structs.replace(trial, name=f"{trial.name}-{build}")


def _judged(caught_by: str, result: TrialResult) -> tuple[str, str]:
    """(verdict, reading)."""
    if result.not_run:
        return "not run", result.why
    if caught_by == TIMEOUT:
        return "caught" if result.outcome is Outcome.TIMEOUT else "NOT CAUGHT", result.why[:200]
    named = next((one for one in result.readings if one.name == caught_by), None)
    if named is None:
        return f"NOT CAUGHT: {result.outcome}", result.why[:200]
    value = "not taken" if named.value is None else f"{named.value:g} {named.unit}"
    return "caught" if named.outcome is Outcome.FAIL else "NOT CAUGHT", f"{value}, limit {named.limit}"


def _row(trial: Trial, build: str, caught_by: str, verdict: str, reading: str) -> Row:
    return Row(
        trial=trial.name,
        faults=", ".join(dict.fromkeys(step.fault for step in trial.steps)) or "none",
        sabotage=build,
        caught_by=caught_by,
        verdict=verdict,
        reading=reading,
    )


def worked(rows: list[Row]) -> bool:
    """Whether every sabotage that was run was caught."""
    return not any(row.verdict.startswith("NOT CAUGHT") for row in rows)
