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
"""Below this chance of being in view, a miss is not worth counting."""


class Outcome(NamedTuple):
    """By plot: the slot it updated (NONE), its log-likelihood ratio, and the runner-up slot with its ratio."""

    slot: Index
    llr: Array
    second: Index
    second_llr: Array


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
    value = look.lock_gain[j] if look.lock[j] == slot else 0.0
    for k in range(2):
        mine, its = bank.mobile[slot, k], look.mobile[j, k]
        if mine != NONE and its != NONE and mine != its:  # noqa: PLR1714 compiled
            value -= conflict
    return value


@compiled
def _first_east(look: Look, count: int, east: float) -> int:
    """The first of the ``count`` positions, sorted by east, that does not lie west of ``east``."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if look.z[look.order[middle], 0] < east:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _candidates(
    bank: Bank, slot: int, t: float, look: Look, positions: int, widest: Array, moves: Moves, out: Index
) -> int:
    """Plots that might belong to a state, by a cheap box; ``widest`` is what `_widest` says."""
    e, n, var_e, var_n = _rough(bank, slot, t, moves.noise.max())
    m = bank.mean[slot]
    off_s = widest[2] + max(bank.time_s[slot] - t, 0.0)
    wide = 2.0 * moves.gate
    reach_e = math.sqrt(wide * (var_e + widest[0])) + abs(m[2]) * off_s
    count = 0
    for k in range(_first_east(look, positions, e - reach_e), positions):
        j = look.order[k]
        if look.z[j, 0] > e + reach_e:
            break
        de, dn = abs(look.z[j, 0] - e) - abs(m[2]) * off_s, abs(look.z[j, 1] - n) - abs(m[3]) * off_s
        if de * abs(de) <= wide * (var_e + look.r[j, 0, 0]) and dn * abs(dn) <= wide * (var_n + look.r[j, 1, 1]):
            out[count] = j
            count += 1
    for k in range(positions, look.order.shape[0]):
        j = look.order[k]
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
def _apply(bank: Bank, slot: int, t: float, look: Look, j: int, moves: Moves, predicted: tuple[Array, Array, Array]) -> None:  # fmt: skip
    """Put the predicted state, updated with plot ``j``, into the bank."""
    bank.x[slot], bank.p[slot], bank.w[slot] = predicted
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
    """Hold it against the state that a look at its place did not show it."""
    share = 1.0
    if sight.correlation_s > 0.0:
        share = min(1.0, max(t - looked[slot], 0.0) / sight.correlation_s)
    bank.log_odds[slot] += share * math.log(1.0 - min(seen, 0.999))
    if t < bank.held_s[slot]:
        bank.log_odds[slot] = max(bank.log_odds[slot], 1.0)


@compiled
def _score(
    bank: Bank, slot: int, t: float, seen: float, look: Look, moves: Moves, near: Index,
    predicted: tuple[Array, Array, Array], columns: Index, gains: Array, llrs: Array, used: int,
) -> int:  # fmt: skip
    """Append the state's worthwhile pairs with their gain over being missed; returns how many pairs there are now."""
    x, p, w = predicted
    at = max(t, bank.time_s[slot])
    odds = math.exp(min(bank.log_odds[slot], 30.0))
    exists = odds / (1.0 + odds)
    base = math.log(max(exists, 1e-12)) - math.log(1.0 - min(exists * seen, 0.999))
    seen_log = math.log(max(seen, 0.05))
    for k in range(near.shape[0]):
        j = near[k]
        if look.time_s[j] - at < -moves.retrodict_s:
            continue
        distance, value = _mixture(x, p, w, look, j, look.time_s[j] - at, moves.noise)
        locked = look.lock[j] == slot
        if not distance <= moves.gate * (2.0 if locked else 1.0):
            continue
        llr = value + seen_log - look.log_density[j]
        gain = llr + base + _bonus(bank, slot, look, j, moves.conflict)
        if gain > 0.0:
            columns[used], gains[used], llrs[used] = j, gain, llr
            used += 1
    return used


