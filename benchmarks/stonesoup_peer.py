"""The peer of ``benchmarks.fusion``: Stone Soup's own parts on the same looks, in the same run.

Global nearest neighbour by two-dimensional assignment over Mahalanobis distances, one constant-velocity Kalman filter a
track, measurements converted to the plane: of Stone Soup's practical trackers the fastest on this scene and the one
with the best score. Settings: acceleration density 1 m²/s³ (of 0.3, 1 and 3 the best), first speed 0 ± 15 m/s, missed
distance 4 (gate), confirmed at 4 points; a tentative is dropped at its 2nd, a confirmed track at its 6th miss in a
row. What Stone Soup has not, and would be unfair to leave out: states outside a camera's view are not offered its
frames, and only plots within 400 m of a state are offered to the hypothesiser, by a grid of our own. Its measurement
objects are made ahead, as our plots are. Identities are not used: Stone Soup's associator knows none.

Needs the ``benchmark`` extra (``stonesoup``); says so where it is missing.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import numpy as np

from appliance.geodesy import LocalFrame

NEAR_M = 400.0
CONFIRM_POINTS = 4
TENTATIVE_MISSES, CONFIRMED_MISSES = 2, 6
FIRST_SPEED_MPS = 15.0
EPOCH = datetime(2026, 1, 1)  # noqa: DTZ001 Stone Soup's own times are naive
SETTINGS = "GNN-2D Mahalanobis, converted measurements, CV q 1 m²/s³, gate 4, confirmed at 4 points"


def absent() -> str | None:
    """Why there is no peer here, or None where there is one."""
    if importlib.util.find_spec("stonesoup") is None:
        return "Stone Soup is not installed here (extra `benchmark`): no peer in this run"
    return None


@dataclass
class _Look:
    at: datetime
    seconds: float
    sensor: str
    detections: set[Any]


class Peer:
    """Stone Soup's predictor, updater, hypothesiser and associator, stepped look by look."""

    def __init__(self) -> None:
        from stonesoup.dataassociator.neighbour import GNNWith2DAssignment  # noqa: PLC0415
        from stonesoup.hypothesiser.distance import DistanceHypothesiser  # noqa: PLC0415
        from stonesoup.measures import Mahalanobis  # noqa: PLC0415
        from stonesoup.models.transition.linear import (  # noqa: PLC0415
            CombinedLinearGaussianTransitionModel,
            ConstantVelocity,
        )
        from stonesoup.predictor.kalman import KalmanPredictor  # noqa: PLC0415
        from stonesoup.updater.kalman import KalmanUpdater  # noqa: PLC0415

        model = CombinedLinearGaussianTransitionModel([ConstantVelocity(1.0), ConstantVelocity(1.0)])
        self._updater = KalmanUpdater(measurement_model=None)
        inner = DistanceHypothesiser(KalmanPredictor(model), self._updater, Mahalanobis(), missed_distance=4)
        self._near = _Near(inner)
        self._associator = GNNWith2DAssignment(self._near)
        self.tracks: list[Any] = []
        self._missed: dict[Any, int] = {}

    def step(self, look: _Look, in_view: Any) -> None:
        """One look: associate, update, begin, drop."""
        from stonesoup.types.track import Track  # noqa: PLC0415

        self._near.sort(look)
        offered = {track for track in self.tracks if in_view(look, *_ahead(track, look.at))}
        taken = set()
        self._missed |= {track: self._missed.get(track, 0) + (look.sensor != "ais") for track in offered}
        if offered and look.detections:
            for track, hypothesis in self._associator.associate(offered, look.detections, look.at).items():
                if hypothesis:
                    track.append(self._updater.update(hypothesis))
                    taken.add(hypothesis.measurement)
                    self._missed[track] = 0
        for detection in look.detections - taken:
            self.tracks.append(Track([_first(detection)]))
        self.tracks = [track for track in self.tracks if self._kept(track)]
        self._missed = {track: self._missed.get(track, 0) for track in self.tracks}

    def _kept(self, track: Any) -> bool:
        most = CONFIRMED_MISSES if len(track) >= CONFIRM_POINTS else TENTATIVE_MISSES
        return bool(self._missed.get(track, 0) < most)

    def confirmed(self, seconds: float) -> Iterable[tuple[str, float, float]]:
        """(id, east, north) of the believed, at a time."""
        at = EPOCH + timedelta(seconds=seconds)
        for track in self.tracks:
            if len(track) >= CONFIRM_POINTS:
                yield track.id, *_ahead(track, at)


