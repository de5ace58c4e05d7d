"""One Gaussian state: (east, north, east velocity, north velocity) in m and m/s, predicted and updated in place.

Not here: several models at once (``imm.py``), several states (``scan.py``).

Rules: ``x`` is (4,), ``p`` is (4, 4) symmetric positive definite before and after; time steps are seconds. Updates use
Joseph's form, which keeps a covariance positive definite under rounding (Bucy & Joseph 1968). Log-likelihoods are
natural logarithms of densities per m², per (m/s)² or per rad.
"""

# ruff: noqa: PLR0917  compiled functions take arrays by position; numba knows no keyword-only arguments
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
def _joseph(x: Array, p: Array, h: Array, innovation: Array, r: Array, gain: Array) -> None:  # noqa: C901 plain loops of one product
    """x += K·ν; P ← (I − KH)·P·(I − KH)ᵀ + K·R·Kᵀ, in place; H is (m, 4), K is (4, m)."""
    m = h.shape[0]
    left = np.empty((4, 4))
    for i in range(4):
        for k in range(m):
            x[i] += gain[i, k] * innovation[k]
    for i in range(4):
        for j in range(4):
            value = p[i, j]
            for k in range(m):
                for n in range(4):
                    value -= gain[i, k] * h[k, n] * p[n, j]
            left[i, j] = value
    for i in range(4):
        for j in range(i + 1):
            value = left[i, j]
            for k in range(m):
                for n in range(4):
                    value -= left[i, n] * h[k, n] * gain[j, k]
                for n in range(m):
                    value += gain[i, k] * r[k, n] * gain[j, n]
            p[i, j] = value
            p[j, i] = value


@compiled
def update_pair(x: Array, p: Array, h: Array, innovation: Array, r: Array) -> float:
    """A two-valued linear measurement with H (2, 4) and noise ``r`` (2, 2); returns the log-likelihood."""
    ph = np.zeros((4, 2))
    for i in range(4):
        for k in range(2):
            for n in range(4):
                ph[i, k] += p[i, n] * h[k, n]
    s00, s01, s11 = r[0, 0], r[0, 1], r[1, 1]
    for n in range(4):
        s00 += h[0, n] * ph[n, 0]
        s01 += h[0, n] * ph[n, 1]
        s11 += h[1, n] * ph[n, 1]
    det = s00 * s11 - s01 * s01
    gain = np.empty((4, 2))
    for i in range(4):
        gain[i, 0] = (ph[i, 0] * s11 - ph[i, 1] * s01) / det
        gain[i, 1] = (ph[i, 1] * s00 - ph[i, 0] * s01) / det
    a, b = innovation[0], innovation[1]
    distance = (s11 * a * a - 2.0 * s01 * a * b + s00 * b * b) / det
    _joseph(x, p, h, innovation, r, gain)
    return float(-0.5 * distance - LOG_2PI - 0.5 * math.log(det))


@compiled
def update_single(x: Array, p: Array, h: Array, innovation: float, r: float) -> float:
    """A one-valued measurement with H (4,) and variance ``r``; returns the log-likelihood."""
    ph = np.zeros(4)
    for i in range(4):
        for n in range(4):
            ph[i] += p[i, n] * h[n]
    s = r
    for n in range(4):
        s += h[n] * ph[n]
    gain = np.empty((4, 1))
    for i in range(4):
        gain[i, 0] = ph[i] / s
    _joseph(x, p, h.reshape(1, 4), np.array([innovation]), np.array([[r]]), gain)
    return -0.5 * innovation * innovation / s - 0.5 * LOG_2PI - 0.5 * math.log(s)


@compiled
def wrap(angle: float) -> float:
    """``angle`` in radians brought to (−π, π]."""
    return math.atan2(math.sin(angle), math.cos(angle))


def polar_to_local(range_m: float, bearing_rad: float, cov: Any) -> tuple[tuple[float, float], Array]:
    """Range and bearing (clockwise from north) → ((east, north) from the sensor, covariance (2, 2) in m²).

    Unbiased conversion: Longbin, Xiaoquan, Yiyu et al., "Unbiased converted measurements for tracking", IEEE T-AES
    34(3) 1998, equations (4) and (8); exact for Gaussian errors of any size, also when range and bearing correlate
    little. ``cov`` is (2, 2): m², m·rad, rad².
    """
    rr, rb, bb = float(cov[0][0]), float(cov[0][1]), float(cov[1][1])
    sin, cos = math.sin(bearing_rad), math.cos(bearing_rad)
    lam, lam2 = math.exp(-bb / 2.0), math.exp(-2.0 * bb)
    east, north = range_m * sin / lam, range_m * cos / lam
    second = range_m * range_m + rr
    shrink = (1.0 / (lam * lam) - 2.0) * range_m * range_m
    c2 = cos * cos - sin * sin
    nn = shrink * cos * cos + 0.5 * second * (1.0 + lam2 * c2)
    ee = shrink * sin * sin + 0.5 * second * (1.0 - lam2 * c2)
    en = shrink * sin * cos + second * lam2 * sin * cos
    cross = rb * range_m
    return (east, north), np.array(
        [[ee + 2.0 * cross * sin * cos, en + cross * c2], [en + cross * c2, nn - 2.0 * cross * sin * cos]]
    )
