"""The shipped detector: the signed page fits the network, and it finds what rendered places hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.domain import CATEGORIES, Frame
from appliance.inference.detector import Detector
from models.harbour.examine import MANIFEST, MODEL, Tally, demo, examine, open_detector, overlap, unseen
from models.harbour.pictures import HEIGHT_PX, LABELS, PAD, WIDTH_PX, example, fitted, painted

MAX_MODEL_BYTES = 2_000_000


@pytest.fixture(scope="module")
def detector() -> Detector:
    return open_detector()


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return parse_manifest(MANIFEST.read_bytes())


def test_the_shipped_network_is_small_whole_and_of_a_known_opset() -> None:
    assert MODEL.stat().st_size <= MAX_MODEL_BYTES
    network = onnx.load(MODEL)
    onnx.checker.check_model(network, full_check=True)
    assert [(entry.domain, entry.version >= 20) for entry in network.opset_import] == [("", True)]
    assert not any(tensor.external_data for tensor in network.graph.initializer)


def test_the_manifest_says_what_the_network_was_trained_with(manifest: Manifest) -> None:
    assert manifest.labels == LABELS
    assert (manifest.input.size.width_px, manifest.input.size.height_px) == (WIDTH_PX, HEIGHT_PX)
    assert manifest.input.pad == PAD
    assert {manifest.category_of(label) for label in LABELS} <= set(CATEGORIES)


def test_nothing_of_the_machine_it_was_made_on_is_in_the_network() -> None:
    raw = MODEL.read_bytes()
    for word in (b"/work", b"/tmp", b"/home", b"site-packages", b".py"):
        assert word not in raw


def test_it_finds_what_unseen_places_hold(detector: Detector) -> None:
    tallies = examine(detector, unseen(40))
    assert tallies["all"].asked > 150
    assert tallies["all"].recall >= MIN_RECALL
    assert tallies["all"].precision >= MIN_PRECISION


def test_it_finds_what_the_demo_holds(detector: Detector) -> None:
    tallies = examine(detector, demo(12))
    assert tallies["all"].recall >= MIN_RECALL
    assert tallies["all"].precision >= MIN_PRECISION
    for label in ("truck", "boat", "ship"):
        assert tallies[label].found > 0


MIN_RECALL, MIN_PRECISION = 0.8, 0.8


def test_a_picture_alone_and_in_a_batch_give_the_same(detector: Detector) -> None:
    frames = []
    for sequence, (pixels, _) in enumerate(demo(3)):
        pixels.setflags(write=False)
        frames.append(Frame(sensor_id="c", sequence=sequence, captured_ns=sequence, pixels=pixels))
    together = detector.detect(frames)
    for frame, seen in zip(frames, together, strict=True):
        (alone,) = detector.detect([frame])
        assert [one.label for one in alone.detections] == [one.label for one in seen.detections]
        for one, other in zip(alone.detections, seen.detections, strict=True):
            assert one.box_px == pytest.approx(other.box_px, abs=0.05)


def test_a_blank_picture_holds_nothing(detector: Detector) -> None:
    pixels = np.full((360, 640, 3), 128, dtype=np.uint8)
    pixels.setflags(write=False)
    (seen,) = detector.detect([Frame(sensor_id="c", sequence=0, captured_ns=0, pixels=pixels)])
    assert seen.detections == ()


def test_learning_pictures_are_fitted_as_the_appliance_fits_frames() -> None:
    pixels = np.arange(360 * 640 * 3, dtype=np.uint32).reshape(360, 640, 3).astype(np.uint8)
    canvas, scale = fitted(pixels)
    assert scale == 0.5
    assert canvas.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert (canvas[180:] == PAD).all()


def test_boxes_of_a_window_are_cut_to_it_and_hidden_things_are_not_asked_for() -> None:
    picture, _ = next(iter(painted(3, 1)))
    whole = example(picture.pixels, picture.boxes)
    part = example(picture.pixels, picture.boxes, (0, 0, 320, 180))
    assert len(whole.rows) == len(picture.boxes)
    assert len(part.rows) <= len(whole.rows)
    assert (part.rows[:, 2] <= 320).all()
    assert set(np.unique(whole.rows[:, 5])) <= {0.0, 1.0}


def test_the_same_seed_makes_the_same_learning_picture() -> None:
    one, two = (next(iter(painted(11, 1)))[0] for _ in range(2))
    digests = {hashlib.sha256(each.pixels.tobytes()).hexdigest() for each in (one, two)}
    assert len(digests) == 1


def test_overlap_is_intersection_over_union() -> None:
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0
    assert np.isnan(Tally().recall)


def test_the_card_says_what_it_is_not_for(repository: Path) -> None:
    card = (repository / "models" / "harbour" / "card.md").read_text(encoding="utf-8")
    assert "synthetic scenes only" in card
    assert "not for use on real pictures" in card
    assert "| all |" in card
