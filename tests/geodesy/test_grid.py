"""MGRS and UTM references: published pairs, round trips, and references that name nothing."""

from __future__ import annotations

import csv
import itertools
import math
import warnings
from pathlib import Path

import mgrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from appliance.domain import Geodetic
from appliance.errors import BadRecord
from appliance.geodesy import bearing_range, format_mgrs, offset, parse_mgrs, parse_utm

GEOD = Geod(ellps="WGS84")


def distance_m(a: Geodetic, b: Geodetic) -> float:
    return bearing_range(a, b)[1]


def test_every_published_reference_lies_in_the_square_that_we_return(shared_data: Path) -> None:
    text = (shared_data / "feeds" / "mgrs" / "mgrs_vectors.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    squares = [row for row in rows if len(row["mgrs"]) >= 5]
    for row in squares:
        published = Geodetic(latitude_deg=float(row["lat"]), longitude_deg=float(row["lon"]))
        centre, half_m = parse_mgrs(row["mgrs"])
        # NGA publishes the corner (where the zone cuts the square, the corner of what is left), others a point inside.
        assert distance_m(centre, published) <= half_m * math.sqrt(2) * 1.001 + 0.3, row
    assert len(rows) - len(squares) == 1


def test_a_bare_grid_zone_names_no_square() -> None:
    with pytest.raises(BadRecord, match="mgrs"):
        parse_mgrs("33X")


def test_we_return_the_centre_where_the_agency_returns_the_corner() -> None:
    centre, half_m = parse_mgrs("33XVG7443")
    corner = Geodetic(latitude_deg=77.8600782, longitude_deg=13.8924385)
    assert half_m == 500.0
    assert distance_m(centre, corner) == pytest.approx(500.0 * math.sqrt(2), abs=1.0)


@pytest.mark.parametrize(("digits", "half_m"), [(0, 50_000.0), (1, 5000.0), (2, 500.0), (3, 50.0), (4, 5.0), (5, 0.5)])
def test_the_half_side_follows_the_number_of_digits(digits: int, half_m: float) -> None:
    place = Geodetic(latitude_deg=49.6117, longitude_deg=6.1319)
    centre, half = parse_mgrs(format_mgrs(place, digits))  # type: ignore[arg-type]
    assert half == half_m
    assert distance_m(centre, place) <= half * math.sqrt(2) * 1.001


@settings(max_examples=150, deadline=None)
@given(st.floats(-90.0, 90.0), st.floats(-180.0, 180.0), st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_every_place_lies_in_the_square_that_we_format(lat: float, lon: float, digits: int) -> None:
    place = Geodetic(latitude_deg=lat, longitude_deg=lon)
    centre, half_m = parse_mgrs(format_mgrs(place, digits))  # type: ignore[arg-type]
    # Grid metres and true metres differ by up to 0.6 % at the poles (scale factor 0.994).
    assert distance_m(centre, place) <= half_m * math.sqrt(2) * 1.007 + 0.01


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(-79.9, 83.9), st.floats(-0.001, 0.001), st.sampled_from([1, 3, 5]))
def test_squares_cut_by_a_zone_edge_still_parse(zone: int, lat: float, off: float, digits: int) -> None:
    place = Geodetic(latitude_deg=lat, longitude_deg=6.0 * zone - 180.0 + off)
    centre, half_m = parse_mgrs(format_mgrs(place, digits))  # type: ignore[arg-type]
    assert distance_m(centre, place) <= half_m * math.sqrt(2) * 1.007 + 0.01


def test_blanks_and_small_letters_do_not_matter() -> None:
    assert parse_mgrs(" 31u dq 48251 11943 ") == parse_mgrs("31UDQ4825111943")
    assert parse_mgrs("1NBB") == parse_mgrs("01NBB")


@pytest.mark.parametrize(
    "text",
    [
        "31",
        "31U",
        "31UDQ1",
        "31UDQ123",
        "00UDQ",
        "61UDQ1212",
        "31IDQ1212",
        "31UOQ1212",
        "31UDQ121212121212",
        "31UDQ12-12",
        "31AAA1212",
        "ZZZ9999",
        "UDQ1212",
        "34XAA55",
        "31NAA00",
        "31UJX",
        "31UDA1234512345x",
        "31UDQ٣٤",
        "\x00",
        "31UDQ4825111943;drop",
        "31UDD",
        "30UDJ",
        "x" * 5000,
    ],
)
def test_what_names_no_square_is_refused(text: str) -> None:
    with pytest.raises(BadRecord) as caught:
        parse_mgrs(text)
    assert caught.value.reason == "mgrs"
    assert len(str(caught.value)) < 300


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.from_regex(r"[0-6]?[0-9][A-Z]{3}[0-9]{0,11}", fullmatch=True),
        st.from_regex(r"[ABYZ][A-Z]{2}[0-9]{0,11}", fullmatch=True),
    )
)
def test_any_text_is_a_place_or_a_bad_record(text: str) -> None:
    try:
        centre, half_m = parse_mgrs(text)
    except BadRecord:
        return
    assert abs(centre.latitude_deg) <= 90.0
    assert -180.0 <= centre.longitude_deg < 180.0
    assert half_m > 0.0


