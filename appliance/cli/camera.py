"""``appliance camera calibrate``: where a camera looks, from points whose places are known or from vessels with AIS.

Not here: the fit (``tracking.calibration``), the matching of vessels (``tracking.sightings``).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from appliance.cli.output import note, print_json, print_line
from appliance.cli.replay import plan_of
from appliance.config import load_mission
from appliance.daemon.plan import camera_model
from appliance.domain import DetectedFrame, Geodetic, Plot
from appliance.errors import BadRecord, UsageError
from appliance.host.files import read_at_most
from appliance.recorder import Recording, open_recording
from appliance.tracking.calibration import MAX_POINTS, Calibration, KnownPoint, calibrate
from appliance.tracking.optics import CameraModel
from appliance.tracking.sightings import calibrate_from_vessels

camera_app = App(name="camera", help="Fixed cameras: where they look.")

MAX_BYTES: Final = 16_000_000
COLUMNS: Final = ("x_px", "y_px", "latitude_deg", "longitude_deg", "altitude_m", "sigma_m", "sigma_px", "name")


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One known point as written."""

    x_px: Annotated[float, msgspec.Meta(ge=-1e5, le=1e5)]
    y_px: Annotated[float, msgspec.Meta(ge=-1e5, le=1e5)]
    latitude_deg: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude_deg: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    altitude_m: Annotated[float, msgspec.Meta(ge=-500, le=20_000)] | None = None
    sigma_m: Annotated[float, msgspec.Meta(ge=0, le=1e4)] = 1.0
    sigma_px: Annotated[float, msgspec.Meta(gt=0, le=1e3)] = 2.0
    name: str = ""


@camera_app.command(name="calibrate")
def calibrate_camera(
    camera: Annotated[str, Parameter(help="The camera's feed name.")],
    /,
    *,
    mission: Annotated[Path | None, Parameter(help="The mission, with the camera's place and lens.")] = None,
    points: Annotated[Path | None, Parameter(help=f"CSV of known points: {', '.join(COLUMNS)}.")] = None,
    recording: Annotated[Path | None, Parameter(help="A recording with the camera and AIS; no points needed.")] = None,
    focal: Annotated[bool, Parameter(negative="", help="Find the focal length as well.")] = False,
    json: Annotated[bool, Parameter(negative="", help="One JSON object.")] = False,
) -> int:
    """Find a camera's heading, pitch and roll, with their doubt, ready for the mission."""
    if (points is None) == (recording is None) or (points is not None and mission is None):
        raise UsageError("expected --mission with --points, or --recording")
    try:
        if recording is not None:
            found = _from_recording(open_recording(recording), camera, focal=focal)
            names: Sequence[str] = ()
        else:
            assert points is not None
            assert mission is not None
            model = _camera_of(mission, camera)
            known = read_points(points, model.ground_altitude_m)
            found, names = calibrate(known, model, focal=focal), [point.name for point in known]
    except BadRecord as e:
        raise UsageError(f"no pose was found: {e}") from e
    _tell(found, names, focal=focal, json=json)
    return 0


def _camera_of(mission: Path, name: str) -> CameraModel:
    loaded = load_mission(mission)
    for feed in loaded.mission.feeds:
        if feed.name == name and feed.pose is not None and feed.lens is not None:
            return camera_model(feed.pose, feed.lens)
    raise UsageError(f"expected a feed of kind video named '{name}' in {mission}")


def _from_recording(recording: Recording, name: str, *, focal: bool) -> Calibration:
    model = plan_of(recording).cameras.get(name)
    if model is None:
        raise UsageError(f"expected a camera named '{name}' in {recording.path}")
    frames, plots = [], []
    for arrival in recording.arrivals():
        seen = arrival.observation
        if isinstance(seen, DetectedFrame) and seen.sensor_id == name:
            frames.append(seen)
        elif isinstance(seen, Plot) and seen.cooperative:
            plots.append(seen)
    return calibrate_from_vessels(frames, plots, model, focal=focal)


def read_points(path: Path, ground_m: float) -> list[KnownPoint]:
    """Known points of a CSV file with a header line. Raises UsageError with the line."""
    try:
        text = read_at_most(path, MAX_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path}: expected a CSV file in UTF-8; {e}") from e
    if len(text) > MAX_BYTES:
        raise UsageError(f"{path}: expected at most {MAX_BYTES} bytes")
    out: list[KnownPoint] = []
    rows = csv.DictReader(text.splitlines())
    for row in rows:
        given: dict[Any, Any] = {name: value for name, value in row.items() if value not in (None, "")}
        try:
            out.append(_known(msgspec.convert(given, Row, strict=False), ground_m))
        except msgspec.ValidationError as e:
            raise UsageError(f"{path}:{rows.line_num}: expected {', '.join(COLUMNS)}; {e}") from e
        if len(out) > MAX_POINTS:
            raise UsageError(f"{path}: expected at most {MAX_POINTS} points")
    return out


def _known(row: Row, ground_m: float) -> KnownPoint:
    height = ground_m if row.altitude_m is None else row.altitude_m
    place = Geodetic(latitude_deg=row.latitude_deg, longitude_deg=row.longitude_deg, altitude_m=height)
    return KnownPoint(
        pixel=(row.x_px, row.y_px), place=place, sigma_m=row.sigma_m, sigma_px=row.sigma_px, name=row.name
    )


def _tell(found: Calibration, names: Sequence[str], *, focal: bool, json: bool) -> None:
    pose, lens = _pose(found.camera), {"fx_px": round(found.camera.fx_px, 2), "fy_px": round(found.camera.fy_px, 2)}
    used = sum(found.used)
    if json:
        print_json(
            {
                "schema": "edge/calibration/1",
                "pose": pose,
                "lens": lens if focal else None,
                "sigmas_deg": [math.degrees(s) for s in found.sigmas[:3]],
                "covariance": found.covariance,
                "rms_px": found.rms_px,
                "points": len(found.used),
                "used": used,
                "residuals_px": found.residuals_px,
            }
        )
        return
    print_line("pose = { " + ", ".join(f"{key} = {value}" for key, value in pose.items()) + " }")
    if focal:
        print_line("# in lens: " + ", ".join(f"{key} = {value}" for key, value in lens.items()))
    note(f"{used} of {len(found.used)} points agree, to {found.rms_px:.1f} px RMS on each axis")
    for i, ((x, y), ok) in enumerate(zip(found.residuals_px, found.used, strict=True)):
        if names and not ok:
            note(f"  held off: point {i + 1} {names[i]}, {x:+.1f} px across and {y:+.1f} px down")


def _pose(camera: CameraModel) -> dict[str, float]:
    """The mission's ``pose`` table."""
    return {
        "latitude_deg": camera.pose.latitude_deg,
        "longitude_deg": camera.pose.longitude_deg,
        "altitude_m": camera.pose.altitude_m,
        "heading_deg": round(math.degrees(camera.heading_rad), 4) % 360.0,
        "pitch_deg": round(math.degrees(camera.pitch_rad), 4),
        "roll_deg": round(math.degrees(camera.roll_rad), 4),
        "sigma_heading_deg": round(math.degrees(camera.sigma_heading_rad), 4),
        "sigma_pitch_deg": round(math.degrees(camera.sigma_pitch_rad), 4),
        "sigma_roll_deg": round(math.degrees(camera.sigma_roll_rad), 4),
        "sigma_position_m": camera.sigma_position_m,
    }
