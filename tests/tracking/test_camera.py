"""From pixels to the ground and back: places, doubt, and everything that has no place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Geodetic, Plot, Track
from appliance.geodesy import LocalFrame, bearing_range, offset
from appliance.tracking.camera import MAX_RANGE_DOUBT, CameraModel, field_of_view, locate, project
from appliance.tracking.unranged import introduced

LENS = (-0.28, 0.09, 0.0008, -0.0006, -0.01)
TrackAt = Callable[..., Track]


def place_of(plot: Plot) -> Geodetic:
    assert plot.kind == "position"
    return Geodetic(latitude_deg=plot.values[0], longitude_deg=plot.values[1])


def ground(camera: CameraModel, bearing: float, distance: float) -> Geodetic:
    at = dataclasses.replace(camera.pose, altitude_m=camera.ground_altitude_m)
    return offset(at, bearing, distance)


def pixel_of(camera: CameraModel, place: Geodetic) -> tuple[float, float]:
    pixels, front = project(place.latitude_deg, place.longitude_deg, place.altitude_m, camera)
    assert front.all()
    return float(pixels[0, 0]), float(pixels[0, 1])


def fine(camera: CameraModel) -> CameraModel:
    """The same view in pixels so fine that a pixel's doubt moves no place."""
    return dataclasses.replace(
        camera,
        width_px=200 * camera.width_px,
        height_px=200 * camera.height_px,
        **{name: 200.0 * getattr(camera, name) for name in ("fx_px", "fy_px", "cx_px", "cy_px")},
    )


@pytest.mark.parametrize("distortion", [(0.0,) * 5, LENS])
@pytest.mark.parametrize("roll", [0.0, 0.2])
@pytest.mark.parametrize("distance", [110.0, 300.0, 1000.0, 2500.0])
def test_a_place_that_is_projected_is_located_where_it_was(
    camera: CameraModel, track_at: TrackAt, distortion: tuple[float, ...], roll: float, distance: float
) -> None:
    known = dataclasses.replace(camera, sigma_pitch_rad=1e-4, sigma_terrain_m=0.1)
    lens = dataclasses.replace(fine(known), distortion=distortion, roll_rad=roll)
    place = ground(lens, math.radians(43.0), distance)
    plot = locate(track_at(*pixel_of(lens, place), height=4.0, width=4.0), lens)
    assert plot is not None
    assert bearing_range(place_of(plot), place)[1] < 1e-3 * distance**0.5


def test_a_hand_computed_place_and_its_doubt(track_at: TrackAt) -> None:
    # 10 m up, looking north and 0.1 rad down: the middle of the picture meets flat ground at 10/tan(0.1) = 99.666 m.
    # Pitch alone: 10/sin²(0.1)·0.01 = 10.033 m along. Heading alone: 99.666·0.02 = 1.993 m across.
    camera = CameraModel(
        pose=Geodetic(latitude_deg=0.0, longitude_deg=0.0, altitude_m=10.0),
        heading_rad=0.0,
        pitch_rad=0.1,
        width_px=1000,
        height_px=1000,
        fx_px=1e5,
        fy_px=1e5,
        cx_px=500.0,
        cy_px=500.0,
        sigma_heading_rad=0.02,
        sigma_pitch_rad=0.01,
        sigma_roll_rad=0.0,
        sigma_position_m=0.0,
        sigma_terrain_m=0.0,
    )
    plot = locate(track_at(500.0, 500.0), camera)
    assert plot is not None
    bearing, distance = bearing_range(camera.pose, place_of(plot))
    assert distance == pytest.approx(99.666 + 0.007, abs=0.002)  # the Earth falls 0.7 mm in 100 m: 7 mm of range
    assert math.remainder(bearing, math.tau) == pytest.approx(0.0, abs=1e-6)
    (east, cross), (_, north) = plot.covariance
    assert math.sqrt(east) == pytest.approx(1.993, abs=0.01)
    assert math.sqrt(north) == pytest.approx(10.033, abs=0.01)
    assert cross == pytest.approx(0.0, abs=1e-3)


