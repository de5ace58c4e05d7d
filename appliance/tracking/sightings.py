"""Vessels that say where they are, found again in a camera's picture, as known points for its calibration.

    detections ─ follow in the picture ─ tracks ┐
    AIS positions by MMSI ─ interpolate ────────┴ which track is which vessel? ─ known points

Not here: the pose (``calibration.py``). What is known beforehand is the camera's place and lens, and no angle.

Rules: a pairing of two tracks with two vessels fixes heading and pitch; every such pairing is tried, level, and the one
under which most looks fall on a vessel wins. Where another pairing does nearly as well, the answer is refused as
``ambiguous``: a wrong pose that looks right is worse than none.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from appliance.domain import DetectedFrame, Geodetic, Plot, is_a
from appliance.errors import BadRecord, Drop
from appliance.geodesy import LocalFrame
from appliance.tracking.calibration import Calibration, KnownPoint, calibrate
from appliance.tracking.camera import project
from appliance.tracking.optics import Array, CameraModel
from appliance.tracking.tracker import ImageTracker

FOOT_SIGMA_PX: Final = 4.0
VESSEL_SIGMA_M: Final = 25.0
"""An aerial stands somewhere on the vessel, her waterline in the picture somewhere else."""
MAX_GAP_S: Final = 60.0
"""Between two reports farther apart than this, nobody knows where the vessel was."""
_EACH_S: Final = 2.0
"""One look every two seconds: more of the same track says nothing new."""
_MAX_TRACKS: Final = 24
_MAX_VESSELS: Final = 40
_LEAST_LOOKS: Final = 4
_NEAR: Final = 0.03
"""Of the picture's width: a vessel this close to a look may be what was looked at."""
_NEARLY: Final = 0.8
_EDGE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The foot of one track in one frame."""

    track_id: int
    time_ns: int
    pixel: tuple[float, float]


def looks(frames: Iterable[DetectedFrame], camera: CameraModel) -> list[Look]:
    """What the camera saw of vessels, thinned; boxes cut by the picture's edge have no foot and are left out."""
    tracker, newest, out = ImageTracker(), dict[int, int](), list[Look]()
    for frame in frames:
        try:
            tracks = tracker.step(frame)
        except Drop:
            continue
        for track in tracks:
            x1, _, x2, y2 = track.box_px
            vessel = sum(p for kind, p in track.categories.items() if is_a(kind, "vessel")) > 0.5
            whole = x1 > _EDGE * camera.width_px and x2 < (1 - _EDGE) * camera.width_px
            fresh = frame.captured_ns - newest.get(track.track_id, -(10**18)) >= _EACH_S * 1e9
            if track.status != "confirmed" or track.updated_ns != frame.captured_ns or not (vessel and whole and fresh):
                continue
            if y2 < (1 - _EDGE) * camera.height_px:
                newest[track.track_id] = frame.captured_ns
                out.append(Look(track_id=track.track_id, time_ns=frame.captured_ns, pixel=(0.5 * (x1 + x2), y2)))
    return out


class Voyages:
    """Where each vessel said it was, interpolated; local metres around the camera."""

    def __init__(self, plots: Iterable[Plot], camera: CameraModel) -> None:
        self._frame = LocalFrame(camera.pose)
        self._camera = camera
        found: dict[str, list[tuple[int, float, float]]] = {}
        for plot in plots:
            mmsi = next((i.value for i in plot.identities if i.kind == "mmsi"), None)
            if mmsi is not None and plot.cooperative and plot.kind == "position":
                east, north, _ = self._frame.to_enu(*plot.values)
                if math.hypot(east, north) <= camera.max_range_m:
                    found.setdefault(mmsi, []).append((plot.observed_ns, east, north))
        most = sorted(found, key=lambda mmsi: (-len(found[mmsi]), mmsi))[:_MAX_VESSELS]
        self.by_mmsi: Mapping[str, Array] = {mmsi: np.array(sorted(found[mmsi])) for mmsi in most}

    def at(self, mmsi: str, time_ns: int) -> Geodetic | None:
        """Where the vessel was; None where its reports do not tell."""
        rows = self.by_mmsi[mmsi]
        after = int(np.searchsorted(rows[:, 0], time_ns))
        if after in (0, len(rows)) or rows[after, 0] - rows[after - 1, 0] > MAX_GAP_S * 1e9:
            return None
        east, north = (float(np.interp(time_ns, rows[after - 1 : after + 1, 0], rows[after - 1 : after + 1, k]))
                       for k in (1, 2))  # fmt: skip
        place = self._frame.position(east, north)
        return dataclasses.replace(place, altitude_m=self._camera.ground_altitude_m)


def calibrate_from_vessels(
    frames: Iterable[DetectedFrame], plots: Iterable[Plot], camera: CameraModel, *, focal: bool = False
) -> Calibration:
    """The pose from vessels. Raises `BadRecord`: ``vessels`` (too few), ``ambiguous``, or as `calibrate` does."""
    seen, voyages = looks(frames, camera), Voyages(plots, camera)
    table = _table(seen, voyages)
    if len({look.track_id for look, _ in table}) < 2 or len({mmsi for _, at in table for mmsi in at}) < 2:
        raise BadRecord("vessels", "expected at least two vessels with AIS that the camera follows at the same time")
    pairing = _pairing(table, camera)
    for _ in range(3):
        found = calibrate(_points(table, pairing), camera, focal=focal)
        again = _refined(table, found.camera)
        if again == pairing:
            break
        pairing = again
    return found


