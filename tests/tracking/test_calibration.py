"""A camera's pose from known points and from vessels with AIS; and what does not determine one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from appliance.domain import DetectedFrame, Detection, Geodetic, Identity, Plot
from appliance.errors import BadRecord
from appliance.geodesy import offset
from appliance.tracking.calibration import Calibration, KnownPoint, calibrate
from appliance.tracking.camera import CameraModel, project
from appliance.tracking.sightings import calibrate_from_vessels

SECOND = 1_000_000_000


@pytest.fixture
def truth(camera: CameraModel) -> CameraModel:
    return dataclasses.replace(camera, roll_rad=0.03, sigma_position_m=0.1)


def asked(truth: CameraModel) -> CameraModel:
    """Place and lens without any angle."""
    return dataclasses.replace(truth, heading_rad=0.0, pitch_rad=0.0, roll_rad=0.0)


def pixel_of(camera: CameraModel, place: Geodetic) -> tuple[float, float]:
    pixels, front = project(place.latitude_deg, place.longitude_deg, place.altitude_m, camera)
    assert front.all()
    return float(pixels[0, 0]), float(pixels[0, 1])


def at(camera: CameraModel, bearing_deg: float, distance_m: float) -> Geodetic:
    place = offset(camera.pose, math.radians(bearing_deg), distance_m)
    return dataclasses.replace(place, altitude_m=camera.ground_altitude_m)


def marks(truth: CameraModel, rng: np.random.Generator, count: int = 12, sigma_px: float = 2.0) -> list[KnownPoint]:
    points = []
    for _ in range(count):
        place = at(truth, 40.0 + rng.uniform(-25, 25), rng.uniform(120, 1500))
        x, y = pixel_of(truth, place)
        seen = (x + sigma_px * rng.normal(), y + sigma_px * rng.normal())
        points.append(KnownPoint(pixel=seen, place=place, sigma_m=0.0, sigma_px=2.0))
    return points


def error(found: Calibration, truth: CameraModel) -> np.ndarray[Any, Any]:
    """Heading, pitch, roll (rad), and log of the focal length."""
    heading = math.remainder(found.camera.heading_rad - truth.heading_rad, math.tau)
    pitch, roll = found.camera.pitch_rad - truth.pitch_rad, found.camera.roll_rad - truth.roll_rad
    return np.array([heading, pitch, roll, math.log(found.camera.fx_px / truth.fx_px)])


@pytest.mark.parametrize("distortion", [(0.0,) * 5, (-0.28, 0.09, 0.0008, -0.0006, -0.01)])
def test_exact_points_give_the_exact_pose_whatever_was_thought_before(
    truth: CameraModel, distortion: tuple[float, ...]
) -> None:
    lens = dataclasses.replace(truth, distortion=distortion)
    found = calibrate(marks(lens, np.random.default_rng(1), sigma_px=0.0), asked(lens))
    assert np.abs(error(found, lens)).max() < 1e-6
    assert found.rms_px < 1e-3


@pytest.mark.parametrize("focal", [False, True])
def test_errors_are_as_large_as_the_covariance_says(truth: CameraModel, focal: bool) -> None:
    size, nees = 4 if focal else 3, []
    for seed in range(12):
        found = calibrate(marks(truth, np.random.default_rng(seed)), asked(truth), focal=focal)
        e = error(found, truth)[:size]
        nees.append(e @ np.linalg.solve(np.array(found.covariance), e))
    assert 0.4 * size < np.mean(nees) < 1.6 * size


def test_the_cameras_own_place_is_an_error_that_more_points_do_not_shrink(truth: CameraModel) -> None:
    vague = dataclasses.replace(truth, sigma_position_m=3.0)
    few, many = (calibrate(marks(vague, np.random.default_rng(3), n), asked(vague)) for n in (10, 200))
    sure = calibrate(marks(truth, np.random.default_rng(3), 200), asked(truth))
    assert many.sigmas[0] > 0.4 * few.sigmas[0]
    assert many.sigmas[0] > 5 * sure.sigmas[0]


def test_wrong_points_are_held_off_and_named(truth: CameraModel) -> None:
    points = marks(truth, np.random.default_rng(2))
    x, y = points[4].pixel
    points[4] = dataclasses.replace(points[4], pixel=(x + 150.0, y - 60.0))
    found = calibrate(points, asked(truth))
    assert np.degrees(np.abs(error(found, truth)[:3])).max() < 0.3
    assert [i for i, ok in enumerate(found.used) if not ok] == [4]


@pytest.mark.parametrize(
    ("reason", "points"),
    [
        ("geometry", lambda c: marks(c, np.random.default_rng(1), 2)),
        ("geometry", lambda c: [marks(c, np.random.default_rng(1), 1)[0]] * 5),
        ("misfit", lambda c: [dataclasses.replace(p, pixel=(1280 - p.pixel[0], p.pixel[1] * 7 % 700))
                              for p in marks(c, np.random.default_rng(1))]),
        ("values", lambda c: [dataclasses.replace(p, pixel=(math.nan, 1)) for p in marks(c, np.random.default_rng(1))]),
        ("values", lambda c: [dataclasses.replace(p, sigma_px=0.0) for p in marks(c, np.random.default_rng(1))]),
    ],
    ids=["too few", "one point many times", "no pose fits", "not a number", "no sigma"],
)  # fmt: skip
def test_what_does_not_determine_a_pose_is_refused(
    truth: CameraModel, reason: str, points: Callable[[CameraModel], list[KnownPoint]]
) -> None:
    with pytest.raises(BadRecord) as refused:
        calibrate(points(truth), asked(truth))
    assert refused.value.reason == reason


def test_points_in_one_line_of_sight_leave_the_roll_open_and_are_refused(truth: CameraModel) -> None:
    level = dataclasses.replace(truth, roll_rad=0.0)
    places = [at(level, 40.0, distance) for distance in (118.0, 150.0, 200.0, 300.0)]
    points = [KnownPoint(pixel=pixel_of(level, place), place=place, sigma_px=40.0) for place in places]
    with pytest.raises(BadRecord, match="these leave"):
        calibrate(points, asked(level))


def _vessels(
    truth: CameraModel, tracks: list[tuple[float, float, float, float]], *, mmsi_of: Callable[[int], str | None]
) -> tuple[list[DetectedFrame], list[Plot]]:
    """Vessels (bearing, distance, their rates a second) as the camera and an AIS receiver have them for two minutes."""
    rng, frames, plots = np.random.default_rng(7), [], []
    for k in range(600):
        t, found = k * SECOND // 5, []
        for i, (bearing, distance, turn, run) in enumerate(tracks):
            place = at(truth, bearing + turn * k / 5, distance + run * k / 5)
            x, y = pixel_of(truth, place)
            w, h = 30_000.0 / distance, 12_000.0 / distance
            x, y = x + rng.normal(0, 1), y + rng.normal(0, 1)
            found.append(
                Detection(box_px=(x - w, y - h, x + w, y), category="vessel/ship", label="ship", confidence=0.9)
            )
            name = mmsi_of(i)
            if name is not None and k % 40 == 7 * i % 40:
                said = offset(place, rng.uniform(0, math.tau), abs(rng.normal(0, 8)))
                plots.append(
                    Plot(sensor_id="ais", observation_id=f"{i}:{k}", observed_ns=t, kind="position",
                         values=(said.latitude_deg, said.longitude_deg), covariance=((100.0, 0.0), (0.0, 100.0)),
                         identities=(Identity(kind="mmsi", value=name),), cooperative=True)
                )  # fmt: skip
        frames.append(DetectedFrame(sensor_id="mast", sequence=k, captured_ns=t, width_px=1280, height_px=720,
                                    detections=tuple(found)))  # fmt: skip
    return frames, plots


def test_vessels_that_say_where_they_are_give_the_pose(truth: CameraModel) -> None:
    tracks = [(25.0, 900.0, 0.02, 3.0), (55.0, 700.0, -0.05, 0.0), (44.0, 1500.0, 0.03, -2.0), (33.0, 500.0, 0.1, 1.0)]
    frames, plots = _vessels(truth, tracks, mmsi_of=lambda i: None if i == 3 else f"23500000{i}")
    found = calibrate_from_vessels(frames, plots, asked(truth))
    off = np.abs(error(found, truth)[:3])
    assert np.degrees(off[0]) < 0.5
    assert np.degrees(off[1]) < 0.5
    assert (off <= 3.5 * np.array(found.sigmas)).all()


@pytest.mark.parametrize("named", [0, 1])
def test_fewer_than_two_vessels_with_ais_are_refused(truth: CameraModel, named: int) -> None:
    frames, plots = _vessels(
        truth, [(25.0, 900.0, 0.02, 3.0), (55.0, 700.0, -0.05, 0.0)],
        mmsi_of=lambda i: f"23500000{i}" if i < named else None,
    )  # fmt: skip
    with pytest.raises(BadRecord) as refused:
        calibrate_from_vessels(frames, plots, asked(truth))
    assert refused.value.reason == "vessels"
