"""Plots in, arrays out: checks plots, lays them into local metres, sorts so that order of arrival means nothing.

A plot that cannot be used is left out and its reason counted; it never raises and never reaches the arrays. Reasons:
``kind``, ``values``, ``covariance``, ``origin``, ``place`` (off the Earth or outside the picture).

Rules: all plots of a look are worked in one go; Python touches each plot only to fetch its fields.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from appliance.domain import Geodetic, Plot
from appliance.errors import BadRecord
from appliance.estimation.bank import BEARING, POSITION, Index, Look
from appliance.estimation.gaussian import Array, polar_to_local
from appliance.fusion.dossier import MAX_ALTITUDE_M
from appliance.geodesy import LocalFrame

MIN_SIGMA_M: Final = 0.05
MAX_SIGMA_M: Final = 50_000.0
MIN_SIGMA_RAD: Final = 1e-5
MAX_SIGMA_RAD: Final = 1.0
MAX_SPEED_MPS: Final = 1_500.0
"""Faster than anything in the category tree."""
MAX_ORIGINS: Final = 1_024
_BEARING_AREA_M2: Final = 0.5 * 10_000.0**2
"""A density per m² becomes one per rad over what one radian covers out to 10 km."""

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Laid:
    """Usable plots in local metres, side by side: ``z`` (east, north) or (bearing, 0) from ``origin``."""

    plots: list[Plot]
    kind: int | Index
    z: Array
    r: Array
    origin: Array

    def only(self, which: Sequence[int] | Mask | Index) -> Laid:
        """Those at ``which``, in that order."""
        at = np.asarray(which)
        at = np.flatnonzero(at) if at.dtype == np.bool_ else at.astype(np.int64)
        kind = self.kind if isinstance(self.kind, int) else self.kind[at]
        return Laid([self.plots[i] for i in at], kind, self.z[at], self.r[at], self.origin[at])


class Intake:
    """Checks and lays plots around one origin. Keeps only a bounded memory of sensors' places."""

    def __init__(self, frame: LocalFrame, max_range_m: float, refused: Counter[str]) -> None:
        self._frame = frame
        self._max_range_m = max_range_m
        self._refused = refused
        self._origins: dict[Geodetic, tuple[float, float]] = {}

    def lay(self, plots: Iterable[Plot]) -> Laid:
        """All usable ``plots``, sorted by time, then by name, then by what they say."""
        by_kind: dict[str, list[Plot]] = {kind: [] for kind in _KINDS}
        for plot in plots:
            if plot.kind in by_kind:
                by_kind[plot.kind].append(plot)
            else:
                self._refused["kind"] += 1
        parts = [self._part(kind, chosen) for kind, chosen in by_kind.items() if chosen]
        parts = [part for part in parts if part.plots]
        laid = parts[0] if len(parts) == 1 else _joined(parts)
        keys = [(p.observed_ns, p.observation_id, *z) for p, z in zip(laid.plots, laid.z.tolist(), strict=True)]
        return laid.only(sorted(range(len(keys)), key=keys.__getitem__))

    def _part(self, kind: str, plots: list[Plot]) -> Laid:
        size, placer = _KINDS[kind]
        plots = self._shaped(plots, size)
        values = np.array([p.values for p in plots], np.float64).reshape(len(plots), size)
        cov = np.array([p.covariance for p in plots], np.float64).reshape(len(plots), size, size)
        laid = Laid(plots, POSITION, values, cov, np.zeros((len(plots), 2)))
        laid = self._sieve(laid, _all(np.isfinite(values)), "values")
        laid = self._sieve(laid, _all(np.abs(laid.r).reshape(len(laid.plots), -1) <= MAX_SIGMA_M**2), "covariance")
        return placer(self, laid) if laid.plots else laid

    def _shaped(self, plots: list[Plot], size: int) -> list[Plot]:
        good = [len(p.values) == size and [len(row) for row in p.covariance] == [size] * size for p in plots]
        if not all(good):
            wrong = [p for p, ok in zip(plots, good, strict=True) if not ok]
            self._refused["values"] += sum(len(p.values) != size for p in wrong)
            self._refused["covariance"] += sum(len(p.values) == size for p in wrong)
        return [p for p, ok in zip(plots, good, strict=True) if ok]

    def _sieve(self, laid: Laid, good: Mask, reason: str) -> Laid:
        if good.all():
            return laid
        self._refused[reason] += int((~good).sum())
        return laid.only(good)

    def _position(self, laid: Laid) -> Laid:
        on_earth = (np.abs(laid.z[:, 0]) <= 90.0) & (np.abs(laid.z[:, 1]) <= 360.0)
        laid = self._sieve(laid, on_earth, "place")
        if laid.plots:
            east, north, _ = self._frame.to_enu(laid.z[:, 0], laid.z[:, 1], _altitudes(laid.plots))
            laid.z = np.column_stack((east, north))
        return self._inside(laid)

    def _range_bearing(self, laid: Laid) -> Laid:
        laid = self._from_origins(laid)
        laid = self._sieve(laid, (laid.z[:, 0] >= 0.0) & (laid.z[:, 0] <= self._max_range_m), "values")
        rr, bb, rb = laid.r[:, 0, 0], laid.r[:, 1, 1], 0.5 * (laid.r[:, 0, 1] + laid.r[:, 1, 0])
        definite = (rr > 0.0) & (bb > 0.0) & (bb <= MAX_SIGMA_RAD**2) & (rr * bb > rb * rb)
        laid = self._sieve(laid, definite, "covariance")
        place, laid.r = polar_to_local(laid.z[:, 0], laid.z[:, 1], laid.r)
        laid.z = laid.origin + place
        return self._inside(laid)

    def _bearing(self, laid: Laid) -> Laid:
        laid = self._from_origins(laid)
        variance = laid.r[:, 0, 0]
        laid = self._sieve(laid, (variance > 0.0) & (variance <= MAX_SIGMA_RAD**2), "covariance")
        variance = np.maximum(laid.r[:, 0, 0], MIN_SIGMA_RAD**2)
        laid.kind, laid.r = BEARING, variance[:, None, None] * np.eye(2)
        laid.z = np.column_stack((laid.z[:, 0], np.zeros(len(laid.plots))))
        return laid

    def _inside(self, laid: Laid) -> Laid:
        """Keep what lies in the picture and has a covariance that can be one; widen those that claim too much."""
        laid = self._sieve(laid, np.hypot(laid.z[:, 0], laid.z[:, 1]) <= self._max_range_m, "place")
        ee, nn, en = laid.r[:, 0, 0], laid.r[:, 1, 1], 0.5 * (laid.r[:, 0, 1] + laid.r[:, 1, 0])
        definite = (ee > 0.0) & (nn > 0.0) & (ee * nn > en * en)
        laid = self._sieve(laid, definite, "covariance")
        laid.r = 0.5 * (laid.r + laid.r.transpose(0, 2, 1)) + np.eye(2) * MIN_SIGMA_M**2
        return laid

    def _from_origins(self, laid: Laid) -> Laid:
        """Keep those whose sensor's place is known and in the picture."""
        first = laid.plots[0].origin
        if all(p.origin is first for p in laid.plots):
            places: list[tuple[float, float] | None] = [self._local(first)] * len(laid.plots)
        else:
            places = [self._local(p.origin) for p in laid.plots]
        laid = self._sieve(laid, np.array([place is not None for place in places]), "origin")
        laid.origin = np.array([place for place in places if place is not None], np.float64).reshape(-1, 2)
        return laid

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