class _Near:
    """Offers the hypothesiser only what lies near a track; everything else is Stone Soup's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._cells: dict[tuple[int, int], list[Any]] = {}

    def sort(self, look: _Look) -> None:
        self._cells = {}
        for detection in look.detections:
            self._cells.setdefault(_cell(*detection.state_vector[:, 0]), []).append(detection)

    def hypothesise(self, track: Any, _: Any, timestamp: datetime, **more: Any) -> Any:
        e, n = _cell(*_ahead(track, timestamp))
        near = [d for i in (-1, 0, 1) for j in (-1, 0, 1) for d in self._cells.get((e + i, n + j), ())]
        return self._inner.hypothesise(track, set(near), timestamp, **more)


def _cell(east: float, north: float) -> tuple[int, int]:
    return math.floor(east / NEAR_M), math.floor(north / NEAR_M)


def _ahead(track: Any, at: datetime) -> tuple[float, float]:
    state = track[-1]
    dt = (at - state.timestamp).total_seconds()
    e, ve, n, vn = state.state_vector[:, 0]
    return float(e + dt * ve), float(n + dt * vn)


def _first(detection: Any) -> Any:
    from stonesoup.types.state import GaussianState  # noqa: PLC0415

    z, r = detection.state_vector, detection.measurement_model.covar()
    cov = np.diag([0.0, FIRST_SPEED_MPS**2, 0.0, FIRST_SPEED_MPS**2])
    cov[np.ix_((0, 2), (0, 2))] = r
    return GaussianState([[z[0, 0]], [0.0], [z[1, 0]], [0.0]], cov, timestamp=detection.timestamp)


def _looks(frames: Iterable[Any], local: LocalFrame) -> list[_Look]:
    from stonesoup.models.measurement.linear import LinearGaussian  # noqa: PLC0415
    from stonesoup.types.detection import Detection  # noqa: PLC0415

    out = []
    for frame in frames:
        at = EPOCH + timedelta(microseconds=frame.observed_ns / 1000)
        found = set()
        for plot in frame.plots:
            z, r = _placed(plot, local)
            model = LinearGaussian(ndim_state=4, mapping=(0, 2), noise_covar=r)
            found.add(Detection([[z[0]], [z[1]]], timestamp=at, measurement_model=model))
        out.append(_Look(at, frame.observed_ns * 1e-9, frame.sensor, found))
    return out


def _placed(plot: Any, local: LocalFrame) -> tuple[Any, Any]:
    if plot.kind == "position":
        east, north, _ = local.to_enu(*plot.values, 0.0)
        return (float(east), float(north)), np.array(plot.covariance)
    e, n, _ = local.local(plot.origin)
    r, b = plot.values
    turn = np.array([[math.sin(b), r * math.cos(b)], [math.cos(b), -r * math.sin(b)]])
    return (e + r * math.sin(b), n + r * math.cos(b)), turn @ np.array(plot.covariance) @ turn.T


def run(gen: ModuleType, frames: list[Any], local: LocalFrame) -> tuple[list[tuple[float, ...]], float, int]:
    """(tracks at whole seconds, CPU s spent, looks) of the peer over these looks."""

    def in_view(look: _Look, east: float, north: float) -> bool:
        if look.sensor != "camera":
            return True
        de, dn = east - gen.CAM[0], north - gen.CAM[1]
        return bool(gen.C_MIN < math.hypot(de, dn) < gen.C_MAX and abs(math.atan2(dn, de) - gen.C_AZ) < gen.C_HALF)

    peer, told, ids, spent, due = Peer(), [], {}, 0.0, 1.0
    for look in _looks(frames, local):
        while look.seconds > due + 1e-6:
            told += [(due, float(ids.setdefault(k, len(ids))), e, n) for k, e, n in peer.confirmed(due)]
            due += 1.0
        start = time.thread_time()
        peer.step(look, in_view)
        spent += time.thread_time() - start
    told += [(due, float(ids.setdefault(k, len(ids))), e, n) for k, e, n in peer.confirmed(due)]
    return told, spent, len(frames)
