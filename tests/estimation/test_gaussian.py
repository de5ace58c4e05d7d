"""Predict and update of one Gaussian state, and the models that interact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.estimation.gaussian import (
    STANDING,
    is_positive_definite,
    predict_cv,
    predict_turn,
    update_pair,
    update_single,
)
from appliance.estimation.imm import merge, predict, reweigh
from appliance.estimation.measure import ranges_and_bearings

WORK = np.empty((2, 4, 2))
H = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])


def _random_cov(rng: np.random.Generator, scale: float = 10.0) -> np.ndarray:
    a = rng.normal(0.0, scale, (4, 4))
    return a @ a.T + np.eye(4)


def test_two_short_predictions_equal_one_long_one() -> None:
    rng = np.random.default_rng(1)
    x, p = rng.normal(0, 10, 4), _random_cov(rng)
    x2, p2 = x.copy(), p.copy()
    predict_cv(x, p, 3.0, 0.5)
    predict_cv(x2, p2, 1.0, 0.5)
    predict_cv(x2, p2, 2.0, 0.5)
    np.testing.assert_allclose(x, x2)
    np.testing.assert_allclose(p, p2)


def test_an_update_equals_the_textbook_and_its_likelihood_is_the_density() -> None:
    rng = np.random.default_rng(2)
    x, p, r = rng.normal(0, 10, 4), _random_cov(rng), np.array([[9.0, 2.0], [2.0, 4.0]])
    z = np.array([3.0, -4.0])
    s = H @ p @ H.T + r
    gain = p @ H.T @ np.linalg.inv(s)
    nu = z - H @ x
    wanted_x, wanted_p = x + gain @ nu, p - gain @ s @ gain.T
    density = -0.5 * nu @ np.linalg.inv(s) @ nu - 0.5 * math.log(np.linalg.det(2 * math.pi * s))
    assert update_pair(x, p, (3.0, -4.0), (1.0, 0.0), r, WORK) == pytest.approx(density)
    np.testing.assert_allclose(x, wanted_x)
    np.testing.assert_allclose(p, wanted_p, atol=1e-9)


def test_a_single_valued_update_equals_a_pair_whose_other_half_says_nothing() -> None:
    rng = np.random.default_rng(3)
    x, p = rng.normal(0, 10, 4), _random_cov(rng)
    x2, p2 = x.copy(), p.copy()
    update_single(x, p, H[0], 5.0 - x[0], 4.0)
    update_pair(x2, p2, (5.0, 0.0), (1.0, 0.0), np.diag([4.0, 1e15]), WORK)
    np.testing.assert_allclose(x, x2, rtol=1e-6)
    np.testing.assert_allclose(p, p2, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1e5), st.floats(1e-3, 1e5), st.floats(1e-3, 1e5), st.floats(-1e6, 1e6)),
        min_size=1,
        max_size=12,
    )
)
def test_a_covariance_stays_positive_definite_whatever_comes(steps: list[tuple[float, float, float, float]]) -> None:
    x, p = np.zeros(4), np.diag([1e4, 1e4, 100.0, 100.0])
    for dt, se, sn, z in steps:
        predict_cv(x, p, dt, 6.0)
        update_pair(x, p, (z, -z), (1.0, 0.0), np.diag([se * se, sn * sn]), WORK)
        assert np.isfinite(x).all()
        assert is_positive_definite(p / np.sqrt(np.outer(np.diag(p), np.diag(p))))


@pytest.mark.parametrize(
    ("range_m", "sigma_m", "sigma_rad"), [(3000.0, 15.0, 0.009), (800.0, 30.0, 0.3), (5000.0, 200.0, 0.002)]
)
def test_range_and_bearing_become_a_place_without_bias_and_with_an_honest_covariance(
    range_m: float, sigma_m: float, sigma_rad: float
) -> None:
    rng = np.random.default_rng(4)
    bearing, n = 0.7, 20_000
    truth = np.array([range_m * math.sin(bearing), range_m * math.cos(bearing)])
    ranges, bearings = rng.normal(range_m, sigma_m, n), rng.normal(bearing, sigma_rad, n)
    cov = np.broadcast_to(np.diag([sigma_m**2, sigma_rad**2]), (n, 2, 2))
    values = np.column_stack((ranges, bearings))
    places, covs, verdict = ranges_and_bearings(values, cov.copy(), np.zeros((n, 2)), 1e6)
    assert not verdict.any()
    errors = places - truth
    nees = float(np.einsum("ni,ni->", errors, np.linalg.solve(covs, errors[:, :, None])[:, :, 0]))
    across = range_m * sigma_rad + sigma_m
    assert np.hypot(*errors.mean(axis=0)) < 5.0 * across / math.sqrt(n)
    assert 1.8 < nees / n < 2.2


def test_mixing_keeps_weights_a_distribution_and_the_mean_where_it_was() -> None:
    x = np.array([[0.0, 0.0, 1.0, 0.0], [10.0, 0.0, 1.0, 0.0]])
    p = np.array([np.eye(4), 4.0 * np.eye(4)])
    w = np.array([0.3, 0.7])
    xo, po, wo = np.empty_like(x), np.empty_like(p), np.empty_like(w)
    predict(x, p, w, 0.0, np.array([[0.1, 6.0]]), np.array([[0.0, 0.05]]), np.array([[0.03, 0.1]]), xo, po, wo)
    np.testing.assert_allclose(wo, w)
    predict(x, p, w, 2.0, np.array([[0.1, 6.0]]), np.zeros((1, 2)), np.array([[0.03, 0.1]]), xo, po, wo)
    assert wo.sum() == pytest.approx(1.0)
    mean, cov = np.empty(4), np.empty((4, 4))
    merge(xo, po, wo, mean, cov)
    assert mean[0] == pytest.approx(9.0)
    assert is_positive_definite(cov)


def test_no_model_ever_dies() -> None:
    w = np.array([0.5, 0.5])
    reweigh(w, np.array([0.0, -1e6]))
    assert w.min() > 0.0
    assert w.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "bad", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [0.5, 1.0]], [[math.nan, 0], [0, 1]], [[1.0, 2.0]]]
)
def test_what_is_not_positive_definite_is_told_apart(bad: list[list[float]]) -> None:
    assert not is_positive_definite(bad)


def test_a_turn_goes_round_a_circle_at_its_speed() -> None:
    x, p = np.array([0.0, 0.0, 10.0, 0.0]), np.eye(4)
    turn, dt = math.radians(9.0), 10.0
    predict_turn(x, p, dt, 0.0, turn)
    radius = 10.0 / turn
    np.testing.assert_allclose(x, [radius, radius, 0.0, 10.0], atol=1e-9)
    assert is_positive_definite(p)


def test_two_short_turns_equal_one_long_one_and_no_turn_is_straight() -> None:
    rng = np.random.default_rng(5)
    x, p = rng.normal(0, 10, 4), _random_cov(rng)
    x2, p2 = x.copy(), p.copy()
    predict_turn(x, p, 4.0, 0.0, 0.05)
    predict_turn(x2, p2, 1.0, 0.0, 0.05)
    predict_turn(x2, p2, 3.0, 0.0, 0.05)
    np.testing.assert_allclose(x, x2)
    np.testing.assert_allclose(p, p2)
    predict_turn(x, p, 2.0, 0.5, 1e-9)
    predict_cv(x2, p2, 2.0, 0.5)
    np.testing.assert_allclose(x, x2, atol=1e-5)
    np.testing.assert_allclose(p, p2, rtol=1e-5)


@pytest.mark.parametrize("gap_s", [0.1, 10.0, 180.0])
def test_what_stands_stays_whatever_velocity_it_had_and_its_doubt_grows_by_the_second(gap_s: float) -> None:
    x, p = np.array([100.0, 200.0, 7.0, -3.0]), np.diag([25.0, 25.0, 4.0, 4.0])
    p[0, 2] = p[2, 0] = 5.0
    predict_turn(x, p, gap_s, 0.02, STANDING)
    assert x.tolist() == [100.0, 200.0, 0.0, 0.0]
    assert p == pytest.approx(np.diag([25.0 + 0.02 * gap_s, 25.0 + 0.02 * gap_s, 0.02, 0.02]))


def test_no_time_changes_nothing_of_what_stands() -> None:
    x, p = np.array([1.0, 2.0, 3.0, 4.0]), _random_cov(np.random.default_rng(5))
    before = p.copy()
    predict_turn(x, p, 0.0, 0.02, STANDING)
    assert x.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert p == pytest.approx(before)
