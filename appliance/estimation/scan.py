"""One look of one sensor against every living state: gate, score, assign, update, count misses. Compiled.

Not here: births, deletion, identities, evidence (``fusion``).

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
from appliance.estimation.bank import BEARING, NONE, POSITION, Bank, Index, Look, Moves, Sight
from appliance.estimation.compiled import compiled
from appliance.estimation.gaussian import LOG_2PI, MANOEUVRE_S, Array, update_pair, update_single, wrap
from appliance.estimation.imm import merge, predict, reweigh

LATE_MISS_S = 2.0
"""A look that is older than the state by more than this says nothing of what it missed."""

MIN_VIEW = 0.02
"""Below this chance of being seen, a miss is not worth counting."""

BLIND = 1e-4
"""Below this chance of being seen, a plot is not this state's either."""

LEAST_SEEN = 0.05
"""At the edge of a view the chance of being seen is itself a guess; a plot there is not held against its state."""

HELD_LOG_ODDS = 1.0
"""How far a thing that goes on reporting itself is believed when other sensors miss it: 73 %."""


class Outcome(NamedTuple):
    """By plot: the slot it updated (NONE), its log-likelihood ratio, and the runner-up slot with its ratio."""

    slot: Index
    llr: Array
    second: Index
    second_llr: Array


class Gated(NamedTuple):
    """States that some plot is near: slot, chance to be seen, and its plots ``near[starts[i]:starts[i + 1]]``."""

    rows: Index
    seen: Array
    starts: Index
    near: Index


class Predicted(NamedTuple):
    """Models of the gated states at the time of the look."""

    x: Array
    p: Array
    w: Array


class Pairs(NamedTuple):
    """Worthwhile pairs of the gated states, row by row."""

    starts: Index
    columns: Index
    gains: Array
    llrs: Array


@compiled
def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@compiled
def in_view(east: float, north: float, sigma: float, sight: Sight) -> float:
    """The chance that a thing about here (1-sigma each way) is in view; edges are soft by that sigma."""
    if sight.everywhere:
        return 1.0
    de, dn = east - sight.east, north - sight.north
    distance = math.hypot(de, dn)
    chance = _normal_cdf((sight.far - distance) / sigma)
    if sight.near > 0.0:
        chance *= _normal_cdf((distance - sight.near) / sigma)
    if sight.half < math.pi:
        off = abs(wrap(math.atan2(de, dn) - sight.heading))
        across = max(distance, sigma) * (sight.half - off)
        chance *= _normal_cdf(across / sigma)
    return chance


@compiled
def fade(bank: Bank, slot: int, t: float, survival_s: float) -> None:
    """Bring existence to ``t``: things leave at a steady rate."""
    dt = t - bank.odds_s[slot]
    if dt <= 0.0:
        return
    stay = math.exp(-dt / survival_s)
    odds = math.exp(bank.log_odds[slot])
    bank.log_odds[slot] = math.log(max(odds * stay / (1.0 + odds * (1.0 - stay)), 1e-300))
    bank.odds_s[slot] = t


@compiled
def _rough(bank: Bank, slot: int, t: float, noise: float) -> tuple[float, float, float, float]:
    """Where a state is about to be: east, north, and the variances of each, without the models' detail."""
    dt = max(t - bank.time_s[slot], 0.0)
    m, c = bank.mean[slot], bank.cov[slot]
    grow = noise * dt * min(dt, MANOEUVRE_S) ** 2 / 3.0
    var_e = c[0, 0] + 2.0 * dt * c[0, 2] + dt * dt * c[2, 2] + grow
    var_n = c[1, 1] + 2.0 * dt * c[1, 3] + dt * dt * c[3, 3] + grow
    return m[0] + dt * m[2], m[1] + dt * m[3], max(var_e, 1e-6), max(var_n, 1e-6)


@compiled
def _pair_log_likelihood(x: Array, p: Array, look: Look, j: int, dt: float, q: float) -> tuple[float, float]:
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
    return distance, -0.5 * distance - LOG_2PI - 0.5 * math.log(det)


