"""From a mission's tables to what the rooms below take: feed specs, camera models, the plan of the path.

Degrees become radians, names become paths, defaults by kind become numbers. Pure functions; nothing is opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from appliance.bus import TlsFiles
from appliance.config import LoadedMission
from appliance.config.mission import FeedTable, Lens, PictureSettings, Place, Pose, Sensing
from appliance.daemon.engines import Engine
from appliance.domain import Geodetic, Receipt
from appliance.estimation import FieldOfView, Sector
from appliance.feeds import FeedSpec, PictureOptions, ReportOptions, SensorSigma, parse_uri
from appliance.fusion import MOORINGS, FusionSettings, Motion, SensorModel, birth_ratio
from appliance.host.clock import clock_state
from appliance.pipeline.path import PathPlan
from appliance.pipeline.significance import Significance
from appliance.pipeline.telling import TellingSettings
from appliance.tracking.camera import CameraModel, field_of_view

EMBEDDED_PORT: Final = 1883
_NS: Final = 1_000_000_000

#: Room in a feed's queue by kind: a camera's old frames are worth little, a burst of AIS must not be lost.
CAPACITY: Final[Mapping[str, int]] = {
    "video": 4,
    "ais": 4096,
    "adsb": 8192,
    "radar": 8192,
    "plots": 4096,
    "gnss": 64,
    "reports": 256,
    "pictures": 4096,
}
#: How long one look of a scanning sensor takes where the mission does not say.
SCAN_S: Final[Mapping[str, float]] = {"radar": 1.0}
#: An unhurried pace; what moves faster leaves the reach of a sensor sooner.
PACE_MPS: Final = 4.0
SHORTEST_HOLD_S: Final = 5.0
LONGEST_HOLD_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a kind of sensor can be trusted with where the mission does not say."""

    detection_probability: float
    false_plots_per_scan: float
    max_range_m: float


