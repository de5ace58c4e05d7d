"""Where a camera looks, from things whose places are known: heading, pitch, roll, and the focal length on request.

    pixel ↔ place pairs, camera as far as known ─ start ─ Gauss–Newton, robust ─ pose, covariance, residuals

Not here: which detection belongs to which vessel (``sightings.py``), lens distortion and the optical centre (a
calibration board at the bench gives those), the camera's own place (a survey or its GNSS receiver does).

Rules: angles are those of ``optics.py``. Errors of single points are weighed against each other; errors that all
points share (the camera's own place and height) are added to the covariance afterwards and do not shrink with more
points. Geometry that does not determine what is asked for is refused with `BadRecord`, reason ``geometry``.

Sources: Gauss–Newton with Huber weights (Huber 1981 §7.8; Hartley & Zisserman 2004 A6.1); a common error's share by
first-order propagation through the same normal equations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from appliance.domain import Geodetic
from appliance.errors import BadRecord
from appliance.geodesy import LocalFrame
from appliance.tracking.camera import project
from appliance.tracking.optics import Array, CameraModel

LEAST_POINTS: Final = 3
MAX_POINTS: Final = 100_000
_ROUNDS: Final = 60
_STEP: Final = 1e-6
_HUBER: Final = 2.0
"""Standard deviations beyond which a residual counts only linearly."""
_STARTS: Final = 5
#: What must be known at least for a pose to be of use: standard deviations of heading, pitch, roll, and log focal.
_WORST: Final = (math.radians(1.0), math.radians(1.0), math.radians(5.0), 0.1)
_NAMES: Final = ("heading", "pitch", "roll", "focal length")
_LEAST_SPREAD: Final = 0.05
"""Of the picture's diagonal: points that lie closer together are one point."""
_MAX_RMS_PX: Final = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPoint:
    """One place and the pixel that shows it; ``sigma_m`` and ``sigma_px`` are of each axis."""

    pixel: tuple[float, float]
    place: Geodetic
    sigma_m: float = 1.0
    sigma_px: float = 2.0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was found. ``covariance`` is 3×3 (heading, pitch, roll; rad²) or 4×4 with the log of the focal length."""

    camera: CameraModel
    covariance: tuple[tuple[float, ...], ...]
    residuals_px: tuple[tuple[float, float], ...]
    used: tuple[bool, ...]
    """Points within three standard deviations; the others were held off."""

    @property
    def rms_px(self) -> float:
        """Of the points that were used, each axis."""
        kept = [r for r, ok in zip(self.residuals_px, self.used, strict=True) if ok]
        return math.sqrt(sum(x * x + y * y for x, y in kept) / max(2 * len(kept), 1))

    @property
    def sigmas(self) -> tuple[float, ...]:
        """One standard deviation of each, in the order of ``covariance``."""
        return tuple(math.sqrt(self.covariance[i][i]) for i in range(len(self.covariance)))


def calibrate(points: Sequence[KnownPoint], camera: CameraModel, *, focal: bool = False) -> Calibration:
    """The pose that fits ``points`` best; place and lens are those of ``camera``, its angles are not used.

    Raises `BadRecord` (``geometry``) where points are too few, too close together, or leave an angle open, and
    ``misfit`` where no pose fits them.
    """
    _check(points, camera)
    size = 4 if focal else 3
    found = [_descend(points, start, size) for start in _starts(points, camera)]
    best, _ = min((fit for fit in found if fit is not None), key=lambda fit: fit[1], default=(None, 0.0))
    if best is None:
        raise BadRecord("geometry", "expected places that a camera there could see; no pose brings all into its view")
    return _judged(points, best, size)


def _check(points: Sequence[KnownPoint], camera: CameraModel) -> None:
    if not LEAST_POINTS <= len(points) <= MAX_POINTS:
        raise BadRecord("geometry", f"expected {LEAST_POINTS} to {MAX_POINTS} points; found {len(points)}")
    for point in points:
        numbers = (*point.pixel, point.sigma_m, point.sigma_px)
        if not all(math.isfinite(x) for x in numbers) or point.sigma_px <= 0.0 or point.sigma_m < 0.0:
            raise BadRecord("values", f"expected finite numbers and sigmas above 0; found {point}")
    pixels = np.array([point.pixel for point in points])
    spread = float(np.linalg.norm(np.ptp(pixels, axis=0))) / math.hypot(camera.width_px, camera.height_px)
    if spread < _LEAST_SPREAD:
        raise BadRecord("geometry", f"expected points spread over the picture; they lie within {spread:.1%} of it")


def _starts(points: Sequence[KnownPoint], camera: CameraModel) -> list[CameraModel]:
    """Level cameras that look where the points lie, from several of them, lest one wrong point mislead the search."""
    frame = LocalFrame(camera.pose)
    chosen = [points[i] for i in np.unique(np.linspace(0, len(points) - 1, _STARTS).round().astype(int))]
    out = []
    for point in chosen:
        east, north, up = frame.local(point.place)
        across = math.atan2(point.pixel[0] - camera.cx_px, camera.fx_px)
        down = math.atan2(point.pixel[1] - camera.cy_px, camera.fy_px)
        heading = math.atan2(east, north) - across
        pitch = math.atan2(-up, math.hypot(east, north)) - down
        out.append(dataclasses.replace(camera, heading_rad=heading % math.tau, pitch_rad=pitch, roll_rad=0.0))
    return out


def _moved(camera: CameraModel, change: Array) -> CameraModel:
    stretch = math.exp(float(change[3])) if len(change) > 3 else 1.0
    return dataclasses.replace(
        camera,
        heading_rad=(camera.heading_rad + float(change[0])) % math.tau,
        pitch_rad=camera.pitch_rad + float(change[1]),
        roll_rad=math.remainder(camera.roll_rad + float(change[2]), math.tau),
        fx_px=camera.fx_px * stretch,
        fy_px=camera.fy_px * stretch,
    )


def _seen(points: Sequence[KnownPoint], camera: CameraModel) -> Array:
    """(N, 2) pixels; NaN behind the lens."""
    places = [point.place for point in points]
    pixels, _ = project(
        [p.latitude_deg for p in places], [p.longitude_deg for p in places], [p.altitude_m for p in places], camera
    )
    return pixels


def _residuals(points: Sequence[KnownPoint], camera: CameraModel) -> Array | None:
    residuals: Array = _seen(points, camera) - np.array([point.pixel for point in points])
    return residuals if np.isfinite(residuals).all() else None


def _jacobian(points: Sequence[KnownPoint], camera: CameraModel, size: int) -> Array:
    """(N, 2, size): how pixels change with the parameters."""
    steps = np.eye(size) * _STEP
    columns = [(_seen(points, _moved(camera, s)) - _seen(points, _moved(camera, -s))) / (2 * _STEP) for s in steps]
    return np.stack(columns, axis=2)


def _whitening(points: Sequence[KnownPoint], camera: CameraModel) -> Array:
    """(N, 2, 2) inverse Cholesky factors of each pixel's covariance: its own error and that of the place it shows."""
    frame = LocalFrame(camera.pose)
    here = _seen(points, camera)
    slopes = []
    for axis in range(2):
        moved = []
        for point in points:
            east, north, up = frame.local(point.place)
            moved.append(dataclasses.replace(point, place=frame.position(east + (axis == 0), north + (axis == 1), up)))
        slopes.append(_seen(moved, camera) - here)
    lever = np.nan_to_num(np.stack(slopes, axis=2))
    sigma_m, sigma_px = (np.array([getattr(p, name) for p in points]) for name in ("sigma_m", "sigma_px"))
    cov = lever @ np.swapaxes(lever, 1, 2) * (sigma_m**2)[:, None, None] + np.eye(2) * (sigma_px**2)[:, None, None]
    return np.linalg.inv(np.linalg.cholesky(cov))


