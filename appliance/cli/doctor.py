"""``appliance doctor``: is there a way out of this box, and is what it rests on sound?

Exit 0 where nothing is bad, 1 where something is; warnings and unanswered questions do not fail it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from appliance.cli.output import output, print_json
from appliance.cli.places import STATE
from appliance.config import load_mission
from appliance.doctor import Finding, examine, worst

SOMETHING_IS_BAD: Final = 1
STYLES: Final = {"good": "green", "unknown": "dim", "warning": "yellow", "bad": "bold red"}


def doctor(
    mission: Path | None = None,
    /,
    *,
    state: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Look for a way out (routes, resolvers, packet filter, sockets) and at clock, keys, trust, slots, disk and heat.

    Parameters
    ----------
    mission
        The mission file: who may be spoken to, and which keys there should be. Without one, nobody may.
    state
        The state directory; the mission's, or /var/lib/edge-appliance.
    json
        One JSON object with every finding.
    """
    loaded = None if mission is None else load_mission(mission)
    where = state or (STATE if loaded is None else loaded.resolve(loaded.mission.unit.state))
    findings = []
    for finding in examine(loaded, where):
        findings.append(finding)
        if not json:
            _tell(finding)
    verdict = worst(findings)
    if json:
        print_json({"verdict": verdict, "findings": findings})
    else:
        bad = sum(finding.verdict == "bad" for finding in findings)
        output().print(f"{len(findings)} questions, {bad} bad: {verdict}", style=STYLES[verdict], markup=False)
    return SOMETHING_IS_BAD if verdict == "bad" else 0


def _tell(finding: Finding) -> None:
    output().print(f"{finding.verdict:<8}{finding.check}: {finding.says}", style=STYLES[finding.verdict], markup=False)
    if finding.remedy:
        output().print(f"        → {finding.remedy}", markup=False)
