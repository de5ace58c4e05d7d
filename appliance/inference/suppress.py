"""Which of a network's answers are reported: thresholds, calibration, non-maximum suppression.

Pure numpy on the candidates of one picture. The same scores give the same choice on every machine: sorting is stable,
equal scores keep the order of the network's rows, and nothing depends on threads.

Rules: what is not a number is dropped and counted, never compared. A box suppresses another where their intersection
over union is *above* the threshold (as in the reference code of YOLOX and torchvision).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from appliance.bundles.manifest import Manifest

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

MAX_PLAUSIBLE_SCORE: Final = 1.01
"""Rounding in half precision may pass one; more means that the outputs are not what the manifest says they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What one picture may hold: boxes (n, 4) xyxy in network pixels, scores (n,), label indices (n,)."""

    boxes: Floats
    scores: Floats
    labels: Indices

    def take(self, rows: npt.NDArray[np.bool_] | Indices) -> Candidates:
        """The candidates at ``rows``, in that order."""
        return Candidates(boxes=self.boxes[rows], scores=self.scores[rows], labels=self.labels[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The lowest raw score that is looked at: ``per_label`` (labels,), infinite where a label is not reported."""

    per_label: Floats
    lowest: np.float32


def floor_of(manifest: Manifest) -> Floor:
    """Thresholds speak of calibrated confidence; this turns them back into raw scores, once."""
    wanted = [
        np.inf if manifest.category_of(label) is None else manifest.thresholds.per_label.get(label, default)
        for label, default in ((label, manifest.thresholds.score) for label in manifest.labels)
    ]
    raw = uncalibrate(np.asarray(wanted, np.float64), manifest.calibration.temperature).astype(np.float32)
    return Floor(per_label=raw, lowest=raw.min())


def calibrate(scores: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.float64]:
    """Temperature scaling of probabilities (Guo et al. 2017): sigmoid(logit(score) / temperature)."""
    exact = np.asarray(scores, np.float64)
    if temperature == 1.0:
        return exact
    with np.errstate(divide="ignore", over="ignore"):
        odds = (1.0 - exact) / exact
        return np.asarray(1.0 / (1.0 + odds ** (1.0 / temperature)), np.float64)


def uncalibrate(confidence: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """The inverse of ``calibrate``; infinite stays infinite."""
    finite = np.isfinite(confidence)
    return np.where(finite, calibrate(np.where(finite, confidence, 0.5), 1.0 / temperature), np.inf)


def suppress(candidates: Candidates, iou: float, limit: int, *, across_labels: bool = False) -> Indices:
    """Greedy non-maximum suppression: rows that stay, best first, at most ``limit``.

    Boxes of different labels do not suppress each other unless ``across_labels``.
    """
    order = np.argsort(-candidates.scores, kind="stable")
    boxes = candidates.boxes[order]
    labels = candidates.labels[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), np.bool_)
    kept: list[int] = []
    for row in range(len(order)):
        if not alive[row]:
            continue
        kept.append(int(order[row]))
        if len(kept) == limit:
            break
        covered = _iou(boxes[row], areas[row], boxes[row + 1 :], areas[row + 1 :]) > iou
        if not across_labels:
            covered &= labels[row + 1 :] == labels[row]
        alive[row + 1 :] &= ~covered
    return np.asarray(kept, np.int64)


def _iou(box: Floats, area: np.float32, others: Floats, areas: Floats) -> Floats:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    sides = np.maximum(high - low, np.float32(0))
    shared = sides[:, 0] * sides[:, 1]
    ratio: Floats = shared / np.maximum(area + areas - shared, np.float32(1e-9))
    return ratio


def best_first(scores: Floats, limit: int) -> Indices:
    """Rows by falling score, equal scores in their order, at most ``limit``."""
    return np.argsort(-scores, kind="stable")[:limit]