@compiled
def _mixture(x: Array, p: Array, w: Array, look: Look, j: int, dt: float, noise: Array) -> tuple[float, float]:
    """(least squared distance over the models, log-likelihood of the mixture)."""
    nearest, best = np.inf, -np.inf
    logs = np.empty(w.shape[0])
    for m in range(w.shape[0]):
        distance, value = _pair_log_likelihood(x[m], p[m], look, j, dt, noise[m])
        nearest = min(nearest, distance)
        logs[m] = value + math.log(w[m])
        best = max(best, logs[m])
    total = 0.0
    for m in range(w.shape[0]):
        total += math.exp(logs[m] - best)
    return nearest, best + math.log(total)


@compiled
def _bonus(bank: Bank, slot: int, look: Look, j: int, conflict: float) -> float:
    """What identity adds to a pair: known to be this one, or known to be another."""
    value = look.lock_gain if look.lock[j] == slot else 0.0
    for k in range(2):
        mine, its = bank.mobile[slot, k], look.mobile[j, k]
        if mine != NONE and its != NONE and mine != its:  # noqa: PLR1714 compiled
            value -= conflict
    return value


@compiled
def _by_east(look: Look) -> tuple[Index, int]:
    """The plots' indices by east, bearings last; and how many are places."""
    keys = look.z[:, 0].copy()
    places = 0
    for j in range(keys.shape[0]):
        if look.kind[j] == POSITION:
            places += 1
        else:
            keys[j] = np.inf
    return np.argsort(keys), places


