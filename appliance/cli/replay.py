"""``appliance replay``: a recorded run, made again.

The same observations at the same moments through the same path must give the same results, byte for byte; ``replay``
proves it or shows the first difference.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from appliance.cli.output import note, print_json, print_line
from appliance.errors import Stop
from appliance.pipeline.path import OnePath, PathPlan
from appliance.pipeline.results import Result
from appliance.recorder import Arrival, Recording, open_recording

DIFFERENT = 1


def replay(recording: Path, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Make a recorded run again and compare every result with what was told then.

    Parameters
    ----------
    recording
        A recording (.mcap).
    json
        One JSON object on standard output.
    """
    opened = open_recording(recording)
    same = 0
    difference: dict[str, Any] | None = None
    cut = False
    for then, now in zip_longest(opened.told(), _told_again(opened)):
        if then is None and not opened.is_whole():
            cut = True  # the power went, or the recording was full: what was told then is not in it
            break
        if then != (None if now is None else (now.topic, now.payload)):
            difference = {"result": same, "then": _shown(then), "now": _shown(now and (now.topic, now.payload))}
            break
        same += 1
    if json:
        print_json({"recording": str(recording), "same": same, "difference": difference, "cut": cut})
    elif difference is None:
        print_line(
            f"{recording}: {same} results, each the same byte for byte" + (", up to where it ends" if cut else "")
        )
    else:
        note(f"{recording}: {same} results the same, then a difference")
        note(f"  then: {difference['then']}\n  now:  {difference['now']}")
    return 0 if difference is None else DIFFERENT


def _told_again(recording: Recording) -> Any:
    path = OnePath(plan_of(recording))
    for arrival in recording.arrivals():
        yield from step(path, arrival)


def step(path: OnePath, arrival: Arrival) -> tuple[Result, ...]:
    """Take one arrival as the run took it."""
    if arrival.last:
        return path.finish(arrival.now_ns)
    if arrival.observation is None:
        return path.tick(arrival.now_ns)
    return path.step(arrival.observation, arrival.now_ns)


def plan_of(recording: Recording) -> PathPlan:
    """The plan that the recorded path was built from. Raises Stop."""
    try:
        return msgspec.json.decode(recording.plan, type=PathPlan)
    except msgspec.DecodeError as e:
        raise Stop(f"{recording.path}: expected a plan that this version understands; {e}") from e


def _shown(result: tuple[str, bytes] | None) -> str:
    return "nothing" if result is None else f"{result[0]} {result[1].decode()}"
