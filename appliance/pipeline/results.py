"""What leaves the path: JSON payloads and the topics they belong to.

What this is: pure functions from nouns to bytes; the same nouns give the same bytes. What it is not: it seals nothing
and sends nothing. The shapes stand in ``bodies``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from appliance.domain import Dispute, Entity, Evidence, Geodetic, Picture, Receipt
from appliance.pipeline.bodies import (
    AlertBody,
    Body,
    DisputeBody,
    EntityBody,
    EntityLine,
    EvidenceBody,
    PictureBody,
    PositionBody,
    ReceiptBody,
    StatusBody,
    VelocityBody,
)
from appliance.pipeline.times import time_text

Priority = Literal["alert", "entity", "picture", "status", "radio"]
#: Below this a category is not worth its bytes.
LEAST_PROBABILITY: Final = 0.0005
_encoder: Final = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One payload for one topic, not yet sealed."""

    topic: str
    priority: Priority
    payload: bytes


def entity_result(entity: Entity, *, unit: str, produced_ns: int, receipt: Receipt) -> Result:
    """An entity as recipients get it."""
    body = entity_body(entity, unit=unit, produced_ns=produced_ns, receipt=receipt)
    return _result(f"edge/v1/{unit}/entity/{entity.entity_id}", "entity", body)


def picture_result(picture: Picture) -> Result:
    """The picture: which entities there are, in what state, and what is disputed."""
    body = PictureBody(
        unit=picture.unit,
        time=time_text(picture.produced_ns),
        entities=tuple(_line(entity) for entity in picture.entities),
        disputes=tuple(_dispute(dispute) for dispute in picture.disputes),
        receipt=_receipt(picture.receipt),
    )
    return _result(f"edge/v1/{picture.unit}/picture", "picture", body)


def alert_result(dispute: Dispute, *, unit: str, produced_ns: int) -> Result:
    """A dispute, told as soon as it is raised."""
    body = AlertBody(unit=unit, time=time_text(produced_ns), dispute=_dispute(dispute))
    return _result(f"edge/v1/{unit}/alert", "alert", body)


def status_result(parts: dict[str, Any], *, unit: str, produced_ns: int) -> Result:
    """How the appliance itself is; ``parts`` are the further fields of ``StatusBody``."""
    body = StatusBody(unit=unit, time=time_text(produced_ns), **parts)
    return _result(f"edge/v1/{unit}/status", "status", body)


def entity_body(entity: Entity, *, unit: str, produced_ns: int, receipt: Receipt) -> EntityBody:
    """An entity as a typed body."""
    east, north, up = (round(speed, 3) for speed in entity.velocity_mps)
    return EntityBody(
        unit=unit,
        entity_id=entity.entity_id,
        time=time_text(entity.updated_ns),
        produced=time_text(produced_ns),
        status=entity.status,
        category=entity.category,
        categories={name: round(p, 4) for name, p in entity.categories.items() if p >= LEAST_PROBABILITY},
        existence=round(entity.existence, 4),
        count=entity.count,
        position=_position(entity.position, entity.covariance_m2),
        velocity_mps=VelocityBody(east=east, north=north, up=up),
        identities={identity.kind: identity.value for identity in sorted(entity.identities)},
        evidence=tuple(_evidence(evidence) for evidence in entity.evidence),
        receipt=_receipt(receipt),
        provenance=entity.provenance or msgspec.UNSET,
    )


def _position(place: Geodetic, covariance: tuple[tuple[float, float], tuple[float, float]]) -> PositionBody:
    (ee, en), (ne, nn) = covariance
    return PositionBody(
        lat=round(place.latitude_deg, 8),
        lon=round(place.longitude_deg, 8),
        alt_m=round(place.altitude_m, 2),
        covariance_m2=((round(ee, 3), round(en, 3)), (round(ne, 3), round(nn, 3))),
    )


def _evidence(evidence: Evidence) -> EvidenceBody:
    return EvidenceBody(
        source_id=evidence.source_id,
        observation_id=evidence.observation_id,
        kind=evidence.kind,
        time=time_text(evidence.observed_ns),
        llr=round(evidence.log_likelihood_ratio, 3),
        says=evidence.says,
    )


def _line(entity: Entity) -> EntityLine:
    return EntityLine(
        entity_id=entity.entity_id,
        status=entity.status,
        category=entity.category,
        existence=round(entity.existence, 4),
    )


def _dispute(dispute: Dispute) -> DisputeBody:
    return DisputeBody(
        entity_id=dispute.entity_id,
        raised=time_text(dispute.raised_ns),
        claimed=dispute.claimed,
        observed=dispute.observed,
        sources=dispute.sources,
    )


def _receipt(receipt: Receipt) -> ReceiptBody:
    return ReceiptBody(
        config_digest=receipt.config_digest,
        bundles=dict(receipt.bundles),
        engines=dict(receipt.engines),
        clock=receipt.clock,
        position_integrity=receipt.position_integrity,
    )


def _result(topic: str, priority: Priority, body: Body) -> Result:
    return Result(topic=topic, priority=priority, payload=_encoder.encode(body))
