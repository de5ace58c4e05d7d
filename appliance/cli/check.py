"""``appliance check``: is this mission file right, and if not, everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from appliance.cli.output import errors, print_json, print_line
from appliance.config import load_mission, mission_schema
from appliance.errors import ConfigError, UsageError


def check(
    mission: Path | None = None,
    /,
    *,
    json: bool = False,
    schema: Annotated[bool, Parameter(help="Print the JSON Schema of a mission file instead.")] = False,
) -> int:
    """Validate a mission file; every fault is told with file, key and what was expected.

    Parameters
    ----------
    mission
        The mission file.
    json
        One JSON object with the faults.
    """
    if schema:
        print_json(mission_schema())
        return 0
    if mission is None:
        raise UsageError("expected a mission file, or --schema")
    try:
        loaded = load_mission(mission)
    except ConfigError as e:
        if json:
            print_json({"ok": False, "faults": e.faults})
        else:
            for fault in e.faults:
                errors().print(str(fault), markup=False)
            errors().print(f"{len(e.faults)} fault{'s' if len(e.faults) > 1 else ''}", style="red")
        return e.exit_code
    if json:
        print_json({"ok": True, "faults": [], "unit": loaded.mission.unit.id, "digest": loaded.digest})
    else:
        feeds = ", ".join(feed.name for feed in loaded.mission.feeds)
        print_line(f"{mission}: right. Unit {loaded.mission.unit.id}; feeds {feeds}")
    return 0
