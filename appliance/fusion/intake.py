"""Plots in, arrays out: checks plots, lays them into local metres, sorts so that order of arrival means nothing.

A plot that cannot be used is left out and its reason counted; it never raises and never reaches the arrays. Reasons:
``kind``, ``values``, ``covariance``, ``origin``, ``place`` (off the Earth or outside the picture).

Rules: all plots of a look are worked in one go; Python touches each plot only to fetch its fields.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from operator import attrgetter, lt
from typing import Any, Final, NamedTuple

import numpy as np

from appliance.domain import Geodetic, Plot
from appliance.errors import BadRecord
from appliance.estimation.bank import BEARING, NONE, POSITION, Index, Look
from appliance.estimation.gaussian import Array
from appliance.estimation.measure import (
    BAD_COVARIANCE,
    BAD_VALUES,
    FINE,
    OUTSIDE,
    bearings,
    grounded,
    positions,
    ranges_and_bearings,
    rated,
)
from appliance.fusion.dossier import MAX_ALTITUDE_M
from appliance.fusion.shared import factors
from appliance.geodesy import LocalFrame

MAX_SPEED_MPS: Final = 1_500.0
"""Faster than anything in the category tree."""
MAX_ORIGINS: Final = 1_024
EARTH_DIAMETER_M: Final = 12_742_000.0
_BEARING_AREA_M2: Final = 0.5 * 10_000.0**2
"""A density per m² becomes one per rad over what one radian covers out to 10 km."""

_KIND, _VALUES, _COVARIANCE, _ORIGIN = map(attrgetter, ("kind", "values", "covariance", "origin"))
_OBSERVED, _VELOCITY, _SHARED = map(attrgetter, ("observed_ns", "velocity_mps", "shared_covariance"))
_NAME = attrgetter("observed_ns", "observation_id")

Measured = tuple[Array, Array, Index]


@dataclass(slots=True)
class Laid:
    """Usable plots in local metres, side by side: ``z`` (east, north) or (bearing, 0) from ``origin``."""

    plots: list[Plot]
    kind: int | Index
    z: Array
    r: Array
    origin: Array
    rate: Array | None = None
    """(J, 2) range rate and its variance, which is negative where a plot has none; None where no plot has one."""
    shared: Array | None = None
    """(J, 2, 2) as in `Look`; None where no plot tells any."""

    def only(self, which: Any) -> Laid:
        """Those at ``which``, in that order."""
        at = np.asarray(which)
        at = np.flatnonzero(at) if at.dtype == np.bool_ else at.astype(np.int64)
        kind = self.kind if isinstance(self.kind, int) else self.kind[at]
        rate = None if self.rate is None else self.rate[at]
        shared = None if self.shared is None else self.shared[at]
        return Laid([self.plots[i] for i in at], kind, self.z[at], self.r[at], self.origin[at], rate, shared)


class Intake:
    """Checks and lays plots around one origin. Keeps only a bounded memory of sensors' places."""

    def __init__(self, frame: LocalFrame, max_range_m: float, refused: Counter[str]) -> None:
        self._frame = frame
        self._max_range_m = max_range_m
        self._refused = refused
        self._origins: dict[Geodetic, tuple[float, float]] = {}

    def lay(self, plots: Sequence[Plot]) -> Laid:
        """All usable ``plots``, sorted by time, then by name, then by what they say."""
        everything = list(plots)
        if not everything:
            return NO_PLOTS
        kinds = set(map(_KIND, everything))
        if len(kinds) == 1 and kinds <= _KINDS.keys():
            return _in_order(self._part(everything[0].kind, everything))
        known = [plot for plot in everything if plot.kind in _KINDS]
        if len(known) < len(everything):
            self._refused["kind"] += len(everything) - len(known)
        parts = [self._part(kind, [plot for plot in known if plot.kind == kind]) for kind in _KINDS if kind in kinds]
        return _in_order(_joined([part for part in parts if part.plots]))

    def _part(self, kind: str, plots: list[Plot]) -> Laid:
        size, measure = _KINDS[kind]
        if not _are_shaped(plots, size):
            plots = self._shaped(plots, size)
        at: Array = _nothing(len(plots)).still
        if kind != "position":
            plots, at = self._from_origins(plots)
        values, cov = _numbers(plots, size)
        z, r, verdict = measure(self, plots, values, cov, at)
        if kind == "range_bearing_elevation":
            plots = [_heightened(plot) if fine else plot for plot, fine in zip(plots, verdict == FINE, strict=True)]
        rate = np.column_stack((values[:, 2], cov[:, 2, 2])) if kind == "range_bearing_rate" else None
        shared = self._shared(plots, z, verdict) if any(map(_SHARED, plots)) else None
        laid = Laid(plots, BEARING if kind == "bearing" else POSITION, z, r, at, rate, shared)
        return laid if not any(verdict.tolist()) else self._without(laid, verdict)

    def _shared(self, plots: list[Plot], z: Array, verdict: Index) -> Array:
        """(J, 2, 2) what plots share with all of their sensors'; the verdict on those that share what cannot be."""
        here = [self._local(plot.origin) or (0.0, 0.0) for plot in plots]
        told, usable = factors(plots, z, np.array(here))
        verdict[~usable & (verdict == FINE)] = BAD_COVARIANCE
        return told

    def _without(self, laid: Laid, verdict: Index) -> Laid:
        """Leave out what was not found fine, and count why."""
        for code, reason in _REASONS.items():
            wrong = int((verdict == code).sum())
            if wrong:
                self._refused[reason] += wrong
        return laid.only(verdict == FINE)

    def _shaped(self, plots: list[Plot], size: int) -> list[Plot]:
        good = [_are_shaped([plot], size) for plot in plots]
        wrong = [p for p, ok in zip(plots, good, strict=True) if not ok]
        self._refused["values"] += sum(len(p.values) != size for p in wrong)
        self._refused["covariance"] += sum(len(p.values) == size for p in wrong)
        return [p for p, ok in zip(plots, good, strict=True) if ok]

    def _position(self, plots: list[Plot], values: Array, cov: Array, _: Array) -> Measured:
        on_earth = (np.abs(values[:, 0]) <= 90.0) & (np.abs(values[:, 1]) <= 360.0)  # false for NaN too
        safe = np.where(on_earth[:, None], values, (self._frame.origin.latitude_deg, self._frame.origin.longitude_deg))
        east, north, _up = self._frame.to_enu(safe[:, 0], safe[:, 1], _altitudes(plots))
        z, r, verdict = positions(np.column_stack((east, north)), cov, self._max_range_m)
        verdict[~on_earth] = OUTSIDE
        verdict[~np.isfinite(values).all(axis=1)] = BAD_VALUES
        return z, r, verdict

    def _range_bearing(self, _: list[Plot], values: Array, cov: Array, origin: Array) -> Measured:
        return ranges_and_bearings(values, cov, origin, self._max_range_m)

    def _elevated(self, _: list[Plot], values: Array, cov: Array, origin: Array) -> Measured:
        flat, flat_cov, verdict = grounded(values, cov)
        z, r, then = ranges_and_bearings(flat, flat_cov, origin, self._max_range_m)
        return z, r, np.where(verdict == FINE, then, verdict)

    def _rated(self, _: list[Plot], values: Array, cov: Array, origin: Array) -> Measured:
        verdict = rated(values, cov, MAX_SPEED_MPS)
        flat, flat_cov = np.ascontiguousarray(values[:, :2]), np.ascontiguousarray(cov[:, :2, :2])
        z, r, then = ranges_and_bearings(flat, flat_cov, origin, self._max_range_m)
        return z, r, np.where(verdict == FINE, then, verdict)

    def _bearing(self, _: list[Plot], values: Array, cov: Array, _origin: Array) -> Measured:
        return bearings(values, cov)

    def _from_origins(self, plots: list[Plot]) -> tuple[list[Plot], Array]:
        """Those whose sensor's place is known and in the picture, and these places."""
        first = self._local(plots[0].origin) if plots else None
        if first is not None and len(set(map(id, map(_ORIGIN, plots)))) == 1:
            out = np.empty((len(plots), 2))
            out[:] = first
            return plots, out
        found = [(plot, at) for plot in plots if (at := self._local(plot.origin)) is not None]
        if len(found) < len(plots):
            self._refused["origin"] += len(plots) - len(found)
        return [plot for plot, _ in found], np.array([at for _, at in found], np.float64).reshape(-1, 2)

    def _local(self, origin: Geodetic | None) -> tuple[float, float] | None:
        if origin is None:
            return None
        known = self._origins.get(origin)
        if known is not None:
            return known
        try:
            known = self._frame.local(origin)[:2]
        except BadRecord:
            return None
        if not math.hypot(*known) <= self._max_range_m:
            return None
        if len(self._origins) >= MAX_ORIGINS:  # a sensor on the move: forget rather than grow
            self._origins.clear()
        self._origins[origin] = known
        return known


