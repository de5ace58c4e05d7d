"""From the picture to the ground: where a track stands, with how much doubt, and what a camera can see at all.

    pixel of the foot → ray → curved ground → mean position + covariance     (`locate`)
    position → ray → pixel                                                   (`project`)

Not here: terrain models, structure from motion, moving cameras, the height of things.

Rules: a thing stands on its box's bottom edge, in the middle; the ground is the ellipsoid raised by
``ground_altitude_m``. A place is given only where a Gaussian can tell the truth about it: beyond `MAX_RANGE_DOUBT` of
the range, at and above the horizon, and past ``max_range_m`` there is none. What flies, or is cut by the lower edge of
the picture, has no visible foot: it gives a bearing, never a guessed range. A place is the mean of where the foot may
stand, which is farther away than what its pixel shows (`_moments`). The covariance is right for one plot. What in it
comes of the pose and of the height of the ground is wrong in every frame of one camera alike; a plot tells that part as
``shared_covariance``, so that many looks at a thing do not shrink it.

Sources: ray and effective Earth radius as in ``optics.py``; covariance to first order (Bar-Shalom 2001 §1.4), of the
foot's pixel along the ray to second order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from appliance.domain import Geodetic, Identity, Plot, Track, is_a
from appliance.estimation.fov import FieldOfView, Sector
from appliance.geodesy import wrap_bearing
from appliance.tracking.optics import Array, CameraModel, Optics, optics, to_pixels, undistort

__all__ = ["CameraModel", "field_of_view", "locate", "project"]

MAX_RANGE_DOUBT: Final = 0.3
"""Standard deviation of range over range from which a place is no longer a Gaussian."""
FOOT_SHARE: Final = 0.03
"""How far a detector's box ends from the foot, in box heights, however steady the box is."""
MIDDLE_SHARE: Final = 0.05
"""How far a box's middle is from the foot, in box widths."""
CUT_SHARE: Final = 0.25
"""Likewise for a box that a side of the picture cuts: the unseen part may be as wide as the seen one."""
PIXEL_SIGMA: Final = 0.5
EDGE_SHARE: Final = 0.005
"""A box this close to an edge of the picture, in picture heights or widths, is cut by it."""
EDGE_PX: Final = 1.5
MIN_HEIGHT_M: Final = 0.1
"""A camera lower than this over its ground sees no ranges."""
STEEPEST_SECTOR_RAD: Final = math.radians(70.0)
"""Looking down more steeply, the field of view is no slice of a ring any more."""
_BORDER: Final = 33
_STEP_PX: Final = 0.5
_POSE: Final = slice(2, 5)
"""Heading, pitch and roll among what `_sensitivities` says."""


@dataclass(frozen=True, slots=True)
class _Ground:
    """One ray's meeting with the ground. Slopes are rise over horizontal run, negative downward."""

    bearing_rad: float
    range_m: float
    per_slope: float
    """Metres of range per unit of slope."""
    per_height: float
    """Metres of range per metre of camera height."""


def locate(track: Track, camera: CameraModel) -> Plot | None:
    """The place of a track that its newest frame saw, as one plot; None where the picture does not tell it.

    A standing thing gives a ``position`` plot: covariance in m², east and north. A thing that most probably flies, or
    whose foot the lower edge cuts off, gives a ``bearing`` plot. None for tracks that coast or are deleted (no look
    stands behind their box), above or too near the horizon, or past the camera's ``max_range_m``.
    """
    if track.status in {"coasting", "deleted"}:
        return None
    x1, y1, x2, y2 = track.box_px
    flies = _flies(track)
    pixel = (0.5 * (x1 + x2), 0.5 * (y1 + y2) if flies else y2)
    if not (0.0 <= pixel[0] <= camera.width_px and pixel[1] >= 0.0):
        return None
    spread = _pixel_variance(track, camera)
    if flies or y2 >= camera.height_px - max(EDGE_PX, EDGE_SHARE * camera.height_px):
        return _bearing_plot(track, camera, (pixel[0], min(pixel[1], float(camera.height_px))), spread)
    return _position_plot(track, camera, pixel, spread)


