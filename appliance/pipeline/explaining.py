"""Why an entity is believed: what it rests on, what speaks against it, what would be without each source.

    recording ─ replay, watching ─ entity + objections ┐
              └ replay without source S, for each S ───┴ explain ─ sentences, `ExplanationBody`

What this is: pure functions over what replays found. What it is not: it opens no recording and replays nothing
(``cli.explain`` does). An entity is found again without one of its sources by its MMSI or ICAO address, else by its
tracklets, else by lying where it lay: identifiers are made from what came first and are not the same in another run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from appliance.domain import Entity, Evidence, Objection, Receipt
from appliance.geodesy import LocalFrame
from appliance.pipeline.bodies import (
    EvidenceDetail,
    ExplanationBody,
    ObjectionBody,
    SourceBody,
    WithoutBody,
)
from appliance.pipeline.results import entity_body
from appliance.pipeline.times import time_text

_GATE: Final = 16.0
"""Squared Mahalanobis distance within which an entity of another run is the same thing."""
BELIEVED: Final = frozenset({"confirmed", "coasting", "reported"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """What a replay without one source made of the entity; None where it was not in the picture."""

    source_id: str
    entity: Entity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """An entity at one moment, with all that was found about it. ``noted`` counts every observation by source."""

    unit: str
    at_ns: int
    entity: Entity
    noted: dict[str, int]
    against: tuple[Objection, ...]
    without: tuple[Without, ...]
    receipt: Receipt


def sources(entity: Entity) -> tuple[str, ...]:
    """Those that its evidence comes from, in order of name."""
    return tuple(sorted({evidence.source_id for evidence in entity.evidence}))


def _supporting(entity: Entity) -> list[Evidence]:
    """What it rests on: all its evidence but people's denials, which stand among what speaks against it."""
    return [e for e in entity.evidence if e.kind != "claim" or e.log_likelihood_ratio >= 0.0]


def _pillars(entity: Entity) -> list[str]:
    return sorted({evidence.source_id for evidence in _supporting(entity)})


def same_thing(entity: Entity, others: Sequence[Entity]) -> Entity | None:
    """The believed one among ``others``, from another run at the same moment, that is ``entity``; None without one."""
    believed = [other for other in others if other.status in BELIEVED]
    for kinds in (("mmsi", "icao"), ("tracklet",)):
        mine = {identity for identity in entity.identities if identity.kind in kinds}
        for other in believed:
            if mine & set(other.identities):
                return other
    near = [(_apart(entity, other), other.entity_id, other) for other in believed]
    return min(near, key=lambda found: found[:2])[2] if near and min(near)[0] <= _GATE else None


def _apart(one: Entity, two: Entity) -> float:
    """Squared Mahalanobis distance, infinite where both carry identities of one kind that differ."""
    mobile = [{i.kind: i.value for i in e.identities if i.kind in {"mmsi", "icao"}} for e in (one, two)]
    if any(mobile[1].get(kind, value) != value for kind, value in mobile[0].items()):
        return math.inf
    east, north, _ = LocalFrame(one.position).local(two.position)
    spread = np.array(one.covariance_m2) + np.array(two.covariance_m2)
    off = np.array([east, north])
    return float(off @ np.linalg.solve(spread, off))


def distance_m(one: Entity, two: Entity) -> float:
    """Between the two places, along the ground."""
    return math.hypot(*LocalFrame(one.position).local(two.position)[:2])


def explanation(reasons: Reasons) -> ExplanationBody:
    """The whole as a typed body; its sentences are the same facts in words."""
    entity = reasons.entity
    return ExplanationBody(
        unit=reasons.unit,
        at=time_text(reasons.at_ns),
        entity=entity_body(entity, unit=reasons.unit, produced_ns=reasons.at_ns, receipt=reasons.receipt),
        rests_on=tuple(_source(name, reasons) for name in _pillars(entity)),
        evidence=tuple(_detail(evidence) for evidence in entity.evidence),
        against=tuple(_objection(objection) for objection in reasons.against),
        without=tuple(_without(one, entity) for one in reasons.without),
        sentences=tuple(sentences(reasons)),
    )


def _source(name: str, reasons: Reasons) -> SourceBody:
    mine = [evidence for evidence in _supporting(reasons.entity) if evidence.source_id == name]
    return SourceBody(
        source_id=name,
        observations=max(reasons.noted.get(name, 0), len(mine)),
        newest=time_text(max(evidence.observed_ns for evidence in mine)),
        llr=round(sum(evidence.log_likelihood_ratio for evidence in mine), 3),
    )


def _detail(evidence: Evidence) -> EvidenceDetail:
    return EvidenceDetail(
        source_id=evidence.source_id,
        observation_id=evidence.observation_id,
        time=time_text(evidence.observed_ns),
        llr=round(evidence.log_likelihood_ratio, 3),
        runner_up=evidence.runner_up or None,
    )


def _objection(objection: Objection) -> ObjectionBody:
    return ObjectionBody(
        kind=objection.kind,
        source_id=objection.source_id,
        count=objection.count,
        time=time_text(objection.observed_ns),
        llr=round(objection.log_likelihood_ratio, 3),
        says=objection.says,
    )


def _without(one: Without, entity: Entity) -> WithoutBody:
    if one.entity is None:
        return WithoutBody(source_id=one.source_id, there=False, existence=0.0, category=None, moved_m=None)
    return WithoutBody(
        source_id=one.source_id,
        there=True,
        existence=round(one.entity.existence, 4),
        category=one.entity.category,
        moved_m=round(distance_m(entity, one.entity), 1),
    )


def sentences(reasons: Reasons) -> list[str]:
    """The explanation in words, one fact a sentence."""
    entity = reasons.entity
    names = ", ".join(f"{identity.kind} {identity.value}" for identity in entity.identities)
    kind = entity.category if entity.category != "unknown" else "thing of unknown kind"
    place = entity.position
    said = [
        f"{entity.entity_id}{f' ({names})' if names else ''} is a {kind}, {entity.status}, "
        f"existence {entity.existence:.2f}, at {place.latitude_deg:.5f}, {place.longitude_deg:.5f}."
    ]
    said += [_rests(name, reasons) for name in _pillars(entity)]
    said += [f"Against it: {one.says}{_weight(one.log_likelihood_ratio)}." for one in reasons.against]
    if not reasons.against:
        said.append("Nothing that was seen or said speaks against it.")
    return said + [_would(one, entity) for one in reasons.without]


def _rests(name: str, reasons: Reasons) -> str:
    mine = [evidence for evidence in _supporting(reasons.entity) if evidence.source_id == name]
    last, total = mine[-1], max(reasons.noted.get(name, 0), len(mine))
    rivals = sum(bool(evidence.runner_up) for evidence in mine)
    doubt = f"; {rivals} of the newest {len(mine)} might have been another's" if rivals else ""
    times = "one observation" if total == 1 else f"{total} observations"
    return f"It rests on {times} of {name}, the last{_weight(last.log_likelihood_ratio)}: {last.says}{doubt}."


def _weight(llr: float) -> str:
    return f" ({llr:+.1f} nats)" if llr else ""


def _would(one: Without, entity: Entity) -> str:
    if one.entity is None:
        return f"Without {one.source_id} it would not be in the picture."
    kind = "the same" if one.entity.category == entity.category else one.entity.category
    moved = distance_m(entity, one.entity)
    return (
        f"Without {one.source_id} it would exist with {one.entity.existence:.2f}, its kind {kind}, "
        f"its place {moved:.0f} m away."
    )
