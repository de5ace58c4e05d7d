"""How far two networks agree, and how well one does where the truth is known: matched boxes, and average precision.

Two sets of boxes of one picture are matched one to one, best score first, where labels are equal and the intersection
over union is at least 0.5 (as in PASCAL VOC, Everingham et al. 2010). Average precision is the area under the
precision envelope at every recall, the mean over labels (VOC 2010), at IoU 0.5 and as the mean of 0.5 to 0.95 in steps
of 0.05 (COCO, Lin et al. 2014, arXiv 1405.0312, but with every recall in place of its 101 points).

Values in, values out: nothing here runs a network or reads a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

MIN_IOU: Final = 0.5
IOUS: Final = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One box xyxy in frame pixels. ``score`` is 1 for truth."""

    box_px: tuple[float, float, float, float]
    label: str
    score: float = 1.0


Boxes = Sequence[Box]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a candidate's boxes stand to a reference's. Shares are NaN where there was nothing to share.

    ``recall`` is the share of the reference's boxes that the candidate has too, ``precision`` the share of the
    candidate's that the reference has. Differences are over matched pairs: candidate − reference.
    """

    pictures: int
    reference: int
    candidate: int
    matched: int
    mean_iou: float
    mean_score_difference: float
    worst_score_difference: float

    @property
    def recall(self) -> float:
        """Of the reference's boxes, those that the candidate has."""
        return self.matched / self.reference if self.reference else float("nan")

    @property
    def precision(self) -> float:
        """Of the candidate's boxes, those that the reference has."""
        return self.matched / self.candidate if self.candidate else float("nan")


def agree(reference: Sequence[Boxes], candidate: Sequence[Boxes]) -> Agreement:
    """Compares the boxes of two networks, picture by picture."""
    pairs = [
        (one, other, iou)
        for ours, theirs in zip(reference, candidate, strict=True)
        for one, other, iou in match(ours, theirs)
    ]
    differences = np.array([other.score - one.score for one, other, _ in pairs], np.float64)
    return Agreement(
        pictures=len(reference),
        reference=sum(map(len, reference)),
        candidate=sum(map(len, candidate)),
        matched=len(pairs),
        mean_iou=float(np.mean([iou for *_, iou in pairs])) if pairs else float("nan"),
        mean_score_difference=float(differences.mean()) if pairs else float("nan"),
        worst_score_difference=float(np.abs(differences).max()) if pairs else float("nan"),
    )


def match(reference: Boxes, candidate: Boxes, min_iou: float = MIN_IOU) -> Iterator[tuple[Box, Box, float]]:
    """Pairs (reference, candidate, IoU); the candidate's best scores choose first, equal scores in their order."""
    ious = overlaps(_corners(candidate), _corners(reference))
    free = np.ones(len(reference), np.bool_)
    for place in np.argsort([-box.score for box in candidate], kind="stable"):
        same = np.array([box.label == candidate[place].label for box in reference], np.bool_)
        row = np.where(same & free, ious[place], -1.0)
        best = int(row.argmax()) if len(row) else -1
        if best >= 0 and row[best] >= min_iou:
            free[best] = False
            yield reference[best], candidate[place], float(row[best])


def overlaps(ones: Array, others: Array) -> Array:
    """Intersection over union of every box of ``ones`` (n, 4) with every one of ``others`` (m, 4): (n, m)."""
    low = np.maximum(ones[:, None, :2], others[None, :, :2])
    high = np.minimum(ones[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(np.maximum(each[:, 2:] - each[:, :2], 0.0), axis=1) for each in (ones, others)]
    whole = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0.0))


def mean_average_precision(truth: Sequence[Boxes], found: Sequence[Boxes], ious: Sequence[float] = IOUS) -> float:
    """The mean over labels that the truth has, and over ``ious``; NaN where the truth has no box."""
    labels = sorted({box.label for boxes in truth for box in boxes})
    values = [_average_precision(truth, found, label, iou) for label in labels for iou in ious]
    return float(np.mean(values)) if values else float("nan")


def _average_precision(truth: Sequence[Boxes], found: Sequence[Boxes], label: str, iou: float) -> float:
    given: list[tuple[float, bool]] = []
    asked = 0
    for true, ours in zip(truth, found, strict=True):
        wanted = [box for box in true if box.label == label]
        mine = [box for box in ours if box.label == label]
        right = {id(other) for _, other, _ in match(wanted, mine, iou)}
        given.extend((box.score, id(box) in right) for box in mine)
        asked += len(wanted)
    given.sort(key=lambda each: -each[0])
    hits = np.cumsum([hit for _, hit in given]) if given else np.zeros(0)
    recall = np.concatenate([[0.0], hits / asked])
    precision = np.concatenate([[1.0], hits / np.arange(1, len(given) + 1)])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def _corners(boxes: Boxes) -> Array:
    return np.array([box.box_px for box in boxes], np.float64).reshape(-1, 4)
