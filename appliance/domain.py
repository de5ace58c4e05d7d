"""The nouns, in the order in which they flow. Frozen; units stand in the names; nothing here does anything.

What passes between rooms is one of these and nothing else: no dictionaries, no config, no vendor types.

    Frame → DetectedFrame[Detection] ┐
    Plot, Fix                        ├→ Entity + Evidence → Picture
    Report → Claim                   │
    Estimate (another unit's)        ┘

Conventions: time is integer nanoseconds since the Unix epoch, UTC. Positions are WGS84 degrees. Local axes are east,
north, up in metres. Bearings are radians clockwise from true north. Arrays are read-only from the feed onward.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:  # commands that touch no picture do not pay for numpy
    import numpy as np
    import numpy.typing as npt

Pixels: TypeAlias = "npt.NDArray[np.uint8]"

#: The one category tree, the same for vision, text and gateways. A parent stands before its children.
CATEGORIES: Final[tuple[str, ...]] = (
    "person",
    "vehicle",
    "vehicle/car",
    "vehicle/truck",
    "vehicle/bus",
    "vehicle/motorcycle",
    "vehicle/bicycle",
    "vehicle/van",
    "vehicle/tracked",
    "vessel",
    "vessel/ship",
    "vessel/boat",
    "aircraft",
    "aircraft/aeroplane",
    "aircraft/helicopter",
    "aircraft/drone",
    "animal",
    "fire",
    "unknown",
)
UNKNOWN: Final = "unknown"

IdentityKind = Literal["mmsi", "icao", "tracklet", "name"]
#: A mobile identity belongs to one real thing; a tracklet is one sensor's own running number.


def is_a(category: str, ancestor: str) -> bool:
    """Whether ``category`` is ``ancestor`` or stands below it in the tree."""
    return category == ancestor or category.startswith(ancestor + "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Geodetic:
    """A WGS84 position: degrees north, degrees east, metres above the ellipsoid."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Identity:
    """A claimed identity: an MMSI, an ICAO address, a vessel's name, or one sensor's running number."""

    kind: IdentityKind
    value: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture of one camera. ``pixels`` is (height, width, 3) uint8, BGR, read-only."""

    sensor_id: str
    sequence: int
    captured_ns: int
    pixels: Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One thing seen in one frame. ``box_px`` is (x1, y1, x2, y2) in pixels of the frame as captured."""

    box_px: tuple[float, float, float, float]
    category: str
    label: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedFrame:
    """What a model saw in one frame; an empty ``detections`` is a look that found nothing, and counts as one.

    ``engine`` is what computed it, as a receipt names it; it may change between two frames of a run.
    """

    sensor_id: str
    sequence: int
    captured_ns: int
    width_px: int
    height_px: int
    detections: tuple[Detection, ...]
    engine: str = ""