@compiled
def _first_east(look: Look, order: Index, count: int, east: float) -> int:
    """The first of the ``count`` positions, sorted by east, that does not lie west of ``east``."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if look.z[order[middle], 0] < east:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _candidates(
    bank: Bank, slot: int, t: float, look: Look, order: Index, positions: int, widest: Array, moves: Moves,
    out: Index,
) -> int:  # fmt: skip
    """Plots that might belong to a state, by a cheap box; ``widest`` is what `_widest` says."""
    e, n, var_e, var_n = _rough(bank, slot, t, moves.noise.max())
    m = bank.mean[slot]
    off_s = widest[2] + max(bank.time_s[slot] - t, 0.0)
    wide = 2.0 * moves.gate
    reach_e = math.sqrt(wide * (var_e + widest[0])) + abs(m[2]) * off_s
    count = 0
    for k in range(_first_east(look, order, positions, e - reach_e), positions):
        j = order[k]
        if look.z[j, 0] > e + reach_e:
            break
        de, dn = abs(look.z[j, 0] - e) - abs(m[2]) * off_s, abs(look.z[j, 1] - n) - abs(m[3]) * off_s
        if de * abs(de) <= wide * (var_e + look.r[j, 0, 0]) and dn * abs(dn) <= wide * (var_n + look.r[j, 1, 1]):
            out[count] = j
            count += 1
    for k in range(positions, order.shape[0]):
        j = order[k]
        de, dn = e - look.origin[j, 0], n - look.origin[j, 1]
        spread = max(var_e, var_n) / max(de * de + dn * dn, 1.0)
        off = wrap(look.z[j, 0] - math.atan2(de, dn))
        if off * off <= 2.0 * moves.gate * (look.r[j, 0, 0] + spread) or spread > 1.0:
            out[count] = j
            count += 1
    return count


@compiled
def _widest(look: Look, t: float) -> Array:
    """(largest variance east, north; largest |plot time − look time|), for the box."""
    out = np.zeros(3)
    for j in range(look.kind.shape[0]):
        if look.kind[j] == POSITION:
            out[0] = max(out[0], look.r[j, 0, 0])
            out[1] = max(out[1], look.r[j, 1, 1])
            out[2] = max(out[2], abs(look.time_s[j] - t))
    return out


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
    return value


@compiled
def remember(bank: Bank, slot: int, step_s: float) -> None:
    """Keep where the thing was, at most once every ``step_s``, in a ring."""
    count = bank.past_next[slot]
    size = bank.past.shape[1]
    if count > 0 and bank.time_s[slot] < bank.past[slot, (count - 1) % size, 0] + step_s:
        return
    row = bank.past[slot, count % size]
    row[0] = bank.time_s[slot]
    row[1:5] = bank.mean[slot]
    row[5], row[6], row[7] = bank.cov[slot, 0, 0], bank.cov[slot, 0, 1], bank.cov[slot, 1, 1]
    bank.past_next[slot] = count + 1


@compiled
def _apply(bank: Bank, slot: int, t: float, look: Look, j: int, moves: Moves, predicted: Predicted, i: int) -> None:
    """Put the predicted state of row ``i``, updated with plot ``j``, into the bank."""
    bank.x[slot], bank.p[slot], bank.w[slot] = predicted.x[i], predicted.p[i], predicted.w[i]
    at = max(t, bank.time_s[slot])
    logs, work = np.empty(bank.w.shape[1]), np.empty((3, 4, 2))
    for m in range(logs.shape[0]):
        logs[m] = _update_model(bank.x[slot, m], bank.p[slot, m], look, j, look.time_s[j] - at, moves.noise[m], work)
    reweigh(bank.w[slot], logs)
    merge(bank.x[slot], bank.p[slot], bank.w[slot], bank.mean[slot], bank.cov[slot])
    bank.time_s[slot] = at
    remember(bank, slot, moves.history_step_s)


@compiled
def _detection(bank: Bank, slot: int, t: float, sight: Sight, noise: float) -> float:
    """The chance that this look shows this state."""
    e, n, var_e, var_n = _rough(bank, slot, t, noise)
    return sight.detection * in_view(e, n, math.sqrt(0.5 * (var_e + var_n)) + 1.0, sight)


@compiled
def _miss(bank: Bank, slot: int, t: float, seen: float, sight: Sight, looked: Array) -> None:
    """Hold it against the state that a look at its place did not show it, where that means anything."""
    share = 1.0
    if sight.correlation_s > 0.0:
        share = min(1.0, max(t - looked[slot], 0.0) / sight.correlation_s)
    looked[slot] = max(looked[slot], t)
    if not sight.misses or seen < MIN_VIEW or bank.time_s[slot] - t > LATE_MISS_S:
        return
    bank.log_odds[slot] += share * math.log(1.0 - min(seen, 0.999))
    if t < bank.held_s[slot]:
        bank.log_odds[slot] = max(bank.log_odds[slot], HELD_LOG_ODDS)


@compiled
def _gate(live: Index, bank: Bank, look: Look, sight: Sight, moves: Moves, t: float, looked: Array) -> Gated:
    """Which states have a plot near them; what is in view and has none is missed here and now."""
    plots = look.kind.shape[0]
    order, places = _by_east(look)
    widest, noise = _widest(look, t), moves.noise.max()
    rows, seens = np.empty(live.shape[0], np.int64), np.empty(live.shape[0])
    starts, near = np.zeros(live.shape[0] + 1, np.int64), np.empty(64 + 8 * plots, np.int64)
    count, used = 0, 0
    for i in range(live.shape[0]):
        slot = live[i]
        seen = _detection(bank, slot, t, sight, noise)
        if sight.misses and seen < BLIND:
            continue
        fade(bank, slot, t, moves.survival_s)
        if used + plots > near.shape[0]:
            near = np.concatenate((near, np.empty(used + plots, np.int64)))
        found = _candidates(bank, slot, t, look, order, places, widest, moves, near[used:])
        if found == 0:
            _miss(bank, slot, t, seen, sight, looked)
            continue
        used += found
        rows[count], seens[count] = slot, seen
        count += 1
        starts[count] = used
    return Gated(rows[:count], seens[:count], starts[: count + 1], near[:used])


@compiled
def _score(bank: Bank, gated: Gated, t: float, look: Look, moves: Moves, predicted: Predicted) -> Pairs:
    """Predict each gated state to the look; list its pairs that gain over its being missed."""
    size = gated.near.shape[0]
    pairs = Pairs(np.zeros(gated.starts.shape[0], np.int64), np.empty(size, np.int64), np.empty(size), np.empty(size))
    used = 0
    for i in range(gated.rows.shape[0]):
        slot = gated.rows[i]
        x, p, w = predicted.x[i], predicted.p[i], predicted.w[i]
        dt = max(t - bank.time_s[slot], 0.0)
        predict(bank.x[slot], bank.p[slot], bank.w[slot], dt, moves.noise, moves.turns, moves.rates, x, p, w)
        at = max(t, bank.time_s[slot])
        exists = 1.0 / (1.0 + math.exp(-bank.log_odds[slot]))
        base = math.log(max(exists, 1e-12)) - math.log(1.0 - min(exists * gated.seen[i], 0.999))
        seen_log = math.log(max(gated.seen[i], LEAST_SEEN))
        for k in range(gated.starts[i], gated.starts[i + 1]):
            j = gated.near[k]
            llr = _pair(slot, x, p, w, look, j, look.time_s[j] - at, moves) + seen_log
            gain = llr + base + _bonus(bank, slot, look, j, moves.conflict)
            if gain > 0.0:
                pairs.columns[used], pairs.gains[used], pairs.llrs[used] = j, gain, llr
                used += 1
        pairs.starts[i + 1] = used
    return pairs


@compiled
def _pair(slot: int, x: Array, p: Array, w: Array, look: Look, j: int, dt: float, moves: Moves) -> float:
    """Log-likelihood of plot ``j`` over clutter's, were the state seen for sure; −inf outside the gate."""
    if dt < -moves.retrodict_s:
        return -np.inf
    distance, value = _mixture(x, p, w, look, j, dt, moves.noise)
    gate = moves.gate * (2.0 if look.lock[j] == slot else 1.0)
    if not distance <= gate:
        return -np.inf
    return float(value - look.log_density[look.kind[j]])


