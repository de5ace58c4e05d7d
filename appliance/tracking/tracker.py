"""Following things in the picture of one camera: detections of frame after frame become tracks with steady numbers.

    predict → associate (sure looks, then doubtful looks, then places left empty) → update → initiate → coast → delete

Not here: metres (``camera.py``), several cameras (fusion), appearance of things: only boxes, categories, confidences.

Rules: time comes with the frames and steps are seconds, so dropped frames and any frame rate are fine; a frame with no
detections is a look that found nothing; the order of detections within a frame changes nothing; the same frames give
the same tracks, numbers included; an unseen thing coasts for a bounded time and is then deleted once and for all.

Sources: Zhang 2022 (ByteTrack) for doubtful looks after sure ones; Bewley 2016 (SORT) for probation; Cao 2023 (OC-SORT)
for looking once more where a thing was last seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from appliance.domain import CATEGORIES, UNKNOWN, DetectedFrame, Detection, Track, TrackStatus
from appliance.errors import BadRecord
from appliance.tracking.boxes import (
    ANY_FAMILY,
    PP,
    Array,
    BoxNoise,
    Index,
    Mask,
    initiate,
    is_twin,
    nothing,
    pair,
    predict,
    to_corners,
    update,
)

_SECOND_NS: Final = 1_000_000_000
_MEMORY: Final = 0.98
"""What a look at a thing's category weighs after the next one: forty looks outvote an old mistake."""
_SMOOTH: Final = 0.3
"""Share of the newest look in a track's confidence."""
_MAX_PX: Final = 1e6
"""No camera has a picture this wide; comparing refuses infinity and NaN as well."""
_LEAST: Final = 0.02
"""No single look is surer than 98 %, whatever the model says."""
_MIN_TRUST: Final = 0.3
"""The least trust in a doubtful look's box: its noise grows to three times that of a sure one."""
_HEADS: Final = tuple(c for c in CATEGORIES if "/" not in c and c != UNKNOWN)
_FAMILIES: Final = {family: code for code, family in enumerate((UNKNOWN, *_HEADS))}
"""Heads of the category tree; ``unknown`` is `ANY_FAMILY`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """What decides. The defaults suit detectors whose confidence is about a probability."""

    sure: float = 0.6
    """Confidence from which a look is associated first and may begin a track. The one number to set for a detector
    whose confidences run lower: evidence and noise are counted from it."""
    doubtful: float = 0.1
    """Confidence from which a look may still continue a track that was seen in the frame before."""
    sure_overlap: float = 0.25
    """Overlap of a sure look with the place where a track expects it."""
    doubtful_overlap: float = 0.5
    """Likewise of a doubtful look: more is asked of it."""
    again_overlap: float = 0.5
    """Overlap with the place where an unseen thing was last seen."""
    look_gain: float = 0.9
    """Evidence of a look with confidence ``sure``; the difference in log odds adds to it."""
    miss_loss: float = 2.0
    """Evidence that a frame without a look costs: minus the logarithm of the share of misses of a thing in view."""
    believe: float = 9.0
    """Evidence that confirms a track: three looks at 0.95, five at 0.8, ten at 0.6."""
    doubt: float = 6.0
    """A confirmed track that was missed often and falls below this is tentative again."""
    most: float = 11.0
    """Evidence is not saved up beyond this, or a long life would outweigh any doubt."""
    at_once: float = 0.8
    """Confidence that confirms in the first frame, or the first after a long gap: then nothing has yet had a past."""
    twin_overlap: float = 0.8
    """A look that overlaps a look of its family already taken by this much is the same thing told twice."""
    max_coast_s: float = 1.2
    max_tracks: int = 512
    """A picture full of noise may not eat the machine: beyond this no track begins."""
    min_visible: float = 0.3
    """A coasting box with less than this share inside the picture has left it."""
    noise: BoxNoise = field(default_factory=BoxNoise)

    def gain(self, confidence: float) -> float:
        """The evidence of one look."""
        return self.look_gain + _log_odds(confidence) - _log_odds(self.sure)


@dataclass(slots=True)
class _Member:
    """What is remembered of one track besides its filtered box."""

    track_id: int
    family: int
    first_ns: int
    updated_ns: int
    evidence: float
    confidence: float
    believed: bool = False
    confirmed: bool = False
    seen: bool = True
    hits: int = 1
    weights: dict[str, float] = field(default_factory=dict)

    def look(self, detection: Detection, captured_ns: int, settings: TrackerSettings) -> None:
        """Take in one detection of this thing."""
        self.updated_ns, self.seen, self.hits = captured_ns, True, self.hits + 1
        self.evidence = min(self.evidence + settings.gain(detection.confidence), settings.most)
        self.believed = self.evidence >= (settings.doubt if self.believed else settings.believe)
        self.confirmed = self.confirmed or self.believed
        self.confidence += _SMOOTH * (detection.confidence - self.confidence)
        self.weigh(detection)

    def miss(self, settings: TrackerSettings) -> None:
        """Take in that a frame did not show this thing."""
        self.seen = False
        self.evidence = max(self.evidence - settings.miss_loss, 0.0)
        self.believed = self.believed and self.evidence >= settings.doubt

    def weigh(self, detection: Detection) -> None:
        """Take in what kind of thing the detection says it is."""
        for category in self.weights:
            self.weights[category] *= _MEMORY
        self.weights[detection.category] = self.weights.get(detection.category, 0.0) + max(detection.confidence, 1e-3)
        if self.family == ANY_FAMILY:
            self.family = _family(detection.category)

    @property
    def is_doubted(self) -> bool:
        """Never confirmed, and nothing speaks for it any more."""
        return not self.confirmed and self.evidence <= 0.0

    @property
    def status(self) -> TrackStatus:
        if not self.seen:
            return "coasting" if self.confirmed else "tentative"
        return "confirmed" if self.believed else "tentative"


@dataclass(frozen=True, slots=True)
class _Looks:
    """The usable detections of one frame, surest first, and the same as arrays."""

    detections: list[Detection]
    corners: Array
    confidence: Array
    families: Index


class ImageTracker:
    """Tracks of one camera. Not for several threads; one instance per sensor."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._members: list[_Member] = []
        self._state = nothing()
        self._last_seen = np.zeros((0, 4))
        self._next_id = 1
        self._sensor_id: str | None = None
        self._captured_ns: int | None = None
        self._blind = True
        self.unusable = 0
        """Detections dropped so far because their box was empty or not finite."""

    def step(self, frame: DetectedFrame) -> tuple[Track, ...]:
        """The tracks after this frame, by number: all that live, and once more those that this frame deleted.

        A believed track is ``confirmed`` when this frame saw it and ``coasting`` when not; one that is not believed
        yet, or not any more, is ``tentative``. ``box_variance_px2`` is that of the box's centre line (x) and of its
        bottom edge (y), where a standing thing meets the ground.
        Raises `BadRecord` (reason ``order``) for a frame that is not later than the one before; nothing changes then.
        """
        dt_s = self._elapsed_s(frame)
        looks = self._look(frame.detections)
        self._blind = dt_s == 0.0 or dt_s > self._settings.max_coast_s
        gone = self._drop(self._stale(frame.captured_ns), frame)
        predict(self._state, dt_s, self._settings.noise, self._mask("seen"))
        column_of, explained = self._associate(looks)
        self._update(column_of, looks, frame.captured_ns)
        gone += self._drop(self._lost(frame), frame)
        self._initiate(explained, looks, frame.captured_ns)
        return tuple(sorted((*self._report(frame), *gone), key=lambda track: track.track_id))

    def _elapsed_s(self, frame: DetectedFrame) -> float:
        if self._sensor_id is not None and frame.sensor_id != self._sensor_id:
            raise ValueError(f"this tracker follows {self._sensor_id}; found a frame of {frame.sensor_id}")
        before = self._captured_ns
        if before is not None and frame.captured_ns <= before:
            raise BadRecord("order", f"expected a frame of {frame.sensor_id} after {before}; found {frame.captured_ns}")
        self._sensor_id, self._captured_ns = frame.sensor_id, frame.captured_ns
        return 0.0 if before is None else (frame.captured_ns - before) / _SECOND_NS

    def _look(self, detections: tuple[Detection, ...]) -> _Looks:
        """Detections with a real box, in an order of their own, surest first."""
        real = [d for d in detections if _is_box(*d.box_px)]
        self.unusable += len(detections) - len(real)
        good = [d for d in real if d.confidence >= self._settings.doubtful]
        good.sort(key=lambda d: (-d.confidence, d.box_px, d.category, d.label))
        return _Looks(
            good,
            np.array([d.box_px for d in good], dtype=np.float64).reshape(-1, 4),
            np.array([d.confidence for d in good], dtype=np.float64),
            np.array([_family(d.category) for d in good], dtype=np.int64),
        )

    def _mask(self, name: Literal["seen", "confirmed"]) -> Mask:
        return np.array([getattr(member, name) for member in self._members], dtype=np.bool_)

    # -- associate ------------------------------------------------------------------------------------------------

    def _associate(self, looks: _Looks) -> tuple[Index, Mask]:
        """(look of each member or −1, which looks are explained)."""
        column_of = np.full(len(self._members), -1, dtype=np.int64)
        taken = np.zeros(len(looks.detections), dtype=np.bool_)
        if not self._members or not looks.detections:
            return column_of, taken
        s = self._settings
        sure, every = looks.confidence >= s.sure, np.ones_like(taken)
        confirmed = self._mask("confirmed")
        families = np.array([member.family for member in self._members], dtype=np.int64)
        expected = to_corners(self._state)
        for places, rows, columns, gate in (
            (expected, confirmed, sure, s.sure_overlap),
            (expected, confirmed & self._mask("seen"), ~sure, s.doubtful_overlap),
            (expected, ~confirmed, every, s.sure_overlap),
            (self._last_seen, confirmed, sure, s.again_overlap),
        ):
            pair(places, looks.corners, families, looks.families, column_of, taken, rows, columns, gate)
        return column_of, taken

    # -- update, initiate, delete ---------------------------------------------------------------------------------

    def _update(self, column_of: Index, looks: _Looks, captured_ns: int) -> None:
        trust = np.maximum(looks.confidence, _MIN_TRUST)
        update(self._state, looks.corners, column_of, self._settings.noise, trust)
        for row, (member, column) in enumerate(zip(self._members, column_of.tolist(), strict=True)):
            if column >= 0:
                member.look(looks.detections[column], captured_ns, self._settings)
                self._last_seen[row] = looks.corners[column]
            else:
                member.miss(self._settings)

    def _initiate(self, explained: Mask, looks: _Looks, captured_ns: int) -> None:
        """Begin tracks from sure looks that nothing explains, surest first."""
        s, fresh = self._settings, []
        for column in np.flatnonzero(~explained & (looks.confidence >= s.sure)).tolist():
            if len(self._members) >= s.max_tracks:
                break
            if not is_twin(column, looks.corners, looks.families, explained, s.twin_overlap):
                explained[column] = True
                fresh.append(column)
                self._members.append(self._member(looks.detections[column], captured_ns))
        if fresh:
            self._state = np.concatenate((self._state, initiate(looks.corners[fresh], s.noise)))
            self._last_seen = np.concatenate((self._last_seen, looks.corners[fresh]))

    def _member(self, detection: Detection, captured_ns: int) -> _Member:
        at_once = self._blind and detection.confidence >= self._settings.at_once
        member = _Member(
            track_id=self._next_id,
            family=_family(detection.category),
            first_ns=captured_ns,
            updated_ns=captured_ns,
            evidence=self._settings.most if at_once else self._settings.gain(detection.confidence),
            believed=at_once,
            confirmed=at_once,
            confidence=detection.confidence,
        )
        member.weigh(detection)
        self._next_id += 1
        return member

    def _stale(self, now_ns: int) -> list[int]:
        limit_ns = int(self._settings.max_coast_s * _SECOND_NS)
        return [row for row, member in enumerate(self._members) if now_ns - member.updated_ns > limit_ns]

    def _lost(self, frame: DetectedFrame) -> list[int]:
        """Unseen tracks that nothing speaks for, or that have left the picture."""
        unseen = [row for row, member in enumerate(self._members) if not member.seen]
        if not unseen:
            return []
        boxes = to_corners(self._state).tolist()
        return [
            row
            for row in unseen
            if self._members[row].is_doubted or _visible(boxes[row], frame) < self._settings.min_visible
        ]

    def _drop(self, doomed: list[int], frame: DetectedFrame) -> list[Track]:
        """Forget these members and return them one last time, deleted."""
        if not doomed:
            return []
        boxes, spreads = self._shape()
        deleted = [_track(self._members[row], "deleted", frame, boxes[row], spreads[row]) for row in doomed]
        kept = [row for row in range(len(self._members)) if row not in set(doomed)]
        self._members = [self._members[row] for row in kept]
        self._state = self._state[kept]
        self._last_seen = self._last_seen[kept]
        return deleted

    # -- report ---------------------------------------------------------------------------------------------------

    def _report(self, frame: DetectedFrame) -> list[Track]:
        parts = zip(self._members, *self._shape(), strict=True)
        return [_track(member, member.status, frame, box, spread) for member, box, spread in parts]

    def _shape(self) -> tuple[list[list[float]], list[tuple[float, float]]]:
        """Corners, and the variances of the centre line and of the bottom edge, as plain numbers."""
        pp: list[list[float]] = self._state[:, PP].tolist()
        return to_corners(self._state).tolist(), [(x, y + 0.25 * height) for x, y, _, height in pp]