_KINDS: Final[dict[str, tuple[int, Callable[[Intake, list[Plot], Array, Array, Array], Measured]]]] = {
    "position": (2, Intake._position),
    "range_bearing": (2, Intake._range_bearing),
    "range_bearing_elevation": (3, Intake._elevated),
    "range_bearing_rate": (3, Intake._rated),
    "bearing": (1, Intake._bearing),
}
_REASONS: Final = {BAD_VALUES: "values", BAD_COVARIANCE: "covariance", OUTSIDE: "place"}


_USUAL: Final = 1_024
LOCK_GATE: Final = 2.0
"""So many times the gate away is followed what an identity points to: squared distance, four sigmas become 5.7."""


class Nothing(NamedTuple):
    """What so many plots say that say nothing of it. Shared by all looks of one usual size; the scan only reads it."""

    kinds: dict[int, Index]
    zeros: Array
    still: Array
    square: Array
    negative: Array
    lock: Index
    codes: Index


def _nothing(count: int) -> Nothing:
    return _usual_nothing(count) if count <= _USUAL else _new_nothing(count)


@lru_cache(maxsize=256)
def _usual_nothing(count: int) -> Nothing:
    return _new_nothing(count)


def _new_nothing(count: int) -> Nothing:
    return Nothing(
        kinds={kind: np.full(count, kind, np.int64) for kind in (POSITION, BEARING)},
        zeros=np.zeros(count),
        still=np.zeros((count, 2)),
        square=np.zeros((count, 2, 2)),
        negative=np.full(count, -1.0),
        lock=np.full(count, NONE, np.int64),
        codes=np.full((count, 2), NONE, np.int64),
    )


