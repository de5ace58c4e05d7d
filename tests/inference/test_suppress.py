"""Thresholds, calibration and non-maximum suppression, against definitions written out plainly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.inference.suppress import Candidates, best_first, calibrate, floor_of, suppress, uncalibrate

SIDES = st.integers(0, 12)
ROWS = st.lists(
    st.tuples(
        SIDES, SIDES, st.integers(1, 8), st.integers(1, 8), st.sampled_from([0.2, 0.5, 0.5, 0.9]), st.integers(0, 2)
    ),
    max_size=25,
)


def candidates(rows: list[tuple[int, int, int, int, float, int]]) -> Candidates:
    values = np.array([(x, y, x + w, y + h) for x, y, w, h, _, _ in rows], np.float32).reshape(-1, 4)
    return Candidates(
        boxes=values,
        scores=np.array([row[4] for row in rows], np.float32),
        labels=np.array([row[5] for row in rows], np.int64),
    )


def plainly(rows: list[tuple[int, int, int, int, float, int]], limit: float, across: bool) -> list[int]:
    """Count the unit squares that two boxes share: no formula in common with the code under test."""
    squares = [{(i, j) for i in range(x, x + w) for j in range(y, y + h)} for x, y, w, h, _, _ in rows]
    kept: list[int] = []
    for one in sorted(range(len(rows)), key=lambda number: -rows[number][4]):
        rivals = [other for other in kept if across or rows[other][5] == rows[one][5]]
        if all(len(squares[one] & squares[o]) / len(squares[one] | squares[o]) <= limit for o in rivals):
            kept.append(one)
    return kept


@settings(max_examples=150, deadline=None)
@given(ROWS, st.sampled_from([0.0, 0.31, 0.47, 1.0]), st.booleans())
def test_suppression_equals_counting_squares(rows: Any, limit: float, across: bool) -> None:
    kept = suppress(candidates(rows), limit, 100, across_labels=across)
    assert kept.tolist() == plainly(rows, limit, across)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(1, 5))
def test_a_limit_keeps_the_best_of_what_would_stay(rows: Any, limit: int) -> None:
    everything = suppress(candidates(rows), 0.5, 100).tolist()
    assert suppress(candidates(rows), 0.5, limit).tolist() == everything[:limit]


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_what_stays_does_not_change_when_suppressed_again(rows: Any) -> None:
    found = candidates(rows)
    once = found.take(suppress(found, 0.4, 100))
    assert suppress(once, 0.4, 100).tolist() == list(range(len(once.scores)))


def test_equal_scores_keep_the_order_of_the_rows() -> None:
    rows = [(x, 0, 1, 1, 0.5, 0) for x in (8, 4, 0, 2)]
    assert suppress(candidates(rows), 0.5, 10).tolist() == [0, 1, 2, 3]
    assert best_first(np.array([0.5, 0.9, 0.5, 0.9], np.float32), 3).tolist() == [1, 3, 0]


def test_boxes_of_different_labels_stay_unless_suppression_goes_across() -> None:
    rows = [(0, 0, 4, 4, 0.9, 0), (0, 0, 4, 4, 0.5, 1)]
    assert suppress(candidates(rows), 0.5, 10).tolist() == [0, 1]
    assert suppress(candidates(rows), 0.5, 10, across_labels=True).tolist() == [0]


def test_nothing_in_gives_nothing_out() -> None:
    assert suppress(candidates([]), 0.5, 10).tolist() == []


@given(st.floats(0, 1), st.floats(0.2, 5))
def test_calibration_is_the_logistic_of_the_scaled_logit_and_can_be_undone(score: float, temperature: float) -> None:
    confidence = float(calibrate(np.array([score], np.float64), temperature)[0])
    if 1e-9 < score < 1 - 1e-9:
        assert confidence == pytest.approx(1 / (1 + math.exp(-math.log(score / (1 - score)) / temperature)), abs=1e-9)
    if 0.01 < confidence < 0.99:
        assert float(uncalibrate(np.array([confidence]), temperature)[0]) == pytest.approx(score, abs=1e-6)
    assert 0.0 <= confidence <= 1.0


def test_a_temperature_of_one_changes_no_bit() -> None:
    scores = np.array([0.1, 0.3, 0.7], np.float32)
    assert (calibrate(scores, 1.0) == scores).all()


def test_thresholds_are_compared_after_calibration(manifest: Callable[..., Any]) -> None:
    changes = {"calibration": {"temperature": 2.0}, "thresholds.score": 0.6, "thresholds.per_label": {"car": 0.5}}
    floor = floor_of(manifest(changes))
    odds = (0.6 / 0.4) ** 2
    assert floor.per_label.tolist() == pytest.approx([odds / (1 + odds), 0.5, odds / (1 + odds)])
    assert floor.lowest == pytest.approx(0.5)


def test_a_label_that_is_not_reported_has_no_reachable_threshold(manifest: Callable[..., Any]) -> None:
    floor = floor_of(manifest({"categories": {"labels": {"person": "person"}, "default": None}}))
    assert floor.per_label.tolist() == [0.25, math.inf, math.inf]
