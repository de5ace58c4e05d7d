"""Two estimates whose errors may be the same errors, made one without counting anything twice: covariance intersection.

    P'⁻¹ = ω·P⁻¹ + (1 − ω)·Hᵀ·R⁻¹·H,   ω in (0, 1] the one that makes det P' least

Not here: whose estimates, and what they are called.

Rules: consistent if both are, whatever they share (Julier & Uhlmann, ACC 1997); what tells nothing new changes nothing
(ω = 1). The other estimate is a place; it says nothing of velocity.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from appliance.estimation.bank import NONE, Bank, Moves
from appliance.estimation.gating import remember
from appliance.estimation.gaussian import Array
from appliance.estimation.imm import merge, predict
from appliance.estimation.shared import carry_shared, tell_shared

_H: Final = np.eye(2, 4)
_LEAST: Final = 0.02
"""The least share that the state keeps: below, one foreign estimate would all but replace it."""
_SEARCH: Final = 24
_GOLDEN: Final = 0.6180339887498949


def weight(p: Array, r: Array) -> float:
    """ω for a state's covariance (4, 4) and a place's (2, 2); 1 where the place tells nothing."""
    inverse, told = np.linalg.inv(p), _H.T @ np.linalg.inv(r) @ _H

    def information(w: float) -> float:
        return float(np.linalg.slogdet(w * inverse + (1.0 - w) * told)[1])

    low, high = _LEAST, 1.0
    for _ in range(_SEARCH):  # log det is concave in ω
        one, two = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (one, high) if information(one) < information(two) else (low, two)
    best = 0.5 * (low + high)
    return best if information(best) > information(1.0) + 1e-9 else 1.0


def joined(x: Array, p: Array, z: Array, r: Array, w: float) -> tuple[Array, Array]:
    """State (4,) and covariance (4, 4) after intersecting the place (2,) of covariance (2, 2); ``w`` is below 1."""
    prior, noise = p / w, r / (1.0 - w)
    gain = prior[:, :2] @ np.linalg.inv(prior[:2, :2] + noise)
    keep = np.eye(4) - gain @ _H
    cov = keep @ prior @ keep.T + gain @ noise @ gain.T
    return x + gain @ (z - x[:2]), 0.5 * (cov + cov.T)


def intersect(bank: Bank, slot: int, z: Array, r: Array, t: float, moves: Moves) -> bool:
    """Bring a state to ``t``, not back, and intersect it with a place known there; whether that told anything new."""
    models = bank.w.shape[1]
    x, p, w = np.empty((models, 4)), np.empty((models, 4, 4)), np.empty(models)
    dt, ways = t - float(bank.time_s[slot]), int(bank.ways[slot])
    predict(
        bank.x[slot], bank.p[slot], bank.w[slot], max(dt, 0.0), moves.noise, moves.turns, moves.rates, x, p, w, ways
    )  # fmt: skip
    p = 0.5 * (p + np.swapaxes(p, 1, 2))
    mean, cov = np.empty(4), np.empty((4, 4))
    merge(x, p, w, mean, cov)
    if dt < 0.0:  # the place is older: carried on by what is known of the velocity
        late = float(moves.most_noise[ways]) * abs(dt) ** 3 / 3.0
        z, r = z - dt * mean[2:], r + dt * dt * cov[2:, 2:] + np.eye(2) * late
    share = weight(cov, r)
    if share >= 1.0:
        return False
    for m in range(models):
        x[m], p[m] = joined(x[m], p[m], z, r, share)
    bank.x[slot], bank.p[slot], bank.w[slot] = x, p, w
    merge(bank.x[slot], bank.p[slot], bank.w[slot], bank.mean[slot], bank.cov[slot])
    if bank.sharers[slot, 0] != NONE:
        _share(bank, slot, r, share, max(dt, 0.0))
    bank.time_s[slot] = max(t, float(bank.time_s[slot]))
    remember(bank, slot, moves.history_step_s)
    return True


def _share(bank: Bank, slot: int, r: Array, w: float, dt: float) -> None:
    """What the state's sensors share goes the way of its error: e ← P'·ω·P⁻¹·F·e, its square over ω as P's is."""
    forward = np.eye(4)
    forward[0, 2] = forward[1, 3] = dt
    keep = (np.eye(4) - (1.0 - w) * bank.cov[slot] @ _H.T @ np.linalg.inv(r) @ _H) @ forward
    carry_shared(bank, slot, keep / np.sqrt(w))
    tell_shared(bank, slot)