def _log_odds(confidence: float) -> float:
    bounded = min(max(confidence, _LEAST), 1.0 - _LEAST)
    return math.log(bounded / (1.0 - bounded))


def _family(category: str) -> int:
    return _FAMILIES.get(category.partition("/")[0], ANY_FAMILY)


def _is_box(x1: float, y1: float, x2: float, y2: float) -> bool:
    return -_MAX_PX < x1 < x2 < _MAX_PX and -_MAX_PX < y1 < y2 < _MAX_PX


def _visible(box: list[float], frame: DetectedFrame) -> float:
    """The share of a box that lies inside the picture."""
    x1, y1, x2, y2 = box
    width = min(x2, frame.width_px) - max(x1, 0.0)
    height = min(y2, frame.height_px) - max(y1, 0.0)
    return max(width, 0.0) * max(height, 0.0) / ((x2 - x1) * (y2 - y1))


def _shares(weights: dict[str, float]) -> dict[str, float]:
    if len(weights) == 1:
        return dict.fromkeys(weights, 1.0)
    total = sum(weights.values())
    return {category: weights[category] / total for category in sorted(weights)}


def _track(
    member: _Member, status: TrackStatus, frame: DetectedFrame, box: list[float], spread: tuple[float, float]
) -> Track:
    return Track(
        sensor_id=frame.sensor_id,
        track_id=member.track_id,
        status=status,
        box_px=(box[0], box[1], box[2], box[3]),
        box_variance_px2=spread,
        categories=_shares(member.weights),
        confidence=member.confidence,
        first_ns=member.first_ns,
        updated_ns=member.updated_ns,
        hits=member.hits,
    )


def warm() -> None:
    """Compile what a tracker calls (seconds where no cache can be read), so that the first real frame need not wait."""
    tracker = ImageTracker()
    seen = Detection(box_px=(0.0, 0.0, 9.0, 9.0), category=UNKNOWN, label="", confidence=0.9)
    other = Detection(box_px=(20.0, 0.0, 29.0, 9.0), category=UNKNOWN, label="", confidence=0.9)
    for n, detections in enumerate(((seen,), (seen, other), ())):
        tracker.step(
            DetectedFrame(
                sensor_id="", sequence=n, captured_ns=n * _SECOND_NS, width_px=32, height_px=32, detections=detections
            )
        )
