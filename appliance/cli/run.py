"""``appliance run``: the daemon, in the foreground, until it is told to stop or the feeds have ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from appliance.cli.serve import serve


def run(
    mission: Path,
    /,
    *,
    until_end: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a mission: take the feeds, fuse, seal, publish.

    Parameters
    ----------
    mission
        The mission file.
    until_end
        Stop when every feed that can end has ended and everything is acknowledged.
    json
        End with one JSON object of counts on standard output.
    """
    return serve(mission, until_end=until_end, json=json)
