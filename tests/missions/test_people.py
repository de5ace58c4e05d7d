"""People walk one by one through a room; an integrator's model finds them.

What a person sees in the clip (10 frames/s, 1,394 frames): six people, one at a time. Each comes in from the lower
edge, stands at a table with the back to the camera, and leaves to the right. Frames from entering to leaving are below.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from appliance.domain import DetectedFrame
from appliance.tracking import ImageTracker

#: First and last frame in which each of the six can be seen whole or in part.
SEEN = ((60, 196), (228, 447), (502, 697), (745, 866), (923, 1197), (1235, 1359))
FRAME_NS = 100_000_000
START_NS = 1_767_268_800_000_000_000

pytestmark = pytest.mark.slow


def frames(run: Any) -> list[DetectedFrame]:
    found = [arrival.observation for arrival in run.recording.arrivals()]
    return [frame for frame in found if isinstance(frame, DetectedFrame)]


def reference(session: onnxruntime.InferenceSession, picture: npt.NDArray[np.uint8]) -> list[tuple[Any, ...]]:
    """A straightforward decode of YOLOX-Nano: (x1, y1, x2, y2, class, score) above 0.3, people only."""
    height, width = picture.shape[:2]
    ratio = min(416 / height, 416 / width)
    net = np.full((416, 416, 3), 114, np.uint8)
    small = cv2.resize(picture, (round(width * ratio), round(height * ratio)), interpolation=cv2.INTER_LINEAR)
    net[: small.shape[0], : small.shape[1]] = small
    (output,) = session.run(None, {session.get_inputs()[0].name: net.transpose(2, 0, 1)[None].astype(np.float32)})
    boxes, row = [], 0
    for stride in (8, 16, 32):
        for y, x in itertools.product(range(416 // stride), repeat=2):
            cx, cy, w, h, objectness, *classes = output[0, row]
            row += 1
            score = objectness * max(classes)
            if score <= 0.3 or int(np.argmax(classes)) != 0:
                continue
            cx, cy, w, h = (cx + x) * stride, (cy + y) * stride, np.exp(w) * stride, np.exp(h) * stride
            boxes.append((*(v / ratio for v in (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)), 0, score))
    kept: list[tuple[Any, ...]] = []
    for box in sorted(boxes, key=lambda b: -b[5]):
        if all(overlap(box, other) <= 0.45 for other in kept):
            kept.append(box)
    return kept


def overlap(a: tuple[Any, ...], b: tuple[Any, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0.0) * max(height, 0.0)
    return float(inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner))


def clipped(box: tuple[Any, ...]) -> tuple[Any, ...]:
    x1, y1, x2, y2, *rest = box
    return (max(x1, 0.0), max(y1, 0.0), min(x2, 768.0), min(y2, 432.0), *rest)


def test_every_tenth_frame_has_the_detections_of_a_straightforward_decode(
    mission: Callable[[str], Any], shared_data: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(shared_data / "models" / "yolox_nano.onnx", options)
    recorded = {frame.sequence: frame for frame in frames(mission("people"))}
    compared = 0
    with av.open(str(shared_data / "videos" / "intel_one-by-one-person-detection.mp4")) as container:
        for index, decoded in enumerate(container.decode(video=0)):
            if index % 10:
                continue
            found = [
                (*d.box_px, 0, d.confidence)
                for d in recorded[index].detections
                if d.category == "person" and d.confidence > 0.3
            ]
            wanted = [clipped(box) for box in reference(session, decoded.to_ndarray(format="bgr24"))]
            assert len(found) == len(wanted), f"frame {index}"
            for want in wanted:
                best = max(found, key=lambda box, want=want: overlap(box, want))
                assert overlap(best, want) >= 0.95, f"frame {index}"
                assert best[5] == pytest.approx(want[5], abs=0.01), f"frame {index}"
            compared += len(wanted)
    assert compared >= 90, "people stand in the picture for most of the clip"


def test_every_frame_was_looked_at_in_order(mission: Callable[[str], Any]) -> None:
    assert [frame.sequence for frame in frames(mission("people"))] == list(range(1394))


def test_six_people_are_six_tracks(mission: Callable[[str], Any]) -> None:
    tracker = ImageTracker()
    followed: dict[int, list[int]] = {}
    for frame in frames(mission("people")):
        for track in tracker.step(frame):
            if track.status == "confirmed" and track.categories.get("person", 0.0) > 0.5:
                followed.setdefault(track.track_id, []).append(frame.sequence)
    long = [seen for seen in followed.values() if len(seen) >= 30]
    assert len(long) == 6
    for seen, (first, last) in zip(long, SEEN, strict=True):
        assert first <= seen[0] <= first + 15, "taken up within 1.5 s of coming in"
        assert last - 12 <= seen[-1] <= last + 12, "followed until leaving"
        assert len(seen) >= 0.9 * (seen[-1] - seen[0] + 1), "and hardly lost between"


def test_six_people_are_six_entities_with_one_identity_each(mission: Callable[[str], Any]) -> None:
    entities = mission("people").entities()
    assert len(entities) == 6
    assert {body["category"] for bodies in entities.values() for body in bodies} == {"person"}
    tracklets = [{body["identities"]["tracklet"] for body in bodies} for bodies in entities.values()]
    assert all(len(each) == 1 for each in tracklets)
    assert len(set.union(*tracklets)) == 6


def test_entities_stand_where_the_people_stood(mission: Callable[[str], Any]) -> None:
    """The table stands some 2.5 m before the camera, which looks north from the origin."""
    origin = mission("people").plan.origin
    for bodies in mission("people").entities().values():
        middle = bodies[len(bodies) // 2]
        north_m = (middle["position"]["lat"] - origin.latitude_deg) * 111_200
        assert 1.5 <= north_m <= 4.0


def test_the_run_ends_acknowledged_and_says_so(mission: Callable[[str], Any]) -> None:
    run = mission("people")
    assert run.code == 0
    assert run.summary["left_in_outbox"] == 0
    assert run.summary["acknowledged"] == run.summary["sealed"] + 2, "every result, the grant and the close"
