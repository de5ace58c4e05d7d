"""Which states a look's plots might belong to, and what it says of states that it did not show. Compiled.

Rules: cheap boxes only; the exact distance is ``scan.py``'s. Plots are sorted by east, so a state meets only those in
its strip. Misses count only inside the sensor's field of view.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from appliance.estimation.bank import MORE, POSITION, Bank, Index, Look, Moves, Sight
from appliance.estimation.compiled import compiled, inlined, leaf
from appliance.estimation.gaussian import MANOEUVRE_S, Array, wrap

LATE_MISS_S = 2.0
"""A look that is older than the state by more than this says nothing of what it missed."""

MIN_VIEW = 0.02
"""Below this chance of being seen, a miss is not worth counting."""

FAR_OUT = 6.0
"""So many sigmas outside a view there is no chance left to be worth computing."""

BLIND = 1e-4
"""Below this chance of being seen, a plot is not this state's either."""

LEAST_SEEN = 0.05
"""At the edge of a view the chance of being seen is itself a guess; a plot there is not held against its state."""

HELD_LOG_ODDS = 1.0
"""How far a thing that goes on reporting itself is believed when other sensors miss it: 73 %."""


Rough = tuple[float, float, float, float]
"""East, north, and the variance of each."""


class Gated(NamedTuple):
    """States that some plot is near: slot, chance to be seen, and its plots ``near[starts[i]:starts[i + 1]]``."""

    rows: Index
    seen: Array
    starts: Index
    near: Index


@leaf
def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@inlined
def in_view(east: float, north: float, sigma: float, sight: Sight) -> float:
    """The chance that a thing about here (1-sigma each way) is in view; edges are soft by that sigma."""
    if sight.everywhere:
        return 1.0
    de, dn = east - sight.east, north - sight.north
    distance = math.sqrt(de * de + dn * dn)
    if distance > sight.far + FAR_OUT * sigma:
        return 0.0
    chance = _normal_cdf((sight.far - distance) / sigma)
    if sight.near > 0.0:
        chance *= _normal_cdf((distance - sight.near) / sigma)
    if sight.half < math.pi:
        off = abs(wrap(math.atan2(de, dn) - sight.heading))
        across = max(distance, sigma) * (sight.half - off)
        chance *= _normal_cdf(across / sigma)
    return chance


@inlined
def fade(bank: Bank, slot: int, t: float, survival_s: float) -> None:
    """Bring existence to ``t``: things leave at a steady rate."""
    dt = t - bank.odds_s[slot]
    if dt <= 0.0:
        return
    stay = math.exp(-dt / survival_s)
    odds = math.exp(bank.log_odds[slot])
    bank.log_odds[slot] = math.log(max(odds * stay / (1.0 + odds * (1.0 - stay)), 1e-300))
    bank.odds_s[slot] = t


@inlined
def _rough(bank: Bank, slot: int, t: float, noise: float) -> Rough:
    """Where a state is about to be: east, north, and the variances of each, without the models' detail."""
    dt = max(t - bank.time_s[slot], 0.0)
    m, c = bank.mean[slot], bank.cov[slot]
    grow = noise * dt * min(dt, MANOEUVRE_S) ** 2 / 3.0
    var_e = c[0, 0] + 2.0 * dt * c[0, 2] + dt * dt * c[2, 2] + grow
    var_n = c[1, 1] + 2.0 * dt * c[1, 3] + dt * dt * c[3, 3] + grow
    return m[0] + dt * m[2], m[1] + dt * m[3], max(var_e, 1e-6), max(var_n, 1e-6)


def by_east(look: Look) -> Index:
    """The plots' indices by east, bearings last."""
    if len(look.kind) == 1:
        return np.zeros(1, np.int64)
    return np.argsort(np.where(look.kind == POSITION, look.z[:, 0], np.inf), kind="stable")


@inlined
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


@inlined
def _candidates(
    bank: Bank, slot: int, rough: Rough, t: float, look: Look, order: Index, positions: int, widest: Array, gate: float,
    out: Index,
) -> int:  # fmt: skip
    """Plots that might belong to a state, by a cheap box; ``widest`` is what `_widest` says."""
    e, n, var_e, var_n = rough
    m = bank.mean[slot]
    off_s = widest[2] + max(bank.time_s[slot] - t, 0.0)
    wide = 2.0 * gate
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
        if off * off <= wide * (look.r[j, 0, 0] + spread) or spread > 1.0:
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


@inlined
def remember(bank: Bank, slot: int, step_s: float) -> None:
    """Keep where the thing was, at most once every ``step_s``, in a ring."""
    count = bank.past_next[slot]
    size = bank.past.shape[1]
    if count > 0 and bank.time_s[slot] < bank.past[slot, (count - 1) % size, 0] + step_s:
        return
    row = bank.past[slot, count % size]
    row[0] = bank.time_s[slot]
    for a in range(4):
        row[1 + a] = bank.mean[slot, a]
    more = bank.shares[slot]
    row[5], row[7] = bank.cov[slot, 0, 0] + more[MORE, 0], bank.cov[slot, 1, 1] + more[MORE + 1, 1]
    row[6] = bank.cov[slot, 0, 1] + more[MORE, 1]
    bank.past_next[slot] = count + 1


@inlined
def miss(bank: Bank, slot: int, t: float, seen: float, sight: Sight, looked: Array) -> None:
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
def _twice(near: Index, used: int, more: int) -> Index:
    """Room for twice as many and ``more``; the first ``used`` are kept."""
    larger = np.empty(2 * used + more, np.int64)
    for k in range(used):
        larger[k] = near[k]
    return larger


@compiled
def gate(bank: Bank, look: Look, order: Index, sight: Sight, moves: Moves, t: float, looked: Array) -> Gated:
    """Which states have a plot near them; what is in view and has none is missed here and now. ``order``: `by_east`."""
    plots, count_live, places = look.kind.shape[0], bank.counts[0], 0
    for j in range(plots):
        if look.kind[j] == POSITION:
            places += 1
    widest = _widest(look, t)
    rows, seens = np.empty(count_live, np.int64), np.empty(count_live)
    starts, near = np.zeros(count_live + 1, np.int64), np.empty(64 + 8 * plots, np.int64)
    count, used = 0, 0
    for i in range(count_live):
        slot = bank.live[i]
        rough = _rough(bank, slot, t, moves.most_noise[bank.ways[slot]])
        seen = sight.detection * in_view(rough[0], rough[1], math.sqrt(0.5 * (rough[2] + rough[3])) + 1.0, sight)
        if sight.misses and seen < BLIND:
            continue
        fade(bank, slot, t, moves.survival_s)
        if used + plots > near.shape[0]:
            near = _twice(near, used, plots)
        found = _candidates(bank, slot, rough, t, look, order, places, widest, moves.gate, near[used:])
        if found == 0:
            miss(bank, slot, t, seen, sight, looked)
            continue
        used += found
        rows[count], seens[count] = slot, seen
        count += 1
        starts[count] = used
    return Gated(rows[:count], seens[:count], starts[: count + 1], near[:used])