def test_a_plot_says_where_it_comes_from(camera: CameraModel, track_at: TrackAt) -> None:
    track = track_at(700.0, 500.0, category="vessel/boat")
    plot = locate(track, camera)
    assert plot is not None
    assert (plot.sensor_id, plot.observed_ns, plot.origin) == ("mast", track.updated_ns, camera.pose)
    assert [(i.kind, i.value) for i in plot.identities] == [("tracklet", "mast:7")]
    assert plot.observation_id == f"mast:7:{track.updated_ns}"
    assert plot.categories == {"vessel/boat": 1.0}
    assert plot.altitude_m == 40.0
    assert not plot.cooperative


def test_left_is_left_and_lower_is_nearer(camera: CameraModel, track_at: TrackAt) -> None:
    left, right, near = (locate(track_at(x, y), camera) for x, y in ((300.0, 420.0), (900.0, 420.0), (300.0, 600.0)))
    assert left is not None
    assert right is not None
    assert near is not None
    to_left, to_right = (bearing_range(camera.pose, place_of(plot))[0] for plot in (left, right))
    assert to_left < camera.heading_rad < to_right
    assert bearing_range(camera.pose, place_of(near))[1] < bearing_range(camera.pose, place_of(left))[1]


def test_the_lens_agrees_with_opencv(camera: CameraModel) -> None:
    lens = dataclasses.replace(camera, distortion=LENS, roll_rad=0.1)
    local = LocalFrame(lens.pose)
    places = [ground(lens, math.radians(b), d) for b, d in ((30.0, 150.0), (40.0, 90.0), (55.0, 400.0))]
    enu = np.array([local.local(place) for place in places])
    sin_h, cos_h, sin_p, cos_p = (f(a) for a in (lens.heading_rad, lens.pitch_rad) for f in (math.sin, math.cos))
    to_level = np.array([[cos_h, -sin_h, 0.0], [0.0, 0.0, -1.0], [sin_h, cos_h, 0.0]])
    pitch = np.array([[1.0, 0.0, 0.0], [0.0, cos_p, -sin_p], [0.0, sin_p, cos_p]])
    sin_r, cos_r = math.sin(lens.roll_rad), math.cos(lens.roll_rad)
    roll = np.array([[cos_r, sin_r, 0.0], [-sin_r, cos_r, 0.0], [0.0, 0.0, 1.0]])
    matrix = np.array([[lens.fx_px, 0.0, lens.cx_px], [0.0, lens.fy_px, lens.cy_px], [0.0, 0.0, 1.0]])
    rotation, _ = cv2.Rodrigues(roll @ pitch @ to_level)
    expected, _ = cv2.projectPoints(enu, rotation, np.zeros(3), matrix, np.array(LENS))
    found = np.array([pixel_of(lens, place) for place in places])
    assert np.abs(found - expected[:, 0]).max() < 0.02  # refraction lifts by a few thousandths of a pixel here


def test_far_away_the_earth_curves_and_light_bends(camera: CameraModel, track_at: TrackAt) -> None:
    sharp = dataclasses.replace(
        fine(camera),
        pose=dataclasses.replace(camera.pose, altitude_m=340.0),
        pitch_rad=0.02,
        sigma_pitch_rad=1e-5,
        sigma_terrain_m=0.1,
        max_range_m=60_000.0,
    )
    place = ground(sharp, math.radians(41.0), 25_000.0)
    x, y = pixel_of(sharp, place)
    plot = locate(track_at(x, y, height=2.0), sharp)
    assert plot is not None
    assert bearing_range(place_of(plot), place)[1] < 25.0
    flat_range = 300.0 / math.tan(0.02 + math.atan((y - sharp.cy_px) / sharp.fy_px))
    assert abs(flat_range - 25_000.0) < 10_000.0
    assert flat_range < 24_000.0 or flat_range > 26_000.0  # on a flat Earth the same pixel would lie kilometres away
    straight = dataclasses.replace(sharp, refraction=0.0)
    assert pixel_of(straight, place)[1] > y


