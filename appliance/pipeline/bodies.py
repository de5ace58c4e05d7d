"""The JSON that leaves the appliance, as typed structs: the outer interface that rigs and integrators script against.

Field names, units and meaning are stable within a schema name; new optional fields may be added. ``docs/schema/`` holds
the JSON Schemas that ``schemas()`` gives. Times are RFC 3339, UTC, nine decimals.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

ULID = Annotated[str, Meta(pattern="^[0-7][0-9A-HJKMNP-TV-Z]{25}$", description="ULID")]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z$")]
Chance = Annotated[float, Meta(ge=0, le=1, description="a probability")]
Matrix = Annotated[
    tuple[tuple[float, float], tuple[float, float]], Meta(description="2×2, axes east and north, row by row")
]
Status = Literal["tentative", "confirmed", "coasting", "reported", "deleted"]


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a result."""


class PositionBody(Body, frozen=True, kw_only=True):
    """WGS84 degrees, metres above the ellipsoid, covariance in m²."""

    lat: float
    lon: float
    alt_m: float
    covariance_m2: Matrix


class VelocityBody(Body, frozen=True, kw_only=True):
    """Metres per second over ground."""

    east: float
    north: float
    up: float


class EvidenceBody(Body, frozen=True, kw_only=True):
    """One reason. ``llr``: natural log of how much likelier the observation is with this entity than by chance."""

    source_id: str
    observation_id: str
    kind: Literal["plot", "detection", "claim", "estimate"]
    time: Time
    llr: float
    says: str


class ReceiptBody(Body, frozen=True, kw_only=True):
    """What the result was made with; digests are SHA-384."""

    config_digest: str
    bundles: dict[str, str]
    engines: dict[str, str]
    clock: Literal["synchronised", "free-running", "replayed"]
    position_integrity: Literal["surveyed", "gnss", "none"]


class EntityBody(Body, frozen=True, kw_only=True):
    """One real thing. ``time`` is that of the newest observation, ``produced`` when this was said."""

    schema: Literal["edge/entity/1"] = "edge/entity/1"
    unit: str
    entity_id: ULID
    time: Time
    produced: Time
    status: Status
    category: str
    categories: dict[str, Chance]
    existence: Chance
    count: int
    position: PositionBody
    velocity_mps: VelocityBody
    identities: dict[str, str]
    evidence: tuple[EvidenceBody, ...]
    receipt: ReceiptBody
    provenance: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Only where another unit's estimate is in it: every source as ``unit/source``."""


class EntityPositionBody(Body, frozen=True, kw_only=True):
    """Of an entity what the view ``position-only`` gets: no evidence, identity, dispute or text."""

    schema: Literal["edge/position/1"] = "edge/position/1"
    unit: str
    entity_id: ULID
    time: Time
    produced: Time
    status: Status
    category: str
    position: PositionBody
    velocity_mps: VelocityBody


class EntityLine(Body, frozen=True, kw_only=True):
    """An entity in a picture, in one line; the whole stands on its own topic."""

    entity_id: ULID
    status: Status
    category: str
    existence: Chance


class DisputeBody(Body, frozen=True, kw_only=True):
    """Two sources that cannot both be right."""

    entity_id: ULID
    raised: Time
    claimed: str
    observed: str
    sources: tuple[str, ...]


class PictureBody(Body, frozen=True, kw_only=True):
    """All entities at one moment."""

    schema: Literal["edge/picture/1"] = "edge/picture/1"
    unit: str
    time: Time
    entities: tuple[EntityLine, ...]
    disputes: tuple[DisputeBody, ...]
    receipt: ReceiptBody


class AlertBody(Body, frozen=True, kw_only=True):
    """Something that a person should look at now."""

    schema: Literal["edge/alert/1"] = "edge/alert/1"
    unit: str
    time: Time
    dispute: DisputeBody


class SourceBody(Body, frozen=True, kw_only=True):
    """One source that an entity rests on. ``llr`` is the sum over the evidence that is kept, the newest of it."""

    source_id: str
    observations: int
    newest: Time
    llr: float


class EvidenceDetail(Body, frozen=True, kw_only=True):
    """One update: how strongly it spoke, and the entity that it would have fallen to else."""

    source_id: str
    observation_id: str
    time: Time
    llr: float
    runner_up: str | None


class ObjectionBody(Body, frozen=True, kw_only=True):
    """One reason against. ``llr``: what it took from the log-odds of existence; 0 where it speaks of something else."""

    kind: Literal["missed", "category", "dispute", "denial"]
    source_id: str
    count: int
    time: Time
    llr: float
    says: str


class WithoutBody(Body, frozen=True, kw_only=True):
    """The run made again without one source: whether the thing is in that picture, and as what."""

    source_id: str
    there: bool
    existence: Chance
    category: str | None
    moved_m: float | None


class ExplanationBody(Body, frozen=True, kw_only=True):
    """What ``appliance explain --json`` prints: an entity at one moment of a recording, and why."""

    schema: Literal["edge/explanation/1"] = "edge/explanation/1"
    unit: str
    at: Time
    entity: EntityBody
    rests_on: tuple[SourceBody, ...]
    evidence: tuple[EvidenceDetail, ...]
    against: tuple[ObjectionBody, ...]
    without: tuple[WithoutBody, ...]
    sentences: tuple[str, ...]


class StatusBody(Body, frozen=True, kw_only=True):
    """How the appliance itself is. ``sick`` names each part that does not do its work, with its reason."""

    schema: Literal["edge/status/1"] = "edge/status/1"
    unit: str
    time: Time
    sick: tuple[str, ...]
    feeds: tuple[dict[str, Any], ...]
    lanes: tuple[dict[str, Any], ...]
    engines: tuple[dict[str, Any], ...] = ()
    link: dict[str, Any]
    outbox: dict[str, Any]
    recording: dict[str, Any] | None
    counts: dict[str, int]


BODIES = {
    "entity": EntityBody,
    "position": EntityPositionBody,
    "picture": PictureBody,
    "alert": AlertBody,
    "status": StatusBody,
    "explanation": ExplanationBody,
}


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema 2020-12 of each body, by name."""
    made = {}
    for name, body in BODIES.items():
        made[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(body)}
    return made
