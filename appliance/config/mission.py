"""The mission file's shape: every table, key, unit and limit, as typed frozen structs.

What this is: the one description of a mission, from which validation, the JSON Schema and the reference page come.
What it is not: it reads no file and opens nothing. Angles are degrees here, because people write missions; the rooms
below take radians. Every key that a mission may hold stands here; an unknown key is a fault.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

SCHEMA: Final = "edge-mission/1"

Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?$(?!\n)",
        description="1 to 32 of a-z, 0-9, '-' and '_', not beginning or ending with a dash or underscore",
    ),
]
Product = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9_-]{0,63}$(?!\n)",
        description="an installed product as INTEGRATOR/PRODUCT, lower case",
    ),
]
Latitude = Annotated[float, Meta(ge=-90, le=90, description="degrees north, -90 to 90")]
Longitude = Annotated[float, Meta(ge=-180, le=180, description="degrees east, -180 to 180")]
Altitude = Annotated[float, Meta(ge=-500, le=20_000, description="metres above the ellipsoid, -500 to 20000")]
Positive = Annotated[float, Meta(gt=0, le=1e9, description="a number above 0")]
FocalLength = Annotated[float, Meta(ge=1, le=1e6, description="pixels, 1 to 1000000")]
Coefficient = Annotated[float, Meta(ge=-1000, le=1000)]
PathText = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00]*$", description="a path without NUL")]
Probability = Annotated[float, Meta(gt=0, lt=1, description="a probability between 0 and 1, both excluded")]
SmallAngle = Annotated[float, Meta(gt=0, le=45, description="degrees, above 0 and at most 45")]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the mission file."""


class Place(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A WGS84 position."""

    latitude_deg: Latitude
    longitude_deg: Longitude
    altitude_m: Altitude = 0.0


class Unit(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this appliance is and where it stands."""

    id: Name
    origin: Place
    identity: Annotated[PathText, Meta(description="path of the device's private identity file")]
    state: Annotated[PathText, Meta(description="path of the state directory")] = "state"
    position: Annotated[
        Literal["surveyed", "gnss"], Meta(description="'surveyed' (the origin is right) or 'gnss' (a gnss feed says)")
    ] = "surveyed"
    moorings: Annotated[
        bool, Meta(description="true: vessels lie at berths or at anchor within sight, so what stands is told apart")
    ] = False
    demo: Annotated[
        bool, Meta(description="true: a demo on a desk, which may use the embedded broker; nothing else may")
    ] = False


class Bus(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where sealed results go, and who may open them."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(embedded(:[0-9]{1,5})?|mqtts?://[^/?#@\s]+)$(?!\n)",
            description="mqtts://HOST[:PORT], mqtt://HOST[:PORT], or 'embedded[:PORT]' in a demo",
        ),
    ]
    recipients: Annotated[
        tuple[PathText, ...],
        Meta(min_length=1, max_length=64, description="1 to 64 paths of recipients' public identity files"),
    ]
    position_only: Annotated[
        tuple[PathText, ...],
        Meta(max_length=64, description="at most 64 paths of recipients' public identity files"),
    ] = ()
    epoch_max_s: Annotated[float, Meta(ge=60, le=2_592_000, description="seconds, 60 to 2592000")] = 86_400.0
    ca: PathText | None = None
    certificate: PathText | None = None
    key: PathText | None = None
    resend_window_s: Annotated[float, Meta(ge=0, le=86_400, description="seconds, 0 to 86400")] = 60.0
    profile: Annotated[Literal["full", "radio"], Meta(description="'full', or 'radio' for a link of a few kbit/s")] = (
        "full"
    )
    radio_bits_per_s: Annotated[float, Meta(ge=600, le=1e6, description="bits per second, 600 to 1000000")] = 2000.0
    radio_key_interval_s: Annotated[float, Meta(ge=5, le=3600, description="seconds, 5 to 3600")] = 60.0
    outbox_max_bytes: Annotated[int, Meta(ge=1_000_000, description="bytes, at least 1000000")] = 268_435_456
    outbox_detail_bytes: Annotated[int, Meta(ge=10_000, description="bytes, at least 10000")] | None = None
    outbox_max_age_s: Annotated[float, Meta(ge=60, le=31_536_000, description="seconds, 60 to 31536000")] = 604_800.0


