"""Another unit's picture: opened entities, one JSON object a line, as ``appliance listen --json`` prints them.

Not here: opening (the line comes from whoever may open it), what an estimate means here (``fusion.foreign``).

Rules: only units that the mission names are heard; whatever else the lines hold (pictures, alerts, status) is counted
as ignored, as are things that the other unit does not itself believe, or only knows from people's reports.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from appliance.domain import CATEGORIES, MMSI_PATTERN, Estimate, Geodetic, Identity
from appliance.errors import BadRecord, UsageError
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec, PictureOptions
from appliance.feeds.times import from_iso

SCHEMA: Final = "edge/entity/1"
TAKEN: Final = frozenset({"confirmed", "coasting"})
MAX_SOURCES: Final = 256

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Number = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
Speed = Annotated[float, msgspec.Meta(ge=-3000.0, le=3000.0)]


class Place(msgspec.Struct, frozen=True):
    """As in docs/schema/entity.json."""

    lat: Annotated[float, msgspec.Meta(ge=-90.0, le=90.0)]
    lon: Annotated[float, msgspec.Meta(ge=-180.0, le=180.0)]
    alt_m: Annotated[float, msgspec.Meta(ge=-12_000.0, le=100_000.0)]
    covariance_m2: tuple[tuple[Number, Number], tuple[Number, Number]]


class Velocity(msgspec.Struct, frozen=True):
    """As in docs/schema/entity.json."""

    east: Speed
    north: Speed


class Reason(msgspec.Struct, frozen=True):
    """Of an entity's evidence, whose it is."""

    source_id: Short


class Opened(msgspec.Struct, frozen=True):
    """What is read of an opened entity; further fields are for others."""

    unit: Short
    entity_id: Short
    produced: str
    status: str
    categories: dict[str, float]
    existence: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    position: Place
    velocity_mps: Velocity
    identities: dict[str, str]
    evidence: Annotated[tuple[Reason, ...], msgspec.Meta(max_length=4096)]
    provenance: Annotated[tuple[Short, ...], msgspec.Meta(max_length=MAX_SOURCES)] = ()


class _Kind(msgspec.Struct, frozen=True):
    schema: str


class PictureParser:
    """Lines of one pictures feed in, estimates out."""

    def __init__(self, spec: FeedSpec) -> None:
        if not isinstance(spec.options, PictureOptions):
            raise UsageError(f"expected the units that the feed '{spec.name}' may bring")
        self._spec, self._options = spec, spec.options

    def parse(self, line: bytes, number: int, received_ns: int | None, tap: Tap) -> Iterator[tuple[int, Estimate]]:  # noqa: ARG002 - the shape of streams.Parse
        """See ``streams.Parse``."""
        try:
            if msgspec.json.decode(line, type=_Kind).schema != SCHEMA:
                tap.ignored("schema")
                return
            opened = msgspec.json.decode(line, type=Opened)
        except (msgspec.DecodeError, RecursionError) as e:
            raise BadRecord("row", str(e)) from e
        if opened.unit not in self._options.units:
            tap.ignored("unit")
        elif opened.status not in TAKEN:
            tap.ignored("status")
        else:
            estimate = self._estimate(opened)
            yield estimate.observed_ns, estimate

    def _estimate(self, opened: Opened) -> Estimate:
        sources = opened.provenance or tuple(
            sorted({f"{opened.unit}/{reason.source_id}" for reason in opened.evidence})[:MAX_SOURCES]
        )
        if not sources:
            raise BadRecord("provenance", "expected an entity that says what it rests on")
        place = opened.position
        return Estimate(
            sensor_id=self._spec.name,
            unit=opened.unit,
            entity_id=opened.entity_id,
            observed_ns=from_iso(opened.produced),
            position=Geodetic(latitude_deg=place.lat, longitude_deg=place.lon, altitude_m=place.alt_m),
            covariance_m2=place.covariance_m2,
            velocity_mps=(opened.velocity_mps.east, opened.velocity_mps.north),
            existence=opened.existence,
            trust=self._options.trust,
            categories={name: p for name, p in opened.categories.items() if name in CATEGORIES},
            identities=tuple(_identities(opened.identities)),
            provenance=sources,
        )


def _identities(told: dict[str, str]) -> Iterator[Identity]:
    """Those that mean the same everywhere: a tracklet is one sensor's own number."""
    for kind, value in sorted(told.items()):
        if kind == "mmsi" and MMSI_PATTERN.fullmatch(value):
            yield Identity(kind="mmsi", value=value)
        elif kind == "icao" and len(value) <= 16:
            yield Identity(kind="icao", value=value)
        elif kind == "name" and 0 < len(value) <= 100:
            yield Identity(kind="name", value=value)