def _mispointed(camera: CameraModel, moved: tuple[float, float, float], dice: np.random.Generator) -> CameraModel:
    """The camera as it may really stand and look: ``moved`` m east, north and up, and turned by its own sigmas."""
    east, north, up = moved
    local = LocalFrame(dataclasses.replace(camera.pose, altitude_m=camera.ground_altitude_m))
    return dataclasses.replace(
        camera,
        pose=local.position(east, north, camera.pose.altitude_m - camera.ground_altitude_m + up),
        heading_rad=camera.heading_rad + dice.normal(0.0, camera.sigma_heading_rad),
        pitch_rad=camera.pitch_rad + dice.normal(0.0, camera.sigma_pitch_rad),
        roll_rad=camera.roll_rad + dice.normal(0.0, camera.sigma_roll_rad),
    )


def _sampled_errors(camera: CameraModel, track_at: TrackAt, count: int) -> tuple[list[float], float]:
    """NEES of many looks at one place, each by a camera that stands and looks a little wrong."""
    dice = np.random.default_rng(4)
    local = LocalFrame(dataclasses.replace(camera.pose, altitude_m=camera.ground_altitude_m))
    place = ground(camera, math.radians(47.0), 350.0)
    truth = local.local(place)
    nees, sizes = [], []
    for _ in range(count):
        east, north, up = dice.normal(0.0, camera.sigma_position_m, 3)
        rise = dice.normal(0.0, camera.sigma_terrain_m)
        really = _mispointed(camera, (east, north, up), dice)
        x, y = pixel_of(really, dataclasses.replace(place, altitude_m=camera.ground_altitude_m + rise))
        plot = locate(track_at(*_blurred(dice, x, y), width=8.0, height=16.0), camera)
        assert plot is not None
        found = local.to_enu(plot.values[0], plot.values[1], camera.ground_altitude_m)
        error = np.array(found[:2]) - truth[:2]
        nees.append(float(error @ np.linalg.solve(np.array(plot.covariance), error)))
        sizes.append(math.sqrt(plot.covariance[0][0] + plot.covariance[1][1]))
    return nees, float(np.mean(sizes))


def _blurred(dice: np.random.Generator, x: float, y: float) -> tuple[float, float]:
    """A foot's pixel as uncertain as `locate` takes it to be: filter 1 px², box shares, half a pixel."""
    across = math.sqrt(1.0 + (0.05 * 8.0) ** 2 + 0.25)
    down = math.sqrt(1.0 + (0.03 * 16.0) ** 2 + 0.25)
    return x + dice.normal(0.0, across), y + dice.normal(0.0, down)


@pytest.mark.parametrize("distortion", [(0.0,) * 5, LENS])
def test_the_covariance_tells_the_truth(camera: CameraModel, track_at: TrackAt, distortion: tuple[float, ...]) -> None:
    count = 600
    nees, size_m = _sampled_errors(dataclasses.replace(camera, distortion=distortion, roll_rad=0.05), track_at, count)
    # The sum of `count` values of chi-square with 2 degrees of freedom: mean 2·count, variance 4·count; 95 % bounds.
    bound = 1.96 * math.sqrt(4.0 / count)
    assert abs(float(np.mean(nees)) - 2.0) < bound
    assert size_m < 0.1 * 350.0
    assert np.mean(np.array(nees) > 5.991) == pytest.approx(0.05, abs=0.025)


def by_pixels_alone(camera: CameraModel, up_m: float) -> CameraModel:
    """The same camera, its pose and its ground known for sure."""
    sure = dict.fromkeys(("sigma_heading_rad", "sigma_pitch_rad", "sigma_roll_rad", "sigma_position_m"), 0.0)
    pose = dataclasses.replace(camera.pose, altitude_m=camera.ground_altitude_m + up_m)
    return dataclasses.replace(camera, **sure, sigma_terrain_m=0.0, pitch_rad=0.02, max_range_m=1e6, pose=pose)


