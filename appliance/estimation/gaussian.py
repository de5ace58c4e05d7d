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

from appliance.estimation.compiled import compiled, leaf

Array = npt.NDArray[np.float64]
LOG_2PI = math.log(2.0 * math.pi)

MANOEUVRE_S = 60.0
"""White acceleration for longer than this would let a ship reach the speed of an aircraft."""

TURN_S = 15.0
"""A turn at three degrees a second has gone half a circle by then."""

STANDING = math.inf
"""The turn rate of what gets nowhere: moored, or standing about."""


@leaf
def put(x: Array, p: Array, x_out: Array, p_out: Array) -> None:
    """Copy a state number by number: where a part of an array is copied whole, numba adds pages of code to guard it."""
    for i in range(4):
        x_out[i] = x[i]
        for j in range(4):
            p_out[i, j] = p[i, j]


@leaf
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


@leaf
def steps(dt: float, q: float, turn: float, out: Array) -> None:
    """The numbers of a prediction over ``dt`` ≥ 0 s into ``out`` (7,): how velocity moves the place (s, c) and turns
    (sin, cos), and the noise of place, of place with velocity, and of velocity.

    Straight: Bar-Shalom, Li & Kirubarajan 2001, 6.2.2. A steady turn at ``turn`` rad/s (anticlockwise positive): 11.7.1
    there, with the turn rate known; then it is linear in this state. Nobody turns for longer than `TURN_S`: over a
    longer gap the thing goes straight on. Over a gap longer than `MANOEUVRE_S` the velocity's doubt stops growing and
    the position's grows as a random walk. What is `STANDING` has no velocity but a variance of it, ``q`` m²/s², and its
    place walks at random by ``q`` m²/s.
    """
    if turn == STANDING and dt > 0.0:
        out[0], out[1], out[2], out[3], out[4], out[5], out[6] = 0.0, 0.0, 0.0, 0.0, q * dt, 0.0, q
        return
    out[0], out[1], out[2], out[3] = dt, 0.0, 0.0, 1.0
    if 0.0 < dt <= TURN_S and turn != 0.0:
        out[2], out[3] = math.sin(turn * dt), math.cos(turn * dt)
        out[0], out[1] = out[2] / turn, (1.0 - out[3]) / turn
    m = min(dt, MANOEUVRE_S)
    out[4], out[5], out[6] = q * dt * m * m / 3.0, q * m * m / 2.0, q * m


@leaf
def move(x: Array, p: Array, step: Array) -> None:
    """x ← F·x; P ← F·P·Fᵀ + Q, in place, symmetric; ``step`` (7,) is what `steps` wrote. F = [[I, A], [0, B]]."""
    s, c, sin, cos = step[0], step[1], step[2], step[3]
    ve, vn = x[2], x[3]
    x[0] += s * ve - c * vn
    x[1] += c * ve + s * vn
    x[2], x[3] = cos * ve - sin * vn, sin * ve + cos * vn
    v00, v01, v11 = p[2, 2], p[2, 3], p[3, 3]
    av00, av01, av10, av11 = s * v00 - c * v01, s * v01 - c * v11, c * v00 + s * v01, c * v01 + s * v11
    m00, m01, m10, m11 = p[0, 2], p[0, 3], p[1, 2], p[1, 3]
    p[0, 0] += 2.0 * (s * m00 - c * m01) + s * av00 - c * av01 + step[4]
    p[1, 1] += 2.0 * (c * m10 + s * m11) + c * av10 + s * av11 + step[4]
    p[0, 1] += s * m10 - c * m11 + c * m00 + s * m01 + c * av00 + s * av01
    m00, m01, m10, m11 = m00 + av00, m01 + av01, m10 + av10, m11 + av11
    p[0, 2], p[0, 3] = cos * m00 - sin * m01 + step[5], sin * m00 + cos * m01
    p[1, 2], p[1, 3] = cos * m10 - sin * m11, sin * m10 + cos * m11 + step[5]
    p[2, 2] = cos * cos * v00 - 2.0 * sin * cos * v01 + sin * sin * v11 + step[6]
    p[3, 3] = sin * sin * v00 + 2.0 * sin * cos * v01 + cos * cos * v11 + step[6]
    p[2, 3] = sin * cos * (v00 - v11) + (cos * cos - sin * sin) * v01
    for i in range(4):
        for j in range(i):
            p[i, j] = p[j, i]


@compiled
def predict_turn(x: Array, p: Array, dt: float, q: float, turn: float) -> None:
    """Predict one state for ``dt`` ≥ 0 s, turning at ``turn`` rad/s, white acceleration of density ``q`` m²/s³."""
    step = np.empty(7)
    steps(dt, q, turn, step)
    move(x, p, step)


@compiled
def predict_cv(x: Array, p: Array, dt: float, q: float) -> None:
    """`predict_turn`, straight on."""
    predict_turn(x, p, dt, q, 0.0)


@leaf
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


@leaf
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


@leaf
def wrap(angle: float) -> float:
    """``angle`` in radians brought to (−π, π]."""
    return math.atan2(math.sin(angle), math.cos(angle))
