"""A pinhole camera with a pose: local metres → pixels and back to the ground.

Written apart from ``appliance.tracking`` on purpose.
The product turns pixels into places; the scene turns places into pixels. Were both the same code, one sign error would
cancel itself and the demo would prove nothing.

Camera axes: x right, y down, z forward. Heading clockwise from north, pitch positive downward, roll positive when the
right side of the camera dips. Pixel (0, 0) is the centre of the upper left pixel.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

NEAR_M = 0.5
"""What is nearer than this is not drawn; the mast keeps everything farther away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """Pose and intrinsics. ``east_m``/``north_m``/``up_m`` place the optical centre over the scene's plane."""

    east_m: float = 0.0
    north_m: float = 0.0
    up_m: float
    heading_rad: float
    pitch_rad: float
    roll_rad: float = 0.0
    width_px: int = 640
    height_px: int = 360
    focal_px: float = 700.0

    @property
    def centre(self) -> Points:
        return np.array([self.east_m, self.north_m, self.up_m])

    def rotation(self) -> Points:
        """(3, 3), read-only: rows are the camera's x, y and z axes in east, north, up."""
        return _rotation(self.heading_rad, self.pitch_rad, self.roll_rad)


@functools.lru_cache(maxsize=64)
def _rotation(heading_rad: float, pitch_rad: float, roll_rad: float) -> Points:
    sin_h, cos_h = math.sin(heading_rad), math.cos(heading_rad)
    sin_p, cos_p = math.sin(pitch_rad), math.cos(pitch_rad)
    forward = np.array([sin_h * cos_p, cos_h * cos_p, -sin_p])
    level_right = np.array([cos_h, -sin_h, 0.0])
    level_down = np.cross(forward, level_right)
    sin_r, cos_r = math.sin(roll_rad), math.cos(roll_rad)
    right = cos_r * level_right + sin_r * level_down
    down = -sin_r * level_right + cos_r * level_down
    axes: Points = np.stack([right, down, forward])
    axes.setflags(write=False)
    return axes


def in_camera(lens: Lens, points: Points) -> Points:
    """(n, 3) local metres → (n, 3) camera metres (x right, y down, z forward)."""
    seen: Points = (points - lens.centre) @ lens.rotation().T
    return seen


def project(lens: Lens, points: Points) -> Points:
    """(n, 3) local metres, all in front of the camera → (n, 2) pixels."""
    return to_pixels(lens, in_camera(lens, points))


def to_pixels(lens: Lens, seen: Points) -> Points:
    """(n, 3) camera metres with z > 0 → (n, 2) pixels."""
    depth = seen[:, 2:3]
    middle = np.array([(lens.width_px - 1) / 2.0, (lens.height_px - 1) / 2.0])
    pixels: Points = seen[:, :2] / depth * lens.focal_px + middle
    return pixels


def project_polygon(lens: Lens, corners: Points) -> Points:
    """A polygon cut at the near plane, in pixels; empty (0, 2) where all of it lies behind the camera."""
    return to_pixels(lens, _cut_near(in_camera(lens, corners)))


def _cut_near(seen: Points) -> Points:
    """Sutherland and Hodgman against z = NEAR_M (Communications of the ACM 17, 1974)."""
    if bool((seen[:, 2] > NEAR_M).all()):
        return seen
    kept: list[Points] = []
    for here, after in zip(seen, np.roll(seen, -1, axis=0), strict=True):
        inside, next_inside = here[2] > NEAR_M, after[2] > NEAR_M
        if inside:
            kept.append(here)
        if inside != next_inside:
            part = (NEAR_M - here[2]) / (after[2] - here[2])
            kept.append(here + part * (after - here))
    return np.array(kept) if kept else np.zeros((0, 3))


def rays(lens: Lens) -> Points:
    """(height, width, 3): one unnormalised direction per pixel in east, north, up; forward component one."""
    u, v = np.meshgrid(np.arange(lens.width_px, dtype=float), np.arange(lens.height_px, dtype=float))
    x = (u - (lens.width_px - 1) / 2.0) / lens.focal_px
    y = (v - (lens.height_px - 1) / 2.0) / lens.focal_px
    directions: Points = np.stack([x, y, np.ones_like(x)], axis=-1) @ lens.rotation()
    return directions


def on_ground(lens: Lens, u_px: float, v_px: float) -> tuple[float, float] | None:
    """East and north in metres of the plane under one pixel, or None at and above the horizon."""
    x = (u_px - (lens.width_px - 1) / 2.0) / lens.focal_px
    y = (v_px - (lens.height_px - 1) / 2.0) / lens.focal_px
    direction = np.array([x, y, 1.0]) @ lens.rotation()
    if direction[2] >= -1e-9:
        return None
    ground = lens.centre + direction * (-lens.up_m / direction[2])
    return float(ground[0]), float(ground[1])