def project(
    latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike, altitude_m: npt.ArrayLike, camera: CameraModel
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Positions (N,) → ((N, 2) pixels, (N,) whether in front of the lens); NaN where not in front.

    The inverse of `locate` for points on the ground, where a pixel is known for sure. The Earth hides nothing here: a
    point beyond the horizon still has a pixel. Raises `BadRecord` for positions off the Earth.
    """
    setup = optics(camera)
    east, north, up = setup.frame.to_enu(
        np.atleast_1d(np.asarray(latitude_deg, dtype=np.float64)),
        np.atleast_1d(np.asarray(longitude_deg, dtype=np.float64)),
        np.atleast_1d(np.asarray(altitude_m, dtype=np.float64)),
    )
    lift = _bend_per_m(setup, camera) * (east**2 + north**2) / 2.0
    return to_pixels(camera, np.stack((east, north, up + lift), axis=1))


def field_of_view(camera: CameraModel) -> FieldOfView | None:
    """The ground on which a standing thing would be located, as a sector that lies wholly inside the picture.

    None where the camera promises no such sector: it looks at the sky, too steeply down, or from the ground itself.
    """
    setup = optics(camera)
    if setup.height_m < MIN_HEIGHT_M or camera.pitch_rad > STEEPEST_SECTOR_RAD:
        return None
    far_m = _far_limit_m(setup, camera)
    width, height = float(camera.width_px), float(camera.height_px)
    across, along = np.linspace(0.0, width, _BORDER), np.linspace(0.0, height, _BORDER)
    bottom = [_ground_under(camera, setup, (x, height)) for x in across]
    if any(hit is None for hit in bottom):
        return None
    near_m = max(hit.range_m for hit in bottom if hit is not None)
    top = [hit.range_m for x in across if (hit := _ground_under(camera, setup, (x, 0.0))) is not None]
    far_m = min([far_m, *top])
    left = _innermost([_ground_under(camera, setup, (0.0, y)) for y in along], camera, near_m, far_m)
    right = _innermost([_ground_under(camera, setup, (width, y)) for y in along], camera, near_m, far_m)
    if near_m >= far_m or not left < 0.0 < right:
        return None
    return Sector(
        origin=camera.pose,
        heading_rad=wrap_bearing(camera.heading_rad + 0.5 * (left + right)),
        half_angle_rad=0.5 * (right - left),
        near_m=near_m,
        far_m=far_m,
    )


# -- locate -------------------------------------------------------------------------------------------------------


def _flies(track: Track) -> bool:
    return sum(share for category, share in track.categories.items() if is_a(category, "aircraft")) > 0.5


def _pixel_variance(track: Track, camera: CameraModel) -> tuple[float, float]:
    """Variance of the foot's pixel: of the filtered box, and of what a box says about a foot."""
    x1, y1, x2, y2 = track.box_px
    edge = max(EDGE_PX, EDGE_SHARE * camera.width_px)
    cut = x1 <= edge or x2 >= camera.width_px - edge
    middle = (CUT_SHARE if cut else MIDDLE_SHARE) * (x2 - x1)
    across, down = (max(variance, 0.0) for variance in track.box_variance_px2)
    return across + middle**2 + PIXEL_SIGMA**2, down + (FOOT_SHARE * (y2 - y1)) ** 2 + PIXEL_SIGMA**2


def _position_plot(
    track: Track, camera: CameraModel, pixel: tuple[float, float], spread: tuple[float, float]
) -> Plot | None:
    setup = optics(camera)
    ray = _ray(camera, setup, pixel)
    hit = None if ray is None else _meet(ray, setup)
    slopes = _sensitivities(camera, setup, pixel)
    if ray is None or hit is None or slopes is None:
        return None
    range_m, polar, shared = _moments(camera, setup, hit, slopes, spread)
    if range_m > camera.max_range_m or math.sqrt(polar[1, 1]) > MAX_RANGE_DOUBT * range_m:
        return None
    sin_b, cos_b = math.sin(hit.bearing_rad), math.cos(hit.bearing_rad)
    turn = np.array([[cos_b, sin_b], [-sin_b, cos_b]])  # columns: to the right of the ray, along the ray
    stands = camera.sigma_position_m**2 * np.eye(2)
    covariance, alike = (turn @ part @ turn.T + stands for part in (polar, shared))
    east, north = range_m * sin_b, range_m * cos_b
    place = _on_ground(setup, camera, east, north)
    return _plot(track, "position", (place.latitude_deg, place.longitude_deg), covariance, alike, camera)


def _bearing_plot(
    track: Track, camera: CameraModel, pixel: tuple[float, float], spread: tuple[float, float]
) -> Plot | None:
    setup = optics(camera)
    ray, slopes = _ray(camera, setup, pixel), _sensitivities(camera, setup, pixel)
    if ray is None or slopes is None:
        return None
    weights, variances = slopes[0] ** 2, _angle_variances(camera, spread)
    variance, alike = weights @ variances, weights[_POSE] @ variances[_POSE]
    if variance > MAX_RANGE_DOUBT**2:
        return None
    bearing = wrap_bearing(math.atan2(ray[0], ray[1]))
    return _plot(track, "bearing", (bearing,), variance.reshape(1, 1), alike.reshape(1, 1), camera)


def _ray(camera: CameraModel, setup: Optics, pixel: tuple[float, float]) -> Array | None:
    tangents = undistort(camera, np.array([pixel]))
    if tangents is None:
        return None
    ray: Array = tangents[0, 0] * setup.axes[0] + tangents[0, 1] * setup.axes[1] + setup.axes[2]
    return ray


def _meet(ray: Array, setup: Optics) -> _Ground | None:
    """Where a ray meets the ground: the nearer root of c·s²/2 + t·s + h = 0 for range s, slope t, curvature c."""
    run = math.hypot(ray[0], ray[1])
    h, c = setup.height_m, setup.curvature_per_m
    if h < MIN_HEIGHT_M or ray[2] >= 0.0:
        return None
    if run < 1e-9 * -ray[2]:
        return None  # straight down: the range is zero and the bearing is anything
    slope = float(ray[2]) / run
    root = slope * slope - 2.0 * c * h
    if root <= 0.0:
        return None  # above the visible horizon
    range_m = 2.0 * h / (-slope + math.sqrt(root))
    steep = c * range_m + slope
    return _Ground(math.atan2(ray[0], ray[1]), range_m, -range_m / steep, -1.0 / steep)


def _sensitivities(camera: CameraModel, setup: Optics, pixel: tuple[float, float]) -> Array | None:
    """(2, 5): how bearing (rad) and slope change with pixel x and y, heading, pitch and roll."""
    x, y = pixel
    around = [(x - _STEP_PX, y), (x + _STEP_PX, y), (x, y - _STEP_PX), (x, y + _STEP_PX), (x, y)]
    tangents = undistort(camera, np.array(around))
    if tangents is None:
        return None
    rays = tangents @ setup.axes[:2] + setup.axes[2]
    ray = rays[4]
    changes = np.stack(
        (
            (rays[1] - rays[0]) / (2.0 * _STEP_PX),
            (rays[3] - rays[2]) / (2.0 * _STEP_PX),
            np.array([ray[1], -ray[0], 0.0]),
            _cross(ray, setup.level_right),
            _cross(setup.axes[2], ray),
        )
    )
    run2 = float(ray[0] ** 2 + ray[1] ** 2)
    run = math.sqrt(max(run2, 1e-18))
    bearing = (changes[:, 0] * ray[1] - changes[:, 1] * ray[0]) / run**2
    slope = changes[:, 2] / run - ray[2] * (changes[:, 0] * ray[0] + changes[:, 1] * ray[1]) / run**3
    return np.stack((bearing, slope))


def _cross(a: Array, b: Array) -> Array:
    """``np.cross`` of two vectors; the general one costs twenty times as much, and this is asked twice a track."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _angle_variances(camera: CameraModel, spread: tuple[float, float]) -> Array:
    pose = (camera.sigma_heading_rad, camera.sigma_pitch_rad, camera.sigma_roll_rad)
    return np.array([*spread, *(sigma**2 for sigma in pose)])


def _moments(
    camera: CameraModel, setup: Optics, hit: _Ground, slopes: Array, spread: tuple[float, float]
) -> tuple[float, Array, Array]:
    """(mean range, (2, 2) m² right of the ray and along it, that part of it which all looks share) of where a thing may
    stand whose foot is seen at a pixel.

    Why not just the place under the pixel: range bends over slope. A foot seen too low is laid too near and, by the
    slope there, told too sure; of many looks the near ones count for more, and their mean is drawn to the camera by
    4 κ² of the range, where κ is one look's doubt over the range. It is a covariance correlated with its measurement's
    error: Bordonaro, Willett & Bar-Shalom, IEEE T-AES 50(2) 2014, evaluate it at the filter's prediction. A sensor has
    none; it can tell the moments of its likelihood over the ground, any square metre as likely:

        p(r) ∝ r exp(−(s(r) − s₀)²/2σ²),  s(r) = −h/r − c·r/2  the slope at which range r is seen, s(r₀) = s₀.

    With y = (r − r₀)/κr₀ and b = (h/r₀)/(h/r₀ − c·r₀/2), which is 1 on a plane, up to y⁴ and but for a constant

        log p = −y²/2 + κy − κ²y²/2 + κb·y³ − κ²(b²/2 + b)·y⁴

    and with the moments of y ~ N(0, 1) (Laplace's method: Tierney & Kadane, JASA 81, 1986), to order κ²

        mean r₀·(1 + κ²(1 + 3b)),  variance κ²r₀²·(1 + κ²(30b² − 6b − 1)).

    On a plane and at κ = 0.1 the exact mean is 0.4 % of the range farther away, the exact sigma 3 % more. Into κ goes
    the pixel alone: what is wrong in all looks alike (pose, terrain) makes none of them count for more.
    """
    pixels_m2 = float((slopes[1, :2] * hit.per_slope) ** 2 @ np.array(spread))
    share = pixels_m2 / hit.range_m**2
    bend = setup.height_m / hit.range_m * hit.per_height
    range_m = hit.range_m * (1.0 + share * (1.0 + 3.0 * bend))
    lever = slopes * np.array([[range_m], [hit.per_slope]])
    weighed = lever * _angle_variances(camera, spread)
    covariance: Array = weighed @ lever.T
    shared: Array = weighed[:, _POSE] @ lever[:, _POSE].T
    for part in (covariance, shared):
        part[1, 1] += hit.per_height**2 * (camera.sigma_terrain_m**2 + camera.sigma_position_m**2)
    covariance[1, 1] += pixels_m2 * share * (30.0 * bend**2 - 6.0 * bend - 1.0)
    return range_m, covariance, shared


def _bend_per_m(setup: Optics, camera: CameraModel) -> float:
    """How light bends, as curvature: what the effective radius leaves out of the true one."""
    return setup.curvature_per_m * camera.refraction / (1.0 - camera.refraction)


def _on_ground(setup: Optics, camera: CameraModel, east: float, north: float) -> Geodetic:
    drop = (setup.curvature_per_m + _bend_per_m(setup, camera)) * (east**2 + north**2) / 2.0
    return setup.frame.position(east, north, -setup.height_m - drop)


def _plot(
    track: Track, kind: str, values: tuple[float, ...], covariance: Array, shared: Array, camera: CameraModel
) -> Plot:
    tracklet = f"{track.sensor_id}:{track.track_id}"
    return Plot(
        sensor_id=track.sensor_id,
        observation_id=f"{tracklet}:{track.updated_ns}",
        observed_ns=track.updated_ns,
        kind="bearing" if kind == "bearing" else "position",
        values=values,
        covariance=_rows(covariance),
        shared_covariance=_rows(shared),
        origin=camera.pose,
        identities=(Identity(kind="tracklet", value=tracklet),),
        categories=track.categories,
        altitude_m=camera.ground_altitude_m if kind == "position" else None,
    )


def _rows(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


# -- field of view ------------------------------------------------------------------------------------------------


def _ground_under(camera: CameraModel, setup: Optics, pixel: tuple[float, float]) -> _Ground | None:
    ray = _ray(camera, setup, pixel)
    return None if ray is None else _meet(ray, setup)


def _far_limit_m(setup: Optics, camera: CameraModel) -> float:
    """The range at which pitch, terrain and one pixel alone reach `MAX_RANGE_DOUBT`, at most ``max_range_m``."""
    slope2 = camera.sigma_pitch_rad**2 + (PIXEL_SIGMA / camera.fy_px) ** 2
    height2 = camera.sigma_terrain_m**2 + camera.sigma_position_m**2

    def is_clear(range_m: float) -> bool:
        steep = setup.height_m / range_m - 0.5 * setup.curvature_per_m * range_m
        return steep > 0.0 and slope2 + height2 / range_m**2 <= (MAX_RANGE_DOUBT * steep) ** 2

    low, high = 0.0, camera.max_range_m
    if is_clear(high):
        return high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_clear(middle) else (low, middle)
    return low


def _innermost(hits: list[_Ground | None], camera: CameraModel, near_m: float, far_m: float) -> float:
    """The bearing nearest to the heading, signed, at which one side of the picture meets ground in range; else 0."""
    offsets = [
        math.remainder(hit.bearing_rad - camera.heading_rad, math.tau)
        for hit in hits
        if hit is not None and near_m <= hit.range_m <= far_m
    ]
    return min(offsets, key=abs, default=0.0)
