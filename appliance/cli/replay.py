"""``appliance replay`` and ``appliance explain``: a recorded run, made again.

The same observations at the same moments through the same path must give the same results, byte for byte; ``replay``
proves it or shows the first difference. ``explain`` says what an entity rests on at the end of the recording.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from appliance.cli.output import note, print_json, print_line
from appliance.domain import Entity
from appliance.errors import Stop, UsageError
from appliance.pipeline.path import OnePath, PathPlan
from appliance.pipeline.results import Result, entity_body
from appliance.recorder import Recording, open_recording

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


def explain(entity: str, /, *, recording: Path, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Say what an entity rests on: each source, when, how strongly it spoke, and what it said.

    Parameters
    ----------
    entity
        An entity id, or the beginning of one, or an identity such as an MMSI.
    recording
        The recording (.mcap) of the run.
    json
        One JSON object on standard output.
    """
    opened = open_recording(recording)
    path, plan, end_ns = _replayed(opened)
    found = [e for e in path.entities(end_ns) if _is_meant(e, entity)]
    if len(found) != 1:
        raise UsageError(f"expected the name of one entity; '{entity}' fits {len(found)} at the end of the recording")
    if json:
        print_json(entity_body(found[0], unit=plan.unit, produced_ns=end_ns, receipt=plan.receipt))
    else:
        _tell(found[0])
    return 0


def _told_again(recording: Recording) -> Any:
    path = OnePath(_plan(recording))
    for arrival in recording.arrivals():
        yield from _step(path, arrival)


def _step(path: OnePath, arrival: Any) -> tuple[Result, ...]:
    if arrival.last:
        return path.finish(arrival.now_ns)
    if arrival.observation is None:
        return path.tick(arrival.now_ns)
    return path.step(arrival.observation, arrival.now_ns)


def _replayed(recording: Recording) -> tuple[OnePath, PathPlan, int]:
    plan = _plan(recording)
    path = OnePath(plan)
    end_ns = 0
    for arrival in recording.arrivals():
        _step(path, arrival)
        end_ns = arrival.now_ns
    return path, plan, end_ns


def _plan(recording: Recording) -> PathPlan:
    try:
        return msgspec.json.decode(recording.plan, type=PathPlan)
    except msgspec.DecodeError as e:
        raise Stop(f"{recording.path}: expected a plan that this version understands; {e}") from e


def _is_meant(entity: Entity, name: str) -> bool:
    return entity.entity_id.startswith(name) or any(identity.value == name for identity in entity.identities)


def _tell(entity: Entity) -> None:
    place = entity.position
    print_line(f"{entity.entity_id} is a {entity.category}, {entity.status}, existence {entity.existence:.2f}")
    print_line(f"  at {place.latitude_deg:.5f}, {place.longitude_deg:.5f}; it rests on:")
    for evidence in entity.evidence:
        strength = f"{evidence.log_likelihood_ratio:+.1f}"
        print_line(f"  {strength:>7}  {evidence.source_id}: {evidence.says}  ({evidence.observation_id})")


def _shown(result: tuple[str, bytes] | None) -> str:
    return "nothing" if result is None else f"{result[0]} {result[1].decode()}"
