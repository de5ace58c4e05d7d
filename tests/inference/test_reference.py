"""Real networks on real pictures: our detections against decodes that share no code with ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from appliance.bundles.manifest import parse_manifest
from appliance.domain import Detection, Frame
from appliance.inference.detector import Detector
from appliance.inference.runner import open_runner

Box = tuple[float, float, float, float]


def plain_yolox(
    session: Any, pixels: np.ndarray[Any, Any], reported: dict[int, str], threshold: float
) -> list[tuple[Box, str, float]]:
    """A straightforward decode of YOLOX-Nano, written with loops from the paper and the model's README."""
    height, width = pixels.shape[:2]
    ratio = min(416 / height, 416 / width)
    canvas = np.full((416, 416, 3), 114, np.uint8)
    small = cv2.resize(pixels, (round(width * ratio), round(height * ratio)), interpolation=cv2.INTER_LINEAR)
    canvas[: small.shape[0], : small.shape[1]] = small
    rows = session.run(None, {"images": canvas.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
    found = []
    row_number = 0
    for stride in (8, 16, 32):
        for y in range(416 // stride):
            for x in range(416 // stride):
                row = rows[row_number]
                row_number += 1
                if row[4] < threshold:
                    continue
                label = int(row[5:].argmax())
                score = float(row[4] * row[5 + label])
                if score < threshold or label not in reported:
                    continue
                centre_x, centre_y = (row[0] + x) * stride, (row[1] + y) * stride
                wide, high = math.exp(row[2]) * stride, math.exp(row[3]) * stride
                corners = (centre_x - wide / 2, centre_y - high / 2, centre_x + wide / 2, centre_y + high / 2)
                found.append((tuple(float(value / ratio) for value in corners), reported[label], score))
    return plain_suppression(found, 0.45)


def plain_suppression(found: list[Any], limit: float) -> list[Any]:
    """Greedy, across labels, as this model's manifest asks."""
    kept: list[Any] = []
    for candidate in sorted(found, key=lambda item: -item[2]):
        if all(overlap(candidate[0], other[0]) <= limit for other in kept):
            kept.append(candidate)
    return kept


def overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return wide * high / (sum(areas) - wide * high)


def clipped(box: Box, width: int, height: int) -> Box:
    return (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height))


def unmatched(expected: list[tuple[Box, str, float]], found: tuple[Detection, ...]) -> list[Any]:
    """What of ``expected`` has no partner of the same label, IoU of at least 0.95 and a score within 0.01."""
    return [
        (box, label, score)
        for box, label, score in expected
        if not any(
            other.label == label
            and overlap(clipped(box, 768, 432), other.box_px) >= 0.95
            and abs(other.confidence - score) <= 0.01
            for other in found
        )
    ]


@pytest.mark.slow
def test_every_tenth_frame_of_people_walking_agrees_with_a_plain_decode(
    repository: Path, shared_data: Path, intel_frames: Callable[..., Any]
) -> None:
    model = shared_data / "models" / "yolox_nano.onnx"
    manifest = parse_manifest((repository / "models" / "manifests" / "yolox_nano.json").read_bytes())
    detector = Detector(manifest, open_runner(model, manifest))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    reported = {index: label for index, label in enumerate(manifest.labels) if manifest.category_of(label)}
    seen = 0
    for number, pixels in intel_frames(lambda number: number % 10 == 0):
        expected = plain_yolox(session, pixels, reported, manifest.thresholds.score)
        frame = Frame(sensor_id="cam", sequence=number, captured_ns=0, pixels=pixels)
        found = detector.detect([frame])[0].detections
        assert unmatched(expected, found) == [], f"frame {number}"
        assert len(found) == len(expected), f"frame {number}"
        seen += len(found)
    assert seen >= 90
    assert detector.unusable == 0


#: Looked at by eye: frame numbers in the middle of each person's visit, and in the empty room between two visits.
OCCUPIED = (130, 340, 600, 800, 1050, 1300)
EMPTY = (0, 30, 210, 470, 720, 890, 1215, 1380)


def test_one_person_is_seen_in_each_visit_and_nobody_in_the_empty_room(
    repository: Path, shared_data: Path, intel_frames: Callable[..., Any]
) -> None:
    manifest = parse_manifest((repository / "models" / "manifests" / "yolox_nano.json").read_bytes())
    detector = Detector(manifest, open_runner(shared_data / "models" / "yolox_nano.onnx", manifest))
    for number, pixels in intel_frames(lambda number: number in OCCUPIED + EMPTY):
        found = detector.detect([Frame(sensor_id="cam", sequence=number, captured_ns=0, pixels=pixels)])[0].detections
        sure = [(one.category, one.confidence > 0.8) for one in found if one.confidence > 0.3]
        assert sure == ([("person", True)] if number in OCCUPIED else []), f"frame {number}"


def test_faces_agree_with_opencv_on_the_same_network(
    repository: Path, shared_data: Path, intel_frames: Callable[..., Any]
) -> None:
    model = shared_data / "models" / "yunet_n_dynamic.onnx"
    manifest = parse_manifest((repository / "models" / "manifests" / "yunet.json").read_bytes())
    detector = Detector(manifest, open_runner(model, manifest))
    theirs = cv2.FaceDetectorYN.create(str(model), "", (640, 360), manifest.thresholds.score, 0.3, 5000)
    faces = 0
    for number, pixels in intel_frames(lambda number: number in {0, 686, 690, 767, 854, 1345, 1350}):
        answers = theirs.detect(cv2.resize(pixels, (640, 360)))[1]
        expected = []
        for x, y, wide, high, *_, score in () if answers is None else answers.tolist():
            box = (x * 1.2, y * 1.2, (x + wide) * 1.2, (y + high) * 1.2)
            expected.append((box, "face", score))
        frame = Frame(sensor_id="cam", sequence=number, captured_ns=0, pixels=pixels)
        found = detector.detect([frame])[0].detections
        assert unmatched(expected, found) == [], f"frame {number}"
        assert len(found) == len(expected)
        assert {one.category for one in found} <= {"person"}
        faces += len(found)
    assert faces >= 6


def test_faces_of_several_cameras_in_one_batch_are_the_same_as_alone(
    repository: Path, shared_data: Path, intel_frames: Callable[..., Any]
) -> None:
    manifest = parse_manifest((repository / "models" / "manifests" / "yunet.json").read_bytes())
    detector = Detector(manifest, open_runner(shared_data / "models" / "yunet_n_dynamic.onnx", manifest))
    frames = [
        Frame(sensor_id=f"cam{number}", sequence=number, captured_ns=0, pixels=pixels)
        for number, pixels in intel_frames(lambda number: number in {686, 767, 1350})
    ]
    frames.append(Frame(sensor_id="small", sequence=0, captured_ns=0, pixels=frames[0].pixels[:160, 400:700]))
    together = detector.detect(frames)
    alone = [detector.detect([frame])[0] for frame in frames]
    assert [found.sensor_id for found in together] == [frame.sensor_id for frame in frames]
    for one, other in zip(together, alone, strict=True):
        assert one.detections
        assert len(one.detections) == len(other.detections)
        for left, right in zip(one.detections, other.detections, strict=True):
            assert left.box_px == pytest.approx(right.box_px, abs=0.01)
            assert left.confidence == pytest.approx(right.confidence, abs=1e-4)
