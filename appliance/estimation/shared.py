"""What is wrong in all plots of a sensor alike, carried beside the filter: a doubt that looking again does not shrink.

A camera that is turned a little wrong sees everything a little beside where it is, at each look the same. The filter
takes that error as new in each plot: its gains are right for the plot, its covariance is too small for the mean of
many. Here each state carries how far each sensor's shared errors have moved it, by the gains that the filter did use
(consider analysis: Schmidt, Advances in Control Systems 3, 1966; Tapley, Schutz & Born, Statistical Orbit
Determination, 2004, chapter 6; for tracking Novoselov et al., FUSION 2005):

    plot  z = H·x + noise + L·u,  u ~ N(0, I) once and for all for each sensor,  R = noise + L·Lᵀ
    A = (I − P⁺·Hᵀ·R⁻¹·H)·F,  K = P⁺·Hᵀ·R⁻¹,  P⁺ the merged covariance after the update
    shift   S ← A·S (+ K·L where the plot is of that sensor)
    twice   E ← A·E·Aᵀ + K·L·Lᵀ·Kᵀ   what P holds of shared errors as if they were new
    told    P − E + Σ S·Sᵀ over the sensors

K is how the mean of several models moves with a plot as well: the derivative of a posterior mean by a measurement with
Gaussian noise is the posterior's covariance times Hᵀ·R⁻¹ (Efron, JASA 106, 2011, on Tweedie's formula).

Not here: estimating a shared error; gates and likelihoods, which are those of the filter.

Rules: a state keeps `SHARERS` sensors apart; of more, the one that moves it least goes into a sum that knows no sensor
(``lost``). E is taken off the place and not off the velocity: a shift that is not quite the same everywhere moves a
thing that moves. Where rounding or several models have made E larger than P allows, it is forgotten, and more is told.
"""

from __future__ import annotations

import math

import numpy as np

from appliance.estimation.bank import BEARING, LOST, MORE, NONE, SHIFTS, TWICE, Bank, Look
from appliance.estimation.compiled import compiled, leaf
from appliance.estimation.gaussian import Array


@leaf
def shares(look: Look, j: int) -> bool:
    """Whether plot ``j`` has an error that it shares with its sensor's others."""
    return bool(look.shared[j, 0, 0] != 0.0 or look.shared[j, 0, 1] != 0.0 or
                look.shared[j, 1, 0] != 0.0 or look.shared[j, 1, 1] != 0.0)  # fmt: skip


@compiled
def begin_shared(bank: Bank, slot: int, look: Look, j: int, sensor: int) -> None:
    """A state that begins at plot ``j``: it lies off as far as the plot does, and its covariance says so already."""
    if bank.sharers[slot, 0] != NONE:
        bank.sharers[slot] = NONE
        bank.shares[slot] = 0.0
    if sensor == NONE or not shares(look, j):
        return
    bank.sharers[slot, 0] = sensor
    for a in range(2):
        for k in range(2):
            bank.shares[slot, SHIFTS + k, a] = look.shared[j, a, k]
            for b in range(2):
                bank.shares[slot, TWICE + a, b] += look.shared[j, a, k] * look.shared[j, b, k]


@leaf
def _add_line(h: Array, r: float, first: float, second: float, info: Array, seen: Array) -> None:
    """Add a one-valued measurement: h·hᵀ/r, and h/r times its shared part."""
    for a in range(4):
        for b in range(4):
            info[a, b] += h[a] * h[b] / r
        seen[a, 0] += h[a] * first / r
        seen[a, 1] += h[a] * second / r


@leaf
def _add_pair(h: tuple[float, float], r: tuple[float, float, float], shared: Array, info: Array, seen: Array) -> None:
    """Add a measurement of a·place + b·velocity (``h``) with covariance ``r`` (ee, en, nn)."""
    det = r[0] * r[2] - r[1] * r[1]
    i00, i01, i11 = r[2] / det, -r[1] / det, r[0] / det
    for a in range(2):
        for b in range(2):
            by = h[a] * h[b]
            info[2 * a, 2 * b] += by * i00
            info[2 * a, 2 * b + 1] += by * i01
            info[2 * a + 1, 2 * b] += by * i01
            info[2 * a + 1, 2 * b + 1] += by * i11
        for k in range(2):
            seen[2 * a, k] += h[a] * (i00 * shared[0, k] + i01 * shared[1, k])
            seen[2 * a + 1, k] += h[a] * (i01 * shared[0, k] + i11 * shared[1, k])


@compiled
def _measured(x: Array, look: Look, j: int, dt: float, q: float, info: Array, seen: Array) -> None:
    """Hᵀ·R⁻¹·H (4, 4) and Hᵀ·R⁻¹·L (4, 2) of plot ``j``, ``dt`` s after the state ``x``, as `scan` updates with it."""
    late = q * abs(dt) ** 3 / 3.0
    de, dn = -look.origin[j, 0], -look.origin[j, 1]
    shared = look.shared[j]
    if look.kind[j] == BEARING:
        de, dn = de + x[0] + dt * x[2], dn + x[1] + dt * x[3]
        d2 = max(de * de + dn * dn, 1.0)
        h = np.array([dn / d2, -de / d2, dt * dn / d2, -dt * de / d2])
        _add_line(h, look.r[j, 0, 0] + late / d2, shared[0, 0], shared[0, 1], info, seen)
        return
    _add_pair((1.0, dt), (look.r[j, 0, 0] + late, look.r[j, 0, 1], look.r[j, 1, 1] + late), shared, info, seen)
    if look.velocity_var[j] > 0.0:
        r = look.velocity_var[j] + q * abs(dt)
        _add_pair((0.0, 1.0), (r, 0.0, r), np.zeros((2, 2)), info, seen)
    if look.rate_var[j] > 0.0:
        de, dn = de + look.z[j, 0], dn + look.z[j, 1]
        d = max(math.sqrt(de * de + dn * dn), 1.0)
        _add_line(np.array([0.0, 0.0, de / d, dn / d]), look.rate_var[j] + q * abs(dt), 0.0, 0.0, info, seen)