@pytest.mark.parametrize(("up_m", "range_m"), [(20.0, 300.0), (20.0, 1_000.0), (60.0, 1_500.0), (300.0, 12_000.0)])
def test_a_place_and_its_doubt_are_the_moments_of_where_the_foot_may_stand(
    camera: CameraModel, track_at: TrackAt, up_m: float, range_m: float
) -> None:
    """Integrated over the ground along the middle of the picture, each square metre as likely as any other."""
    lens = by_pixels_alone(camera, up_m)
    row = pixel_of(lens, ground(lens, lens.heading_rad, range_m))[1]
    plot = locate(track_at(lens.cx_px, row, height=2.0), lens)
    assert plot is not None
    places = [ground(lens, lens.heading_rad, float(r)) for r in np.linspace(0.6 * range_m, 1.8 * range_m, 1001)]
    ranges = np.array([bearing_range(lens.pose, place)[1] for place in places])
    lat, lon = ([getattr(place, name) for place in places] for name in ("latitude_deg", "longitude_deg"))
    rows = project(lat, lon, lens.ground_altitude_m, lens)[0][:, 1]
    density = ranges * np.exp(-0.5 * (rows - row) ** 2 / (1.0 + (0.03 * 2.0) ** 2 + 0.25))
    mean = float(np.average(ranges, weights=density))
    sigma = math.sqrt(float(np.average((ranges - mean) ** 2, weights=density)))
    along = np.array([math.sin(lens.heading_rad), math.cos(lens.heading_rad)])
    assert mean - range_m > 3.0 * (sigma / mean) ** 2 * range_m
    assert bearing_range(lens.pose, place_of(plot))[1] - range_m == pytest.approx(mean - range_m, rel=0.1)
    assert math.sqrt(along @ np.array(plot.covariance) @ along) == pytest.approx(sigma, rel=0.02)


def test_many_looks_weighed_by_what_they_tell_find_the_place_and_not_one_nearer_by(
    camera: CameraModel, track_at: TrackAt
) -> None:
    """Evaluated at the pixel alone, doubt made the near looks count for more: 1.2 % of the range, seven sigmas here."""
    lens, dice = by_pixels_alone(camera, 20.0), np.random.default_rng(8)
    place = ground(lens, lens.heading_rad, 1_000.0)
    local = LocalFrame(dataclasses.replace(place, altitude_m=lens.ground_altitude_m))
    x, y = pixel_of(lens, place)
    information, weighed = np.zeros((2, 2)), np.zeros(2)
    for _ in range(1_000):
        plot = locate(track_at(*_blurred(dice, x, y), width=8.0, height=16.0), lens)
        assert plot is not None
        weight = np.linalg.inv(np.array(plot.covariance))
        information += weight
        weighed += weight @ np.array(local.to_enu(*plot.values, lens.ground_altitude_m)[:2])
    off = np.linalg.solve(information, weighed)
    assert off @ information @ off < 9.2  # chi-square of two degrees of freedom, 99 %


@pytest.mark.parametrize("y", [0.0, 100.0, 200.0, 244.0])
def test_above_and_at_the_horizon_there_is_no_place(camera: CameraModel, track_at: TrackAt, y: float) -> None:
    # The horizon of this camera stands at 360 − 1100·tan(6°) ≈ 244 px.
    assert locate(track_at(640.0, y + 1e-9, height=1.0), camera) is None


