"""Decoders: what the numbers of each kind of head mean. One picture's outputs in, candidates out.

Each head says two things: the scores of its rows, and how rows become boxes. Scores are cut first, and boxes are
worked out only for the few rows that are left. Vectorised numpy throughout; grids are kept per network size.

Rules: boxes leave here as xyxy in network pixels. A score or a box that is not a number, a score above one and a class
index that no label has are dropped and counted (``unusable``); a network may be wrong, it must not stop the lane.
Only what `manifest` says is known here: no model is recognised by its shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from appliance.bundles.manifest import Detr, Manifest, NanoDet, Priors, Ssd, Yolox, Yunet
from appliance.errors import EngineUnavailable
from appliance.inference.suppress import MAX_PLAUSIBLE_SCORE, Candidates, Floats, Floor, Indices, best_first

Outputs = Mapping[str, npt.NDArray[Any]]
Net = tuple[int, int]
"""(height, width) of the network's picture."""


_NOTHING: Final = -1
"""The label index of background, and what several exports write into rows that they do not fill."""
_STRAY: Final = -2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a head says of one picture.

    ``scores`` is (rows, labels), or (rows,) with ``labels`` (rows,) where the network has chosen. ``boxes`` turns row
    numbers into (n, 4) boxes xyxy in network pixels.
    """

    scores: Floats
    labels: Indices | None
    boxes: Callable[[Indices], Floats]


def decode(manifest: Manifest, outputs: Outputs, index: int, net: Net, floor: Floor) -> tuple[Candidates, int]:
    """The candidates of picture ``index`` at or above ``floor``, best first, and how many rows were unusable."""
    with np.errstate(all="ignore"):  # hostile or half-precision numbers overflow; what comes of it is dropped below
        rows = _rows(manifest, outputs, index, net, floor)
        which, labels = _above(rows, floor, several=manifest.thresholds.labels_per_box == "all")
        scores = rows.scores[which] if rows.labels is not None else rows.scores[which, labels]
        sane = np.isfinite(scores) & (scores <= MAX_PLAUSIBLE_SCORE) & (labels >= 0) & (labels < len(manifest.labels))
        which, labels, scores = which[sane], labels[sane], np.minimum(scores[sane], np.float32(1))
        best = best_first(scores, manifest.thresholds.max_candidates)
        boxes = rows.boxes(which[best])
        found = Candidates(boxes=boxes, scores=scores[best], labels=labels[best])
        real = np.isfinite(boxes).all(axis=1)
        solid = real & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return found.take(solid), int((~sane).sum() + (~real).sum())


def _rows(manifest: Manifest, outputs: Outputs, index: int, net: Net, floor: Floor) -> Rows:
    match manifest.decoder:
        case Yolox() as head:
            return _yolox(head, outputs, index, net, floor)
        case NanoDet() as head:
            return _nanodet(head, outputs, index, net, len(manifest.labels))
        case Yunet() as head:
            return _yunet(head, outputs, index, net)
        case Detr() as head:
            return _box_set(head, outputs, index, net)
        case Ssd() as head:
            return _box_set(head, outputs, index, net)


def _above(rows: Rows, floor: Floor, *, several: bool) -> tuple[Indices, Indices]:
    """Row and label of what is not below the floor; ``not below`` lets through what is not a number, to be counted."""
    if rows.labels is not None:
        which = np.flatnonzero(~(rows.scores < floor.lowest))
        labels = rows.labels[which]
        limits = floor.per_label[np.clip(labels, 0, len(floor.per_label) - 1)]
        kept = ~(rows.scores[which] < limits) & (labels != _NOTHING)
        return which[kept], labels[kept]
    if several:
        which, labels = np.nonzero(~(rows.scores < floor.per_label))
        return which, labels
    best = rows.scores.argmax(axis=1)
    top = np.take_along_axis(rows.scores, best[:, None], axis=1)[:, 0]
    which = np.flatnonzero(~(top < floor.per_label[best]))
    return which, best[which]


def _yolox(head: Yolox, outputs: Outputs, index: int, net: Net, floor: Floor) -> Rows:
    raw = _float32(outputs[head.output][index])
    objectness = _activate(raw[:, 4], head.score_kind)
    near = np.flatnonzero(~(objectness < floor.lowest))  # a class score is at most one
    scores = _activate(raw[near, 5:], head.score_kind) * objectness[near, None]

    def boxes(which: Indices) -> Floats:
        chosen = near[which]
        values = raw[chosen, :4]
        if not head.decoded:
            cells, strides = _grid(net, head.strides, 0.0)
            values = _centre_log_size(values, cells[chosen], strides[chosen])
        return _corners(values, "cxcywh")

    return Rows(scores=scores, labels=None, boxes=boxes)


def _nanodet(head: NanoDet, outputs: Outputs, index: int, net: Net, labels: int) -> Rows:
    if head.output is not None:
        raw = _float32(outputs[head.output][index])
        classes, distances = raw[:, :labels], raw[:, labels:]
    else:
        classes = _joined(outputs, head.class_outputs, index)
        distances = _joined(outputs, head.distance_outputs, index)

    def boxes(which: Indices) -> Floats:
        cells, strides = _grid(net, head.strides, head.cell_offset)
        chance = _softmax(distances[which].reshape(len(which), 4, head.reg_max + 1))
        reach = chance @ np.arange(head.reg_max + 1, dtype=np.float32) * strides[which]
        points = cells[which] * strides[which]
        return np.concatenate([points - reach[:, :2], points + reach[:, 2:]], axis=1)

    return Rows(scores=_activate(classes, head.score_kind), labels=None, boxes=boxes)


def _yunet(head: Yunet, outputs: Outputs, index: int, net: Net) -> Rows:
    classes = np.maximum(_joined(outputs, head.class_outputs, index), np.float32(0))
    objectness = np.maximum(_joined(outputs, head.objectness_outputs, index), np.float32(0))
    raw = _joined(outputs, head.box_outputs, index)

    def boxes(which: Indices) -> Floats:
        cells, strides = _grid(net, head.strides, 0.0)
        return _corners(_centre_log_size(raw[which], cells[which], strides[which]), "cxcywh")

    return Rows(scores=np.sqrt(classes * objectness), labels=None, boxes=boxes)


def _box_set(head: Detr | Ssd, outputs: Outputs, index: int, net: Net) -> Rows:
    filled = _filled(head, outputs, index)
    raw = _float32(outputs[head.boxes][index])[:filled]
    scores = _activate(_float32(outputs[head.scores][index])[:filled], head.score_kind)
    labels: Indices | None = None
    if head.labels is not None:
        labels = _without_background(outputs[head.labels][index][:filled], head.background)
    elif head.background is not None:
        scores = np.delete(scores, head.background, axis=1)

    if len(raw) != len(scores):  # an axis that the network leaves open: no manifest could say
        raise EngineUnavailable(
            f"outputs {head.boxes} and {head.scores}: expected as many boxes as scores; "
            f"found {len(raw)} and {len(scores)}"
        )

    def boxes(which: Indices) -> Floats:
        values = raw[which]
        if isinstance(head, Ssd) and head.priors is not None:
            return _from_priors(values, _priors(net, head.priors)[which], head.priors.variances)
        if head.box_unit == "normalised":
            height, width = net
            first, second = (height, width) if head.box_format == "yxyx" else (width, height)
            values = values * np.array([first, second, first, second], np.float32)
        return _corners(values, head.box_format)

    return Rows(scores=scores, labels=labels, boxes=boxes)


def _filled(head: Detr | Ssd, outputs: Outputs, index: int) -> int | None:
    """How many rows the graph's own NMS has filled; None where it fills all."""
    if isinstance(head, Detr) or head.count is None:
        return None
    count = float(outputs[head.count][index].reshape(()))
    return int(max(0.0, min(count, 1e9))) if np.isfinite(count) else 0


