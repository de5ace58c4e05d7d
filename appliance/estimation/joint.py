"""Soft association in small clusters: how likely each pair is, over all ways in which a look's plots can be shared out.

Where states could have taken each other's plots one assignment is a guess; here every assignment of a small cluster is
weighed (joint integrated probabilistic data association: Musicki & Evans, IEEE T-AES 40(3) 2004). Of assignments that
give the same states the same plots in another order only the best counts, so that states that come close together are
not drawn into one (JPDA*: Blom & Bloem, "Probabilistic data association avoiding track coalescence", IEEE T-AC 45(2)
2000).

Not here: what a pair gains and what is done with its probability (``scan.py``).

Rules: row i's pairs are ``columns[starts[i]:starts[i + 1]]``, as in ``assignment.py``. A state that shares no plot, and
clusters beyond `MOST_ROWS` or `MOST_COLUMNS`, keep their one best assignment.
"""

from __future__ import annotations

import math

import numpy as np

from appliance.estimation.bank import NONE, Index
from appliance.estimation.compiled import compiled
from appliance.estimation.gaussian import Array

MOST_ROWS, MOST_COLUMNS = 5, 8
"""Five states and eight plots have at most some 20,000 assignments of 8,192 kinds."""
NEGLIGIBLE = 30.0
"""Nats below the best assignment, where nothing is left to be worth adding."""


@compiled
def _walk(rows: Index, count: int, starts: Index, local: Index, gains: Array, best: Array, chosen: Index) -> None:
    """The best assignment of each set of states to each set of plots: its gain into ``best`` (kinds,), its pairs (or
    NONE) into ``chosen`` (kinds, rows). A kind is a number whose low bits are the states, the rest the plots."""
    at, pick = np.zeros(count, np.int64), np.full(count, NONE)
    value, used = np.zeros(count + 1), np.zeros(count + 1, np.int64)
    depth = 0
    at[0] = starts[rows[0]] - 1  # before its first pair stands the state's being alone
    while depth >= 0:
        k = at[depth]
        if k >= starts[rows[depth] + 1]:
            depth -= 1
            continue
        at[depth] = k + 1
        value[depth + 1], used[depth + 1], pick[depth] = value[depth], used[depth], NONE
        if k >= starts[rows[depth]]:
            plot = 1 << (count + local[k])
            if used[depth] & plot:
                continue
            value[depth + 1] += gains[k]
            used[depth + 1] |= plot | (1 << depth)
            pick[depth] = k
        depth += 1
        if depth < count:
            at[depth] = starts[rows[depth]] - 1
            continue
        kind = used[depth]
        if value[depth] > best[kind]:
            best[kind] = value[depth]
            chosen[kind] = pick
        depth -= 1


@compiled
def _weigh(rows: Index, count: int, starts: Index, local: Index, named: int, gains: Array, beta: Array) -> None:
    """Probabilities of the pairs of ``rows[:count]`` into ``beta``; ``local`` numbers their plots below ``named``."""
    size = 1 << (count + named)
    best, chosen = np.full(size, -np.inf), np.full((size, count), NONE)
    _walk(rows, count, starts, local, gains, best, chosen)
    for i in range(count):
        beta[starts[rows[i]] : starts[rows[i] + 1]] = 0.0
    top, total = best.max(), 0.0
    for kind in range(size):
        if best[kind] < top - NEGLIGIBLE:
            continue
        weight = math.exp(best[kind] - top)
        total += weight
        for i in range(count):
            if chosen[kind, i] != NONE:
                beta[chosen[kind, i]] += weight
    for i in range(count):
        beta[starts[rows[i]] : starts[rows[i] + 1]] /= total


@compiled
def _clusters(starts: Index, columns: Index, column_count: int) -> Index:
    """Each row's first row of its cluster: those that share a column, or share one with a row that does."""
    rows = starts.shape[0] - 1
    root = np.arange(rows)
    owner = np.full(column_count, NONE)
    for i in range(rows):
        for k in range(starts[i], starts[i + 1]):
            a = owner[columns[k]]
            if a == NONE:
                owner[columns[k]] = i
                continue
            b = i
            while root[a] != a:
                a = root[a]
            while root[b] != b:
                b = root[b]
            root[max(a, b)] = min(a, b)
    for i in range(rows):
        root[i] = root[root[i]]  # a root is never later than its row, so that it is settled already
    return root


@compiled
def _number(rows: Index, count: int, starts: Index, columns: Index, names: Index, local: Index) -> int:
    """Number the plots of a cluster from 0 into ``local``, by pair; how many there are."""
    named = 0
    for i in range(count):
        for k in range(starts[rows[i]], starts[rows[i] + 1]):
            if names[columns[k]] == NONE:
                names[columns[k]] = named
                named += 1
            local[k] = names[columns[k]]
    return named


@compiled
def probabilities(starts: Index, columns: Index, gains: Array, column_count: int) -> Array:
    """(pairs,) how likely each is, by ``gains`` over the state's being alone; −1 where the best assignment is kept."""
    rows, size = starts.shape[0] - 1, max(starts[-1], 1)
    beta, local = np.full(size, -1.0), np.empty(size, np.int64)
    root = _clusters(starts, columns, column_count)
    sizes = np.zeros(rows, np.int64)
    for i in range(rows):
        sizes[root[i]] += 1
    members, names = np.empty(rows, np.int64), np.full(column_count, NONE)
    for first in range(rows):
        if not 2 <= sizes[first] <= MOST_ROWS:
            continue
        count = 0
        for i in range(first, rows):
            if root[i] == first:
                members[count] = i
                count += 1
        named = _number(members, count, starts, columns, names, local)
        if named <= MOST_COLUMNS:
            _weigh(members, count, starts, local, named, gains, beta)
    return beta
