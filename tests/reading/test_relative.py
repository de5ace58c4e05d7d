"""Places told by others: distances, compass points, bearings, names."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from appliance.domain import Claim, Geodetic
from appliance.geodesy import bearing_range, offset

Reading = Callable[..., tuple[Claim, ...]]
HERE = Geodetic(latitude_deg=50.0, longitude_deg=0.0)
RYDE = Geodetic(latitude_deg=50.73, longitude_deg=-1.16)
PLACES = {"Ryde": RYDE, "Cowes Roads": Geodetic(latitude_deg=50.77, longitude_deg=-1.30)}


def distance_m(claim: Claim, wanted: Geodetic) -> float:
    assert claim.position is not None
    return bearing_range(claim.position, wanted)[1]


@pytest.mark.parametrize(
    ("text", "bearing_deg", "range_m"),
    [
        ("One boat 2 km north of Ryde", 0, 2000),
        ("One boat two kilometres to the north-east of Ryde", 45, 2000),
        ("One boat 1.5 nm SW of Ryde", 225, 2778),
        ("One boat, 500 yards due west of Ryde", 270, 457.2),
        ("Un bateau à 2 km au nord de Ryde", 0, 2000),
        ("Un bateau à 1,5 mille au sud-ouest de Ryde", 225, 2778),
        ("Un bateau à trois milles nautiques à l'est de Ryde", 90, 5556),
        ("Ein Boot 2 km nördlich von Ryde", 0, 2000),
        ("Ein Boot zwei Seemeilen südwestlich von Ryde", 225, 3704),
        ("Ein Boot 800 m im Osten von Ryde", 90, 800),
        ("E Boot 2 km nërdlech vu Ryde", 0, 2000),
        ("E Boot zwou Séimeilen südwestlech vun Ryde", 225, 3704),
        ("One boat 2 km north of 50.73N 1.16W", 0, 2000),
    ],
)
def test_a_distance_and_a_compass_point_give_a_place(
    reading: Reading, text: str, bearing_deg: float, range_m: float
) -> None:
    (claim,) = reading(text, gazetteer=PLACES)
    assert distance_m(claim, offset(RYDE, math.radians(bearing_deg), range_m)) < 5.0


@pytest.mark.parametrize(
    "text",
    [
        "bearing 045 range 3 nm, one boat",
        "One boat bearing 045° distance 3 nautical miles",
        "One boat, range 3 nm, bearing 045",
        "Un bateau, relèvement 045, distance 3 milles",
        "Ein Boot, Peilung 045 Grad, Entfernung 3 Seemeilen",
        "E Boot, Peilung 045, Distanz 3 Séimeilen",
        "One boat 3 nm north-east of us",
        "One boat 3 nm to the north-east",
        "Un bateau à 3 milles au nord-est de nous",
        "Ein Boot 3 Seemeilen nordöstlich von uns",
        "E Boot 3 Séimeilen nordëstlech vun eis",
    ],
)
def test_a_bearing_and_range_start_at_the_author(reading: Reading, text: str) -> None:
    (claim,) = reading(text, near=HERE)
    assert distance_m(claim, offset(HERE, math.radians(45), 5556)) < 5.0
    (of_author,) = reading(text, near=HERE, position=RYDE)
    assert distance_m(of_author, offset(RYDE, math.radians(45), 5556)) < 5.0
    assert reading(text)[0].position is None


@pytest.mark.parametrize(
    "text",
    [
        "One boat north of Ryde",
        "One boat, bearing 045 magnetic, range 3 nm",
        "One boat, relative bearing 045, range 3 nm",
        "One boat, bearing 045",
        "One boat, bearing 361, range 3 nm",
        "One boat bound for Ryde",
        "Un bateau à destination de Ryde",
        "Ein Boot Richtung Ryde",
        "E Boot Richtung Ryde",
        "The Ryde ferry",
    ],
)
def test_half_a_place_is_none(reading: Reading, text: str) -> None:
    assert reading(text, near=HERE, gazetteer=PLACES)[0].position is None


def test_vaguer_words_give_wider_places(reading: Reading) -> None:
    def sigma_m(text: str) -> float:
        covariance = reading(text, gazetteer=PLACES)[0].covariance_m2
        assert covariance is not None
        return math.sqrt(covariance[0][0] + covariance[1][1])

    told = [
        sigma_m(f"One boat {words}")
        for words in (
            "at Ryde",
            "near Ryde",
            "off Ryde",
            "2 km north of Ryde",
            "about 2 km north of Ryde",
            "9 km north of Ryde",
        )
    ]
    assert told[0] < told[1] < told[2]
    assert told[0] < told[3] < told[4] < told[5]


def test_across_the_bearing_is_wider_than_along_it_for_a_compass_point(reading: Reading) -> None:
    covariance = reading("One boat 10 km east of 50.7300N 1.1600W")[0].covariance_m2
    assert covariance is not None
    assert covariance[1][1] > covariance[0][0]


def test_names_of_several_words_are_found_in_any_case(reading: Reading) -> None:
    (claim,) = reading("A yacht anchored in COWES ROADS", gazetteer=PLACES)
    assert claim.position == PLACES["Cowes Roads"]


def test_a_distance_without_a_direction_is_a_ring(reading: Reading) -> None:
    (claim,) = reading("One boat 3 km from Ryde", gazetteer=PLACES)
    assert claim.position == RYDE
    assert claim.covariance_m2 is not None
    assert math.sqrt(claim.covariance_m2[0][0]) == pytest.approx(3000, rel=0.01)