def _without_background(classes: npt.NDArray[Any], background: int | None) -> Indices:
    """Class indices → label indices, background → ``_NOTHING``; what is not a number → an index that no label has."""
    finite = np.isfinite(classes) & (np.abs(classes) < 2**31)
    labels = np.where(finite, classes, _STRAY).astype(np.int64)
    if background is None:
        return labels
    return np.where(labels == background, _NOTHING, labels - (labels > background))


def _float32(values: npt.NDArray[Any]) -> Floats:
    return values.astype(np.float32, copy=False)


def _joined(outputs: Outputs, names: tuple[str, ...] | None, index: int) -> Floats:
    return np.concatenate([_float32(outputs[name][index]) for name in names or ()])


def _activate(values: Floats, kind: str) -> Floats:
    if kind == "sigmoid":
        half = np.float32(0.5)
        raised: Floats = np.tanh(half * values)  # the logistic function, in the form that cannot overflow
        return half + half * raised
    return _softmax(values) if kind == "softmax" else values


def _softmax(values: Floats) -> Floats:
    raised: Floats = np.exp(values - values.max(axis=-1, keepdims=True))
    raised /= raised.sum(axis=-1, keepdims=True)
    return raised


def _centre_log_size(values: Floats, cells: Floats, strides: Floats) -> Floats:
    """(offset in cells, log of size in strides) → centre and size in pixels."""
    return np.concatenate([(values[:, :2] + cells) * strides, np.exp(values[:, 2:]) * strides], axis=1)


