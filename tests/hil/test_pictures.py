"""The camera of the scene: pixels and ground agree both ways, and boxes are where things are drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hil.scene.film import FRAMES_PER_S, shoot
from hil.scene.lens import Lens, in_camera, on_ground, project, project_polygon, rays
from hil.scene.paint import Painter
from hil.scene.variety import peopled, somewhere
from hil.scene.world import Scene, motion

LENSES = st.builds(
    Lens,
    up_m=st.floats(5, 60),
    heading_rad=st.floats(0, 6.28),
    pitch_rad=st.floats(0.02, 0.6),
    roll_rad=st.floats(-0.2, 0.2),
    focal_px=st.floats(300, 1500),
)


@settings(max_examples=60)
@given(lens=LENSES, ahead=st.floats(20, 2000), right=st.floats(-500, 500))
def test_a_place_on_the_ground_comes_back_from_its_pixel(lens: Lens, ahead: float, right: float) -> None:
    sin_h, cos_h = math.sin(lens.heading_rad), math.cos(lens.heading_rad)
    point = np.array([[right * cos_h + ahead * sin_h, -right * sin_h + ahead * cos_h, 0.0]])
    assume(in_camera(lens, point)[0, 2] > 1.0)
    u, v = project(lens, point)[0]
    ground = on_ground(lens, float(u), float(v))
    assert ground is not None
    assert ground == pytest.approx((point[0, 0], point[0, 1]), abs=1e-5 * (1.0 + ahead))


def test_the_middle_of_the_picture_looks_along_the_heading() -> None:
    lens = Lens(up_m=20.0, heading_rad=math.radians(90.0), pitch_rad=math.radians(10.0))
    ground = on_ground(lens, (lens.width_px - 1) / 2, (lens.height_px - 1) / 2)
    assert ground == pytest.approx((20.0 / math.tan(math.radians(10.0)), 0.0), abs=1e-6)
    assert on_ground(lens, 320.0, 0.0) is None


def test_what_dips_right_shows_its_right_ground_higher() -> None:
    level = Lens(up_m=20.0, heading_rad=0.0, pitch_rad=0.1)
    rolled = replace(level, roll_rad=0.1)
    right_of_middle = np.array([[40.0, 150.0, 0.0]])
    assert project(rolled, right_of_middle)[0, 1] < project(level, right_of_middle)[0, 1]


def test_rays_and_projection_are_each_other_inverse() -> None:
    lens = Lens(up_m=12.0, heading_rad=0.4, pitch_rad=0.1, roll_rad=0.03, width_px=64, height_px=36, focal_px=70.0)
    points = lens.centre + rays(lens).reshape(-1, 3) * 25.0
    u, v = np.meshgrid(np.arange(64), np.arange(36))
    assert project(lens, points) == pytest.approx(np.column_stack([u.ravel(), v.ravel()]), abs=1e-9)


def test_a_polygon_that_reaches_behind_the_camera_is_cut_and_one_behind_it_is_gone() -> None:
    lens = Lens(up_m=10.0, heading_rad=0.0, pitch_rad=0.1)
    across = np.array([[-5.0, -50.0, 0.0], [5.0, -50.0, 0.0], [5.0, 50.0, 0.0], [-5.0, 50.0, 0.0]])
    assert len(project_polygon(lens, across)) >= 3
    assert len(project_polygon(lens, across - (0.0, 200.0, 0.0))) == 0


def test_the_same_moment_is_painted_the_same_twice(scene: Scene, lens: Lens) -> None:
    one, two = (Painter(scene, lens).paint(4.0) for _ in range(2))
    assert np.array_equal(one.pixels, two.pixels)
    assert one.boxes == two.boxes
    assert not np.array_equal(one.pixels, Painter(scene, lens).paint(4.1).pixels)


def test_everything_in_view_has_a_box_and_nothing_else(scene: Scene, lens: Lens) -> None:
    named = {box.name for box in Painter(scene, lens).paint(0.0).boxes}
    assert named == {thing.name for thing in scene.things} - {"far ship"}


def test_boxes_are_the_bounds_of_the_pixels_that_were_drawn() -> None:
    for seed in range(3):
        place, lens = somewhere(seed)
        scene = peopled(place, lens, 0)
        painted = Painter(scene, lens).paint(0.5)
        numbers = {thing.name: index for index, thing in enumerate(scene.things, start=1)}
        assert {scene.things[n - 1].name for n in np.unique(painted.owner) if n} == {box.name for box in painted.boxes}
        for box in painted.boxes:
            rows, columns = np.nonzero(painted.owner == numbers[box.name])
            assert box.box_px == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert 0.0 < box.visible <= 1.0


def test_a_box_stands_on_the_place_of_its_thing(scene: Scene, lens: Lens) -> None:
    """The foot of the box, laid on the ground, lies within half a length of the truth, and a pixel of ground."""
    for box in Painter(scene, lens).paint(2.0).boxes:
        thing = scene.thing(box.name)
        x1, _, x2, y2 = box.box_px
        ground = on_ground(lens, (x1 + x2) / 2, y2)
        below = on_ground(lens, (x1 + x2) / 2, y2 + 1.5)
        assert ground is not None
        assert below is not None
        truth = motion(thing.loop, 2.0)
        grain_m = math.dist(ground, below)
        away_m = math.dist(ground, (truth.east_m, truth.north_m))
        assert away_m <= 0.5 * max(thing.length_m, thing.beam_m) + grain_m + 0.5, box.name


def test_things_change_the_picture_only_near_their_boxes(scene: Scene, lens: Lens) -> None:
    """An empty harbour and a peopled one differ inside boxes, or just below and beside them (shadow, wake, mirror)."""
    full, empty = Painter(scene, lens).paint(1.0), Painter(replace(scene, things=()), lens).paint(1.0)
    changed = (np.abs(full.pixels.astype(int) - empty.pixels).max(axis=2) > 40).astype(bool)
    assert changed.any()
    for box in full.boxes:
        x1, y1, x2, y2 = (round(value) for value in box.box_px)
        width, height = x2 - x1, y2 - y1
        changed[max(0, y1 - 3) : y2 + height + 12, max(0, x1 - 2 * width - 60) : x2 + 2 * width + 60] = False
    assert not changed.any()


def test_the_film_has_every_frame_at_its_time(scene: Scene, lens: Lens, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    truth = shoot(scene, lens, tmp_path / "film.mp4", 1.0, lambda done, of: told.append((done, of)))
    with av.open(str(tmp_path / "film.mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
    assert [time for time, _ in frames] == pytest.approx([i / FRAMES_PER_S for i in range(10)], abs=1e-3)
    assert len(truth) == 10
    assert told[-1] == (10, 10)
    painted = Painter(scene, lens).paint(0.5).pixels
    assert float(np.abs(frames[5][1].astype(int) - painted).mean()) < 6.0