def test_nearer_and_nearer_to_the_horizon_the_doubt_grows_until_there_is_no_place(
    camera: CameraModel, track_at: TrackAt
) -> None:
    far = dataclasses.replace(camera, max_range_m=1e6, sigma_pitch_rad=0.005)
    plots = [locate(track_at(640.0, float(y), height=2.0), far) for y in range(700, 240, -5)]
    known = [plot for plot in plots if plot is not None]
    doubts = [math.sqrt(p.covariance[0][0] + p.covariance[1][1]) for p in known]
    assert doubts == sorted(doubts)
    assert plots[: len(known)] == known
    assert len(known) < len(plots) - 1
    last_m = bearing_range(far.pose, place_of(known[-1]))[1]
    assert doubts[-1] < (MAX_RANGE_DOUBT + 0.05) * last_m
    assert last_m < 5000.0


def test_past_the_greatest_range_there_is_no_place(camera: CameraModel, track_at: TrackAt) -> None:
    near = dataclasses.replace(camera, max_range_m=400.0)
    assert locate(track_at(*pixel_of(near, ground(near, near.heading_rad, 390.0)), height=4.0), near) is not None
    assert locate(track_at(*pixel_of(near, ground(near, near.heading_rad, 410.0)), height=4.0), near) is None


def test_a_camera_on_its_ground_or_below_it_has_no_places(camera: CameraModel, track_at: TrackAt) -> None:
    for altitude in (40.0, 12.0):
        low = dataclasses.replace(camera, pose=dataclasses.replace(camera.pose, altitude_m=altitude))
        assert locate(track_at(640.0, 500.0), low) is None
        assert field_of_view(low) is None


@pytest.mark.parametrize("status", ["coasting", "deleted"])
def test_a_track_without_a_look_behind_it_has_no_place(camera: CameraModel, track_at: TrackAt, status: str) -> None:
    assert locate(track_at(640.0, 500.0, status=status), camera) is None
    assert locate(track_at(640.0, 500.0, status="tentative"), camera) is not None


def test_a_foot_below_the_picture_gives_a_bearing_and_no_range(camera: CameraModel, track_at: TrackAt) -> None:
    plot = locate(track_at(900.0, 719.5, height=300.0, width=100.0), camera)
    assert plot is not None
    assert plot.kind == "bearing"
    assert plot.origin == camera.pose
    assert plot.altitude_m is None
    within = locate(track_at(900.0, 712.0, height=300.0, width=100.0), camera)
    assert within is not None
    towards = bearing_range(camera.pose, place_of(within))[0]
    assert plot.values[0] == pytest.approx(towards, abs=0.01)
    assert 0.0 < plot.covariance[0][0] < 0.01**2 * 4


def test_what_flies_gives_a_bearing_even_above_the_horizon(camera: CameraModel, track_at: TrackAt) -> None:
    plot = locate(track_at(900.0, 80.0, category="aircraft/drone"), camera)
    assert plot is not None
    assert plot.kind == "bearing"
    assert plot.values[0] == pytest.approx(camera.heading_rad + math.atan(260.0 / 1100.0), abs=0.02)
    unsure = track_at(900.0, 500.0, categories={"aircraft/drone": 0.4, "animal": 0.6})
    sure = locate(unsure, camera)
    assert sure is not None
    assert sure.kind == "position"


def test_a_box_cut_by_the_side_is_trusted_less(camera: CameraModel, track_at: TrackAt) -> None:
    whole, cut = (locate(track_at(x, 500.0, width=60.0), camera) for x in (40.0, 30.0))
    assert whole is not None
    assert cut is not None
    bearing = bearing_range(camera.pose, place_of(whole))[0]
    across = np.array([math.cos(bearing), -math.sin(bearing)])
    narrow, wide = (float(across @ np.array(plot.covariance) @ across) for plot in (whole, cut))
    assert wide > narrow + 0.5


def test_points_behind_the_camera_have_no_pixel(camera: CameraModel) -> None:
    ahead, behind = ground(camera, camera.heading_rad, 500.0), ground(camera, camera.heading_rad + math.pi, 500.0)
    pixels, front = project(
        [ahead.latitude_deg, behind.latitude_deg], [ahead.longitude_deg, behind.longitude_deg], 40.0, camera
    )
    assert front.tolist() == [True, False]
    assert np.isfinite(pixels[0]).all()
    assert np.isnan(pixels[1]).all()