def _huber(white: Array) -> Array:
    """(N,) weights of whitened residuals (N, 2)."""
    far = np.linalg.norm(white, axis=1)
    return np.where(far <= _HUBER, 1.0, _HUBER / np.maximum(far, _HUBER))


def _cost(white: Array) -> float:
    far = np.linalg.norm(white, axis=1)
    return float(np.where(far <= _HUBER, 0.5 * far**2, _HUBER * (far - 0.5 * _HUBER)).sum())


def _descend(points: Sequence[KnownPoint], camera: CameraModel, size: int) -> tuple[CameraModel, float] | None:
    """Levenberg–Marquardt from one start; (camera, cost), None where a point is not in front of the lens there."""
    damping, residuals = 1e-3, _residuals(points, camera)
    if residuals is None:
        return None
    root = _whitening(points, camera)
    cost = _cost(np.einsum("nij,nj->ni", root, residuals))
    for _ in range(_ROUNDS):
        normal, gradient = _equations(points, camera, size, root, residuals)
        scale = np.diag(np.diag(normal) + 1e-12)
        change = -np.linalg.solve(normal + damping * scale, gradient)
        tried = _moved(camera, np.clip(change, -0.3, 0.3))
        left = _residuals(points, tried)
        new = math.inf if left is None else _cost(np.einsum("nij,nj->ni", root, left))
        if left is None or new > cost:
            damping *= 10.0
            if damping > 1e12:
                break
            continue
        done = cost - new < 1e-12 * (1.0 + cost)
        camera, residuals, cost, damping = tried, left, new, max(damping / 10.0, 1e-12)
        if done:
            break
    return camera, cost


