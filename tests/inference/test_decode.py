"""Each decoder: boxes that were put into a head's numbers come out of the detector, through a real ONNX file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from appliance.bundles.manifest import Manifest
from appliance.errors import EngineUnavailable
from appliance.inference.decode import decode
from appliance.inference.detector import Detector
from appliance.inference.runner import open_runner
from appliance.inference.suppress import floor_of

Thing = tuple[tuple[float, float, float, float], int, float]
"""A box xyxy in network pixels, the index of its label, its score."""

THINGS: list[Thing] = [((4, 8, 24, 40), 0, 0.9), ((30, 10, 50, 26), 2, 0.6), ((8, 44, 56, 60), 1, 0.4)]
LABELS = 3
Encoded = tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def centre(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def cells(strides: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(column, row, stride) of every cell of a 64 × 64 picture, in the order of the heads."""
    return [(x, y, s) for s in strides for y in range(-(-64 // s)) for x in range(-(-64 // s))]


def cell_of(box: tuple[float, float, float, float], strides: tuple[int, ...], stride: int) -> int:
    x, y, _, _ = centre(box)
    return cells(strides).index((int(x // stride), int(y // stride), stride))


def yolox(*, decoded: bool = False, logits: bool = False) -> Encoded:
    strides = (8, 16)
    raw = np.full((1, len(cells(strides)), 5 + LABELS), -9.0 if logits else 0.0, np.float32)
    raw[..., :4] = 0
    for (box, label, score), stride in zip(THINGS, (8, 16, 16), strict=True):
        x, y, wide, high = centre(box)
        number = cell_of(box, strides, stride)
        column, row, _ = cells(strides)[number]
        here = (x, y, wide, high) if decoded else (x / stride - column, y / stride - row, math.log(wide / stride),
                                                   math.log(high / stride))  # fmt: skip
        raw[0, number, :4] = here
        raw[0, number, 4], raw[0, number, 5 + label] = (
            (logit(0.95), logit(score / 0.95)) if logits else (0.95, score / 0.95)
        )
    decoder = {"kind": "yolox", "output": "raw", "strides": strides, "decoded": decoded}
    return decoder | ({"score_kind": "sigmoid"} if logits else {}), {"raw": raw}


def nanodet(*, separate: bool = False, offset: float = 0.0) -> Encoded:
    strides, reg_max = (8, 16, 48), 7
    where = cells(strides)
    classes = np.zeros((1, len(where), LABELS), np.float32)
    distances = np.zeros((1, len(where), 4, reg_max + 1), np.float32)
    for (box, label, score), stride in zip(THINGS, (8, 8, 16), strict=True):
        number = cell_of(box, strides, stride)
        point = [(value + offset) * stride for value in where[number][:2]]
        reach = [point[0] - box[0], point[1] - box[1], box[2] - point[0], box[3] - point[1]]
        classes[0, number, label] = score
        for side, length in enumerate(reach):
            low, part = divmod(length / stride, 1)
            distances[0, number, side] = -40.0  # softmax: all the weight on the two bins beside the length
            distances[0, number, side, int(low)] = math.log(max(1 - part, 1e-12))
            distances[0, number, side, min(int(low) + 1, reg_max)] = math.log(max(part, 1e-12))
    flat = distances.reshape(1, len(where), -1)
    decoder: dict[str, Any] = {"kind": "nanodet", "strides": strides, "reg_max": reg_max, "cell_offset": offset}
    if not separate:
        return decoder | {"output": "all"}, {"all": np.concatenate([classes, flat], axis=2)}
    ends = np.cumsum([sum(1 for cell in where if cell[2] == stride) for stride in strides])[:-1]
    outputs = {f"cls{n}": part for n, part in enumerate(np.split(classes, ends, axis=1))}
    outputs |= {f"dis{n}": part for n, part in enumerate(np.split(flat, ends, axis=1))}
    names = {"class_outputs": ["cls0", "cls1", "cls2"], "distance_outputs": ["dis0", "dis1", "dis2"]}
    return decoder | names, outputs


def yunet() -> Encoded:
    strides = (8, 16)
    count = {stride: (64 // stride) ** 2 for stride in strides}
    outputs = {
        f"{part}{stride}": np.zeros((1, count[stride], width), np.float32)
        for part, width in (("cls", LABELS), ("obj", 1), ("box", 4))
        for stride in strides
    }
    for (box, label, score), stride in zip(THINGS, (8, 16, 16), strict=True):
        x, y, wide, high = centre(box)
        number = cell_of(box, (stride,), stride)
        column, row, _ = cells((stride,))[number]
        outputs[f"cls{stride}"][0, number, label] = score
        outputs[f"obj{stride}"][0, number, 0] = score
        outputs[f"box{stride}"][0, number] = [
            x / stride - column, y / stride - row, math.log(wide / stride), math.log(high / stride)
        ]  # fmt: skip
    names = {
        f"{key}_outputs": [f"{part}{stride}" for stride in strides]
        for key, part in (("class", "cls"), ("objectness", "obj"), ("box", "box"))
    }
    return {"kind": "yunet", "strides": strides, **names}, outputs


def box_set(
    kind: str, *, form: str = "cxcywh", unit: str = "normalised", scores: str = "probability", chosen: bool = False,
    background: int | None = None, count: bool = False, half: bool = False,
) -> Encoded:  # fmt: skip
    """DETR and SSD heads: seven rows, of which the things fill the first three."""
    classes = LABELS + (background is not None)
    nothing = {"probability": 0.0, "sigmoid": -9.0, "softmax": -9.0}[scores]
    boxes = np.zeros((1, 7, 4), np.float32)
    table = np.full((1, 7, classes), nothing, np.float32)
    best = np.full((1, 7), nothing, np.float32)
    labels = np.full((1, 7), 0 if background is None else background, np.int64)
    if scores == "softmax":
        table[:, :, background] = 9.0
    if count:
        best[:] = 0.99  # rows that the graph's NMS left unfilled hold whatever was there
    for row, (box, label, score) in enumerate(THINGS):
        values = {"xyxy": box, "yxyx": (box[1], box[0], box[3], box[2]), "cxcywh": centre(box)}[form]
        boxes[0, row] = np.array(values) / (64 if unit == "normalised" else 1)
        index = label + (background is not None and label >= background)
        number = {"probability": score, "sigmoid": logit(score) if score < 1 else 9.0, "softmax": 0.0}[scores]
        if scores == "softmax":
            table[0, row] = math.log((1 - score) / (classes - 1))
            number = math.log(score)
        table[0, row, index] = best[0, row] = number
        labels[0, row] = index
    decoder: dict[str, Any] = {"kind": kind, "boxes": "boxes", "scores": "scores", "box_format": form}
    decoder |= {"box_unit": unit, "score_kind": scores, "background": background}
    outputs: dict[str, np.ndarray[Any, Any]] = {"boxes": boxes, "scores": best if chosen else table}
    if chosen:
        decoder["labels"], outputs["labels"] = "labels", labels
    if count:
        decoder["count"], outputs["count"] = "count", np.array([[len(THINGS)]], np.float32)
    if half:
        outputs = {
            name: value.astype(np.float16) if value.dtype == np.float32 else value for name, value in outputs.items()
        }
    return decoder, outputs


def priors() -> Encoded:
    levels = [{"stride_px": 16, "sizes_px": [[16, 16], [32, 16]]}, {"stride_px": 32, "sizes_px": [[32, 48]]}]
    anchors = [
        ((x + 0.5) * level["stride_px"], (y + 0.5) * level["stride_px"], *size)
        for level in levels
        for y in range(64 // level["stride_px"])
        for x in range(64 // level["stride_px"])
        for size in level["sizes_px"]
    ]
    boxes = np.zeros((1, len(anchors), 4), np.float32)
    scores = np.zeros((1, len(anchors), LABELS + 1), np.float32)
    scores[..., 0] = 1
    for (box, label, score), number in zip(THINGS, (5, 11, 34), strict=True):
        x, y, wide, high = centre(box)
        px, py, pw, ph = anchors[number]
        boxes[0, number] = [
            (x - px) / pw / 0.1,
            (y - py) / ph / 0.1,
            math.log(wide / pw) / 0.2,
            math.log(high / ph) / 0.2,
        ]
        scores[0, number, label + 1] = score
        scores[0, number, 0] = 1 - score
    decoder = {"kind": "ssd", "boxes": "boxes", "scores": "scores", "box_format": "cxcywh", "background": 0}
    return decoder | {"priors": {"levels": levels}}, {"boxes": boxes, "scores": scores}


HEADS: Mapping[str, Callable[[], Encoded]] = {
    "yolox": yolox,
    "yolox decoded in the graph": lambda: yolox(decoded=True),
    "yolox with logits": lambda: yolox(logits=True),
    "nanodet-plus, one output": nanodet,
    "nanodet, cell centres, one output per stride": lambda: nanodet(separate=True, offset=0.5),
    "yunet": yunet,
    "detr with softmax and a background class": lambda: box_set("detr", scores="softmax", background=3),
    "detr with logits": lambda: box_set("detr", scores="sigmoid"),
    "detr with pixel corners and labels": lambda: box_set("detr", form="xyxy", unit="pixel", chosen=True),
    "detr in half precision": lambda: box_set("detr", half=True),
    "ssd with scores per class and background first": lambda: box_set("ssd", form="xyxy", background=0),
    "ssd with background in the middle": lambda: box_set("ssd", form="xyxy", background=1),
    "ssd with rows, columns and a count": lambda: box_set("ssd", form="yxyx", chosen=True, count=True),
    "ssd with labels and background": lambda: box_set("ssd", form="xyxy", unit="pixel", chosen=True, background=0),
    "ssd with priors": priors,
}


@pytest.fixture
def see(
    answering: Callable[..., bytes], manifest: Callable[..., Manifest], picture: Callable[..., Any]
) -> Callable[..., list[tuple[Any, ...]]]:
    """Build a network that gives these outputs, open it, and show it a frame twice as large as it takes."""

    def look(encoded: Encoded, changes: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        decoder, outputs = encoded
        page = manifest({"decoder": decoder, **(changes or {})})
        detector = Detector(page, open_runner(answering(outputs), page))
        found = detector.detect([picture(height=128, width=128)])[0]
        assert detector.unusable == 0
        return [(one.box_px, one.label, one.category, one.confidence) for one in found.detections]

    return look


@pytest.mark.parametrize("head", HEADS)
def test_what_was_put_into_a_head_comes_out(head: str, see: Callable[..., Any]) -> None:
    found = see(HEADS[head]())
    names = [("person", "person"), ("car", "vehicle/car"), ("boat", "vessel/boat")]
    assert [(label, category) for _, label, category, _ in found] == [names[label] for _, label, _ in THINGS]
    for (box, _, _, confidence), (expected, _, score) in zip(found, THINGS, strict=True):
        assert box == pytest.approx([side * 2 for side in expected], abs=0.15)
        assert confidence == pytest.approx(score, abs=2e-3)


def test_a_box_has_its_best_label_alone_or_all_that_pass(see: Callable[..., Any]) -> None:
    decoder, outputs = box_set("ssd", form="xyxy")
    outputs["scores"][0, 0] = [0.5, 0.7, 0.1]
    best = see((decoder, outputs))
    every = see((decoder, outputs), {"thresholds.labels_per_box": "all"})
    assert [label for _, label, _, _ in best] == ["car", "boat", "car"]
    assert [label for _, label, _, _ in every] == ["car", "boat", "person", "car"]


def test_labels_that_are_not_reported_do_not_appear(see: Callable[..., Any]) -> None:
    found = see(box_set("ssd", form="xyxy"), {"categories": {"labels": {"boat": "vessel/boat"}, "default": None}})
    assert [label for _, label, _, _ in found] == ["boat"]


def test_a_labels_own_threshold_goes_before_the_common_one(see: Callable[..., Any]) -> None:
    changes = {"thresholds.score": 0.95, "thresholds.per_label": {"boat": 0.5}}
    assert [label for _, label, _, _ in see(yolox(), changes)] == ["boat"]


def test_the_number_of_detections_is_bounded(see: Callable[..., Any]) -> None:
    assert len(see(yolox(), {"thresholds.max_detections": 2})) == 2
    assert len(see(yolox(), {"thresholds.max_detections": 2, "thresholds.nms_iou": None})) == 2
    assert len(see(yolox(), {"thresholds.max_candidates": 1})) == 1


def test_confidence_is_calibrated(see: Callable[..., Any]) -> None:
    found = see(box_set("detr"), {"calibration": {"temperature": 2.0}})
    assert [one[3] for one in found] == pytest.approx(
        [1 / (1 + math.exp(-logit(s) / 2)) for _, _, s in THINGS], abs=1e-6
    )


WRONG = [np.nan, np.inf, -np.inf, 1e30, 7.5]


@pytest.mark.parametrize("value", WRONG)
def test_a_score_that_cannot_be_one_is_dropped_and_counted(
    value: float, answering: Callable[..., bytes], manifest: Callable[..., Manifest], picture: Callable[..., Any]
) -> None:
    decoder, outputs = box_set("ssd", form="xyxy")
    outputs["scores"][0, 1, :] = value
    page = manifest({"decoder": decoder})
    detector = Detector(page, open_runner(answering(outputs), page))
    found = detector.detect([picture()])[0].detections
    assert [one.label for one in found] == ["person", "car"]
    assert detector.unusable == (0 if value == -np.inf else 1)  # less than any threshold is just less


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_box_that_is_no_number_is_dropped_and_counted(
    value: float, answering: Callable[..., bytes], manifest: Callable[..., Manifest], picture: Callable[..., Any]
) -> None:
    decoder, outputs = box_set("ssd", form="xyxy")
    outputs["boxes"][0, 0, 2] = value
    page = manifest({"decoder": decoder})
    detector = Detector(page, open_runner(answering(outputs), page))
    assert [one.label for one in detector.detect([picture()])[0].detections] == ["boat", "car"]
    assert detector.unusable == 1


def test_a_class_index_that_no_label_has_is_dropped_and_counted(
    answering: Callable[..., bytes], manifest: Callable[..., Manifest], picture: Callable[..., Any]
) -> None:
    decoder, outputs = box_set("detr", chosen=True)
    outputs["labels"][0, :3] = [77, 2, -5]
    page = manifest({"decoder": decoder})
    detector = Detector(page, open_runner(answering(outputs), page))
    assert [one.label for one in detector.detect([picture()])[0].detections] == ["boat"]
    assert detector.unusable == 2


def test_a_box_in_the_padding_is_no_detection(see: Callable[..., Any]) -> None:
    decoder, outputs = box_set("detr", form="xyxy", unit="pixel")
    outputs["boxes"][0, 0] = [-30, -30, -2, -2]
    assert [label for _, label, _, _ in see((decoder, outputs))] == ["boat", "car"]


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), head=st.sampled_from(sorted(HEADS)))
def test_no_numbers_at_all_break_a_decoder(data: st.DataObject, head: str, manifest: Callable[..., Manifest]) -> None:
    decoder, outputs = HEADS[head]()
    wild = {
        name: data.draw(arrays(value.dtype, value.shape, elements=NUMBERS)) if value.dtype == np.float32 else value
        for name, value in outputs.items()
    }
    page = manifest({"decoder": decoder})
    found, unusable = decode(page, wild, 0, (64, 64), floor_of(page))
    assert np.isfinite(found.boxes).all()
    assert ((found.scores >= 0.25) & (found.scores <= 1)).all()
    assert ((found.labels >= 0) & (found.labels < LABELS)).all()
    assert unusable >= 0


def test_an_answer_of_another_shape_is_unavailable(
    manifest: Callable[..., Manifest], picture: Callable[..., Any]
) -> None:
    decoder, outputs = yolox()

    class Short:
        provider = "short"

        def run(self, batch: np.ndarray[Any, Any]) -> Mapping[str, np.ndarray[Any, Any]]:
            return {"raw": outputs["raw"][:, :-1]}

    detector = Detector(manifest({"decoder": decoder}), Short())
    with pytest.raises(EngineUnavailable, match=r"output 'raw': expected .*\[any, 80, 8\] with batch 1; found .*79"):
        detector.detect([picture()])


def test_an_answer_without_a_promised_output_is_unavailable(
    manifest: Callable[..., Manifest], picture: Callable[..., Any]
) -> None:
    class Silent:
        provider = "silent"

        def run(self, batch: np.ndarray[Any, Any]) -> Mapping[str, np.ndarray[Any, Any]]:
            return {}

    with pytest.raises(EngineUnavailable, match="expected an output 'boxes'"):
        Detector(manifest(), Silent()).detect([picture()])


def test_a_network_that_gives_more_boxes_than_scores_is_told_as_such(see: Callable[..., Any]) -> None:
    decoder, outputs = box_set("detr")
    outputs["boxes"] = outputs["boxes"][:, :5]
    with pytest.raises(EngineUnavailable, match="as many boxes as scores; found 5 and 7"):
        see((decoder, outputs))
