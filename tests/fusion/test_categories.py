"""Category distributions over the tree."""

from __future__ import annotations

import math

import pytest

from appliance.domain import CATEGORIES
from appliance.fusion.categories import add, as_mapping, best, compatible, distribution, log_evidence, nothing_known


def _after(*looks: dict[str, float]) -> str:
    logs = nothing_known()
    for look in looks:
        evidence = log_evidence(look)
        if evidence is not None:
            add(logs, evidence, 0.5)
    weights = as_mapping(distribution(logs))
    assert sum(weights.values()) == pytest.approx(1.0)
    assert tuple(weights) == CATEGORIES
    return best(distribution(logs))


def test_before_any_look_a_thing_is_unknown() -> None:
    assert _after() == "unknown"


def test_a_parent_and_its_child_agree() -> None:
    assert _after({"vehicle": 0.9}, {"vehicle/truck": 0.8}, {"vehicle/truck": 0.8}, {"vehicle": 0.9}) == "vehicle/truck"


def test_two_kinds_that_compete_leave_the_parent() -> None:
    assert _after(*[{"vehicle/truck": 0.45, "vehicle/van": 0.45}] * 6) == "vehicle"


def test_the_heavier_word_wins_over_many_looks() -> None:
    assert _after(*[{"person": 0.6, "animal": 0.4}] * 10) == "person"


def test_a_change_of_mind_stays_possible() -> None:
    assert _after(*[{"person": 0.99}] * 100, *[{"vehicle/car": 0.9}] * 20) == "vehicle/car"


@pytest.mark.parametrize(
    "nothing", [{}, {"nonsense": 1.0}, {"person": math.nan}, {"person": -1.0}, {"person": math.inf}]
)
def test_what_says_nothing_is_no_evidence(nothing: dict[str, float]) -> None:
    assert log_evidence(nothing) is None


def test_compatible_words_lie_on_one_branch() -> None:
    assert compatible("vehicle", "vehicle/truck")
    assert compatible("unknown", "person")
    assert not compatible("vehicle/truck", "vehicle/car")
