"""Coordinates: each spelling at its place and with its uncertainty; each doubtful one refused."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.domain import Claim, Geodetic
from appliance.geodesy import bearing_range

Reading = Callable[..., tuple[Claim, ...]]


@pytest.mark.parametrize(
    ("written", "latitude", "longitude"),
    [
        ("49.61, 6.13", 49.61, 6.13),
        ("49.61,6.13", 49.61, 6.13),
        ("49.61 / 6.13", 49.61, 6.13),
        ("49,61; 6,13", 49.61, 6.13),
        ("49,61 6,13", 49.61, 6.13),
        ("-33.85, 151.21", -33.85, 151.21),
        ("−33.85, +151.21", -33.85, 151.21),
        ("N49.61 E006.13", 49.61, 6.13),
        ("n 49.61 e 6.13", 49.61, 6.13),
        ("E006.13 N49.61", 49.61, 6.13),
        ("49,61° N 6,13° E", 49.61, 6.13),
        ("49.61N, 6.13W", 49.61, -6.13),
        ("49.61° nord, 6.13° ouest", 49.61, -6.13),
        ("49,61 Nord 6,13 Ost", 49.61, 6.13),
        ("49,61 nördlicher Breite, 6,13 östlicher Länge", 49.61, 6.13),
        ("49.61 south, 6.13 west", -49.61, -6.13),
        ("lat 49.61 lon 6.13", 49.61, 6.13),
        ("Latitude: 49.61, Longitude: -6.13", 49.61, -6.13),
        ("lon 6.13 lat 49.61", 49.61, 6.13),
        ("Breite 49,61 Länge 6,13", 49.61, 6.13),
        ("50°46'23\"N 1°5'36\"W", 50.773056, -1.093333),
        ("50°46′23″N, 001°05′36″W", 50.773056, -1.093333),
        ("50º 46’ 23” N 1º 5’ 36” W", 50.773056, -1.093333),
        ("50° 46' 23.5'' N 001° 05' 36'' W", 50.773194, -1.093333),
        ("50 46 23 N 1 5 36 W", 50.773056, -1.093333),
        ("50 deg 46 min N 1 deg 5 min W", 50.766667, -1.083333),
        ("50°46.38'N 001°05.6'W", 50.773, -1.093333),
        ("50°46.38N 001°05.6W", 50.773, -1.093333),
        ("50-46.38N 001-05.6W", 50.773, -1.093333),
        ("N50 46.38 W001 05.6", 50.773, -1.093333),
        ("50 46,38 N 001 05,60 W", 50.773, -1.093333),
        ("lat 50 46.38 N long 001 05.6 W", 50.773, -1.093333),
        ("504638N 0010536W", 50.777222, -1.093333),
        ("504638N0010536W", 50.777222, -1.093333),
        ("5046.38N 00105.60W", 50.773, -1.093333),
        ("5046N 00105W", 50.766667, -1.083333),
        ("50N 001W", 50.0, -1.0),
        ("31U DQ 48251 11943", 48.858304, 2.294488),
        ("31UDQ4825111943", 48.858304, 2.294488),
        ("31udq4825111943", 48.858304, 2.294488),
        ("31U DQ 4825111943", 48.858304, 2.294488),
        ("31U 448251 5411943", 48.858293, 2.294488),
        ("UTM 31N 448251E 5411943N", 48.858293, 2.294488),
        ("zone 31 north 448251 5411943", 48.858293, 2.294488),
    ],
)
def test_a_spelling_is_read_at_its_place(reading: Reading, written: str, latitude: float, longitude: float) -> None:
    for text in (f"One boat at {written}.", f"{written}: one boat", f"One boat at {written}, two men aboard"):
        position = reading(text)[0].position
        assert position is not None, text
        assert position.latitude_deg == pytest.approx(latitude, abs=2e-5), text
        assert position.longitude_deg == pytest.approx(longitude, abs=2e-5), text


@pytest.mark.parametrize(
    "written",
    [
        "149.61, 6.13",
        "90.01N 6.13E",
        "49.61, 180.01",
        "50°60'N 1°5'W",
        "50°46'60\"N 1°5'36\"W",
        "50°46.5'30\"N 1°5'36\"W",
        "50.1N 51.2N",
        "-50.1N 1.2W",
        "49.61N 6.13",
        "49.61, 6,13",
        "49,61,6,13",
        "lat 49.61 lat 6.13",
        "lat 49.61E lon 6.13N",
        "50°46'N 1°5'O",
        "504638N 010536W",
        "50463N 00105W",
        "５0.77N 1.09W",
        "50.7７N 1.09W",
        "31U DQ 482 1194",
        "31U DQ 48251",
        "31U DQ 482511 119431",
        "61U DQ 48251 11943",
        "31U ZZ 48251 11943",
        "grid 482119",
        "31U 12345 1234567",
        "31U 448251 9999999",
    ],
)
def test_a_doubtful_coordinate_is_refused_and_no_other_put_in_its_stead(reading: Reading, written: str) -> None:
    (claim,) = reading(f"One boat at {written}.")
    assert claim.position is None
    assert claim.covariance_m2 is None


@pytest.mark.parametrize(
    "text",
    [
        "12 men 34 women",
        "boats: 3, 4, 5",
        "a boat making 3.55, 4.21 knots",
        "boat sold for 50.12, 51.23 and 52.34",
        "boat 2.5 m, 3.25 m",
        "a boat, version 1.22.33",
        "a boat at temperatures of 12° 14°",
        "2 s 3 n a boat",
        "a boat, scores 3-2 and 4-1",
        "a boat on 21.11.2026 at 14:35",
    ],
)
def test_other_numbers_are_no_coordinates(reading: Reading, text: str) -> None:
    assert all(claim.position is None for claim in reading(text))


def test_a_refused_place_keeps_the_heading_out(reading: Reading) -> None:
    first, second = reading("Position 49.61, 6.13.\nTwo boats.\nOne car.")
    assert first.position == second.position is not None
    assert reading("Position 49.61, 6.13.\nOne car at 49.61, 206.13.")[0].position is None


@pytest.mark.parametrize(
    ("written", "sigma_east_m", "sigma_north_m"),
    [
        (
            "50.77N 1.09W",
            0.005 * 111_320 * math.cos(math.radians(50.77)) / math.sqrt(3),
            0.005 * 111_320 / math.sqrt(3),
        ),
        ("50.7731N 1.0929W", 0.00005 * 70_400 / math.sqrt(3), 0.00005 * 111_320 / math.sqrt(3)),
        ("50°46'N 001°05'W", 1 / 120 * 70_400 / math.sqrt(3), 1 / 120 * 111_320 / math.sqrt(3)),
        ("31U DQ 48 11", 500 / math.sqrt(3), 500 / math.sqrt(3)),
        ("31U DQ 4 1", 5000 / math.sqrt(3), 5000 / math.sqrt(3)),
        ("31U DQ 48251 11943", 0.5, 0.5),
    ],
)
def test_the_notation_says_how_certain_the_place_is(
    reading: Reading, written: str, sigma_east_m: float, sigma_north_m: float
) -> None:
    covariance = reading(f"One boat at {written}")[0].covariance_m2
    assert covariance is not None
    floor = 5.0**2
    assert covariance[0][0] == pytest.approx(sigma_east_m**2 + floor, rel=0.01)
    assert covariance[1][1] == pytest.approx(sigma_north_m**2 + floor, rel=0.01)
    assert covariance[0][1] == covariance[1][0] == 0.0


def test_the_letter_o_is_west_in_french_and_east_in_german(reading: Reading) -> None:
    french = reading("Nous avons vu un navire à 50°46'N 001°05'O dans la zone.")[0].position
    german = reading("Wir haben ein Schiff bei 50°46'N 001°05'O gesehen.")[0].position
    assert french is not None
    assert german is not None
    assert french.longitude_deg == -german.longitude_deg < 0


def test_published_mgrs_squares_are_read_from_running_text(reading: Reading, shared_data: Path) -> None:
    tried = 0
    with (shared_data / "feeds" / "mgrs" / "mgrs_vectors.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            digits = len(row["mgrs"]) - 5
            if row["source"] != "chrisveness/geodesy" or digits < 2:
                continue
            (claim,) = reading(f"One boat at {row['mgrs']}.")
            assert claim.position is not None
            wanted = Geodetic(latitude_deg=float(row["lat"]), longitude_deg=float(row["lon"]))
            assert bearing_range(claim.position, wanted)[1] < 10.0
            tried += 1
    assert tried >= 6
