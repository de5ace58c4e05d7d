"""What leaves the path: JSON payloads and the topics they belong to.

What this is: pure functions from nouns to bytes; the same nouns give the same bytes. What it is not: it seals nothing
and sends nothing. The shapes are described by the JSON Schemas in ``docs/schema/``.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from appliance.domain import Dispute, Entity, Evidence, Geodetic, Picture, Receipt

ENTITY_SCHEMA: Final = "edge/entity/1"
PICTURE_SCHEMA: Final = "edge/picture/1"
ALERT_SCHEMA: Final = "edge/alert/1"
STATUS_SCHEMA: Final = "edge/status/1"

Priority = Literal["alert", "entity", "picture", "status"]
_NS_PER_S: Final = 1_000_000_000
_encoder: Final = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One payload for one topic, not yet sealed."""

    topic: str
    priority: Priority
    payload: bytes


def time_text(time_ns: int) -> str:
    """RFC 3339 in UTC with nine decimals, so that no nanosecond is lost."""
    seconds, nanos = divmod(time_ns, _NS_PER_S)
    whole = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def entity_result(entity: Entity, *, unit: str, produced_ns: int, receipt: Receipt) -> Result:
    """An entity as recipients get it."""
    body = entity_body(entity, unit=unit, produced_ns=produced_ns)
    body["receipt"] = msgspec.to_builtins(receipt)
    return _result(f"edge/v1/{unit}/entity/{entity.entity_id}", "entity", body)


def picture_result(picture: Picture) -> Result:
    """The picture: which entities there are, in what state, and what is disputed."""
    body = {
        "schema": PICTURE_SCHEMA,
        "unit": picture.unit,
        "time": time_text(picture.produced_ns),
        "entities": [
            {"entity_id": e.entity_id, "status": e.status, "category": e.category, "existence": round(e.existence, 4)}
            for e in picture.entities
        ],
        "disputes": [_dispute(dispute) for dispute in picture.disputes],
        "receipt": msgspec.to_builtins(picture.receipt),
    }
    return _result(f"edge/v1/{picture.unit}/picture", "picture", body)


def alert_result(dispute: Dispute, *, unit: str, produced_ns: int) -> Result:
    """A dispute, told as soon as it is raised."""
    body = {"schema": ALERT_SCHEMA, "unit": unit, "time": time_text(produced_ns), "dispute": _dispute(dispute)}
    return _result(f"edge/v1/{unit}/alert", "alert", body)


def status_result(body: dict[str, Any], *, unit: str, produced_ns: int) -> Result:
    """How the appliance itself is."""
    return _result(
        f"edge/v1/{unit}/status",
        "status",
        {"schema": STATUS_SCHEMA, "unit": unit, "time": time_text(produced_ns), **body},
    )


def entity_body(entity: Entity, *, unit: str, produced_ns: int) -> dict[str, Any]:
    """An entity as JSON-ready values, without its receipt."""
    east, north, up = entity.velocity_mps
    return {
        "schema": ENTITY_SCHEMA,
        "unit": unit,
        "entity_id": entity.entity_id,
        "time": time_text(entity.updated_ns),
        "produced": time_text(produced_ns),
        "status": entity.status,
        "category": entity.category,
        "categories": {name: round(p, 4) for name, p in sorted(entity.categories.items()) if p >= 0.0005},
        "existence": round(entity.existence, 4),
        "count": entity.count,
        "position": _position(entity.position, entity.covariance_m2),
        "velocity_mps": {"east": round(east, 3), "north": round(north, 3), "up": round(up, 3)},
        "identities": {identity.kind: identity.value for identity in sorted(entity.identities)},
        "evidence": [_evidence(evidence) for evidence in entity.evidence],
    }


def _position(place: Geodetic, covariance: tuple[tuple[float, float], tuple[float, float]]) -> dict[str, Any]:
    return {
        "lat": round(place.latitude_deg, 8),
        "lon": round(place.longitude_deg, 8),
        "alt_m": round(place.altitude_m, 2),
        "covariance_m2": [[round(value, 3) for value in row] for row in covariance],
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "source_id": evidence.source_id,
        "observation_id": evidence.observation_id,
        "kind": evidence.kind,
        "time": time_text(evidence.observed_ns),
        "llr": round(evidence.log_likelihood_ratio, 3),
        "says": evidence.says,
    }


def _dispute(dispute: Dispute) -> dict[str, Any]:
    return {
        "entity_id": dispute.entity_id,
        "raised": time_text(dispute.raised_ns),
        "claimed": dispute.claimed,
        "observed": dispute.observed,
        "sources": list(dispute.sources),
    }


def _result(topic: str, priority: Priority, body: dict[str, Any]) -> Result:
    return Result(topic=topic, priority=priority, payload=_encoder.encode(body))
