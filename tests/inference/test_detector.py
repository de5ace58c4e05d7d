"""The detector: an answer for each frame, in order, from whatever cameras, and nothing kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from appliance.errors import BadRecord
from appliance.inference.detector import Detector
from appliance.inference.runner import open_runner

Make = Callable[..., Any]


@pytest.fixture
def detector(looking: bytes, looking_manifest: Make) -> Detector:
    manifest = looking_manifest()
    return Detector(manifest, open_runner(looking, manifest))


def test_an_answer_carries_the_frames_own_names_times_and_size(detector: Detector, picture: Make) -> None:
    found = detector.detect([picture(255, sensor_id="mast", sequence=7, height=64, width=64)])[0]
    assert (found.sensor_id, found.sequence, found.captured_ns) == ("mast", 7, 280_000_000)
    assert (found.width_px, found.height_px) == (64, 64)
    assert [(one.label, one.category) for one in found.detections] == [("bright", "fire")]
    assert found.detections[0].box_px == pytest.approx((0, 0, 64, 64))


def test_a_look_that_finds_nothing_is_an_answer(detector: Detector, picture: Make) -> None:
    found = detector.detect([picture(0)])
    assert len(found) == 1
    assert found[0].detections == ()


def test_no_frames_give_no_answers(detector: Detector) -> None:
    assert detector.detect([]) == []


def test_several_cameras_in_one_batch_see_what_they_see_alone(detector: Detector, picture: Make) -> None:
    sizes = [(48, 64), (64, 48), (100, 30), (64, 64), (7, 9), (480, 640)]
    frames = [
        picture(40 * number + 30, sensor_id=f"cam{number}", sequence=number, height=height, width=width)
        for number, (height, width) in enumerate(sizes)
    ]
    assert detector.detect(frames) == [detector.detect([frame])[0] for frame in frames]


def test_batches_are_as_large_as_allowed_and_hold_one_network_size(
    looking: bytes, looking_manifest: Make, picture: Make
) -> None:
    size = {"kind": "multiple", "multiple_px": 32, "max_width_px": 128, "max_height_px": 128}
    manifest = looking_manifest({"input.size": size, "max_batch": 2})
    runner = open_runner(looking, manifest)
    shapes: list[tuple[int, ...]] = []

    class Watched:
        provider = runner.provider

        def run(self, batch: np.ndarray[Any, Any]) -> Mapping[str, np.ndarray[Any, Any]]:
            shapes.append(batch.shape)
            return runner.run(batch)

    frames = [picture(200, sequence=n, height=(20, 50)[n % 2], width=30) for n in range(7)]
    found = Detector(manifest, Watched()).detect(frames)
    assert [one.sequence for one in found] == list(range(7))
    assert [one.height_px for one in found] == [20, 50, 20, 50, 20, 50, 20]
    assert sorted(shapes) == [(1, 64, 32, 3), (2, 32, 32, 3), (2, 32, 32, 3), (2, 64, 32, 3)]


def test_no_pixel_is_held_after_the_answer(detector: Detector, picture: Make) -> None:
    pixels = np.full((48, 64, 3), 99, np.uint8)
    gone = weakref.ref(pixels)
    frame = picture(pixels)
    del pixels
    detector.detect([frame])
    del frame
    gc.collect()
    assert gone() is None


def test_frames_are_read_and_never_written(detector: Detector, picture: Make) -> None:
    frame = picture(77)
    assert not frame.pixels.flags.writeable
    detector.detect([frame])
    assert (frame.pixels == 77).all()


def test_a_frame_that_is_no_picture_is_a_bad_record_and_the_next_one_works(detector: Detector, picture: Make) -> None:
    with pytest.raises(BadRecord):
        detector.detect([picture(255), picture(np.zeros((4, 4), np.uint8))])
    assert len(detector.detect([picture(255)])[0].detections) == 1


def test_the_same_frames_give_the_same_answers_again(detector: Detector, picture: Make) -> None:
    frames = [picture(level, sequence=level) for level in (10, 90, 200)]
    assert detector.detect(frames) == detector.detect(frames)