def _equations(
    points: Sequence[KnownPoint], camera: CameraModel, size: int, root: Array, residuals: Array
) -> tuple[Array, Array]:
    """Normal matrix and gradient, with Huber's weights."""
    white, slope = np.einsum("nij,nj->ni", root, residuals), root @ _jacobian(points, camera, size)
    weight = _huber(white)
    normal = np.einsum("n,nki,nkj->ij", weight, slope, slope)
    return normal, np.einsum("n,nki,nk->i", weight, slope, white)


def _judged(points: Sequence[KnownPoint], camera: CameraModel, size: int) -> Calibration:
    """The fit with its covariance; refuses one that leaves an angle open or fits nothing."""
    residuals = _residuals(points, camera)
    assert residuals is not None
    root = _whitening(points, camera)
    white = np.einsum("nij,nj->ni", root, residuals)
    normal, _ = _equations(points, camera, size, root, residuals)
    used = np.linalg.norm(white, axis=1) <= 3.0
    if np.linalg.cond(normal) > 1e13:
        raise BadRecord("geometry", "expected points that fix the pose; these leave a combination of angles open")
    freedom = max(2 * int(used.sum()) - size, 1)
    worse = max(1.0, float((white[used] ** 2).sum()) / freedom)  # residuals larger than was said of the points
    covariance = np.linalg.inv(normal) * worse + _common(points, camera, size, root, normal)
    sigmas = np.sqrt(np.diag(covariance))
    for name, sigma, worst in zip(_NAMES, sigmas, _WORST, strict=False):
        if not sigma <= worst:
            how = f"{math.degrees(sigma):.1f}°" if name != "focal length" else f"{sigma:.0%}"
            raise BadRecord("geometry", f"expected points that fix the {name}; these leave it open by {how}")
    found = Calibration(
        camera=_with_sigmas(camera, sigmas),
        covariance=tuple(tuple(float(x) for x in row) for row in covariance),
        residuals_px=tuple((float(x), float(y)) for x, y in residuals),
        used=tuple(bool(x) for x in used),
    )
    if used.sum() < max(LEAST_POINTS, len(points) / 2) or found.rms_px > _MAX_RMS_PX:
        raise BadRecord("misfit", f"expected one pose to fit most points; {int(used.sum())} of {len(points)} agree")
    return found


def _common(points: Sequence[KnownPoint], camera: CameraModel, size: int, root: Array, normal: Array) -> Array:
    """(size, size) what the camera's own error of place and height, one for all points, does to the parameters."""
    slope = root @ _jacobian(points, camera, size)
    weight = _huber(np.einsum("nij,nj->ni", root, _seen(points, camera) - np.array([p.pixel for p in points])))
    frame, here, out = LocalFrame(camera.pose), _seen(points, camera), np.zeros((size, size))
    for shift in np.eye(3):
        there = dataclasses.replace(camera, pose=frame.position(*(float(x) for x in shift)))
        moved = root @ (_seen(points, there) - here)[:, :, None]
        gain = np.linalg.solve(normal, np.einsum("n,nki,nk->i", weight, slope, moved[:, :, 0]))
        out += np.outer(gain, gain) * camera.sigma_position_m**2
    return out


def _with_sigmas(camera: CameraModel, sigmas: Array) -> CameraModel:
    heading, pitch, roll = (max(float(x), math.radians(0.01)) for x in sigmas[:3])
    return dataclasses.replace(camera, sigma_heading_rad=heading, sigma_pitch_rad=pitch, sigma_roll_rad=roll)
