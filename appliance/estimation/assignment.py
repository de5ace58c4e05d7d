"""Global assignment on a sparse list of pairs: which row takes which column, or none, for the greatest total gain.

Each row may stay alone at gain zero, so any list of pairs has a solution. Shortest augmenting paths with duals
(Jonker & Volgenant, Computing 38, 1987) walk only along listed pairs: clusters that share no pair never meet, and cost
is that of each cluster alone.

Not here: gains (``scan.py``), what a pair means.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from appliance.estimation.compiled import compiled, leaf
from appliance.estimation.gaussian import Array

Index = npt.NDArray[np.int64]


@compiled
def assign(starts: Index, columns: Index, gains: Array, column_count: int, column_of: Index) -> None:
    """Rows' pairs are ``columns[starts[i]:starts[i+1]]`` with ``gains``; ``column_of`` gets each row's, −1 for none.

    Column ``column_count + i`` is row i's own "none", at cost zero.
    """
    rows = starts.shape[0] - 1
    width = column_count + rows
    row_of = np.full(width, -1, np.int64)
    column_of[:] = -1
    v = np.zeros(width)
    distance = np.full(width, np.inf)
    before = np.full(width, -1, np.int64)
    done = np.zeros(width, np.bool_)
    touched = np.empty(width, np.int64)
    for row in range(rows):
        _augment(row, starts, columns, gains, column_count, row_of, column_of, v, distance, before, done, touched)
    for row in range(rows):
        if column_of[row] >= column_count:
            column_of[row] = -1


@leaf
def _relax(
    row: int, base: float, starts: Index, columns: Index, gains: Array, column_count: int,
    v: Array, distance: Array, before: Index, done: npt.NDArray[np.bool_], touched: Index, count: int,
) -> int:  # fmt: skip
    """Offer row's columns at reduced cost from ``base``; returns how many columns have been touched so far."""
    for k in range(starts[row], starts[row + 1] + 1):
        alone = k == starts[row + 1]
        column = column_count + row if alone else columns[k]
        cost = (0.0 if alone else -gains[k]) - v[column] + base
        if cost < distance[column] and not done[column]:  # a settled column could only "improve" by rounding
            if distance[column] == np.inf:
                touched[count] = column
                count += 1
            distance[column] = cost
            before[column] = row
    return count


@leaf
def _row_dual(row: int, starts: Index, columns: Index, gains: Array, column_count: int, column: int, v: Array) -> float:
    """Cost minus column dual of the pair that ``row`` holds now."""
    if column >= column_count:
        return float(-v[column])
    for k in range(starts[row], starts[row + 1]):
        if columns[k] == column:
            return float(-gains[k] - v[column])
    return 0.0


@leaf
def _augment(
    start: int, starts: Index, columns: Index, gains: Array, column_count: int, row_of: Index, column_of: Index,
    v: Array, distance: Array, before: Index, done: npt.NDArray[np.bool_], touched: Index,
) -> None:  # fmt: skip
    """Dijkstra from a free row to the nearest free column; flip the path; repair the duals of what was passed."""
    count = _relax(start, 0.0, starts, columns, gains, column_count, v, distance, before, done, touched, 0)
    end = -1
    reached = 0.0
    while end < 0:
        best = -1
        for k in range(count):
            column = touched[k]
            if not done[column] and (best < 0 or distance[column] < distance[best]):
                best = column
        reached = distance[best]
        if row_of[best] < 0:
            end = best
            break
        done[best] = True
        row = row_of[best]
        base = reached - _row_dual(row, starts, columns, gains, column_count, best, v)
        count = _relax(row, base, starts, columns, gains, column_count, v, distance, before, done, touched, count)
    for k in range(count):
        column = touched[k]
        if done[column]:
            v[column] += distance[column] - reached
        distance[column] = np.inf
        done[column] = False
    while True:
        row = before[end]
        following = column_of[row]
        row_of[end] = row
        column_of[row] = end
        if row == start:
            break
        end = following