@compiled
def update_shared(
    bank: Bank, slot: int, look: Look, j: int, dt: float, q: float, moved: tuple[float, float], sensor: int
) -> None:
    """After the slot was updated with plot ``j``, ``dt`` s after it, at acceleration density ``q``.

    ``moved`` is how the prediction before went: so much of the velocity came to the place (s), and stayed (share).
    """
    info, seen = np.zeros((4, 4)), np.zeros((4, 2))
    _measured(bank.mean[slot], look, j, dt, q, info, seen)
    keep, p = np.zeros((4, 4)), bank.cov[slot]
    for a in range(4):
        for b in range(4):
            keep[a, b] = 1.0 if a == b else 0.0
            for n in range(4):
                keep[a, b] -= p[a, n] * info[n, b]
        for b in range(2):
            keep[a, 2 + b] = keep[a, b] * moved[0] + keep[a, 2 + b] * moved[1]
    carry_shared(bank, slot, keep)
    if shares(look, j):
        _add(bank, slot, seen, sensor)
    tell_shared(bank, slot)


@compiled
def carry_shared(bank: Bank, slot: int, keep: Array) -> None:
    """The state's error became ``keep`` (4, 4) times what it was: so did all parts of it."""
    part = np.empty((4, 4))
    rows = bank.shares[slot]
    for k in range(SHIFTS, rows.shape[0]):
        for a in range(4):
            part[0, a] = 0.0
            for n in range(4):
                part[0, a] += keep[a, n] * rows[k, n]
        for a in range(4):
            rows[k, a] = part[0, a]
    _congruent(rows[TWICE : TWICE + 4], keep, part)
    _congruent(rows[LOST : LOST + 4], keep, part)


@leaf
def _congruent(m: Array, keep: Array, part: Array) -> None:
    """``m`` ← keep·m·keepᵀ, in place, exactly symmetric. ``part`` (4, 4) is scratch."""
    for a in range(4):
        for b in range(4):
            part[a, b] = 0.0
            for n in range(4):
                part[a, b] += keep[a, n] * m[n, b]
    for a in range(4):
        for b in range(a + 1):
            value = 0.0
            for n in range(4):
                value += part[a, n] * keep[b, n]
            m[a, b] = value
            m[b, a] = value


@compiled
def _add(bank: Bank, slot: int, seen: Array, sensor: int) -> None:
    """Add P⁺·``seen`` to the shift by this sensor, and its square to what P holds twice."""
    rows, gain = bank.shares[slot], np.zeros((4, 2))
    first = SHIFTS + 2 * _place_of(bank, slot, sensor)
    for a in range(4):
        for k in range(2):
            for n in range(4):
                gain[a, k] += bank.cov[slot, a, n] * seen[n, k]
            rows[first + k, a] += gain[a, k]
    for a in range(4):
        for b in range(4):
            rows[TWICE + a, b] += gain[a, 0] * gain[b, 0] + gain[a, 1] * gain[b, 1]


@leaf
def _place_of(bank: Bank, slot: int, sensor: int) -> int:
    """Where the shift by this sensor stands; it may have to take the place of the one that moves the state least."""
    rows, least, smallest = bank.shares[slot], 0, math.inf
    for k in range(bank.sharers.shape[1]):
        if bank.sharers[slot, k] == sensor:
            return k
        if bank.sharers[slot, k] == NONE:
            bank.sharers[slot, k] = sensor
            return k
        one, two = SHIFTS + 2 * k, SHIFTS + 2 * k + 1
        size = rows[one, 0] ** 2 + rows[one, 1] ** 2 + rows[two, 0] ** 2 + rows[two, 1] ** 2
        if size < smallest:
            least, smallest = k, size
    for row in range(SHIFTS + 2 * least, SHIFTS + 2 * least + 2):
        for a in range(4):
            for b in range(4):
                rows[LOST + a, b] += rows[row, a] * rows[row, b]
        for a in range(4):
            rows[row, a] = 0.0
    bank.sharers[slot, least] = sensor
    return least


@compiled
def tell_shared(bank: Bank, slot: int) -> None:
    """Sum up what is to be told beyond the filter's covariance."""
    rows, less = bank.shares[slot], np.empty((4, 4))
    for a in range(4):
        for b in range(4):
            less[a, b] = bank.cov[slot, a, b] - rows[TWICE + a, b]
    if not _is_positive(less):
        for a in range(4):
            for b in range(4):
                rows[TWICE + a, b] = 0.0
    for a in range(4):
        for b in range(4):
            value = rows[LOST + a, b]
            if a < 2 or b < 2:
                value -= rows[TWICE + a, b]
            for k in range(SHIFTS, rows.shape[0]):
                value += rows[k, a] * rows[k, b]
            rows[MORE + a, b] = value


@leaf
def _is_positive(m: Array) -> bool:
    """Whether ``m`` (4, 4) is positive definite, by Cholesky's elimination in place."""
    for k in range(4):
        if not m[k, k] > 0.0:
            return False
        for a in range(k + 1, 4):
            by = m[a, k] / m[k, k]
            for b in range(k, 4):
                m[a, b] -= by * m[k, b]
    return True
