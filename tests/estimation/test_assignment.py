"""The sparse assignment against scipy's dense one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from appliance.estimation.assignment import assign


def _solve(gains: np.ndarray) -> np.ndarray:
    """Rows × columns of gains, −inf where there is no pair."""
    starts, columns, values = [0], [], []
    for row in gains:
        columns += list(np.flatnonzero(np.isfinite(row)))
        values += list(row[np.isfinite(row)])
        starts.append(len(columns))
    return _assigned(np.array(starts, np.int64), np.array(columns, np.int64), np.array(values, float), gains.shape[1])


def _assigned(starts: np.ndarray, columns: np.ndarray, gains: np.ndarray, count: int) -> np.ndarray:
    column_of = np.empty(len(starts) - 1, np.int64)
    assign(starts, columns, gains, count, column_of)
    return column_of


def _dense(gains: np.ndarray) -> float:
    rows, columns = gains.shape
    full = np.full((rows, columns + rows), -1e9)
    full[:, :columns] = np.where(np.isfinite(gains), gains, -1e9)
    full[np.arange(rows), columns + np.arange(rows)] = 0.0
    at = linear_sum_assignment(full, maximize=True)
    return float(full[at].sum())


@pytest.mark.parametrize("density", [0.1, 0.4, 1.0])
def test_the_sparse_assignment_gains_as_much_as_the_dense_one(density: float) -> None:
    rng = np.random.default_rng(round(density * 10))
    for _ in range(200):
        shape = rng.integers(1, 14, 2)
        gains = np.where(rng.random(shape) < density, rng.normal(1.0, 3.0, shape), -np.inf)
        taken = _solve(gains)
        held = [column for column in taken if column >= 0]
        assert len(held) == len(set(held))
        assert sum(gains[i, j] for i, j in enumerate(taken) if j >= 0) == pytest.approx(_dense(gains))


def test_equal_gains_give_each_column_to_one_row_only() -> None:
    taken = _solve(np.zeros((5, 3)) + 1.0)
    assert sorted(taken) == [-1, -1, 0, 1, 2]


def test_a_row_whose_every_pair_costs_stays_alone() -> None:
    assert list(_solve(np.array([[-1.0, -2.0]]))) == [-1]


def test_no_rows_give_an_empty_answer() -> None:
    assert len(_assigned(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0), 4)) == 0