DEFAULTS: Final[Mapping[str, Defaults]] = {
    "radar": Defaults(detection_probability=0.9, false_plots_per_scan=5.0, max_range_m=20_000.0),
    "video": Defaults(detection_probability=0.8, false_plots_per_scan=0.05, max_range_m=5_000.0),
    "plots": Defaults(detection_probability=0.9, false_plots_per_scan=1.0, max_range_m=20_000.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """Where the link goes; ``embedded_port`` None where the broker is not ours."""

    url: str
    embedded_port: int | None
    tls: TlsFiles | None


def bus_settings(loaded: LoadedMission) -> BusSettings:
    """The mission's bus."""
    bus = loaded.mission.bus
    if bus.url.startswith("embedded"):
        port = int(bus.url.partition(":")[2] or EMBEDDED_PORT)
        return BusSettings(url=f"mqtt://127.0.0.1:{port}", embedded_port=port, tls=None)
    tls = None
    if bus.ca and bus.certificate and bus.key:
        ca, certificate, key = (loaded.resolve(name) for name in (bus.ca, bus.certificate, bus.key))
        tls = TlsFiles(ca=ca, certificate=certificate, key=key)
    return BusSettings(url=bus.url, embedded_port=None, tls=tls)


def feed_specs(loaded: LoadedMission) -> tuple[FeedSpec, ...]:
    """One spec per feed, in the order of the mission."""
    return tuple(_feed_spec(feed, loaded) for feed in loaded.mission.feeds)


def _feed_spec(feed: FeedTable, loaded: LoadedMission) -> FeedSpec:
    site = feed.site or loaded.mission.unit.origin
    return FeedSpec(
        name=feed.name,
        kind=feed.kind,
        uri=_absolute(feed.uri, loaded),
        pace=feed.pace,
        start_ns=None if feed.start is None else round(feed.start.timestamp() * 1e6) * 1000,
        origin=geodetic(site) if feed.kind in {"radar", "plots", "adsb"} else None,
        sigma=_sigma(feed.sensing),
        capacity=feed.capacity or CAPACITY[feed.kind],
        options=_options(feed, loaded),
    )


def _absolute(uri: str, loaded: LoadedMission) -> str:
    parsed = parse_uri(uri)
    return f"{parsed.scheme}:{loaded.resolve(parsed.path)}" if parsed.scheme in {"file", "dir"} else uri


def _sigma(sensing: Sensing) -> SensorSigma:
    bearing = sensing.bearing_deg
    return SensorSigma(
        position_m=sensing.position_m,
        range_m=sensing.range_m,
        bearing_rad=None if bearing is None else math.radians(bearing),
    )


def _options(feed: FeedTable, loaded: LoadedMission) -> ReportOptions | PictureOptions | None:
    if feed.kind == "pictures":
        return PictureOptions(units=feed.units, trust=feed.trust)
    return _report_options(loaded) if feed.kind == "reports" else None


def _report_options(loaded: LoadedMission) -> ReportOptions:
    tls = bus_settings(loaded).tls
    if tls is None:
        return ReportOptions()
    return ReportOptions(tls_ca_file=str(tls.ca), tls_certificate_file=str(tls.certificate), tls_key_file=str(tls.key))


def path_plan(loaded: LoadedMission, engines: Sequence[Engine], *, replayed: bool) -> PathPlan:
    """Everything that the path needs to know."""
    mission = loaded.mission
    cameras = {f.name: camera_model(f.pose, f.lens) for f in mission.feeds if f.pose is not None and f.lens is not None}
    origin = geodetic(mission.unit.origin)
    return PathPlan(
        unit=mission.unit.id,
        origin=origin,
        fusion=FusionSettings(
            origin=origin,
            unit=mission.unit.id,
            motion=MOORINGS if mission.unit.moorings else Motion(),
            confirmed_hold_s=_hold_s(mission.feeds),
            sensors={f.name: model for f in mission.feeds if (model := _sensor(f, cameras, origin)) is not None},
        ),
        telling=telling_settings(mission.picture),
        receipt=_receipt(loaded, engines, replayed=replayed),
        cameras=cameras,
        scan_periods_ns={f.name: round(s * _NS) for f in mission.feeds if (s := _scan_s(f)) is not None},
        places={name: geodetic(place) for name, place in mission.places.items()},
        models={f.name: f.model for f in mission.feeds if f.model is not None},
    )


def telling_settings(picture: PictureSettings) -> TellingSettings:
    """The mission's ``[picture]``."""
    return TellingSettings(
        picture_interval_ns=round(picture.interval_s * _NS),
        entity_interval_ns=round(picture.entity_interval_s * _NS),
        change=Significance(
            deviation_sigmas=picture.deviation_sigmas,
            deviation_m=picture.deviation_m,
            move_m=picture.move_m,
            existence_step=picture.existence_step,
            refresh_ns=round(picture.refresh_s * _NS),
        ),
    )


def geodetic(place: Place) -> Geodetic:
    """A place of the mission as a noun."""
    return Geodetic(latitude_deg=place.latitude_deg, longitude_deg=place.longitude_deg, altitude_m=place.altitude_m)


def camera_model(pose: Pose, lens: Lens) -> CameraModel:
    """Pose and intrinsics in the tracking room's terms."""
    focal = lens.width_px / 2 / math.tan(math.radians(lens.hfov_deg) / 2) if lens.hfov_deg is not None else 0.0
    fx = lens.fx_px if lens.fx_px is not None else focal
    fy = lens.fy_px if lens.fy_px is not None else focal
    k1, k2, p1, p2, k3 = (*lens.distortion, 0.0, 0.0, 0.0, 0.0, 0.0)[:5]
    return CameraModel(
        pose=Geodetic(latitude_deg=pose.latitude_deg, longitude_deg=pose.longitude_deg, altitude_m=pose.altitude_m),
        heading_rad=math.radians(pose.heading_deg),
        pitch_rad=math.radians(pose.pitch_deg),
        roll_rad=math.radians(pose.roll_deg),
        width_px=lens.width_px,
        height_px=lens.height_px,
        fx_px=fx,
        fy_px=fy,
        cx_px=lens.cx_px if lens.cx_px is not None else lens.width_px / 2,
        cy_px=lens.cy_px if lens.cy_px is not None else lens.height_px / 2,
        distortion=(k1, k2, p1, p2, k3),
        sigma_heading_rad=math.radians(pose.sigma_heading_deg),
        sigma_pitch_rad=math.radians(pose.sigma_pitch_deg),
        sigma_roll_rad=math.radians(pose.sigma_roll_deg),
        sigma_position_m=pose.sigma_position_m,
        sigma_terrain_m=lens.terrain_sigma_m,
        ground_altitude_m=lens.ground_altitude_m,
        max_range_m=lens.max_range_m,
    )


def _hold_s(feeds: Sequence[FeedTable]) -> float:
    """How long a thing that no sensor looks at is kept: while it may still be within the reach of one.

    In a room that is seconds: whoever comes in a little later is somebody else. Over open water it is a minute.
    """
    reach_m = 0.0
    for feed in feeds:
        default = DEFAULTS.get(feed.kind)
        if feed.lens is not None:
            reach_m = max(reach_m, feed.lens.max_range_m)
        elif feed.kind in {"ais", "adsb"} or default is not None:
            reach_m = max(reach_m, feed.sensing.max_range_m or (default.max_range_m if default else math.inf))
    return min(max(reach_m / PACE_MPS, SHORTEST_HOLD_S), LONGEST_HOLD_S)


def _sensor(feed: FeedTable, cameras: Mapping[str, CameraModel], origin: Geodetic) -> SensorModel | None:
    """What fusion may hold for and against a sensor; None where the room's own default is right."""
    default = DEFAULTS.get(feed.kind)
    if default is None:
        return None
    coverage = _coverage(feed, cameras, origin, default)
    sensing = feed.sensing
    false_plots = sensing.false_plots_per_scan
    false_plots = max(default.false_plots_per_scan if false_plots is None else false_plots, 1e-3)
    return SensorModel(
        detection_probability=sensing.detection_probability or default.detection_probability,
        clutter_density_per_m2=false_plots / _area_m2(coverage, default),
        birth_ratio=birth_ratio(false_plots),
        coverage=coverage,
    )


def _coverage(
    feed: FeedTable, cameras: Mapping[str, CameraModel], origin: Geodetic, default: Defaults
) -> FieldOfView | None:
    if feed.name in cameras:
        return field_of_view(cameras[feed.name])
    if feed.kind == "plots":
        return None
    site = geodetic(feed.site) if feed.site is not None else origin
    return Sector(origin=site, far_m=feed.sensing.max_range_m or default.max_range_m)


def _area_m2(coverage: FieldOfView | None, default: Defaults) -> float:
    if coverage is None:
        return math.pi * default.max_range_m**2
    far_m = min(coverage.far_m, default.max_range_m)
    return max(coverage.half_angle_rad * (far_m**2 - min(coverage.near_m, far_m) ** 2), 1.0)


def _scan_s(feed: FeedTable) -> float | None:
    return feed.sensing.scan_s or SCAN_S.get(feed.kind)


def _receipt(loaded: LoadedMission, engines: Sequence[Engine], *, replayed: bool) -> Receipt:
    clock: Literal["synchronised", "free-running", "replayed"] = "replayed" if replayed else clock_state()
    return Receipt(
        config_digest=loaded.digest,
        bundles={e.active.product: e.active.release_digest for e in engines},
        engines={e.name: e.provider for e in engines},
        clock=clock,
        position_integrity="surveyed" if loaded.mission.unit.position == "surveyed" else "none",
    )
