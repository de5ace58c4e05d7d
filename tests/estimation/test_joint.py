"""Soft association against every assignment counted by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.estimation.joint import MOST_ROWS, probabilities

Pairs = list[dict[int, float]]


def soft(rows: Pairs, columns: int) -> list[dict[int, float]]:
    starts = np.cumsum([0, *map(len, rows)])
    flat = np.array([j for row in rows for j in row], np.int64)
    gains = np.array([gain for row in rows for gain in row.values()], np.float64)
    beta = probabilities(starts, flat, gains, columns)
    return [dict(zip(row, beta[a:].tolist(), strict=False)) for row, a in zip(rows, starts.tolist(), strict=False)]


def by_hand(rows: Pairs) -> list[dict[int, float]]:
    """The best assignment of each set of rows to each set of columns, by its share."""
    best: dict[tuple[frozenset[int], frozenset[int]], tuple[float, tuple[int | None, ...]]] = {}
    for choice in itertools.product(*([None, *row] for row in rows)):
        taken = [j for j in choice if j is not None]
        if len(set(taken)) == len(taken):
            gain = sum(rows[i][j] for i, j in enumerate(choice) if j is not None)
            kind = frozenset(i for i, j in enumerate(choice) if j is not None), frozenset(taken)
            best[kind] = max(best.get(kind, (-math.inf, ())), (gain, choice), key=lambda found: found[0])
    top = max(gain for gain, _ in best.values())
    total = sum(math.exp(gain - top) for gain, _ in best.values())
    return [
        {j: sum(math.exp(g - top) for g, choice in best.values() if choice[i] == j) / total for j in row}
        for i, row in enumerate(rows)
    ]


@given(st.integers(2, 4), st.integers(2, 5), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_in_a_small_cluster_each_pair_is_as_likely_as_counting_says(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    listed: Pairs = [{0: float(rng.uniform(0.1, 6.0))} for _ in range(rows)]  # the first plot ties them all together
    for row in listed:
        row.update((j, float(rng.uniform(0.1, 6.0))) for j in range(1, columns) if rng.random() < 0.6)
    for mine, theirs in zip(soft(listed, columns), by_hand(listed), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-9)


def test_what_shares_no_plot_keeps_its_one_best_assignment() -> None:
    assert soft([{0: 3.0}, {1: 2.0, 2: 1.0}], 3) == [{0: -1.0}, {1: -1.0, 2: -1.0}]


def test_a_cluster_that_is_too_large_to_weigh_keeps_its_one_best_assignment() -> None:
    crowd: Pairs = [{0: 1.0, i + 1: 2.0} for i in range(MOST_ROWS + 1)]
    assert all(value == -1.0 for row in soft(crowd, MOST_ROWS + 2) for value in row.values())


def test_clusters_beside_each_other_do_not_weigh_on_each_other() -> None:
    pair: Pairs = [{0: 3.0, 1: 2.0}, {0: 1.0, 1: 3.0}]
    far: Pairs = [{2: 5.0, 3: 4.0}, {3: 1.0}]
    assert soft([pair[0], far[0], pair[1], far[1]], 4)[::2] == soft(pair, 2)


def test_states_that_could_swap_are_not_drawn_together() -> None:
    """Two states, two plots, the other order nearly as good: only the better order counts."""
    beta = soft([{0: 8.0, 1: 7.9}, {0: 7.9, 1: 8.0}], 2)
    assert beta[0][0] > 0.99
    assert beta[0][1] < 0.01
