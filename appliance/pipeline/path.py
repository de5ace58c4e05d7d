"""The one path, from observation to result.

    DetectedFrame → track in the picture → lay on the ground ┐
    Plot → gather into a scan                                ├→ fuse → tell
    Report → read → claims                                   │
    Fix → where we are                                       ┘

What this is: synchronous, deterministic, without threads, files or a clock of its own; ``now_ns`` is an argument, so
the same observations at the same moments give the same results, byte for byte. What it is not: it runs no model
(frames arrive as detections) and seals nothing.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.domain import (
    DetectedFrame,
    Entity,
    Estimate,
    Fix,
    Geodetic,
    Identity,
    Objection,
    Observation,
    Plot,
    Receipt,
    Report,
)
from appliance.errors import BadRecord, Drop
from appliance.fusion import Fusion, FusionSettings
from appliance.pipeline.results import Result
from appliance.pipeline.scans import Scan, ScanGatherer
from appliance.pipeline.telling import Teller, TellingSettings
from appliance.tracking import ImageTracker, TrackerSettings
from appliance.tracking.camera import CameraModel, locate
from appliance.tracking.unranged import flies, introduced

#: Reports that are remembered, so that one that a carrier brings again is not heard twice.
MAX_REMEMBERED: Final = 10_000
#: Tracks in the sky that are remembered as introduced; far more than a camera follows at once.
MAX_INTRODUCED: Final = 10_000
#: How far a frame's height may be from the lens's proportions: coders pad to whole blocks.
_PROPORTION: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPlan:
    """Everything the path needs to know; made from a mission by the daemon, recorded for replay."""

    unit: str
    origin: Geodetic
    fusion: FusionSettings
    telling: TellingSettings
    receipt: Receipt
    cameras: Mapping[str, CameraModel] = field(default_factory=dict)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    scan_periods_ns: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, Geodetic] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    """Which model looks at each camera, by the names that the receipt uses."""


class OnePath:
    """The state that lives along the path: one tracker a camera, one fusion, what was told."""

    def __init__(self, plan: PathPlan, *, watching: bool = False) -> None:
        """``watching`` counts what was missed, for `against`: a replay's business, and the results are the same."""
        self._plan = plan
        self._fusion = Fusion(plan.fusion, watching=watching)
        self._trackers = {name: ImageTracker(plan.tracker) for name in plan.cameras}
        self._scans = ScanGatherer(plan.scan_periods_ns)
        self._teller = Teller(plan.unit, plan.telling)
        self._receipt = plan.receipt
        self._near = plan.origin
        self._cameras = dict(plan.cameras)
        self._bearings_known: dict[Identity, None] = {}
        self._heard: dict[tuple[str, str], None] = {}
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        """What came along the path so far, and what fusion refused, by reason."""
        refused = {f"plots_refused:{reason}": count for reason, count in self._fusion.refused.items()}
        return self._counts + Counter(refused)

    def step(self, observation: Observation, now_ns: int) -> tuple[Result, ...]:
        """Take one observation; return what is due to be told."""
        for scan in self._scans.overdue(now_ns):
            self._fuse(scan, now_ns)
        match observation:
            case DetectedFrame():
                self._see(observation, now_ns)
            case Plot():
                for scan in self._scans.add(observation, now_ns):
                    self._fuse(scan, now_ns)
            case Report():
                self._hear(observation, now_ns)
            case Fix():
                self._stand(observation)
            case Estimate():
                self._fusion.observe_estimates((observation,), now_ns)
        self._counts[type(observation).__name__] += 1
        return self._tell(now_ns)

    def tick(self, now_ns: int) -> tuple[Result, ...]:
        """Nothing came for a while: close overdue scans, tell what is due."""
        for scan in self._scans.overdue(now_ns):
            self._fuse(scan, now_ns)
        return self._tell(now_ns)

    def finish(self, now_ns: int) -> tuple[Result, ...]:
        """The feeds have ended: close every scan and tell the last picture."""
        for scan in self._scans.flush():
            self._fuse(scan, now_ns)
        self._fusion.settle()
        return self._tell(now_ns, last=True)

    def entities(self, now_ns: int) -> tuple[Entity, ...]:
        """The entities as they stand."""
        return self._fusion.entities(now_ns)

    def against(self, entity_id: str, now_ns: int) -> tuple[Objection, ...]:
        """What speaks against an entity."""
        return self._fusion.against(entity_id, now_ns)

    def noted(self, entity_id: str) -> dict[str, int]:
        """How many observations of each source an entity took."""
        return self._fusion.noted(entity_id)

    def _see(self, frame: DetectedFrame, now_ns: int) -> None:
        try:
            camera = self._fitted(frame)
            tracks = self._trackers[frame.sensor_id].step(frame)
        except Drop as e:
            self._counts[f"frames_refused:{e.reason}"] += 1
            return
        self._ran_on(frame)
        seen = [track for track in tracks if track.status == "confirmed" and track.updated_ns == frame.captured_ns]
        plots = tuple(self._introduced(plot, camera) for track in seen if (plot := locate(track, camera)) is not None)
        self._counts["detections"] += len(frame.detections)
        self._counts["tracks_seen"] += len(seen)
        self._counts["tracks_not_on_the_ground"] += len(seen) - len(plots)
        self._fuse(Scan(sensor_id=frame.sensor_id, observed_ns=frame.captured_ns, plots=plots), now_ns)

    def _ran_on(self, frame: DetectedFrame) -> None:
        """An engine may be replaced between two frames: the receipt names the one that the newest frame ran on."""
        model = self._plan.models.get(frame.sensor_id)
        if model is not None and frame.engine and self._receipt.engines.get(model) != frame.engine:
            engines = {**self._receipt.engines, model: frame.engine}
            self._receipt = dataclasses.replace(self._receipt, engines=engines)

    def _fitted(self, frame: DetectedFrame) -> CameraModel:
        """The camera in the pixels of this frame: a lens is written for one size, a stream may bring it at another."""
        camera = self._cameras[frame.sensor_id]
        if (camera.width_px, camera.height_px) != (frame.width_px, frame.height_px):
            camera = self._cameras[frame.sensor_id] = _scaled(self._plan.cameras[frame.sensor_id], frame)
        return camera

    def _introduced(self, plot: Plot, camera: CameraModel) -> Plot:
        """The first bearing of a thing in the sky carries the camera's whole range, so that it can become an entity."""
        if plot.kind != "bearing" or not flies(plot) or self._bearings_known.keys() >= set(plot.identities):
            return plot
        self._bearings_known.update(dict.fromkeys(plot.identities))
        while len(self._bearings_known) > MAX_INTRODUCED:
            del self._bearings_known[next(iter(self._bearings_known))]
        return introduced(plot, camera)

    def _fuse(self, scan: Scan, now_ns: int) -> None:
        self._counts["plots"] += len(scan.plots)
        self._fusion.observe_plots(scan.sensor_id, scan.observed_ns, scan.plots, now_ns)

    def _hear(self, report: Report, now_ns: int) -> None:
        heard = (report.sensor_id, report.report_id)  # a sender's own numbers must not silence those of another feed
        if heard in self._heard:
            self._counts["reports_repeated"] += 1
            return
        self._heard[heard] = None
        if len(self._heard) > MAX_REMEMBERED:
            del self._heard[next(iter(self._heard))]
        from appliance.reading import read  # noqa: PLC0415 - where no report comes, its tables are never built

        try:
            claims = read(report, near=self._near, gazetteer=self._plan.places)
        except Drop as e:
            self._counts[f"reports_refused:{e.reason}"] += 1
            return
        self._counts["claims"] += len(claims)
        self._fusion.observe_claims(claims, now_ns)

    def _stand(self, fix: Fix) -> None:
        if fix.quality == "none":
            return
        self._near = fix.position
        if self._receipt.position_integrity != "surveyed":
            self._receipt = dataclasses.replace(self._receipt, position_integrity="gnss")

    def _tell(self, now_ns: int, *, last: bool = False) -> tuple[Result, ...]:
        if not last and not self._teller.due(now_ns):
            return ()
        return self._teller.tell(
            self._fusion.entities(now_ns),
            self._fusion.disputes(now_ns),
            now_ns=now_ns,
            receipt=self._receipt,
            last=last,
        )


def _scaled(camera: CameraModel, frame: DetectedFrame) -> CameraModel:
    """The same lens at another size. Raises BadRecord (``size``) where the proportions are not those of the lens."""
    across, down = frame.width_px / camera.width_px, frame.height_px / camera.height_px
    if abs(down / across - 1.0) > _PROPORTION:
        expected = f"a picture in the proportions of the lens, {camera.width_px}×{camera.height_px}"
        raise BadRecord("size", f"expected {expected}; found {frame.width_px}×{frame.height_px}")
    return dataclasses.replace(
        camera,
        width_px=frame.width_px,
        height_px=frame.height_px,
        fx_px=camera.fx_px * across,
        fy_px=camera.fy_px * down,
        cx_px=camera.cx_px * across,
        cy_px=camera.cy_px * down,
    )
