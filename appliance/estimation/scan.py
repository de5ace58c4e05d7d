"""One look of one sensor against every living state: gate, score, assign, update, count misses. Compiled.

Not here: which plots are near which state (``gating.py``), how states begin and end (``lifecycle.py``), identities,
evidence (``fusion``).

Rules: a state is predicted only where a plot is near it, from its own last update to the time of the look, and never
backward: a plot older than the state is read as a measurement of where the state was (x − v·Δt, with the process
noise of Δt added to the plot's own). Misses count only inside the sensor's field of view. Existence follows the
log-odds form of integrated probabilistic data association (Musicki & Evans, IEEE T-AC 39(6) 1994) with the single
hypothesis of the global assignment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from appliance.estimation.assignment import assign
from appliance.estimation.bank import BEARING, NEW, NONE, POSITION, Bank, Index, Look, Moves, Rules, Sight
from appliance.estimation.compiled import compiled, inlined, leaf
from appliance.estimation.gating import LEAST_SEEN, Gated, gate, miss, remember
from appliance.estimation.gaussian import LOG_2PI, STANDING, Array, put, update_pair, update_single, wrap
from appliance.estimation.imm import advance, merge, no_steps, prepare, reweigh
from appliance.estimation.lifecycle import begin, end
from appliance.estimation.shared import shares, update_shared

UPDATED, SECOND, BEGUN = 0, 1, 2
"""Columns of `Outcome.slots`: that the plot updated; the next best that could have taken it; that it began."""


class Outcome(NamedTuple):
    """What became of each plot, and of states. Its arrays are the caller's: numba is slow to hand out new ones."""

    slots: Index  #: (J, 3) by the columns above, NONE where there is none
    llr: Array  #: (J,) log-likelihood ratio of the plots that updated something
    fresh: Index  #: slots that are believed for the first time
    gone: Index  #: slots that ended


class Predicted(NamedTuple):
    """Models of the gated states at the time of the look."""

    x: Array
    p: Array
    w: Array
    logs: Array  #: (M,) scratch
    work: Array  #: (3, 4, 2) scratch


class Pairs(NamedTuple):
    """Worthwhile pairs of the gated states, row by row."""

    starts: Index
    columns: Index
    gains: Array
    llrs: Array


@inlined
def _pair_log_likelihood(
    x: Array, p: Array, look: Look, j: int, dt: float, q: float, speed_var: float
) -> tuple[float, float]:
    """(squared distance, log-likelihood) of plot ``j``, ``dt`` s after the predicted state (negative: before)."""
    e, n = x[0] + dt * x[2], x[1] + dt * x[3]
    late = q * abs(dt) ** 3 / 3.0
    s00 = p[0, 0] + 2.0 * dt * p[0, 2] + dt * dt * p[2, 2] + late
    s11 = p[1, 1] + 2.0 * dt * p[1, 3] + dt * dt * p[3, 3] + late
    s01 = p[0, 1] + dt * (p[0, 3] + p[1, 2]) + dt * dt * p[2, 3]
    if look.kind[j] == BEARING:
        de, dn = e - look.origin[j, 0], n - look.origin[j, 1]
        d2 = max(de * de + dn * dn, 1.0)
        off = wrap(look.z[j, 0] - math.atan2(de, dn))
        s = look.r[j, 0, 0] + (dn * dn * s00 - 2.0 * de * dn * s01 + de * de * s11) / (d2 * d2)
        return off * off / s, -0.5 * off * off / s - 0.5 * LOG_2PI - 0.5 * math.log(s)
    s00 += look.r[j, 0, 0]
    s01 += look.r[j, 0, 1]
    s11 += look.r[j, 1, 1]
    a, b = look.z[j, 0] - e, look.z[j, 1] - n
    det = s00 * s11 - s01 * s01
    distance = (s11 * a * a - 2.0 * s01 * a * b + s00 * b * b) / det
    value = -0.5 * distance - LOG_2PI - 0.5 * math.log(det)
    if look.rate_var[j] > 0.0:
        value += _rate_log_likelihood(x, p, look, j, speed_var)
    return distance, value