@pytest.mark.parametrize("bad", [(91.0, 0.0), (math.nan, 0.0), (0.0, math.inf), (0.0, 400.0)])
def test_a_place_off_the_earth_has_no_reference(bad: tuple[float, float]) -> None:
    with pytest.raises(BadRecord, match="position"):
        format_mgrs(Geodetic(latitude_deg=bad[0], longitude_deg=bad[1]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(-79.5, 83.5), st.floats(-2.99, 2.99), st.booleans())
def test_utm_points_come_back(zone: int, lat: float, off: float, letter: bool) -> None:
    lon = 6.0 * zone - 183.0 + off
    if lat >= 56.0 and 31 <= zone <= 37:
        return  # zones of other widths: tested on their own below
    south = lat < 0.0
    code = f"EPSG:{32700 + zone if south else 32600 + zone}"
    east, north = Transformer.from_crs("EPSG:4326", code, always_xy=True).transform(lon, lat)
    band = "CDEFGHJKLMNPQRSTUVWX"[min(int((lat + 80) // 8), 19)] if letter else ("south" if south else "north")
    if not 0.0 <= north < 10_000_000.0:
        return
    place = parse_utm(zone, band, east, north)
    assert distance_m(place, Geodetic(latitude_deg=lat, longitude_deg=lon)) < 1e-3


def test_norway_and_svalbard_have_their_wide_zones() -> None:
    bergen = parse_utm(32, "V", 297508.0, 6700645.0)
    assert (bergen.latitude_deg, bergen.longitude_deg) == pytest.approx((60.39135, 5.3249), abs=2e-5)
    longyearbyen = parse_utm(33, "X", 514600.0, 8682500.0)
    assert longyearbyen.longitude_deg == pytest.approx(15.6, abs=0.1)
    with pytest.raises(BadRecord, match="utm"):
        parse_utm(32, "X", 500000.0, 8682500.0)


def test_a_bare_s_is_a_band_where_it_fits_and_the_south_elsewhere() -> None:
    white_house = parse_utm(18, "S", 323394.0, 4307395.0)
    assert (white_house.latitude_deg, white_house.longitude_deg) == pytest.approx((38.8977, -77.0365), abs=1e-4)
    sydney = parse_utm(56, "S", 334873.0, 6252266.0)
    assert sydney == parse_utm(56, "H", 334873.0, 6252266.0) == parse_utm(56, "south", 334873.0, 6252266.0)
    assert parse_utm(31, "N", 448251.0, 5411943.0) == parse_utm(31, "U", 448251.0, 5411943.0)


@pytest.mark.parametrize(
    ("zone", "letter", "easting", "northing"),
    [
        (0, "U", 500000.0, 5411943.0),
        (61, "U", 500000.0, 5411943.0),
        (31, "I", 500000.0, 5411943.0),
        (31, "", 500000.0, 5411943.0),
        (31, "east", 500000.0, 5411943.0),
        (31, "Z", 500000.0, 5411943.0),
        (31, "T", 448251.0, 5600000.0),
        (31, "U", 99999.0, 5411943.0),
        (31, "U", 900000.0, 5411943.0),
        (31, "X", 850000.0, 9300000.0),
        (31, "north", 500000.0, 9999999.0),
        (31, "south", 500000.0, 0.0),
        (31, "U", math.nan, 5411943.0),
        (31, "U", 500000.0, math.inf),
        (31, "U", 500000.0, -1.0),
    ],
)
def test_a_utm_point_outside_its_zone_or_band_is_refused(
    zone: int, letter: str, easting: float, northing: float
) -> None:
    with pytest.raises(BadRecord) as caught:
        parse_utm(zone, letter, easting, northing)
    assert caught.value.reason == "utm"


@settings(max_examples=100, deadline=None)
@given(st.integers(-5, 70), st.text(max_size=6), st.floats(), st.floats())
def test_any_utm_numbers_are_a_place_or_a_bad_record(zone: int, letter: str, easting: float, northing: float) -> None:
    try:
        place = parse_utm(zone, letter, easting, northing)
    except BadRecord:
        return
    assert -80.5 <= place.latitude_deg <= 84.5


def test_a_square_at_the_date_line_keeps_to_one_side() -> None:
    place = Geodetic(latitude_deg=0.0, longitude_deg=180.0)
    centre, _ = parse_mgrs(format_mgrs(place))
    assert distance_m(centre, offset(place, 0.0, 0.0)) < 1.0


@pytest.mark.parametrize("zone", [31, 32, 33])
def test_our_lettering_of_squares_agrees_with_geotrans(zone: int) -> None:
    library = mgrs.MGRS()
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    agreed = 0
    for band, column, row in itertools.product("CDEFGHJKLMNPQRSTUVWX", letters, letters[:20]):
        text = f"{zone:02d}{band}{column}{row}"
        try:
            centre, _ = parse_mgrs(text)
            lat, lon = geotrans(library, text)
        except (BadRecord, LookupError):
            continue
        assert distance_m(centre, Geodetic(latitude_deg=lat, longitude_deg=lon)) < 0.01, text
        agreed += 1
    assert agreed > 1000


def geotrans(library: mgrs.MGRS, text: str) -> tuple[float, float]:
    """Its centre of a square; it warns of squares that a band cuts and refuses some at the edges."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return library.toLatLon(text)
        except Exception as e:
            raise LookupError(text) from e