def test_a_lens_polynomial_that_turns_over_does_not_fold_the_world_into_the_picture(camera: CameraModel) -> None:
    barrel = dataclasses.replace(camera, distortion=(-0.5, 0.0, 0.0, 0.0, 0.0))
    sideways = [ground(barrel, barrel.heading_rad + math.radians(a), 300.0) for a in (10.0, 60.0, 80.0)]
    _, front = project([p.latitude_deg for p in sideways], [p.longitude_deg for p in sideways], 40.0, barrel)
    assert front.tolist() == [True, False, False]


def test_the_field_of_view_is_a_sector_in_which_standing_things_are_located(
    camera: CameraModel, track_at: TrackAt
) -> None:
    for lens in (camera, dataclasses.replace(camera, distortion=LENS, roll_rad=0.05, heading_rad=6.2)):
        sector = field_of_view(lens)
        assert sector is not None
        assert sector.origin == lens.pose
        assert math.radians(20.0) < sector.half_angle_rad < math.radians(35.0)
        assert 50.0 < sector.near_m < 150.0
        assert 1000.0 < sector.far_m <= 8000.0
        for turn in np.linspace(-0.98, 0.98, 7):
            for distance in np.geomspace(sector.near_m * 1.02, sector.far_m * 0.7, 5):
                bearing = sector.heading_rad + float(turn) * sector.half_angle_rad
                x, y = pixel_of(lens, ground(lens, bearing, float(distance)))
                assert 0.0 <= x <= lens.width_px
                plot = locate(track_at(x, y, width=1.0, height=2.0, box_variance_px2=(0.1, 0.1)), lens)
                assert plot is not None
                assert plot.kind in {"position", "bearing"}


def test_a_camera_that_promises_no_sector_has_no_field_of_view(camera: CameraModel) -> None:
    for pitch in (-0.9, math.radians(85.0), -0.35):
        assert field_of_view(dataclasses.replace(camera, pitch_rad=pitch)) is None
    assert field_of_view(dataclasses.replace(camera, max_range_m=30.0)) is None


@pytest.mark.parametrize(
    "change",
    [{"width_px": 0}, {"fx_px": 0.0}, {"fy_px": -1.0}, {"max_range_m": 0.0}, {"refraction": 1.0}, {"fx_px": math.nan}],
)
def test_a_camera_that_cannot_be_is_refused(camera: CameraModel, change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"expected|needs"):
        dataclasses.replace(camera, **change)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(
    st.floats(-math.pi, math.tau),
    st.floats(-1.5, 1.57),
    st.floats(-math.pi, math.pi),
    st.floats(-200.0, 1500.0),
    st.floats(-300.0, 1600.0),
    st.floats(0.5, 3000.0),
    st.tuples(*(st.floats(-0.5, 0.5) for _ in range(2)), *(st.floats(-0.01, 0.01) for _ in range(2)), st.just(0.0)),
    st.sampled_from(["person", "aircraft", "vessel/ship"]),
)
def test_any_box_of_any_camera_gives_a_finite_plot_or_none(
    heading: float, pitch: float, roll: float, x: float, y: float, up: float, lens: tuple[float, ...], category: str
) -> None:
    camera = CameraModel(
        pose=Geodetic(latitude_deg=-33.0, longitude_deg=179.999, altitude_m=up),
        heading_rad=heading,
        pitch_rad=pitch,
        roll_rad=roll,
        width_px=1280,
        height_px=720,
        fx_px=900.0,
        fy_px=910.0,
        cx_px=633.0,
        cy_px=365.0,
        distortion=lens,  # type: ignore[arg-type]
    )
    track = Track(
        sensor_id="mast", track_id=1, status="confirmed", box_px=(x - 5.0, y - 20.0, x + 5.0, y),
        box_variance_px2=(2.0, 2.0), categories={category: 1.0}, confidence=0.8, first_ns=0, updated_ns=1, hits=3,
    )  # fmt: skip
    plot = locate(track, camera)
    if plot is None:
        return
    covariance = np.array(plot.covariance)
    assert np.isfinite(plot.values).all()
    assert np.isfinite(covariance).all()
    assert (np.linalg.eigvalsh(covariance) > 0.0).all()
    if plot.kind == "position":
        assert bearing_range(camera.pose, place_of(plot))[1] <= camera.max_range_m * 1.01
    sector = field_of_view(camera)
    assert sector is None or sector.near_m < sector.far_m <= camera.max_range_m