@leaf
def _away(look: Look, j: int) -> tuple[float, float]:
    """The direction from the sensor to plot ``j``."""
    de, dn = look.z[j, 0] - look.origin[j, 0], look.z[j, 1] - look.origin[j, 1]
    d = max(math.sqrt(de * de + dn * dn), 1.0)
    return de / d, dn / d


@leaf
def _rate_log_likelihood(x: Array, p: Array, look: Look, j: int, speed_var: float) -> float:
    """How much better this state explains plot ``j``'s range rate than something of unknown velocity does."""
    ue, un = _away(look, j)
    known = ue * ue * p[2, 2] + 2.0 * ue * un * p[2, 3] + un * un * p[3, 3] + look.rate_var[j]
    unknown = speed_var + look.rate_var[j]
    off = look.rate[j] - ue * x[2] - un * x[3]
    return float(0.5 * (look.rate[j] ** 2 / unknown - off * off / known + math.log(unknown / known)))


@inlined
def _mixture(
    x: Array, p: Array, w: Array, look: Look, j: int, dt: float, moves: Moves, ways: int, widest: float, logs: Array
) -> float:  # fmt: skip
    """Log-likelihood of the mixture; −inf where all models are beyond ``widest``. ``logs`` (M,) is scratch."""
    nearest, best = np.inf, -np.inf
    for m in range(w.shape[0]):
        distance, value = _pair_log_likelihood(x[m], p[m], look, j, dt, moves.noise[ways, m], moves.speed_var)
        nearest = min(nearest, distance)
        logs[m] = value + math.log(w[m])
        best = max(best, logs[m])
    if not nearest <= widest:
        return -np.inf
    total = 0.0
    for m in range(w.shape[0]):
        total += math.exp(logs[m] - best)
    return best + math.log(total)


@inlined
def _bonus(bank: Bank, slot: int, look: Look, j: int, conflict: float, sensor: int) -> float:
    """What identity adds to a pair: known to be this one, or known to be another.

    A sensor that gives a thing a new number says that it is none of those that it has numbered.
    """
    value = look.lock_gain if look.lock[j] == slot else 0.0
    if look.lock[j] == NEW and bank.numbered[slot] == sensor:
        value -= look.lock_gain
    for k in range(2):
        mine, its = bank.mobile[slot, k], look.mobile[j, k]
        if mine != NONE and its != NONE and mine != its:  # noqa: PLR1714 compiled
            value -= conflict
    return value


@compiled
def _update_model(x: Array, p: Array, look: Look, j: int, dt: float, q: float, work: Array) -> float:
    """Update one model with plot ``j``; returns the log-likelihood. ``work`` (3, 4, 2) is scratch."""
    late = q * abs(dt) ** 3 / 3.0
    if look.kind[j] == BEARING:
        de, dn = x[0] + dt * x[2] - look.origin[j, 0], x[1] + dt * x[3] - look.origin[j, 1]
        d2 = max(de * de + dn * dn, 1.0)
        h1 = np.array([dn / d2, -de / d2, dt * dn / d2, -dt * de / d2])
        return update_single(x, p, h1, wrap(look.z[j, 0] - math.atan2(de, dn)), look.r[j, 0, 0] + late / d2)
    r = work[2]
    r[0, 0], r[1, 1] = look.r[j, 0, 0] + late, look.r[j, 1, 1] + late
    r[0, 1] = r[1, 0] = look.r[j, 0, 1]
    value = update_pair(x, p, (look.z[j, 0], look.z[j, 1]), (1.0, dt), r, work)
    if look.velocity_var[j] > 0.0:
        r[0, 0] = r[1, 1] = look.velocity_var[j] + q * abs(dt)
        r[0, 1] = r[1, 0] = 0.0
        value += update_pair(x, p, (look.velocity[j, 0], look.velocity[j, 1]), (0.0, 1.0), r, work)
    if look.rate_var[j] > 0.0:
        ue, un = _away(look, j)
        off = look.rate[j] - ue * x[2] - un * x[3]
        value += update_single(x, p, np.array([0.0, 0.0, ue, un]), off, look.rate_var[j] + q * abs(dt))
    return value


