"""Truth: where things are, that it can be had again, and that degrees and metres agree with the product's own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import CATEGORIES, Geodetic
from appliance.geodesy import LocalFrame
from hil.scene.harbour import ORIGIN, harbour
from hil.scene.variety import inside, peopled, somewhere
from hil.scene.world import Ground, Loop, Scene, motion, utm

LOOPS = st.builds(
    Loop,
    east_m=st.floats(-500, 500),
    north_m=st.floats(-500, 500),
    along_m=st.floats(1, 200),
    across_m=st.floats(1, 200),
    axis_rad=st.floats(-4, 4),
    speed_mps=st.floats(0.1, 12),
    phase_rad=st.floats(-4, 4),
    turn=st.sampled_from((-1, 1)),
)


def test_the_same_seed_gives_the_same_scene() -> None:
    assert harbour(3) == harbour(3)
    assert harbour(3) != harbour(4)
    assert somewhere(5) == somewhere(5)
    assert peopled(*somewhere(5), 2) == peopled(*somewhere(5), 2)


def test_every_category_of_the_scene_is_in_the_tree(scene: Scene) -> None:
    assert {thing.category for thing in scene.things} <= set(CATEGORIES)


def test_the_cast_has_what_a_harbour_needs(scene: Scene) -> None:
    told = [thing for thing in scene.things if thing.transponder is not None]
    silent = [thing for thing in scene.things if thing.transponder is None and thing.radar_section > 0.0]
    assert len(told) >= 2
    assert len(silent) >= 2
    assert {"person", "truck", "car"} <= {thing.kind for thing in scene.things}


def test_the_quay_carries_the_vehicles_and_the_water_the_vessels(scene: Scene) -> None:
    for time_s in range(0, 120, 5):
        for thing in scene.things:
            now = motion(thing.loop, float(time_s))
            on_quay = inside(scene.quay, (now.east_m, now.north_m))
            assert on_quay == (thing.kind in {"person", "car", "truck"}), (thing.name, time_s)


def test_things_keep_clear_of_each_other(scene: Scene) -> None:
    for time_s in range(0, 120, 3):
        places = [(thing, motion(thing.loop, float(time_s))) for thing in scene.things]
        for i, (one, at) in enumerate(places):
            for other, there in places[:i]:
                apart = math.hypot(at.east_m - there.east_m, at.north_m - there.north_m)
                assert apart > 0.5 * max(one.length_m, other.length_m), (one.name, other.name, time_s)


@settings(max_examples=40)
@given(loop=LOOPS, time_s=st.floats(0, 300))
def test_velocity_is_the_change_of_place(loop: Loop, time_s: float) -> None:
    before, now, after = (motion(loop, time_s + dt) for dt in (-1e-3, 0.0, 1e-3))
    assert (after.east_m - before.east_m) / 2e-3 == pytest.approx(now.east_mps, abs=1e-3)
    assert (after.north_m - before.north_m) / 2e-3 == pytest.approx(now.north_mps, abs=1e-3)
    assert math.hypot(now.east_m - loop.east_m, now.north_m - loop.north_m) <= max(loop.along_m, loop.across_m) + 1e-9


def test_a_thing_without_a_circle_stands_still_and_looks_along_its_axis() -> None:
    parked = motion(Loop(east_m=3.0, north_m=4.0, axis_rad=1.0), 17.0)
    assert (parked.east_m, parked.north_m, parked.speed_mps, parked.heading_rad) == (3.0, 4.0, 0.0, 1.0)


@pytest.mark.parametrize(("east", "north"), [(0.0, 0.0), (400.0, -900.0), (-1500.0, 2500.0)])
def test_degrees_and_metres_agree_with_the_product(east: float, north: float) -> None:
    ground = Ground(ORIGIN)
    place = ground.to_geodetic(east, north)
    assert ground.to_local(place) == pytest.approx((east, north), abs=2e-3)
    theirs = LocalFrame(ORIGIN).to_enu(place.latitude_deg, place.longitude_deg)
    assert theirs[:2] == pytest.approx((east, north), abs=2e-3)


def test_utm_agrees_with_a_point_worked_by_hand() -> None:
    # On a zone's central meridian the easting is 500,000 and the northing 0.9996 of the meridian arc:
    # 5,540,847.042 m to 50° N on WGS84 (Snyder, Map Projections, equation 3-21).
    zone, band, easting, northing = utm(Ground(ORIGIN).to_geodetic(0.0, 0.0))
    assert (zone, band) == (31, "U")
    _, _, easting, northing = utm(Geodetic(latitude_deg=50.0, longitude_deg=3.0))
    assert easting == pytest.approx(500_000.0, abs=1e-3)
    assert northing == pytest.approx(5_540_847.042 * 0.9996, abs=0.05)
