"""The filter and the pairing of boxes, each against an independent way to the same numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from appliance.tracking.boxes import (
    PLACE,
    PP,
    PV,
    SPEED,
    VV,
    BoxNoise,
    initiate,
    is_twin,
    overlap,
    pair,
    predict,
    to_corners,
    update,
)

NOISE = BoxNoise()


def test_overlap_of_known_boxes() -> None:
    a = np.array([0.0, 0.0, 10.0, 10.0])
    assert overlap(a, a) == 1.0
    assert overlap(a, np.array([5.0, 0.0, 15.0, 10.0])) == pytest.approx(1.0 / 3.0)
    assert overlap(a, np.array([10.0, 0.0, 20.0, 10.0])) == 0.0
    assert overlap(a, np.array([2.0, 2.0, 4.0, 4.0])) == pytest.approx(0.04)


def test_corners_and_centres_are_one_thing() -> None:
    corners = np.array([[10.0, 20.0, 50.0, 120.0], [0.0, 0.0, 3.0, 4.0]])
    assert np.allclose(to_corners(initiate(corners, NOISE)), corners)


def test_one_step_agrees_with_the_matrix_form_of_the_filter() -> None:
    state = initiate(np.array([[0.0, 0.0, 40.0, 80.0]]), NOISE)
    state[0, SPEED] = [10.0, -5.0, 2.0, 1.0]
    state[0, PV] = [3.0, 2.0, 1.0, 0.5]
    before = state.copy()
    dt, size = 0.2, 60.0
    looked = np.array([[5.0, -3.0, 47.0, 79.0]])
    predict(state, dt, NOISE, np.array([True]))
    predicted = state.copy()
    update(state, looked, np.array([0]), NOISE, np.array([0.8]))
    measured = np.array([26.0, 38.0, 42.0, 82.0])
    new_size = 0.5 * (predicted[0, PLACE, 2] + predicted[0, PLACE, 3])
    for k in range(4):
        q = ((NOISE.acceleration if k < 2 else NOISE.growth) * size) ** 2
        f = np.array([[1.0, dt], [0.0, 1.0]])
        x = f @ before[0, [PLACE, SPEED], k]
        p0 = np.array([[before[0, PP, k], before[0, PV, k]], [before[0, PV, k], before[0, VV, k]]])
        p = f @ p0 @ f.T + q * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        r = (NOISE.measured * new_size / 0.8) ** 2
        gain = p[:, 0] / (p[0, 0] + r)
        x = x + gain * (measured[k] - x[0])
        p = p - np.outer(gain, p[0])
        assert state[0, [PLACE, SPEED], k] == pytest.approx(x)
        assert state[0, [PP, PV, VV], k] == pytest.approx([p[0, 0], p[0, 1], p[1, 1]])


def test_two_short_steps_are_one_long_step() -> None:
    once = initiate(np.array([[0.0, 0.0, 50.0, 50.0]]), NOISE)
    once[0, SPEED, :2] = 20.0
    once[0, VV, 2:] = 0.0  # growth changes the size that noise is counted in; left out here
    twice = once.copy()
    still = NOISE._replace(growth=0.0)
    predict(once, 0.4, still, np.array([True]))
    predict(twice, 0.1, still, np.array([True]))
    predict(twice, 0.3, still, np.array([True]))
    assert np.allclose(once, twice)


def test_an_unseen_box_keeps_its_size_and_goes_on() -> None:
    state = initiate(np.array([[0.0, 0.0, 50.0, 100.0]]), NOISE)
    state[0, SPEED] = [30.0, 0.0, -80.0, -80.0]
    predict(state, 1.0, NOISE, np.array([False]))
    assert state[0, PLACE].tolist() == [55.0, 50.0, 50.0, 100.0]


def test_a_shrinking_box_never_turns_inside_out() -> None:
    state = initiate(np.array([[0.0, 0.0, 5.0, 5.0]]), NOISE)
    state[0, SPEED, 2:] = -1000.0
    predict(state, 1.0, NOISE, np.array([True]))
    assert (state[0, PLACE, 2:] >= 1.0).all()


def _paired(members: np.ndarray, looks: np.ndarray, **changes: object) -> list[int]:
    n, m = len(members), len(looks)
    column_of, taken = np.full(n, -1), np.zeros(m, bool)
    same = {"families": (np.ones(n, np.int64), np.ones(m, np.int64)), "rows": np.ones(n, bool), "gate": 0.2, **changes}
    a, b = same["families"]  # type: ignore[misc]
    pair(members, looks, a, b, column_of, taken, same["rows"], np.ones(m, bool), same["gate"])
    assert taken.tolist() == [j in column_of.tolist() for j in range(m)]
    return column_of.tolist()  # type: ignore[no-any-return]


def test_pairs_are_the_best_of_all_ways_to_pair() -> None:
    dice = np.random.default_rng(2)
    for _ in range(40):
        low = dice.uniform(0.0, 60.0, (8, 2))
        boxes = np.concatenate((low, low + dice.uniform(20.0, 60.0, (8, 2))), axis=1)
        members, looks = boxes[:4], boxes[4:]
        found = _paired(members, looks)
        shared = np.array([[overlap(a, b) for b in looks] for a in members])
        worth = np.where(shared >= 0.2, shared + 1.0, 0.0)
        best = max(sum(worth[i, p[i]] for i in range(4)) for p in itertools.permutations(range(4)))
        assert sum(worth[i, j] for i, j in enumerate(found) if j >= 0) == pytest.approx(best)
        assert all(shared[i, j] >= 0.2 for i, j in enumerate(found) if j >= 0)


def test_pairs_keep_to_families_rows_and_the_gate() -> None:
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    assert _paired(box, box) == [0]
    assert _paired(box, box, families=(np.array([1]), np.array([2]))) == [-1]
    assert _paired(box, box, families=(np.array([0]), np.array([2]))) == [0]
    assert _paired(box, box, rows=np.array([False])) == [-1]
    assert _paired(box, box + np.array([5.0, 0.0, 5.0, 0.0]), gate=0.34) == [-1]


def test_a_twin_is_told_by_family_and_overlap() -> None:
    looks = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [50.0, 0.0, 60.0, 9.0]])
    explained = np.array([True, False, False])
    assert is_twin(1, looks, np.array([1, 1, 1]), explained, 0.8)
    assert not is_twin(1, looks, np.array([1, 2, 1]), explained, 0.8)
    assert not is_twin(2, looks, np.array([1, 1, 1]), explained, 0.8)
