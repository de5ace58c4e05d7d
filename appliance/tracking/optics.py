"""A fixed camera: pose, lens, and the ray that belongs to a pixel. Pin-hole with Brown–Conrady distortion.

Not here: the ground (``camera.py``), zoom, rolling shutter, fisheye lenses beyond the polynomial's reach.

Rules: camera axes are x right, y down, z forward. Heading is clockwise from true north, pitch positive downward, roll
positive when the right side of the camera dips; heading is applied first. Pixels are those of boxes: (0, 0) is the
picture's upper left corner, so the middle of the upper left pixel is (0.5, 0.5). Rays are (east, north, up) at the
camera. A lens polynomial turns over somewhere outside the picture; beyond that no pixel has a ray.

Sources: Brown 1971 and Conrady 1919 as in OpenCV's ``calib3d``; refraction by an effective Earth radius (coefficient
0.13, Brunner 1984: the usual value for light over land and sea; a radio horizon would take 0.25).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from appliance.domain import Geodetic
from appliance.geodesy import LocalFrame

Array = npt.NDArray[np.float64]

UNDISTORT_TOLERANCE_PX: Final = 0.05
"""A ray that does not lead back to its pixel this closely is none."""
_ITERATIONS: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-12)
_NO_POWER: Final = 1e-12
"""A coefficient this small bends nothing within a right angle."""
_NEAR_M: Final = 1e-3
"""Points nearer to the camera's own plane than this count as behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraModel:
    """Where a camera stands, how it looks, and how well that is known. Sigmas are one standard deviation."""

    pose: Geodetic
    heading_rad: float
    pitch_rad: float
    roll_rad: float = 0.0
    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """k1, k2, p1, p2, k3."""
    sigma_heading_rad: float = 0.005
    sigma_pitch_rad: float = 0.005
    sigma_roll_rad: float = 0.005
    sigma_position_m: float = 1.0
    """Of each axis, height included."""
    sigma_terrain_m: float = 1.0
    """Of the height of the ground, or of the sea with its swell and tide."""
    ground_altitude_m: float = 0.0
    max_range_m: float = 5_000.0
    refraction: float = 0.13

    def __post_init__(self) -> None:
        if not (self.width_px > 0 and self.height_px > 0 and self.fx_px > 0.0 and self.fy_px > 0.0):
            raise ValueError("a camera needs a picture and focal lengths above 0")
        if not (self.max_range_m > 0.0 and 0.0 <= self.refraction < 1.0):
            raise ValueError("expected max_range_m above 0 and refraction from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Optics:
    """What follows from a `CameraModel` and does not change; rows of ``axes`` are the camera's x, y, z in the world."""

    frame: LocalFrame
    axes: Array
    level_right: Array
    height_m: float
    """Of the camera above the ground that things stand on."""
    curvature_per_m: float
    """One over the effective radius of the Earth, refraction included, along the camera's heading."""
    widest: float
    """The largest squared tangent off the axis that the lens polynomial still maps one to one."""


@lru_cache(maxsize=256)
def optics(camera: CameraModel) -> Optics:
    """The derived values of one camera."""
    axes, level_right = _axes(camera.heading_rad, camera.pitch_rad, camera.roll_rad)
    return Optics(
        frame=LocalFrame(camera.pose),
        axes=axes,
        level_right=level_right,
        height_m=camera.pose.altitude_m - camera.ground_altitude_m,
        curvature_per_m=(1.0 - camera.refraction) / _radius_m(camera),
        widest=_widest(camera),
    )


def _axes(heading_rad: float, pitch_rad: float, roll_rad: float) -> tuple[Array, Array]:
    sin_h, cos_h = math.sin(heading_rad), math.cos(heading_rad)
    sin_p, cos_p = math.sin(pitch_rad), math.cos(pitch_rad)
    sin_r, cos_r = math.sin(roll_rad), math.cos(roll_rad)
    forward = np.array([sin_h * cos_p, cos_h * cos_p, -sin_p])
    level_right = np.array([cos_h, -sin_h, 0.0])
    level_down = np.cross(forward, level_right)
    right = cos_r * level_right + sin_r * level_down
    down = cos_r * level_down - sin_r * level_right
    return np.stack((right, down, forward)), level_right


def _radius_m(camera: CameraModel) -> float:
    """The ellipsoid's radius of curvature along the heading (Euler's formula)."""
    a, e2 = 6_378_137.0, 6.694379990141e-3  # WGS84
    root = math.sqrt(1.0 - e2 * math.sin(math.radians(camera.pose.latitude_deg)) ** 2)
    prime, meridian = a / root, a * (1.0 - e2) / (root * root * root)
    north, east = math.cos(camera.heading_rad), math.sin(camera.heading_rad)
    return 1.0 / (north * north / meridian + east * east / prime)


def _widest(camera: CameraModel) -> float:
    """First root of the radial polynomial's derivative, 1 + 3k₁s + 5k₂s² + 7k₃s³, in s = r²."""
    k1, k2, _, _, k3 = camera.distortion
    turns = [0.0 if abs(k) < _NO_POWER else k for k in (7.0 * k3, 5.0 * k2, 3.0 * k1)]
    roots = np.roots(np.array([*turns, 1.0]))  # it drops leading zeros itself
    turning = [float(root.real) for root in roots if abs(root.imag) < 1e-12 and root.real > 0.0]
    return min(turning, default=math.inf)


def distort(camera: CameraModel, points: Array) -> Array:
    """(N, 2) tangents off the axis → (N, 2) pixels."""
    k1, k2, p1, p2, k3 = camera.distortion
    x, y = points[:, 0], points[:, 1]
    s = x * x + y * y
    radial = 1.0 + s * (k1 + s * (k2 + s * k3))
    xd = x * radial + 2.0 * p1 * x * y + p2 * (s + 2.0 * x * x)
    yd = y * radial + p1 * (s + 2.0 * y * y) + 2.0 * p2 * x * y
    return np.stack((camera.fx_px * xd + camera.cx_px, camera.fy_px * yd + camera.cy_px), axis=1)


def undistort(camera: CameraModel, pixels: Array) -> Array | None:
    """(N, 2) pixels → (N, 2) tangents off the axis; None where one of them has no ray."""
    if not any(camera.distortion):
        return (pixels - (camera.cx_px, camera.cy_px)) / (camera.fx_px, camera.fy_px)
    lens = np.array([[camera.fx_px, 0.0, camera.cx_px], [0.0, camera.fy_px, camera.cy_px], [0.0, 0.0, 1.0]])
    shaped = np.ascontiguousarray(pixels, dtype=np.float64).reshape(-1, 1, 2)
    found = cv2.undistortPoints(shaped, lens, np.array(camera.distortion), criteria=_ITERATIONS)
    points: Array = np.asarray(found, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(points).all() or ((points**2).sum(axis=1) > optics(camera).widest).any():
        return None
    error = np.abs(distort(camera, points) - pixels).max()
    return points if error <= UNDISTORT_TOLERANCE_PX else None


def to_pixels(camera: CameraModel, rays: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """(N, 3) rays of any length, east, north, up → ((N, 2) pixels, (N,) whether in front of the lens).

    Pixels of rays that are not in front are NaN, so that using one shows. They may lie outside the picture.
    """
    setup = optics(camera)
    seen = rays @ setup.axes.T
    front = seen[:, 2] > _NEAR_M
    tangents = seen[:, :2] / np.where(front, seen[:, 2], 1.0)[:, None]
    front &= (tangents**2).sum(axis=1) <= setup.widest
    pixels = np.full((len(rays), 2), np.nan)
    pixels[front] = distort(camera, tangents[front])
    return pixels, front