_Table = list[tuple[Look, dict[str, Geodetic]]]
_Pairing = dict[int, str]


def _table(seen: Sequence[Look], voyages: Voyages) -> _Table:
    """Each look of the longest tracks, with where every vessel was at that moment."""
    counts: dict[int, int] = {}
    for look in seen:
        counts[look.track_id] = counts.get(look.track_id, 0) + 1
    longest = sorted((t for t in counts if counts[t] >= _LEAST_LOOKS), key=lambda t: (-counts[t], t))[:_MAX_TRACKS]
    out = []
    for look in seen:
        places = {mmsi: at for mmsi in voyages.by_mmsi if (at := voyages.at(mmsi, look.time_ns)) is not None}
        if look.track_id in longest and places:
            out.append((look, places))
    return out


def _pairing(table: _Table, camera: CameraModel) -> _Pairing:
    """The pairing under which most looks fall on their vessel. Raises `BadRecord` (``ambiguous``, ``vessels``)."""
    middle = {track: rows[len(rows) // 2] for track, rows in _by_track(table).items()}
    scored: dict[tuple[tuple[int, str], ...], int] = {}
    for look, places in middle.values():
        for place in places.values():
            pose = _level(camera, look, place)
            if abs(pose.pitch_rad) < math.pi / 3:
                pairing, hits = _hits(table, pose)
                if len(pairing) >= 2:
                    key = tuple(sorted(pairing.items()))
                    scored[key] = max(scored.get(key, 0), hits)
    if not scored:
        raise BadRecord("vessels", "expected two vessels with AIS in the picture; no pose puts two of them there")
    best = max(scored, key=lambda key: (scored[key], len(key), key))
    rivals = [key for key in scored if _differ(dict(key), dict(best)) and scored[key] >= _NEARLY * scored[best]]
    if rivals:
        raise BadRecord("ambiguous", "expected one way to match tracks with vessels; another does nearly as well")
    return dict(best)


def _differ(one: _Pairing, two: _Pairing) -> bool:
    """Whether two pairings contradict each other on most tracks that both pair."""
    both = one.keys() & two.keys()
    return not both or sum(one[track] == two[track] for track in both) < 0.5 * len(both)


def _by_track(table: _Table) -> dict[int, _Table]:
    rows: dict[int, _Table] = {}
    for look, places in table:
        rows.setdefault(look.track_id, []).append((look, places))
    return rows


def _level(camera: CameraModel, look: Look, place: Geodetic) -> CameraModel:
    """The pose without roll under which ``look`` falls on ``place``."""
    east, north, up = LocalFrame(camera.pose).local(place)
    across = math.atan2(look.pixel[0] - camera.cx_px, camera.fx_px)
    down = math.atan2(look.pixel[1] - camera.cy_px, camera.fy_px)
    return dataclasses.replace(
        camera,
        heading_rad=(math.atan2(east, north) - across) % math.tau,
        pitch_rad=math.atan2(-up, math.hypot(east, north)) - down,
        roll_rad=0.0,
    )


def _hits(table: _Table, pose: CameraModel) -> tuple[_Pairing, int]:
    """Tracks whose looks mostly fall near one vessel under a pose, and how many looks do; each vessel once."""
    wanted: list[tuple[int, int, str]] = []
    for track, rows in _by_track(table).items():
        near: dict[str, int] = {}
        for look, places in rows:
            for mmsi, off in zip(places, _off(look, places, pose), strict=True):
                if off <= _NEAR * pose.width_px:
                    near[mmsi] = near.get(mmsi, 0) + 1
        wanted += [(count, track, mmsi) for mmsi, count in near.items() if count >= 0.6 * len(rows)]
    pairing, hits = _Pairing(), 0
    for count, track, mmsi in sorted(wanted, key=lambda w: (-w[0], w[1], w[2])):
        if track not in pairing and mmsi not in pairing.values():
            pairing[track], hits = mmsi, hits + count
    return pairing, hits


def _off(look: Look, places: Mapping[str, Geodetic], pose: CameraModel) -> list[float]:
    """Pixels between a look and each vessel; infinite behind the lens."""
    at = list(places.values())
    pixels, front = project(
        [p.latitude_deg for p in at], [p.longitude_deg for p in at], [p.altitude_m for p in at], pose
    )
    off = np.hypot(pixels[:, 0] - look.pixel[0], pixels[:, 1] - look.pixel[1])
    return [float(x) for x in np.where(front, off, math.inf)]


def _refined(table: _Table, pose: CameraModel) -> _Pairing:
    return _hits(table, pose)[0]


def _points(table: _Table, pairing: _Pairing) -> list[KnownPoint]:
    """Looks and places of the paired; looks of one track share their errors, so each counts for less."""
    counts = {track: len(rows) for track, rows in _by_track(table).items()}
    return [
        KnownPoint(
            pixel=look.pixel,
            place=places[pairing[look.track_id]],
            sigma_m=VESSEL_SIGMA_M * math.sqrt(counts[look.track_id]),
            sigma_px=FOOT_SIGMA_PX * math.sqrt(counts[look.track_id]),
            name=f"mmsi {pairing[look.track_id]}",
        )
        for look, places in itertools.chain(table)
        if pairing.get(look.track_id) in places
    ]
