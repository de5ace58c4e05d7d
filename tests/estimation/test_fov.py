"""Fields of view, and the chance of being in one."""

from __future__ import annotations

import math

import pytest

from appliance.domain import Geodetic
from appliance.estimation import Sector
from appliance.estimation.bank import Sight
from appliance.estimation.gating import in_view

HERE = Geodetic(latitude_deg=49.5, longitude_deg=6.1)


def _sight(**changes: float) -> Sight:
    base = Sight(0.9, True, False, 0.0, 0.0, math.radians(90), math.radians(30), 100.0, 2000.0, 0.0)
    return base._replace(**changes)


@pytest.mark.parametrize(
    ("east", "north", "seen"),
    [(1000.0, 0.0, True), (-1000.0, 0.0, False), (0.0, 1000.0, False), (50.0, 0.0, False), (2500.0, 0.0, False),
     (1000.0, 500.0, True), (1000.0, 700.0, False)],
)  # fmt: skip
def test_a_thing_is_in_view_only_inside_the_sector(east: float, north: float, seen: bool) -> None:
    assert in_view(east, north, 5.0, _sight()) == pytest.approx(float(seen), abs=0.01)


def test_an_edge_is_as_soft_as_the_place_is_unsure() -> None:
    assert in_view(2000.0, 0.0, 50.0, _sight()) == pytest.approx(0.5, abs=0.01)


def test_a_full_circle_has_no_sides() -> None:
    assert in_view(-500.0, -500.0, 5.0, _sight(half=math.pi, near=0.0)) == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [{"half_angle_rad": 0.0}, {"half_angle_rad": 4.0}, {"near_m": 5.0, "far_m": 5.0},
                                   {"heading_rad": math.nan}, {"near_m": -1.0}])  # fmt: skip
def test_a_sector_that_names_no_area_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Sector(origin=HERE, **wrong)
