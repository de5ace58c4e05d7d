"""Plots in, arrays out: checks each plot, lays it into local metres, sorts so that order of arrival means nothing.

A plot that cannot be used is refused with a reason that is counted; it never raises and never reaches the arrays.
Reasons: ``values``, ``covariance``, ``origin``, ``place`` (off the Earth or outside the picture), ``time`` (older than
the lag or in the future), ``kind``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from appliance.domain import Geodetic, Plot
from appliance.errors import BadRecord
from appliance.estimation.bank import BEARING, NONE, POSITION, Look
from appliance.estimation.gaussian import polar_to_local
from appliance.fusion.dossier import MAX_ALTITUDE_M
from appliance.geodesy import LocalFrame

MIN_SIGMA_M: Final = 0.05
MAX_SIGMA_M: Final = 50_000.0
MIN_SIGMA_RAD: Final = 1e-5
MAX_SIGMA_RAD: Final = 1.0
MAX_SPEED_MPS: Final = 1_500.0
"""Faster than anything in the category tree."""

Cov2 = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Placed:
    """A usable plot in local metres: ``z`` and ``cov`` (ee, en, nn), or a bearing and its variance from ``origin``."""

    plot: Plot
    kind: int
    z: tuple[float, float]
    cov: Cov2
    origin: tuple[float, float]
    density_scale: float
    """What turns a density per m² into one per unit of the measurement."""


class Intake:
    """Checks and places plots around one origin. Keeps only a bounded memory of sensor origins."""

    def __init__(self, frame: LocalFrame, max_range_m: float) -> None:
        self._frame = frame
        self._max_range_m = max_range_m
        self._origins: dict[Geodetic, tuple[float, float]] = {}

    def place(self, plot: Plot) -> Placed:
        """Lay one plot into local metres. Raises `BadRecord` with the reason to count."""
        if not all(math.isfinite(value) for value in plot.values):
            raise BadRecord("values", f"expected finite values; found {plot.values}")
        placer = _PLACERS.get(plot.kind)
        if placer is None:
            raise BadRecord("kind", f"expected one of {', '.join(_PLACERS)}; found {plot.kind!r}")
        placed = placer(self, plot)
        if not math.hypot(*placed.z) <= self._max_range_m and placed.kind == POSITION:
            raise BadRecord("place", f"expected within {self._max_range_m:.0f} m of the unit; found {placed.z}")
        return placed

    def _origin(self, plot: Plot) -> tuple[float, float]:
        if plot.origin is None:
            raise BadRecord("origin", f"a {plot.kind} plot needs the place of its sensor")
        known = self._origins.get(plot.origin)
        if known is None:
            if len(self._origins) >= 1_024:  # a sensor on the move: forget rather than grow
                self._origins.clear()
            known = self._frame.local(plot.origin)[:2]
            if not math.hypot(*known) <= self._max_range_m:
                raise BadRecord("place", f"the sensor's place is outside the picture: {plot.origin}")
            self._origins[plot.origin] = known
        return known

    def _position(self, plot: Plot) -> Placed:
        _expect(plot, 2)
        known = plot.altitude_m is not None and abs(plot.altitude_m) <= MAX_ALTITUDE_M  # false for NaN too
        altitude = plot.altitude_m if known and plot.altitude_m is not None else 0.0
        east, north, _ = self._frame.to_enu(float(plot.values[0]), float(plot.values[1]), float(altitude))
        rows = plot.covariance
        cov = _clamped(rows[0][0], 0.5 * (rows[0][1] + rows[1][0]), rows[1][1])
        return Placed(plot, POSITION, (east, north), cov, (0.0, 0.0), 1.0)

    def _range_bearing(self, plot: Plot) -> Placed:
        _expect(plot, 2)
        at = self._origin(plot)
        range_m, bearing = plot.values
        if not 0.0 <= range_m <= self._max_range_m:
            raise BadRecord("values", f"expected a range from 0 m; found {range_m}")
        (rr, rb), (br, bb) = plot.covariance
        cross = 0.5 * (rb + br)
        if not (rr > 0.0 and 0.0 < bb <= MAX_SIGMA_RAD**2 and rr * bb > cross * cross):
            raise BadRecord(
                "covariance", f"expected positive definite, bearing sigma up to 1 rad; found {plot.covariance}"
            )
        (de, dn), cov = polar_to_local(range_m, bearing, ((rr, cross), (cross, max(bb, MIN_SIGMA_RAD**2))))
        clamped = _clamped(cov[0, 0], cov[0, 1], cov[1, 1])
        return Placed(plot, POSITION, (at[0] + de, at[1] + dn), clamped, at, 1.0)

    def _bearing(self, plot: Plot) -> Placed:
        _expect(plot, 1)
        at = self._origin(plot)
        variance = plot.covariance[0][0]
        if not 0.0 < variance <= MAX_SIGMA_RAD**2:
            raise BadRecord("covariance", f"expected a bearing sigma up to 1 rad; found variance {variance}")
        variance = max(variance, MIN_SIGMA_RAD**2)
        # A density per m² becomes one per rad over the area that one radian covers out to some 10 km.
        return Placed(plot, BEARING, (plot.values[0], 0.0), (variance, 0.0, variance), at, 0.5 * 10_000.0**2)


_PLACERS: Final[dict[str, Callable[[Intake, Plot], Placed]]] = {
    "position": Intake._position,
    "range_bearing": Intake._range_bearing,
    "bearing": Intake._bearing,
}


def _expect(plot: Plot, size: int) -> None:
    if len(plot.values) != size:
        raise BadRecord("values", f"a {plot.kind} plot has {size} values; found {len(plot.values)}")
    rows = plot.covariance
    if len(rows) != size or any(len(row) != size for row in rows):
        raise BadRecord("covariance", f"a {plot.kind} plot has a covariance of {size}×{size}")
    if not all(math.isfinite(value) for row in rows for value in row):
        raise BadRecord("covariance", f"expected finite numbers; found {rows}")


def _clamped(ee: float, en: float, nn: float) -> Cov2:
    """A positive definite 2×2 with sigmas between the limits. Raises `BadRecord` where it is not one to begin with."""
    if not (ee > 0.0 and nn > 0.0 and ee * nn > en * en):
        raise BadRecord("covariance", f"expected positive definite; found {ee}, {en}, {nn}")
    if max(ee, nn) > MAX_SIGMA_M**2:
        raise BadRecord("covariance", f"expected sigmas up to {MAX_SIGMA_M:.0f} m; found variances {ee}, {nn}")
    floor = MIN_SIGMA_M**2
    return ee + floor, en, nn + floor


def sort_key(placed: Placed) -> tuple[int, str, tuple[float, float], Cov2]:
    """An order that depends on what the plots say and not on how they came."""
    return placed.plot.observed_ns, placed.plot.observation_id, placed.z, placed.cov


def make_look(
    plots: Sequence[Placed],
    base_ns: int,
    density_per_m2: float,
    locks: Sequence[tuple[int, float]],
    mobile: Sequence[tuple[int, int]],
) -> Look:
    """The arrays that a compiled scan reads, for plots in their final order."""
    count = len(plots)
    kind = np.array([p.kind for p in plots], np.int64)
    z = np.array([p.z for p in plots], np.float64).reshape(count, 2)
    cov = np.array([p.cov for p in plots], np.float64).reshape(count, 3)
    velocity, variance = _velocities(plots)
    scale = np.array([p.density_scale for p in plots], np.float64)
    return Look(
        kind=kind,
        z=z,
        r=cov[:, [0, 1, 1, 2]].reshape(count, 2, 2),
        origin=np.array([p.origin for p in plots], np.float64).reshape(count, 2),
        time_s=np.array([(p.plot.observed_ns - base_ns) * 1e-9 for p in plots], np.float64),
        velocity=velocity,
        velocity_var=variance,
        log_density=np.log(density_per_m2 * scale),
        lock=np.array([slot for slot, _ in locks], np.int64),
        lock_gain=np.array([gain for _, gain in locks], np.float64),
        mobile=np.array(mobile, np.int64).reshape(count, 2),
        order=np.lexsort((z[:, 0], kind)).astype(np.int64),
    )


def _velocities(plots: Sequence[Placed]) -> tuple[np.ndarray, np.ndarray]:
    velocity = np.zeros((len(plots), 2))
    variance = np.full(len(plots), -1.0)
    for i, placed in enumerate(plots):
        said, var = placed.plot.velocity_mps, placed.plot.velocity_variance_m2ps2
        if said is None or var is None or not (math.isfinite(var) and var > 0.0):
            continue
        if math.hypot(*said) <= MAX_SPEED_MPS:  # false for NaN too
            velocity[i], variance[i] = said, max(var, 0.01)
    return velocity, variance


NO_CODES: Final = (NONE, NONE)
