"""Matched boxes and average precision, on sets small enough to count by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import UsageError
from export.agreement import Box, agree, mean_average_precision, overlaps
from export.pictures import Picture
from export.truth import read_truth


def box(x: float, label: str = "person", score: float = 1.0, side: float = 10.0) -> Box:
    return Box(box_px=(x, 0.0, x + side, 10.0), label=label, score=score)


def test_the_same_boxes_agree_wholly() -> None:
    boxes = [[box(0, score=0.9), box(50, "car", 0.8)], [], [box(7, score=0.4)]]
    kept = agree(boxes, boxes)
    assert (kept.recall, kept.precision, kept.mean_iou, kept.worst_score_difference) == (1.0, 1.0, 1.0, 0.0)


def test_a_box_is_matched_once_by_the_best_score() -> None:
    kept = agree([[box(0, score=0.9)]], [[box(1, score=0.5), box(0, score=0.7)]])
    assert (kept.matched, kept.recall, kept.precision) == (1, 1.0, 0.5)
    assert kept.mean_score_difference == pytest.approx(-0.2)


def test_another_label_or_too_little_overlap_is_no_match() -> None:
    assert agree([[box(0)]], [[box(0, "car")]]).matched == 0
    assert agree([[box(0)]], [[box(4)]]).matched == 0  # 6 of 14 shared: 0.43
    assert agree([[box(0)]], [[box(3)]]).matched == 1  # 7 of 13 shared: 0.54


def test_where_there_is_nothing_to_share_nothing_is_claimed() -> None:
    kept = agree([[]], [[]])
    assert math.isnan(kept.recall)
    assert math.isnan(kept.precision)
    assert math.isnan(mean_average_precision([[]], [[box(0)]]))


def test_average_precision_counts_by_hand() -> None:
    """Two true boxes; found in order of score: right, wrong, right. AP = 1·½ + ⅔·½."""
    truth = [[box(0), box(100)]]
    found = [[box(0, score=0.9), box(50, score=0.8), box(100, score=0.7)]]
    assert mean_average_precision(truth, found, (0.5,)) == pytest.approx(0.5 + 2 / 3 / 2)
    assert mean_average_precision(truth, truth) == pytest.approx(1.0)
    assert mean_average_precision(truth, [[]]) == 0.0


def test_average_precision_is_the_mean_over_the_labels_of_the_truth() -> None:
    truth = [[box(0), box(100, "car")]]
    assert mean_average_precision(truth, [[box(0, score=0.5), box(9, "boat", 0.9)]], (0.5,)) == pytest.approx(0.5)


def test_stricter_overlaps_cost_precision() -> None:
    """An IoU of 0.8 counts at 0.5 to 0.8, seven of ten."""
    found = [[Box(box_px=(0.0, 0.0, 8.0, 10.0), label="person", score=0.9)]]
    assert mean_average_precision([[box(0)]], found) == pytest.approx(0.7)


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.floats(0, 100)] * 4), max_size=6))
def test_overlap_is_between_none_and_all_and_symmetric(corners: list[tuple[float, ...]]) -> None:
    boxes = np.array(corners, np.float64).reshape(-1, 4)
    found = overlaps(boxes, boxes)
    assert np.all((found >= 0.0) & (found <= 1.0 + 1e-9))
    assert np.allclose(found, found.T)


COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 64}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "area": 200, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 64, 64], "iscrowd": 1},
    ],
    "categories": [{"id": 3, "name": "car", "supercategory": "vehicle"}],
}
PICTURE = Picture("a.png", np.zeros((64, 64, 3), np.uint8))


def test_truth_is_read_from_coco_annotations(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(COCO))
    assert read_truth(tmp_path / "truth.json", [PICTURE]) == [[Box(box_px=(1.0, 2.0, 11.0, 22.0), label="car")]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": []}, "does not have"),
        ({"images": [{"id": 7, "file_name": "b.png"}]}, "truth for every picture"),
        ({"categories": []}, "does not have"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2]}]}, "COCO"),
        ({"annotations": 3}, "COCO"),
    ],
)
def test_truth_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(COCO | change))
    with pytest.raises(UsageError, match=says):
        read_truth(tmp_path / "truth.json", [PICTURE])
