"""Local frames and bearings: exact where it matters, refusing what is not on the Earth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Geodetic
from appliance.errors import BadRecord
from appliance.geodesy import LocalFrame, bearing_range, offset, wrap_bearing, wrap_longitude

MM = 1e-3
KIEL = Geodetic(latitude_deg=54.3233, longitude_deg=10.1394, altitude_m=37.0)
origins = st.builds(
    lambda lat, lon, alt: Geodetic(latitude_deg=lat, longitude_deg=lon, altitude_m=alt),
    st.floats(-90.0, 90.0),
    st.floats(-180.0, 180.0),
    st.floats(-100.0, 9000.0),
)
metres = st.floats(-100_000.0, 100_000.0)


@settings(max_examples=60, deadline=None)
@given(origins, metres, metres, st.floats(-1000.0, 10_000.0))
def test_metres_to_degrees_and_back_agree_to_a_millimetre_anywhere(
    origin: Geodetic, e: float, n: float, u: float
) -> None:
    frame = LocalFrame(origin)
    again = frame.to_enu(*frame.to_geodetic(e, n, u))
    assert math.dist(again, (e, n, u)) < MM


def test_the_frame_agrees_with_the_example_of_the_standard() -> None:
    # IOGP 373-7-2, EPSG method 9837: origin 55° N 5° E h 200; point 53°48'33.82" N 2°07'46.38" E h 73.
    frame = LocalFrame(Geodetic(latitude_deg=55.0, longitude_deg=5.0, altitude_m=200.0))
    lat, lon = 53 + 48 / 60 + 33.82 / 3600, 2 + 7 / 60 + 46.38 / 3600
    assert frame.to_enu(lat, lon, 73.0) == pytest.approx((-189013.869, -128642.040, -4220.171), abs=0.15)


def test_the_frame_agrees_with_the_closed_form() -> None:
    a, f = 6378137.0, 1 / 298.257223563
    e2 = f * (2 - f)

    def ecef(p: Geodetic) -> np.ndarray:
        lat, lon = math.radians(p.latitude_deg), math.radians(p.longitude_deg)
        n = a / math.sqrt(1 - e2 * math.sin(lat) ** 2)
        h = p.altitude_m
        return np.array(
            [
                (n + h) * math.cos(lat) * math.cos(lon),
                (n + h) * math.cos(lat) * math.sin(lon),
                (n * (1 - e2) + h) * math.sin(lat),
            ]
        )

    lat, lon = math.radians(KIEL.latitude_deg), math.radians(KIEL.longitude_deg)
    rotation = np.array(
        [
            [-math.sin(lon), math.cos(lon), 0.0],
            [-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)],
            [math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)],
        ]
    )
    there = Geodetic(latitude_deg=55.1, longitude_deg=11.3, altitude_m=-4.0)
    expected = rotation @ (ecef(there) - ecef(KIEL))
    assert LocalFrame(KIEL).local(there) == pytest.approx(tuple(expected), abs=MM)


def test_scalars_give_floats_and_arrays_keep_their_shape() -> None:
    frame = LocalFrame(KIEL)
    assert all(type(x) is float for x in frame.to_enu(54.0, 10, 0.0))
    assert all(type(x) is float for x in frame.to_geodetic(1, 2.0, 3))
    lat = np.full((3, 4), 54.4)
    e, n, u = frame.to_enu(lat, 10.2, 0.0)
    assert e.shape == n.shape == u.shape == (3, 4)
    assert (float(e[1, 2]), float(n[1, 2]), float(u[1, 2])) == frame.to_enu(54.4, 10.2, 0.0)
    back = frame.to_geodetic(e, n, u)
    assert np.allclose(back[0], 54.4, atol=1e-9)
    assert frame.to_enu(np.empty(0), np.empty(0), 0.0)[0].shape == (0,)


def test_the_ground_falls_away_with_distance() -> None:
    frame = LocalFrame(Geodetic(latitude_deg=54.0, longitude_deg=10.0))
    _, _, up = frame.local(offset(frame.origin, 0.3, 100_000.0))
    assert up == pytest.approx(-(100_000.0**2) / (2 * 6_378_000.0), rel=0.01)


def test_a_frame_across_the_date_line_is_seamless() -> None:
    frame = LocalFrame(Geodetic(latitude_deg=-17.0, longitude_deg=179.999))
    east, _, _ = frame.to_enu(-17.0, -179.999, 0.0)
    assert east == pytest.approx(213.0, abs=1.0)
    assert frame.to_enu(-17.0, 180.001, 0.0) == pytest.approx(frame.to_enu(-17.0, -179.999, 0.0), abs=MM)
    assert frame.to_geodetic(1000.0, 0.0, 0.0)[1] < -179.0
    assert float(frame.to_geodetic(np.array([1000.0]), 0.0, 0.0)[1][0]) < -179.0


def test_a_frame_stands_on_the_pole() -> None:
    frame = LocalFrame(Geodetic(latitude_deg=90.0, longitude_deg=0.0))
    lat, lon, alt = frame.to_geodetic(0.0, 0.0, 5.0)
    assert (lat, alt) == pytest.approx((90.0, 5.0), abs=1e-6)
    assert frame.to_enu(89.99, 0.0, 0.0)[1] == pytest.approx(-1117.0, abs=1.0)
    assert lon == pytest.approx(lon)


@pytest.mark.parametrize(
    "bad",
    [
        (91.0, 0.0, 0.0),
        (-90.1, 0.0, 0.0),
        (0.0, 361.0, 0.0),
        (math.nan, 0.0, 0.0),
        (0.0, math.inf, 0.0),
        (0.0, math.nan, 0.0),
        (0.0, 0.0, math.nan),
        (0.0, 0.0, -math.inf),
    ],
)
def test_a_position_off_the_earth_is_refused_everywhere(bad: tuple[float, float, float]) -> None:
    frame = LocalFrame(KIEL)
    place = Geodetic(latitude_deg=bad[0], longitude_deg=bad[1], altitude_m=bad[2])
    for refused in (
        lambda: frame.to_enu(*bad),
        lambda: frame.to_enu(np.array([54.0, bad[0]]), np.array([10.0, bad[1]]), np.array([0.0, bad[2]])),
        lambda: LocalFrame(place),
        lambda: offset(place, 0.0, 1.0),
        lambda: bearing_range(KIEL, place),
        lambda: bearing_range(place, KIEL),
    ):
        with pytest.raises(BadRecord) as caught:
            refused()
        assert caught.value.reason == "position"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_metres_that_are_not_finite_are_a_mistake_of_ours(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        LocalFrame(KIEL).to_geodetic(bad, 0.0, 0.0)
    with pytest.raises(ValueError, match="finite"):
        LocalFrame(KIEL).to_geodetic(np.array([bad]), 0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-89.0, 89.0), st.floats(-180.0, 180.0), st.floats(0.0, math.tau, exclude_max=True), st.floats(1.0, 1e6)
)
def test_going_out_and_measuring_back_agree(lat: float, lon: float, bearing: float, distance: float) -> None:
    start = Geodetic(latitude_deg=lat, longitude_deg=lon, altitude_m=12.0)
    end = offset(start, bearing, distance)
    measured_bearing, measured = bearing_range(start, end)
    turn = abs(math.remainder(measured_bearing - bearing, math.tau))
    assert measured == pytest.approx(distance, abs=MM)
    assert turn * distance < 0.01
    assert end.altitude_m == 12.0
    assert -180.0 <= end.longitude_deg < 180.0


@pytest.mark.parametrize(("bearing", "distance"), [(math.nan, 1.0), (math.inf, 1.0)])
def test_a_bearing_that_is_no_number_is_refused(bearing: float, distance: float) -> None:
    with pytest.raises(BadRecord, match="bearing"):
        offset(KIEL, bearing, distance)


@pytest.mark.parametrize("distance", [-1.0, math.nan, math.inf, 2.1e7])
def test_a_range_that_means_nothing_is_refused(distance: float) -> None:
    with pytest.raises(BadRecord, match="range"):
        offset(KIEL, 0.0, distance)


def test_angles_wrap_into_one_turn() -> None:
    assert wrap_bearing(-math.pi / 2) == pytest.approx(1.5 * math.pi)
    assert 0.0 <= wrap_bearing(-1e-18) < math.tau
    assert wrap_bearing(math.tau) == 0.0
    assert wrap_longitude(180.0) == -180.0
    assert wrap_longitude(359.5) == -0.5