@compiled
def _apply(
    bank: Bank, slot: int, t: float, look: Look, j: int, moves: Moves, predicted: Predicted, i: int, sensor: int
) -> None:
    """Put the predicted state of row ``i``, updated with ``sensor``'s plot ``j``, into the bank."""
    at = max(t, bank.time_s[slot])
    logs, work, ways = predicted.logs, predicted.work, bank.ways[slot]
    for m in range(logs.shape[0]):
        put(predicted.x[i, m], predicted.p[i, m], bank.x[slot, m], bank.p[slot, m])
        bank.w[slot, m] = predicted.w[i, m]
        logs[m] = _update_model(
            bank.x[slot, m], bank.p[slot, m], look, j, look.time_s[j] - at, moves.noise[ways, m], work
        )
    reweigh(bank.w[slot], logs)
    merge(bank.x[slot], bank.p[slot], bank.w[slot], bank.mean[slot], bank.cov[slot])
    if bank.sharers[slot, 0] != NONE or shares(look, j):
        _share(bank, slot, at, look, j, moves, predicted.w[i], sensor)
    bank.time_s[slot] = at
    remember(bank, slot, moves.history_step_s)


@compiled
def _share(bank: Bank, slot: int, at: float, look: Look, j: int, moves: Moves, weights: Array, sensor: int) -> None:
    """Carry along what plots share: a prediction from the slot's time to ``at``, then the update with plot ``j``."""
    ways, dt = bank.ways[slot], at - bank.time_s[slot]
    q, goes = 0.0, 1.0
    for m in range(weights.shape[0]):
        q += bank.w[slot, m] * moves.noise[ways, m]
        if dt > 0.0 and moves.turns[ways, m] == STANDING:
            goes -= weights[m]
    update_shared(bank, slot, look, j, look.time_s[j] - at, q, (goes * dt, goes), sensor)


@compiled
def _score(bank: Bank, gated: Gated, t: float, look: Look, moves: Moves, sensor: int, predicted: Predicted) -> Pairs:
    """Predict each gated state to the look; list its pairs that gain over its being missed."""
    size = gated.near.shape[0]
    pairs = Pairs(np.zeros(gated.starts.shape[0], np.int64), np.empty(size, np.int64), np.empty(size), np.empty(size))
    ahead = no_steps(moves.noise.shape[0], moves.noise.shape[1])
    used = 0
    for i in range(gated.rows.shape[0]):
        slot = gated.rows[i]
        x, p, w, ways = predicted.x[i], predicted.p[i], predicted.w[i], bank.ways[slot]
        prepare(max(t - bank.time_s[slot], 0.0), moves.noise, moves.turns, moves.rates, ahead, ways)
        advance(bank.x[slot], bank.p[slot], bank.w[slot], ahead, ways, x, p, w, predicted.logs)
        at = max(t, bank.time_s[slot])
        exists = 1.0 / (1.0 + math.exp(-bank.log_odds[slot]))
        base = math.log(max(exists, 1e-12)) - math.log(1.0 - min(exists * gated.seen[i], 0.999))
        seen_log = math.log(max(gated.seen[i], LEAST_SEEN))
        for k in range(gated.starts[i], gated.starts[i + 1]):
            j = gated.near[k]
            llr = _pair(slot, x, p, w, look, j, look.time_s[j] - at, moves, ways, predicted.logs) + seen_log
            gain = llr + base + _bonus(bank, slot, look, j, moves.conflict, sensor)
            if gain > 0.0:
                pairs.columns[used], pairs.gains[used], pairs.llrs[used] = j, gain, llr
                used += 1
        pairs.starts[i + 1] = used
    return pairs


