"""``appliance explain``: why an entity is believed, by making the recorded run again.

Once as it was, counting what was missed; then once without each source that the entity rests on. Each replay is the
whole path over the whole recording up to the moment in question, so the answers are what would have been, not an
estimate. The moment is the end of the recording, or the last at which the entity was told if it is gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from appliance.cli.output import errors, note, print_json, print_line
from appliance.cli.replay import plan_of, step
from appliance.domain import Entity
from appliance.errors import UsageError
from appliance.pipeline.explaining import Reasons, Without, explanation, same_thing, sources
from appliance.pipeline.path import OnePath, PathPlan
from appliance.recorder import Recording, open_recording


def explain(
    entity: str,
    /,
    *,
    recording: Path,
    quick: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say why an entity is believed: what it rests on, what speaks against it, and what would be without each source.

    Parameters
    ----------
    entity
        An entity id, or the beginning of one, or an identity such as an MMSI.
    recording
        The recording (.mcap) of the run.
    quick
        Do not make the run again without each source.
    json
        One JSON object on standard output (docs/schema/explanation.json).
    """
    opened = open_recording(recording)
    plan = plan_of(opened)
    with _progress() as say:
        meant = _meant(opened, plan, entity, say)
        reasons = _reasons(opened, plan, meant, say, quick=quick)
    body = explanation(reasons)
    if json:
        print_json(body)
    else:
        for sentence in body.sentences:
            print_line(sentence)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meant:
    """Which entity, at which moment, after how many arrivals of the recording."""

    entity_id: str
    at_ns: int
    arrivals: int


Say = Callable[[str, float], None]
"""What is being done, and how far it is, 0 to 1."""


@contextmanager
def _progress() -> Iterator[Say]:
    if not errors().is_terminal:
        said: set[str] = set()

        def line(text: str, _: float) -> None:
            if text not in said:
                said.add(text)
                note(text)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors(), transient=True) as bar:
        tasks: dict[str, int] = {}

        def show(text: str, share: float) -> None:
            if text not in tasks:
                tasks[text] = bar.add_task(text, total=1.0)
            bar.update(tasks[text], completed=share)  # type: ignore[arg-type]

        yield show


class _Told(msgspec.Struct):
    """Of a result about an entity, what is needed to find it again."""

    entity_id: str
    status: str
    identities: dict[str, str] = {}


def _meant(recording: Recording, plan: PathPlan, name: str, say: Say) -> _Meant:
    """The one entity that bears the name, when it was last told. Raises UsageError where there is not exactly one."""
    path, found, living = OnePath(plan), {}, set()
    count, now_ns, total = 0, 0, sum(1 for _ in recording.arrivals())
    for arrival in recording.arrivals():
        count, now_ns = count + 1, arrival.now_ns
        for result in step(path, arrival):
            if result.priority != "entity":
                continue
            told = msgspec.json.decode(result.payload, type=_Told)
            if told.status == "deleted":
                living.discard(told.entity_id)
            elif told.entity_id.startswith(name) or name in told.identities.values():
                found[told.entity_id] = _Meant(entity_id=told.entity_id, at_ns=now_ns, arrivals=count)
                living.add(told.entity_id)
        say("the run as it was", count / max(total, 1))
    standing = {e.entity_id for e in path.entities(now_ns) if _bears(e, name) and e.status != "deleted"}
    chosen = sorted(standing) or sorted(found)
    if len(chosen) != 1:
        many = f": {', '.join(chosen[:4])}{' …' if len(chosen) > 4 else ''}" if chosen else ""
        raise UsageError(f"expected the name of one entity; '{name}' fits {len(chosen)} of the recording{many}")
    if standing:
        return _Meant(entity_id=chosen[0], at_ns=now_ns, arrivals=count)
    return found[chosen[0]]


def _bears(entity: Entity, name: str) -> bool:
    return entity.entity_id.startswith(name) or any(identity.value == name for identity in entity.identities)


def _reasons(recording: Recording, plan: PathPlan, meant: _Meant, say: Say, *, quick: bool) -> Reasons:
    path = _again(recording, plan, meant, None, say)
    entity = next(e for e in path.entities(meant.at_ns) if e.entity_id == meant.entity_id)
    without = [] if quick else [_without(recording, plan, meant, entity, source, say) for source in sources(entity)]
    return Reasons(
        unit=plan.unit,
        at_ns=meant.at_ns,
        entity=entity,
        noted=path.noted(entity.entity_id),
        against=path.against(entity.entity_id, meant.at_ns),
        without=tuple(without),
        receipt=plan.receipt,
    )


def _without(
    recording: Recording, plan: PathPlan, meant: _Meant, entity: Entity, source: str, say: Say
) -> Without:  # fmt: skip
    path = _again(recording, plan, meant, source, say)
    return Without(source_id=source, entity=same_thing(entity, path.entities(meant.at_ns)))


def _again(recording: Recording, plan: PathPlan, meant: _Meant, without: str | None, say: Say) -> OnePath:
    """The path as it stood at that moment; without one source, its observations become ticks."""
    path = OnePath(plan, watching=without is None)
    what = "the run once more, watching" if without is None else f"the run without {without}"
    for count, arrival in enumerate(recording.arrivals(), start=1):
        if count > meant.arrivals:
            break
        observation = arrival.observation
        if observation is not None and observation.sensor_id == without:
            path.tick(arrival.now_ns)
        else:
            step(path, arrival)
        say(what, count / meant.arrivals)
    return path