def _corners(values: Floats, form: str) -> Floats:
    if form == "xyxy":
        return values
    if form == "yxyx":
        return values[:, [1, 0, 3, 2]]
    half = values[:, 2:] * np.float32(0.5)
    return np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1)


def _from_priors(values: Floats, priors: Floats, variances: tuple[float, float]) -> Floats:
    centre = priors[:, :2] + values[:, :2] * np.float32(variances[0]) * priors[:, 2:]
    size = priors[:, 2:] * np.exp(values[:, 2:] * np.float32(variances[1]))
    return _corners(np.concatenate([centre, size], axis=1), "cxcywh")


@lru_cache(maxsize=32)
def _grid(net: Net, strides: tuple[int, ...], offset: float) -> tuple[Floats, Floats]:
    """Cell coordinates (n, 2) x, y plus ``offset``, and strides (n, 1): level by level, row by row."""
    cells, steps = [], []
    for stride in strides:
        height, width = -(-net[0] // stride), -(-net[1] // stride)
        y, x = np.mgrid[:height, :width]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1) + offset)
        steps.append(np.full((height * width, 1), stride))
    return _shared(np.concatenate(cells)), _shared(np.concatenate(steps))


def _priors(net: Net, priors: Priors) -> Floats:
    return _prior_boxes(net, tuple((level.stride_px, level.sizes_px) for level in priors.levels))


@lru_cache(maxsize=32)
def _prior_boxes(net: Net, levels: tuple[tuple[int, tuple[tuple[float, float], ...]], ...]) -> Floats:
    """Priors (n, 4) cxcywh in network pixels: level by level, cell by cell, size by size."""
    boxes = []
    for stride, sizes in levels:
        cells, _ = _grid(net, (stride,), 0.5)
        centres = np.repeat(cells * stride, len(sizes), axis=0)
        boxes.append(np.concatenate([centres, np.tile(np.asarray(sizes, np.float32), (len(cells), 1))], axis=1))
    return _shared(np.concatenate(boxes))


def _shared(values: npt.NDArray[Any]) -> Floats:
    """A kept array is read by every later picture, so nobody may write into it."""
    kept = values.astype(np.float32)
    kept.setflags(write=False)
    return kept
