"""One Gaussian state: (east, north, east velocity, north velocity) in m and m/s, predicted and updated in place.

Not here: several models at once (``imm.py``), several states (``scan.py``).

Rules: ``x`` is (4,), ``p`` is (4, 4) symmetric positive definite before and after; time steps are seconds. Updates use
Joseph's form, which keeps a covariance positive definite under rounding (Bucy & Joseph 1968). Log-likelihoods are
natural logarithms of densities per m², per (m/s)² or per rad.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.estimation.compiled import compiled

Array = npt.NDArray[np.float64]
LOG_2PI = math.log(2.0 * math.pi)

MANOEUVRE_S = 60.0
"""White acceleration for longer than this would let a ship reach the speed of an aircraft."""

TURN_S = 15.0
"""A turn at three degrees a second has gone half a circle by then."""


@compiled
def symmetrise(p: Array) -> None:
    """Make ``p`` exactly symmetric: the mean of it and its transpose, in place."""
    for i in range(p.shape[0]):
        for j in range(i):
            mean = 0.5 * (p[i, j] + p[j, i])
            p[i, j] = mean
            p[j, i] = mean


def is_positive_definite(p: Any) -> bool:
    """Whether ``p`` is finite, symmetric (to rounding) and positive definite."""
    matrix = np.asarray(p, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        return False
    scale = float(np.abs(matrix).max())
    if not np.allclose(matrix, matrix.T, rtol=1e-9, atol=1e-9 * scale):
        return False
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


@compiled
def predict_cv(x: Array, p: Array, dt: float, q: float) -> None:
    """Constant velocity for ``dt`` ≥ 0 s, white acceleration of density ``q`` m²/s³ on each axis, in place.

    Over a gap longer than `MANOEUVRE_S` the velocity's doubt stops growing and the position's grows as a random walk.
    """
    m = min(dt, MANOEUVRE_S)
    x[0] += dt * x[2]
    x[1] += dt * x[3]
    for i in range(2):
        for j in range(2):
            p[i, j] += dt * (p[i, j + 2] + p[i + 2, j]) + dt * dt * p[i + 2, j + 2]
    for i in range(2):
        for j in range(2):
            p[i, j + 2] += dt * p[i + 2, j + 2]
    for i in range(2):
        p[i, i] += q * dt * m * m / 3.0
        p[i, i + 2] += q * m * m / 2.0
        p[i + 2, i + 2] += q * m
    for i in range(2):
        for j in range(2):
            p[j + 2, i] = p[i, j + 2]
    symmetrise(p)


@compiled
def predict_turn(x: Array, p: Array, dt: float, q: float, turn: float) -> None:
    """A steady turn at ``turn`` rad/s (anticlockwise positive) for ``dt`` ≥ 0 s, noise as `predict_cv`, in place.

    Bar-Shalom, Li & Kirubarajan 2001, 11.7.1, with the turn rate known: then it is linear in this state. Nobody turns
    for longer than `TURN_S`; over a longer gap the thing goes straight on.
    """
    if dt <= 0.0 or dt > TURN_S or turn == 0.0:
        predict_cv(x, p, dt, q)
        return
    sin, cos = math.sin(turn * dt), math.cos(turn * dt)
    s, c = sin / turn, (1.0 - cos) / turn
    f = np.zeros((4, 4))
    f[0, 0] = f[1, 1] = 1.0
    f[0, 2], f[0, 3], f[1, 2], f[1, 3] = s, -c, c, s
    f[2, 2], f[2, 3], f[3, 2], f[3, 3] = cos, -sin, sin, cos
    _transform(x, p, f)
    for i in range(2):
        p[i, i] += q * dt * dt * dt / 3.0
        p[i, i + 2] += q * dt * dt / 2.0
        p[i + 2, i] += q * dt * dt / 2.0
        p[i + 2, i + 2] += q * dt


@compiled
def _transform(x: Array, p: Array, f: Array) -> None:
    """x ← F·x; P ← F·P·Fᵀ, in place, symmetric."""
    half, moved = np.zeros((4, 4)), np.zeros(4)
    for i in range(4):
        for k in range(4):
            moved[i] += f[i, k] * x[k]
            for j in range(4):
                half[i, j] += f[i, k] * p[k, j]
    x[:] = moved
    for i in range(4):
        for j in range(i + 1):
            value = 0.0
            for k in range(4):
                value += half[i, k] * f[j, k]
            p[i, j] = value
            p[j, i] = value


@compiled
def _joseph_pair(p: Array, ph: Array, gain: Array, h: tuple[float, float], r: Array) -> None:
    """P ← (I − KH)·P·(I − KH)ᵀ + K·R·Kᵀ with H = [a·I, b·I], in place; ``ph`` (P·Hᵀ) is overwritten."""
    a, b = h
    for i in range(4):
        for j in range(4):
            p[i, j] -= gain[i, 0] * ph[j, 0] + gain[i, 1] * ph[j, 1]
    for i in range(4):
        ph[i, 0], ph[i, 1] = a * p[i, 0] + b * p[i, 2], a * p[i, 1] + b * p[i, 3]
    for i in range(4):
        kr0 = gain[i, 0] * r[0, 0] + gain[i, 1] * r[1, 0] - ph[i, 0]
        kr1 = gain[i, 0] * r[0, 1] + gain[i, 1] * r[1, 1] - ph[i, 1]
        for j in range(i + 1):
            p[i, j] += kr0 * gain[j, 0] + kr1 * gain[j, 1]
    for i in range(4):
        for j in range(i):
            p[j, i] = p[i, j]


@compiled
def update_pair(x: Array, p: Array, z: tuple[float, float], h: tuple[float, float], r: Array, work: Array) -> float:
    """A measurement ``z`` = a·place + b·velocity (``h`` = (a, b)) with noise ``r`` (2, 2); the log-likelihood.

    A place Δt after the state has h = (1, Δt); a velocity has h = (0, 1). ``work`` (2, 4, 2) is scratch.
    """
    a, b = h
    ph, gain = work[0], work[1]
    for i in range(4):
        ph[i, 0], ph[i, 1] = a * p[i, 0] + b * p[i, 2], a * p[i, 1] + b * p[i, 3]
    s00 = r[0, 0] + a * ph[0, 0] + b * ph[2, 0]
    s01 = r[0, 1] + a * ph[0, 1] + b * ph[2, 1]
    s11 = r[1, 1] + a * ph[1, 1] + b * ph[3, 1]
    det = s00 * s11 - s01 * s01
    v0, v1 = z[0] - a * x[0] - b * x[2], z[1] - a * x[1] - b * x[3]
    distance = (s11 * v0 * v0 - 2.0 * s01 * v0 * v1 + s00 * v1 * v1) / det
    for i in range(4):
        gain[i, 0] = (ph[i, 0] * s11 - ph[i, 1] * s01) / det
        gain[i, 1] = (ph[i, 1] * s00 - ph[i, 0] * s01) / det
        x[i] += gain[i, 0] * v0 + gain[i, 1] * v1
    _joseph_pair(p, ph, gain, h, r)
    return float(-0.5 * distance - LOG_2PI - 0.5 * math.log(det))


@compiled
def update_single(x: Array, p: Array, h: Array, innovation: float, r: float) -> float:  # noqa: C901 plain loops
    """A one-valued measurement with H (4,) and variance ``r``, in Joseph's form; the log-likelihood."""
    ph, gain = np.zeros(4), np.empty(4)
    s = r
    for i in range(4):
        for n in range(4):
            ph[i] += p[i, n] * h[n]
    for i in range(4):
        s += h[i] * ph[i]
    for i in range(4):
        gain[i] = ph[i] / s
        x[i] += gain[i] * innovation
    for i in range(4):
        for j in range(4):
            p[i, j] -= gain[i] * ph[j]
    for i in range(4):
        ph[i] = 0.0
        for n in range(4):
            ph[i] += p[i, n] * h[n]
    for i in range(4):
        for j in range(4):
            p[i, j] += (gain[i] * r - ph[i]) * gain[j]
    symmetrise(p)
    return float(-0.5 * innovation * innovation / s - 0.5 * LOG_2PI - 0.5 * math.log(s))


@compiled
def wrap(angle: float) -> float:
    """``angle`` in radians brought to (−π, π]."""
    return math.atan2(math.sin(angle), math.cos(angle))
