"""What a feed is told and what it tells: the values at the room's door.

Not here: how anything is read. A ``FeedSpec`` is built by config; this room knows no mission file.

Rules: frozen; units in the names; every default has a reason beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from appliance.domain import Estimate, Fix, Frame, Geodetic, Plot, Report

FeedKind = Literal["video", "ais", "adsb", "radar", "plots", "gnss", "reports", "pictures"]
KINDS: Final[tuple[FeedKind, ...]] = get_args(FeedKind)

Pace = Literal["realtime", "fast"]
FeedState = Literal["starting", "running", "backing-off", "ended", "failed"]

#: What leaves a feed.
Item = Frame | Plot | Fix | Report | Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorSigma:
    """How well a sensor measures, one sigma. ``None`` means: as the record says, else the default of the kind."""

    position_m: float | None = None
    range_m: float | None = None
    bearing_rad: float | None = None
    velocity_mps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """Bounds of one video feed. A frame over a bound is counted and skipped before its pixels are touched."""

    max_width_px: int = 4096
    max_height_px: int = 4096
    max_pixels: int = 3840 * 2160
    """Sets the size of one ring slot; slots cost memory only when they are used."""
    frames_in_hand: int = 8
    """Ring slots beyond the queue: how many frames the rest of the path may hold at once."""
    stall_s: float = 10.0
    """No frame for this long while there is room for one: the decoder hangs or the camera is gone."""
    open_s: float = 15.0
    """How long opening may take, the probing of the stream included."""
    memory_mib: int = 1024
    """RLIMIT_AS of the decoder, beyond the ring: above any sane stream, below what hurts the box."""
    decode_threads: int = 1
    """One: frame threads add latency to a live camera, and a box has many cameras."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    """TCP: a lost packet costs time, with UDP it costs a torn picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Of report feeds. The TLS files are used by ``mqtts:`` alone."""

    default_author: str | None = None
    """Who speaks where the report does not say; ``None`` takes the feed's name."""
    tls_ca_file: str | None = None
    tls_certificate_file: str | None = None
    tls_key_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions:
    """Of a feed that brings another unit's picture: which units it may speak for, and how far they are believed."""

    units: tuple[str, ...]
    trust: float = 0.9


Options = VideoOptions | ReportOptions | PictureOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSpec:
    """One feed as it is wanted. ``name`` becomes the ``sensor_id`` of everything that it delivers.

    ``start_ns`` is the time of the first item of media that carry only relative stamps, or no date. ``None`` means
    now at real-time pace and the epoch at fast pace, so that a fast replay gives the same items every time. Where
    it is given, real-time replays of several feeds keep step with each other: an item is due that long after start.
    """

    name: str
    kind: FeedKind
    uri: str
    pace: Pace = "realtime"
    start_ns: int | None = None
    origin: Geodetic | None = None
    sigma: SensorSigma = field(default_factory=SensorSigma)
    capacity: int = 64
    options: Options | None = None
    backoff_first_s: float = 0.5
    backoff_cap_s: float = 30.0
    """Half a minute: a camera that comes back is seen within one round of a person's patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatus:
    """What one feed has done so far. The reasons in ``bad`` and ``ignored`` are a closed set of our own words.

    ``bad`` counts what could not be parsed or cannot be true; ``ignored`` counts what is well formed and says
    nothing that the path can use (a static message, a position given as "not available").
    """

    name: str
    kind: FeedKind
    state: FeedState
    received: int
    dropped_oldest: int
    bad: Mapping[str, int]
    ignored: Mapping[str, int]
    restarts: int
    last_error: str | None
    last_item_ns: int | None