@compiled
def _runner_up(rows: Index, starts: Index, columns: Index, llrs: Array, out: Outcome) -> None:
    """For each plot that was taken, the next best state that could have taken it."""
    for i in range(rows.shape[0]):
        for k in range(starts[i], starts[i + 1]):
            j = columns[k]
            if out.slot[j] != rows[i] and llrs[k] > out.second_llr[j]:
                out.second[j], out.second_llr[j] = rows[i], llrs[k]


@compiled
def scan(live: Index, bank: Bank, look: Look, sight: Sight, moves: Moves, t: float, looked: Array) -> Outcome:
    """Run one look at time ``t`` against the slots ``live``; updates the bank, returns what became of each plot.

    ``looked`` (C,) is when this sensor last looked at each slot; it is brought up to date.
    """
    plots = look.kind.shape[0]
    out = Outcome(np.full(plots, NONE), np.zeros(plots), np.full(plots, NONE), np.full(plots, -np.inf))
    models = bank.w.shape[1]
    noise = moves.noise.max()
    positions = int((look.kind == POSITION).sum())
    rows, starts, seens = (
        np.empty(live.shape[0], np.int64),
        np.zeros(live.shape[0] + 1, np.int64),
        np.zeros(live.shape[0]),
    )
    xs, ps, ws = np.empty((live.shape[0], models, 4)), np.empty((live.shape[0], models, 4, 4)), np.empty((live.shape[0], models))  # fmt: skip
    columns, gains, llrs = np.empty(64 + 4 * plots, np.int64), np.empty(64 + 4 * plots), np.empty(64 + 4 * plots)
    near, widest = np.empty(plots, np.int64), _widest(look, t)
    used, count = 0, 0
    for i in range(live.shape[0]):
        slot = live[i]
        seen = _detection(bank, slot, t, sight, noise)
        if sight.misses and seen < 1e-4:
            continue
        late = max(bank.time_s[slot] - t, 0.0)
        found = _candidates(bank, slot, t, look, positions, widest, moves, near) if plots else 0
        fade(bank, slot, t, moves.survival_s)
        if found == 0:
            if sight.misses and seen > MIN_VIEW and late < LATE_MISS_S:
                _miss(bank, slot, t, seen, sight, looked)
            looked[slot] = max(looked[slot], t)
            continue
        if used + found > columns.shape[0]:
            more = columns.shape[0] + found
            columns = np.concatenate((columns, np.empty(more, np.int64)))
            gains, llrs = np.concatenate((gains, np.empty(more))), np.concatenate((llrs, np.empty(more)))
        dt = max(t - bank.time_s[slot], 0.0)
        predict(bank.x[slot], bank.p[slot], bank.w[slot], dt, moves.noise, moves.rates, xs[count], ps[count], ws[count])
        used = _score(bank, slot, t, seen, look, moves, near[:found], (xs[count], ps[count], ws[count]), columns, gains, llrs, used)  # fmt: skip
        rows[count], seens[count] = slot, seen
        count += 1
        starts[count] = used
    taken = assign(starts[: count + 1], columns[:used], gains[:used], plots)
    _settle(bank, rows[:count], starts, columns, llrs, taken, seens, t, look, sight, moves, (xs, ps, ws), looked, out)
    return out


@compiled
def _settle(
    bank: Bank, rows: Index, starts: Index, columns: Index, llrs: Array, taken: Index, seens: Array, t: float,
    look: Look, sight: Sight, moves: Moves, predicted: tuple[Array, Array, Array], looked: Array, out: Outcome,
) -> None:  # fmt: skip
    """Update the states that were assigned a plot; count a miss for those that might have been and were not."""
    for i in range(rows.shape[0]):
        slot, j = rows[i], taken[i]
        if j == NONE:
            late = bank.time_s[slot] - t
            if sight.misses and seens[i] > MIN_VIEW and late < LATE_MISS_S:
                _miss(bank, slot, t, seens[i], sight, looked)
        else:
            for k in range(starts[i], starts[i + 1]):
                if columns[k] == j:
                    out.llr[j] = llrs[k]
            out.slot[j] = slot
            _apply(bank, slot, t, look, j, moves, (predicted[0][i], predicted[1][i], predicted[2][i]))
            bank.log_odds[slot] = min(bank.log_odds[slot] + out.llr[j], moves.max_log_odds)
        looked[slot] = max(looked[slot], t)
    _runner_up(rows, starts, columns, llrs, out)