_KINDS: Final[dict[str, tuple[int, Callable[[Intake, Laid], Laid]]]] = {
    "position": (2, Intake._position),
    "range_bearing": (2, Intake._range_bearing),
    "bearing": (1, Intake._bearing),
}


def _all(good: Mask) -> Mask:
    """By row."""
    out: Mask = np.logical_and.reduce(good, axis=1)
    return out


def _altitudes(plots: list[Plot]) -> Any:
    known = [p.altitude_m if p.altitude_m is not None else 0.0 for p in plots]
    return np.array([a if abs(a) <= MAX_ALTITUDE_M else 0.0 for a in known])  # false for NaN too


def _joined(parts: list[Laid]) -> Laid:
    if not parts:
        return Laid([], POSITION, np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros((0, 2)))
    return Laid(
        [plot for part in parts for plot in part.plots],
        np.concatenate([np.full(len(part.plots), part.kind, np.int64) for part in parts]),
        np.concatenate([part.z for part in parts]),
        np.concatenate([part.r for part in parts]),
        np.concatenate([part.origin for part in parts]),
    )


def make_look(laid: Laid, base_ns: int, density_per_m2: float, locks: Index, gain: float, mobile: Index) -> Look:
    """The arrays that a compiled scan reads. ``locks`` (J,) slots that identities point to; ``mobile`` (J, 2) codes."""
    count = len(laid.plots)
    kind = np.full(count, laid.kind, np.int64) if isinstance(laid.kind, int) else laid.kind
    velocity, variance = _velocities(laid.plots)
    scale = np.where(kind == BEARING, _BEARING_AREA_M2, 1.0)
    observed_ns = np.array([p.observed_ns - base_ns for p in laid.plots], np.int64)
    return Look(
        kind=kind,
        z=laid.z,
        r=laid.r,
        origin=laid.origin,
        time_s=np.asarray(observed_ns * 1e-9, np.float64),
        velocity=velocity,
        velocity_var=variance,
        log_density=np.log(density_per_m2 * scale),
        lock=locks,
        lock_gain=np.full(count, gain),
        mobile=mobile,
        order=np.lexsort((laid.z[:, 0], kind)),
    )


def _velocities(plots: list[Plot]) -> tuple[Array, Array]:
    velocity = np.zeros((len(plots), 2))
    variance = np.full(len(plots), -1.0)
    for i, plot in enumerate(plots):
        said, var = plot.velocity_mps, plot.velocity_variance_m2ps2
        if said is None or var is None or not (math.isfinite(var) and var > 0.0):
            continue
        if math.hypot(*said) <= MAX_SPEED_MPS:  # false for NaN too
            velocity[i], variance[i] = said, max(var, 0.01)
    return velocity, variance