class PictureSettings(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often the picture and its entities are told, and what change of an entity is worth telling."""

    interval_s: Annotated[float, Meta(ge=0.05, le=3600, description="seconds, 0.05 to 3600")] = 1.0
    entity_interval_s: Annotated[float, Meta(ge=0, le=3600, description="seconds, 0 to 3600")] = 0.2
    refresh_s: Annotated[float, Meta(ge=0, le=86_400, description="seconds, 0 (never) to 86400")] = 30.0
    deviation_sigmas: Annotated[float, Meta(ge=0, le=100, description="standard deviations, 0 to 100")] = 0.5
    deviation_m: Annotated[float, Meta(ge=0, le=1e6, description="metres, 0 to 1000000")] = 1.0
    move_m: Annotated[float, Meta(gt=0, le=1e7, description="metres, above 0 and at most 10000000")] = 25.0
    existence_step: Annotated[float, Meta(gt=0, le=1, description="above 0 and at most 1")] = 0.1
    status_interval_s: Annotated[float, Meta(ge=1, le=3600, description="seconds, 1 to 3600")] = 5.0


class Model(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One installed model and how it runs."""

    name: Name
    bundle: Product
    task: Annotated[Literal["detect"], Meta(description="'detect'")] = "detect"
    providers: Annotated[
        tuple[Literal["cpu", "cuda", "tensorrt"], ...],
        Meta(min_length=1, max_length=3, description="one or more of 'cpu', 'cuda', 'tensorrt', best first"),
    ] = ("cpu",)
    threads: Annotated[int, Meta(ge=1, le=64, description="a whole number from 1 to 64")] = 1


class Pose(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a camera stands and looks; pitch is positive downward."""

    latitude_deg: Latitude
    longitude_deg: Longitude
    altitude_m: Altitude
    heading_deg: Annotated[float, Meta(ge=0, lt=360, description="degrees clockwise from true north, 0 to 360")]
    pitch_deg: Annotated[float, Meta(ge=-90, le=90, description="degrees, -90 to 90, positive downward")] = 0.0
    roll_deg: Annotated[float, Meta(ge=-180, le=180, description="degrees, -180 to 180")] = 0.0
    sigma_heading_deg: SmallAngle = 0.3
    sigma_pitch_deg: SmallAngle = 0.3
    sigma_roll_deg: SmallAngle = 0.3
    sigma_position_m: Positive = 1.0


class Lens(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A camera's intrinsics: a horizontal field of view, or focal lengths and centre in pixels."""

    width_px: Annotated[int, Meta(ge=16, le=16_384, description="pixels, 16 to 16384")]
    height_px: Annotated[int, Meta(ge=16, le=16_384, description="pixels, 16 to 16384")]
    hfov_deg: Annotated[float, Meta(gt=0, lt=175, description="degrees, above 0 and below 175")] | None = None
    fx_px: FocalLength | None = None
    fy_px: FocalLength | None = None
    cx_px: float | None = None
    cy_px: float | None = None
    distortion: Annotated[
        tuple[Coefficient, ...], Meta(max_length=5, description="up to five numbers k1, k2, p1, p2, k3")
    ] = ()
    ground_altitude_m: Altitude = 0.0
    terrain_sigma_m: Positive = 1.0
    max_range_m: Positive = 5_000.0


class Sensing(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a sensor can be trusted with; anything left out has the default of its kind."""

    range_m: Positive | None = None
    bearing_deg: SmallAngle | None = None
    position_m: Positive | None = None
    detection_probability: Probability | None = None
    false_plots_per_scan: Annotated[float, Meta(ge=0, le=1e5, description="0 to 100000")] | None = None
    max_range_m: Positive | None = None
    scan_s: Annotated[float, Meta(gt=0, le=60, description="seconds, above 0 and at most 60")] | None = None


FeedKind = Literal["video", "ais", "adsb", "radar", "plots", "gnss", "reports", "pictures"]


class FeedTable(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sensor or text feed."""

    name: Name
    kind: Annotated[FeedKind, Meta(description="one of video, ais, adsb, radar, plots, gnss, reports, pictures")]
    uri: Annotated[str, Meta(min_length=3, max_length=1024, description="SCHEME:ADDRESS")]
    pace: Annotated[Literal["realtime", "fast"], Meta(description="'realtime' or 'fast'")] = "realtime"
    start: Annotated[
        dt.datetime | None,
        Meta(description="a date-time with offset such as 2026-01-31T12:00:00Z; left out, a replay starts now"),
    ] = None
    capacity: Annotated[int, Meta(ge=1, le=100_000, description="items, 1 to 100000")] | None = None
    model: Name | None = None
    pose: Pose | None = None
    lens: Lens | None = None
    site: Place | None = None
    sensing: Sensing = Sensing()
    units: Annotated[tuple[Name, ...], Meta(max_length=64, description="at most 64 names of other units")] = ()
    trust: Probability = 0.9


class Record(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where observations and pictures are recorded, in plain; leave the table out to record nothing."""

    path: Annotated[PathText, Meta(description="path of a directory")]
    max_bytes: Annotated[int, Meta(ge=1_000_000, description="bytes, at least 1000000")] = 4_000_000_000


class Mission(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole mission file."""

    schema: Annotated[Literal["edge-mission/1"], Meta(description="'edge-mission/1'")]
    unit: Unit
    bus: Bus
    feeds: Annotated[tuple[FeedTable, ...], Meta(min_length=1, max_length=64, description="1 to 64 [[feeds]] tables")]
    models: Annotated[tuple[Model, ...], Meta(max_length=16, description="at most 16 [[models]] tables")] = ()
    picture: PictureSettings = PictureSettings()
    record: Record | None = None
    places: Annotated[
        dict[str, Place], Meta(max_length=1000, description="at most 1000 named places for reading reports")
    ] = {}


def mission_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of a mission file."""
    schema = msgspec.json.schema(Mission)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Mission file of the edge-analysis appliance"
    return schema