@inlined
def _pair(
    slot: int, x: Array, p: Array, w: Array, look: Look, j: int, dt: float, moves: Moves, ways: int, logs: Array
) -> float:  # fmt: skip
    """Log-likelihood of plot ``j`` over clutter's, were the state seen for sure; −inf outside the gate."""
    if dt < -moves.retrodict_s:
        return -np.inf
    widest = moves.gate * (look.lock_gate if look.lock[j] == slot else 1.0)
    return float(_mixture(x, p, w, look, j, dt, moves, ways, widest, logs) - look.log_density[look.kind[j]])


@compiled
def _runner_up(rows: Index, pairs: Pairs, slots: Index) -> None:
    """For each plot that was taken, the next best state that could have taken it."""
    best = np.full(slots.shape[0], -np.inf)
    for i in range(rows.shape[0]):
        for k in range(pairs.starts[i], pairs.starts[i + 1]):
            j = pairs.columns[k]
            if slots[j, UPDATED] != rows[i] and pairs.llrs[k] > best[j]:
                slots[j, SECOND], best[j] = rows[i], pairs.llrs[k]


@compiled
def scan(
    bank: Bank, look: Look, order: Index, sight: Sight, moves: Moves, t: float, sensor: int, out: Outcome
) -> None:  # fmt: skip
    """Run one look at time ``t`` against the living; updates the bank, writes what became of each plot.

    ``order`` is `gating.by_east` of the look.
    """
    plots, models = look.kind.shape[0], bank.w.shape[1]
    looked = bank.looked[sensor]
    gated = gate(bank, look, order, sight, moves, t, looked)
    rows = gated.rows.shape[0]
    predicted = Predicted(
        np.empty((rows, models, 4)), np.empty((rows, models, 4, 4)), np.empty((rows, models)),
        np.empty(models), np.empty((3, 4, 2)),
    )  # fmt: skip
    pairs = _score(bank, gated, t, look, moves, sensor, predicted)
    taken = np.empty(rows, np.int64)
    assign(pairs.starts, pairs.columns[: pairs.starts[rows]], pairs.gains, plots, taken)
    out.slots[:] = NONE
    out.llr[:] = 0.0
    for i in range(rows):
        slot, j = gated.rows[i], taken[i]
        if j == NONE:
            miss(bank, slot, t, gated.seen[i], sight, looked)
            continue
        for k in range(pairs.starts[i], pairs.starts[i + 1]):
            if pairs.columns[k] == j:
                out.llr[j] = pairs.llrs[k]
        out.slots[j, UPDATED] = slot
        _apply(bank, slot, t, look, j, moves, predicted, i, sensor)
        bank.log_odds[slot] = min(bank.log_odds[slot] + out.llr[j], moves.max_log_odds)
        looked[slot] = max(looked[slot], t)
    _runner_up(gated.rows, pairs, out.slots)


@compiled
def step(
    bank: Bank, look: Look, order: Index, sight: Sight, moves: Moves, rules: Rules, t: float, sensor: int,
    birth: float, newest: float, out: Outcome,
) -> tuple[int, int]:  # fmt: skip
    """`scan`; positions that nobody took begin states at log-odds ``birth``; what has ended by ``newest`` goes.

    The bank must have a free slot for each plot. Returns how many are fresh and how many gone.
    """
    scan(bank, look, order, sight, moves, t, sensor, out)
    fresh = 0
    for j in range(look.kind.shape[0]):
        slot = out.slots[j, UPDATED]
        if slot != NONE and not bank.confirmed[slot] and bank.log_odds[slot] >= rules.confirm:
            bank.confirmed[slot] = True
            out.fresh[fresh] = slot
            fresh += 1
        elif slot == NONE and look.kind[j] == POSITION:
            out.slots[j, BEGUN] = begin(bank, look, j, rules, birth, sensor)
    return fresh, end(bank, moves, rules, newest, out.gone)