def _shared(plot: Plot | None) -> tuple[np.ndarray, np.ndarray]:
    assert plot is not None
    assert plot.shared_covariance is not None
    return np.array(plot.shared_covariance), np.array(plot.covariance)


@pytest.mark.parametrize("category", ["person", "aircraft/drone"])
def test_a_plot_tells_which_part_of_its_doubt_all_plots_of_its_camera_share(
    camera: CameraModel, track_at: TrackAt, category: str
) -> None:
    """Steadier boxes lessen the rest and leave it as it is; a pose and a ground known for sure leave none of it."""
    shared, whole = _shared(locate(track_at(500.0, 480.0, category=category), camera))
    steady, less = _shared(locate(track_at(500.0, 480.0, category=category, box_variance_px2=(0.0, 0.0)), camera))
    # The mean place moves a little with the doubt, and what the pose does to it with the place.
    assert np.allclose(shared, steady, rtol=0.01)
    for cov in (whole, less):
        assert (np.linalg.eigvalsh(cov - shared) > 0.0).all()
    assert np.trace(less) < np.trace(whole)
    none, pixels = _shared(locate(track_at(500.0, 480.0, category=category), by_pixels_alone(camera, 20.0)))
    assert not none.any()
    assert (np.linalg.eigvalsh(pixels) > 0.0).all()


def test_the_shared_part_is_how_far_one_pose_moves_all_places(camera: CameraModel, track_at: TrackAt) -> None:
    """Exact pixels through many poses and seas: the places lie about the told one as the shared part says."""
    dice, exact = np.random.default_rng(6), fine(camera)
    place = ground(camera, math.radians(47.0), 350.0)
    local = LocalFrame(dataclasses.replace(place, altitude_m=camera.ground_altitude_m))
    told, _ = _shared(locate(track_at(*pixel_of(exact, place), height=1.0, width=1.0), exact))
    off = []
    for _ in range(1_500):
        e, n, up = dice.normal(0.0, camera.sigma_position_m, 3)
        really = _mispointed(exact, (e, n, up), dice)
        risen = dataclasses.replace(
            place, altitude_m=camera.ground_altitude_m + dice.normal(0.0, camera.sigma_terrain_m)
        )
        plot = locate(track_at(*pixel_of(really, risen), height=1.0, width=1.0), exact)
        assert plot is not None
        off.append(local.to_enu(*plot.values, camera.ground_altitude_m)[:2])
    found = np.cov(np.array(off).T)
    ratio = np.linalg.eigvalsh(
        np.linalg.solve(np.linalg.cholesky(told), np.linalg.solve(np.linalg.cholesky(told), found).T)
    )
    assert np.allclose(ratio, 1.0, atol=0.15), ratio


def test_a_thing_in_the_sky_is_introduced_with_what_its_bearings_share(camera: CameraModel, track_at: TrackAt) -> None:
    plot = locate(track_at(500.0, 480.0, category="aircraft/drone"), camera)
    ((variance,),), _ = _shared(plot)
    assert plot is not None
    first, whole = _shared(introduced(plot, camera))
    assert (first == np.diag([0.0, variance])).all()
    assert whole.shape == (2, 2)