TrackStatus = Literal["tentative", "confirmed", "coasting", "deleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One thing followed in the picture of one camera. ``categories`` sums to one."""

    sensor_id: str
    track_id: int
    status: TrackStatus
    box_px: tuple[float, float, float, float]
    box_variance_px2: tuple[float, float]
    categories: Mapping[str, float]
    confidence: float
    first_ns: int
    updated_ns: int
    hits: int


PlotKind = Literal["position", "range_bearing", "range_bearing_elevation", "range_bearing_rate", "bearing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One non-imaging return, or one camera track laid on the ground.

    ``kind`` decides the meaning of ``values`` and the square ``covariance`` (row by row):

    - ``position``: (latitude_deg, longitude_deg); covariance in m², axes east, north.
    - ``range_bearing``: (range_m, bearing_rad); covariance in m², m·rad, rad². Needs ``origin``.
    - ``range_bearing_elevation``: slant range_m, bearing_rad, elevation_rad above the horizon. Needs ``origin``.
    - ``range_bearing_rate``: range_m, bearing_rad, range_rate_mps, positive where it goes away. Needs ``origin``.
    - ``bearing``: (bearing_rad,); covariance in rad². Needs ``origin``.

    ``shared_covariance`` is the part of ``covariance``, in its shape and units, that is the same error in every plot of
    this sensor: how it is turned, where it stands. None where nothing is known of one, which is no claim that there is
    none. ``position``, ``range_bearing`` and ``bearing`` may tell it.
    """

    sensor_id: str
    observation_id: str
    observed_ns: int
    kind: PlotKind
    values: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    origin: Geodetic | None = None
    identities: tuple[Identity, ...] = ()
    categories: Mapping[str, float] = field(default_factory=dict)
    velocity_mps: tuple[float, float] | None = None
    velocity_variance_m2ps2: float | None = None
    altitude_m: float | None = None
    cooperative: bool = False
    """True where the thing itself says where it is (AIS, ADS-B): identity is claimed, not observed."""
    shared_covariance: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """Where the appliance itself is, by its own GNSS receiver."""

    sensor_id: str
    observed_ns: int
    position: Geodetic
    horizontal_sigma_m: float
    satellites: int
    quality: Literal["none", "autonomous", "differential", "rtk", "estimated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A person's text. ``grade`` is an Admiralty grade such as ``B2`` where the sender gave one."""

    sensor_id: str
    report_id: str
    author: str
    received_ns: int
    text: str
    grade: str | None = None
    position: Geodetic | None = None
    """Where the author was, if the carrier of the report said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a report says happened. ``span`` are character offsets into the report's text.

    ``covariance_m2`` is 2×2, axes east, north, or None where the report names no place. ``negated`` means that the
    author says there was none. ``identities`` are the names and numbers that the text mentions. ``observed_sigma_s`` is
    how well the time is known: people look before they write, and tell times to the minute.
    """

    sensor_id: str
    report_id: str
    index: int
    span: tuple[int, int]
    text: str
    category: str
    count: int
    negated: bool
    position: Geodetic | None
    covariance_m2: tuple[tuple[float, float], tuple[float, float]] | None
    observed_ns: int
    confidence: float
    identities: tuple[Identity, ...] = ()
    observed_sigma_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What another unit believes of one thing: its entity, as it stood at ``observed_ns``.

    ``provenance`` are the sources that it rests on, each as ``unit/source``, those of third units and our own among
    them. ``trust`` from 0 to 1 is how far the mission believes that unit.
    """

    sensor_id: str
    unit: str
    entity_id: str
    observed_ns: int
    position: Geodetic
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    velocity_mps: tuple[float, float]
    existence: float
    trust: float
    categories: Mapping[str, float]
    identities: tuple[Identity, ...]
    provenance: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One reason for an entity: which observation of which source, and how strongly it speaks.

    ``log_likelihood_ratio`` is natural log of p(observation | this entity) over p(observation | clutter or chance).
    """

    source_id: str
    observation_id: str
    kind: Literal["plot", "detection", "claim", "estimate"]
    observed_ns: int
    log_likelihood_ratio: float
    says: str
    runner_up: str = ""
    """The entity that the observation would have fallen to else; empty where no other was in question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """One reason against an entity. ``log_likelihood_ratio`` is what it took from the log-odds of existence, in nats.

    ``missed``: ``count`` looks at its place did not show it. ``category``: a source takes it for something else.
    ``dispute``: claimed against observed. ``denial``: a person says that there was none.
    """

    kind: Literal["missed", "category", "dispute", "denial"]
    source_id: str
    count: int
    observed_ns: int
    log_likelihood_ratio: float
    says: str


EntityStatus = Literal["tentative", "confirmed", "coasting", "reported", "deleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One real thing, over all sources.

    ``covariance_m2`` and ``velocity_covariance_m2ps2`` are 2×2, axes east, north. ``categories`` sums to one and
    ``existence`` is a probability. ``evidence`` is bounded: the newest of each source, and every claim.
    """

    entity_id: str
    status: EntityStatus
    category: str
    categories: Mapping[str, float]
    existence: float
    count: int
    position: Geodetic
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    velocity_mps: tuple[float, float, float]
    velocity_covariance_m2ps2: tuple[tuple[float, float], tuple[float, float]]
    identities: tuple[Identity, ...]
    updated_ns: int
    evidence: tuple[Evidence, ...]
    provenance: tuple[str, ...] = ()
    """Every source as ``unit/source`` where another unit's estimate is among them; empty where all is our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """Two sources that cannot both be right about one entity."""

    entity_id: str
    raised_ns: int
    claimed: str
    observed: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a result was made with, so that it can be made again. Digests are SHA-384, lower-case hex."""

    config_digest: str
    bundles: Mapping[str, str]
    engines: Mapping[str, str]
    clock: Literal["synchronised", "free-running", "replayed"]
    position_integrity: Literal["surveyed", "gnss", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All entities at one moment."""

    unit: str
    produced_ns: int
    entities: tuple[Entity, ...]
    disputes: tuple[Dispute, ...]
    receipt: Receipt


#: What feeds put on the path, once models have run.
Observation = DetectedFrame | Plot | Fix | Report | Estimate

MMSI_PATTERN: Final = re.compile(r"[0-9]{9}")
"""ITU-R M.585: a maritime mobile service identity has nine decimal digits."""