@compiled
def _runner_up(rows: Index, pairs: Pairs, out: Outcome) -> None:
    """For each plot that was taken, the next best state that could have taken it."""
    for i in range(rows.shape[0]):
        for k in range(pairs.starts[i], pairs.starts[i + 1]):
            j = pairs.columns[k]
            if out.slot[j] != rows[i] and pairs.llrs[k] > out.second_llr[j]:
                out.second[j], out.second_llr[j] = rows[i], pairs.llrs[k]


@compiled
def scan(live: Index, bank: Bank, look: Look, sight: Sight, moves: Moves, t: float, looked: Array) -> Outcome:
    """Run one look at time ``t`` against the slots ``live``; updates the bank, returns what became of each plot.

    ``looked`` (C,) is when this sensor last looked at each slot; it is brought up to date.
    """
    plots, models = look.kind.shape[0], bank.w.shape[1]
    gated = _gate(live, bank, look, sight, moves, t, looked)
    rows = gated.rows.shape[0]
    predicted = Predicted(np.empty((rows, models, 4)), np.empty((rows, models, 4, 4)), np.empty((rows, models)))
    pairs = _score(bank, gated, t, look, moves, predicted)
    taken = assign(pairs.starts, pairs.columns[: pairs.starts[rows]], pairs.gains, plots)
    out = Outcome(np.full(plots, NONE), np.zeros(plots), np.full(plots, NONE), np.full(plots, -np.inf))
    for i in range(rows):
        slot, j = gated.rows[i], taken[i]
        if j == NONE:
            _miss(bank, slot, t, gated.seen[i], sight, looked)
            continue
        for k in range(pairs.starts[i], pairs.starts[i + 1]):
            if pairs.columns[k] == j:
                out.llr[j] = pairs.llrs[k]
        out.slot[j] = slot
        _apply(bank, slot, t, look, j, moves, predicted, i)
        bank.log_odds[slot] = min(bank.log_odds[slot] + out.llr[j], moves.max_log_odds)
        looked[slot] = max(looked[slot], t)
    _runner_up(gated.rows, pairs, out)
    return out
