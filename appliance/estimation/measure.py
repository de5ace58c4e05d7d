"""What sensors measure, turned into places in the plane with honest covariances; and what cannot be one, told apart.

Not here: where a sensor stands (the caller adds it), who measured.

Rules: every function takes all measurements of a look; bearings are clockwise from north; a verdict is one of the
codes below, and only `FINE` rows of the other outputs mean anything.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from appliance.estimation.bank import Index
from appliance.estimation.compiled import compiled
from appliance.estimation.gaussian import Array

FINE, BAD_VALUES, BAD_COVARIANCE, OUTSIDE = 0, 1, 2, 3

MIN_SIGMA_M = 0.05
MAX_SIGMA_M = 50_000.0
MAX_SIGMA_RAD = 1.0
MIN_SIGMA_RAD = 1e-5
MAX_ELEVATION_RAD = math.pi / 3.0


@compiled
def polar_to_local(
    range_m: float, bearing: float, rr: float, rb: float, bb: float
) -> tuple[float, float, float, float, float]:
    """(east, north, variance ee, en, nn) from the sensor, in m and m², of a range and bearing with this covariance.

    Unbiased conversion: Longbin, Xiaoquan, Yiyu et al., "Unbiased converted measurements for tracking", IEEE T-AES
    34(3) 1998, equations (4) and (8); exact for independent Gaussian errors of any size, and to first order where
    range and bearing correlate.
    """
    sin, cos = math.sin(bearing), math.cos(bearing)
    lam, lam2 = math.exp(-bb / 2.0), math.exp(-2.0 * bb)
    second = range_m * range_m + rr
    shrink = (1.0 / (lam * lam) - 2.0) * range_m * range_m
    c2, cross = cos * cos - sin * sin, rb * range_m
    ee = shrink * sin * sin + 0.5 * second * (1.0 - lam2 * c2) + 2.0 * cross * sin * cos
    nn = shrink * cos * cos + 0.5 * second * (1.0 + lam2 * c2) - 2.0 * cross * sin * cos
    en = shrink * sin * cos + second * lam2 * sin * cos + cross * c2
    return range_m * sin / lam, range_m * cos / lam, ee, en, nn


@compiled
def _finish(j: int, ee: float, en: float, nn: float, furthest_m: float, z: Array, r: Array) -> int:
    """Write the covariance, a little widened where it claims too much; the verdict on place and covariance."""
    if not (ee > 0.0 and nn > 0.0 and ee * nn > en * en and max(ee, nn) <= MAX_SIGMA_M**2):
        return BAD_COVARIANCE
    if not math.hypot(z[j, 0], z[j, 1]) <= furthest_m:
        return OUTSIDE
    r[j, 0, 0], r[j, 1, 1] = ee + MIN_SIGMA_M**2, nn + MIN_SIGMA_M**2
    r[j, 0, 1] = r[j, 1, 0] = en
    return FINE


def positions(values: Array, cov: Array, furthest_m: float) -> tuple[Array, Array, Index]:
    """Places (J, 2) in local metres and covariances (J, 2, 2) → (z, r, verdict)."""
    z, r, verdict = values.copy(), np.zeros(cov.shape), np.zeros(len(values), np.int64)
    _positions(cov, furthest_m, z, r, verdict)
    return z, r, verdict


@compiled
def _positions(cov: Array, furthest_m: float, z: Array, r: Array, verdict: Index) -> None:
    for j in range(z.shape[0]):
        en = 0.5 * (cov[j, 0, 1] + cov[j, 1, 0])
        verdict[j] = _finish(j, cov[j, 0, 0], en, cov[j, 1, 1], furthest_m, z, r)


def ranges_and_bearings(values: Array, cov: Array, origin: Array, furthest_m: float) -> tuple[Array, Array, Index]:
    """(range, bearing) (J, 2) seen from ``origin`` (J, 2), covariances (J, 2, 2) → (z, r, verdict)."""
    z, r, verdict = np.zeros(values.shape), np.zeros(cov.shape), np.zeros(len(values), np.int64)
    _ranges_and_bearings(values, cov, origin, furthest_m, z, r, verdict)
    return z, r, verdict


@compiled
def _ranges_and_bearings(
    values: Array, cov: Array, origin: Array, furthest_m: float, z: Array, r: Array, verdict: Index
) -> None:
    for j in range(values.shape[0]):
        rr, rb, bb = cov[j, 0, 0], 0.5 * (cov[j, 0, 1] + cov[j, 1, 0]), cov[j, 1, 1]
        if not (0.0 <= values[j, 0] <= furthest_m and abs(values[j, 1]) < math.inf):
            verdict[j] = BAD_VALUES
            continue
        if not (0.0 < rr <= MAX_SIGMA_M**2 and 0.0 < bb <= MAX_SIGMA_RAD**2 and rr * bb > rb * rb):
            verdict[j] = BAD_COVARIANCE
            continue
        east, north, ee, en, nn = polar_to_local(values[j, 0], values[j, 1], rr, rb, bb)
        z[j, 0], z[j, 1] = origin[j, 0] + east, origin[j, 1] + north
        verdict[j] = _finish(j, ee, en, nn, furthest_m, z, r)


def grounded(values: Array, cov: Array) -> tuple[Array, Array, Index]:
    """(slant range, bearing, elevation) (J, 3), covariances (J, 3, 3) → ground range and bearing, to first order.

    → ((J, 2), (J, 2, 2), verdict): above 60° of elevation the range says little of where it is, and it is refused.
    """
    r, elevation = values[:, 0], values[:, 2]
    usable = np.isfinite(values).all(axis=1) & (np.abs(elevation) <= MAX_ELEVATION_RAD)
    certain = _proper(cov)
    cos, sin = np.cos(np.where(usable, elevation, 0.0)), np.sin(np.where(usable, elevation, 0.0))
    h = np.zeros((len(values), 2, 3))
    h[:, 0, 0], h[:, 0, 2], h[:, 1, 1] = cos, -np.where(usable, r, 0.0) * sin, 1.0
    flat = np.column_stack((r * cos, values[:, 1]))
    safe = np.where(certain[:, None, None], cov, 0.0)
    return flat, h @ safe @ h.transpose(0, 2, 1), _verdict(usable, certain)


def rated(values: Array, cov: Array, fastest_mps: float) -> Index:
    """Verdict on the third value, a range rate (J, 3), with covariances (J, 3, 3)."""
    usable = np.abs(values[:, 2]) <= fastest_mps  # false for NaN too
    return _verdict(usable, _proper(cov))


def _proper(cov: Array) -> npt.NDArray[np.bool_]:
    """(J, 3, 3) → (J,) whether finite and of positive leading minors, which is positive definite where symmetric."""
    with np.errstate(invalid="ignore", over="ignore"):
        even = 0.5 * (cov + cov.transpose(0, 2, 1))
        finite = np.isfinite(even).all(axis=(1, 2)) & (np.abs(even).max(axis=(1, 2), initial=0.0) < MAX_SIGMA_M**2)
        safe = np.where(finite[:, None, None], even, 0.0)
        minors = [np.linalg.det(safe[:, :k, :k]) if len(safe) else np.zeros(0) for k in (1, 2, 3)]
    proper: npt.NDArray[np.bool_] = finite & (np.array(minors) > 0.0).all(axis=0)
    return proper


def _verdict(usable: npt.NDArray[np.bool_], certain: npt.NDArray[np.bool_]) -> Index:
    return np.where(usable, np.where(certain, FINE, BAD_COVARIANCE), BAD_VALUES)


def bearings(values: Array, cov: Array) -> tuple[Array, Array, Index]:
    """Bearings (J, 1) and variances (J, 1, 1) → (z, r, verdict); z is (bearing, 0), r carries the variance."""
    count = len(values)
    z, r, verdict = np.zeros((count, 2)), np.zeros((count, 2, 2)), np.zeros(count, np.int64)
    _bearings(values, cov, z, r, verdict)
    return z, r, verdict


@compiled
def _bearings(values: Array, cov: Array, z: Array, r: Array, verdict: Index) -> None:
    for j in range(values.shape[0]):
        variance = cov[j, 0, 0]
        if not abs(values[j, 0]) < math.inf:
            verdict[j] = BAD_VALUES
        elif not 0.0 < variance <= MAX_SIGMA_RAD**2:
            verdict[j] = BAD_COVARIANCE
        else:
            z[j, 0] = values[j, 0]
            r[j, 0, 0] = r[j, 1, 1] = max(variance, MIN_SIGMA_RAD**2)