def _altitudes(plots: list[Plot]) -> Any:
    known = [p.altitude_m if p.altitude_m is not None else 0.0 for p in plots]
    return np.array([a if abs(a) <= MAX_ALTITUDE_M else 0.0 for a in known])  # false for NaN too


_NO_RATE: Final = np.array([[0.0, -1.0]])
NO_PLOTS: Final = Laid([], POSITION, np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros((0, 2)))


def _are_shaped(plots: list[Plot], size: int) -> bool:
    """Whether all have ``size`` values and a square covariance of them."""
    lengths, squares = {size}, list(map(_COVARIANCE, plots))
    if set(map(len, map(_VALUES, plots))) != lengths or set(map(len, squares)) != lengths:
        return False
    return set(map(len, chain.from_iterable(squares))) == lengths


def _numbers(plots: list[Plot], size: int) -> tuple[Array, Array]:
    """Values (J, size) and covariances (J, size, size)."""
    values = list(chain.from_iterable(map(_VALUES, plots)))
    cov = list(chain.from_iterable(chain.from_iterable(map(_COVARIANCE, plots))))
    return np.array(values, np.float64).reshape(-1, size), np.array(cov, np.float64).reshape(-1, size, size)


def _in_order(laid: Laid) -> Laid:
    """By time, then by name, then by what they say; most looks come so."""
    names = list(map(_NAME, laid.plots))
    if all(map(lt, names, names[1:])):
        return laid
    keys = [(*name, *z) for name, z in zip(names, laid.z.tolist(), strict=True)]
    return laid.only(sorted(range(len(keys)), key=keys.__getitem__))


def _joined(parts: list[Laid]) -> Laid:
    if not parts:
        return NO_PLOTS
    return Laid(
        [plot for part in parts for plot in part.plots],
        np.concatenate([np.full(len(part.plots), part.kind, np.int64) for part in parts]),
        np.concatenate([part.z for part in parts]),
        np.concatenate([part.r for part in parts]),
        np.concatenate([part.origin for part in parts]),
        np.concatenate([_NO_RATE.repeat(len(part.plots), 0) if part.rate is None else part.rate for part in parts]),
        np.concatenate([_nothing(len(part.plots)).square if part.shared is None else part.shared for part in parts]),
    )


def _heightened(plot: Plot) -> Plot:
    """With the height that range and elevation give, over the sensor's and the Earth's bulge, where it says none."""
    if plot.altitude_m is not None or plot.origin is None:
        return plot
    slant, _, elevation = plot.values
    ground = slant * math.cos(elevation)
    height = plot.origin.altitude_m + slant * math.sin(elevation) + ground * ground / EARTH_DIAMETER_M
    return replace(plot, altitude_m=height)


def make_look(
    laid: Laid, base_ns: int, density_per_m2: float, gain: float,
    locks: Index | None = None, mobile: Index | None = None, lock_gate: float = LOCK_GATE,
) -> Look:  # fmt: skip
    """The arrays that a compiled scan reads. ``locks`` (J,) slots that identities point to; ``mobile`` (J, 2) codes."""
    nothing = _nothing(len(laid.plots))
    velocity, variance = (nothing.still, nothing.negative) if not any(map(_VELOCITY, laid.plots)) else _velocities(laid)
    rate, rate_var = (nothing.zeros, nothing.negative) if laid.rate is None else laid.rate.T.copy()
    log_density = math.log(density_per_m2)
    return Look(
        kind=nothing.kinds[laid.kind] if isinstance(laid.kind, int) else laid.kind,
        z=laid.z,
        r=laid.r,
        shared=nothing.square if laid.shared is None else laid.shared,
        origin=laid.origin,
        time_s=np.array([(at_ns - base_ns) * 1e-9 for at_ns in map(_OBSERVED, laid.plots)], np.float64),
        velocity=velocity,
        velocity_var=variance,
        rate=rate,
        rate_var=rate_var,
        log_density=(log_density, log_density + math.log(_BEARING_AREA_M2)),
        lock=nothing.lock if locks is None else locks,
        lock_gain=gain,
        lock_gate=lock_gate,
        mobile=nothing.codes if mobile is None else mobile,
    )


def _velocities(laid: Laid) -> tuple[Array, Array]:
    velocity, variance = np.zeros((len(laid.plots), 2)), np.full(len(laid.plots), -1.0)
    for i, plot in enumerate(laid.plots):
        said, var = plot.velocity_mps, plot.velocity_variance_m2ps2
        if said is None or var is None or not (math.isfinite(var) and var > 0.0):
            continue
        if math.hypot(*said) <= MAX_SPEED_MPS:  # false for NaN too
            velocity[i], variance[i] = said, max(var, 0.01)
    return velocity, variance
