"""Networks of other people's making get a manifest, from their shapes and answers, or a reason why not."""

from __future__ import annotations

import contextlib
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundles.manifest import parse_manifest
from appliance.errors import ApplianceError, UsageError
from export.importers import anything, labels, yolox
from tests.export.test_model import convolutions

DATA = Path(__file__).parents[3] / "shared" / "data"
HARBOUR = Path(__file__).parents[2] / "models" / "harbour"
NANO = DATA / "models" / "yolox_nano.onnx"


@pytest.fixture
def one_label(bench: Path) -> Path:
    """A bench with a YOLOX-like network of one class and its label."""
    (bench / "net.onnx").write_bytes(convolutions())
    (bench / "labels.txt").write_text("person\n")
    return bench


def test_yolox_nano_gets_the_manifest_that_we_wrote_by_hand(bench: Path, run: Any) -> None:
    if not NANO.is_file():
        pytest.skip(f"{NANO} is not here")
    film = DATA / "videos" / "intel_one-by-one-person-detection.mp4"
    code, out, err = run(f"import yolox {NANO} --out made --licence Apache-2.0 --score 0.1 --pictures {film} --json")
    assert code == 0, err
    made = parse_manifest((bench / "made" / "model.json").read_bytes())
    ours = parse_manifest((HARBOUR.parent / "manifests" / "yolox_nano.json").read_bytes())
    assert (made.input, made.decoder, made.labels) == (ours.input, ours.decoder, ours.labels)
    assert (made.categories, made.thresholds) == (ours.categories, ours.thresholds)
    assert any(box[0] == "person" and box[1] > 0.5 for boxes in json.loads(out)["tried"].values() for box in boxes)


def test_an_import_is_tried_out_at_once(one_label: Path, run: Any) -> None:
    code, out, err = run("import yolox net.onnx --labels labels.txt --out made --score 0.1")
    assert code == 0, err
    assert "tried on drawn noise: person" in out
    assert (one_label / "made" / "model.onnx").read_bytes() == (one_label / "net.onnx").read_bytes()


def test_strides_follow_from_the_count_of_cells() -> None:
    assert yolox.strides_of(416, 416, 3549) == (8, 16, 32)
    assert yolox.strides_of(640, 384, 640 * 384 // 64 + 640 * 384 // 256) == (8, 16)
    with pytest.raises(UsageError, match="expected 77 cells"):
        yolox.strides_of(416, 416, 77)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_decoded_centres_are_told_from_offsets(seed: int, spread: float) -> None:
    """Offsets within a cell (up to two cells away) against the same centres on the picture's grid."""
    dice = np.random.default_rng(seed)
    cells = 8 * 8 + 4 * 4 + 2 * 2
    raw = dice.normal(0.5, spread, (cells, 7))
    decoded = raw.copy()
    at = 0
    for stride in (8, 16, 32):
        side = 64 // stride
        decoded[at : at + side * side, 0] = (raw[at : at + side * side, 0] + np.tile(np.arange(side), side)) * stride
        at += side * side
    assert not yolox.is_decoded(raw, (8, 16, 32), 64, 64)
    assert yolox.is_decoded(decoded, (8, 16, 32), 64, 64)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import yolox net.onnx --out made", "expected 1, as many as the network has classes; found 80"),
        ("import yolox net.onnx --out made --labels two.txt", "as many as the network has classes; found 2"),
        ("import yolox net.onnx --out made --labels odd.txt", "say --category"),
        ("import yolox net.onnx --out made --labels labels.txt --category person=cat", "expected one of"),
        ("import yolox net.onnx --out made --labels labels.txt --category dog=animal", "label of the model"),
        ("import yolox model.onnx --out made --labels nothing.txt", "one label a line"),
        (f"import yolox {HARBOUR / 'harbour.onnx'} --out made", "expected one input [batch, 3, height, width]"),
        ("import yolox nothing.onnx --out made", "no such file"),
        ("import yolox card.md --out made", "expected an ONNX network"),
        ("import any net.onnx --out made", "expected answers for labels, input.colour"),
        ("import any net.onnx --out made --answers nothing.toml", "no such file"),
        ("import any net.onnx --out made --answers labels.txt", "answers in TOML"),
    ],
)
def test_what_cannot_be_imported_says_why(one_label: Path, run: Any, line: str, says: str) -> None:
    (one_label / "odd.txt").write_text("gizmo\n")
    (one_label / "two.txt").write_text("person\ncar\n")
    code, _, err = run(line)
    assert (code, says in err) == (2, True), err
    assert not (one_label / "made" / "model.json").exists()


ANSWERS = """
licence = "Apache-2.0"
labels = ["person", "car", "truck", "boat", "ship"]

[input]
colour = "BGR"
fit = "letterbox"

[decoder]
kind = "detr"
box_format = "xyxy"
box_unit = "pixel"
score_kind = "probability"

[thresholds]
score = 0.4
nms_iou = 0.5
"""


def test_any_network_is_imported_by_a_file_of_answers(bench: Path, run: Any) -> None:
    (bench / "answers.toml").write_text(ANSWERS)
    code, out, err = run(f"import any {HARBOUR / 'harbour.onnx'} --answers answers.toml --out made")
    assert code == 0, err
    made = parse_manifest((bench / "made" / "model.json").read_bytes())
    ours = parse_manifest((HARBOUR / "model.json").read_bytes())
    assert (made.decoder, made.labels, made.categories) == (ours.decoder, ours.labels, ours.categories)
    assert made.input == ours.input
    assert "tried on drawn blocks" in out


SAID = {
    "licence": "-",
    "labels": "person, car, truck, boat, ship",
    "input.colour": "BGR",
    "input.fit": "letterbox",
    "decoder.kind": "detr",
    "decoder.box_format": "xyxy",
    "decoder.box_unit": "pixel",
    "decoder.score_kind": "probability",
    "decoder.background": "-",
    "thresholds.nms_iou": "null",
    "thresholds.score": "0.4",
}


def test_any_network_is_imported_by_answering_questions_and_goes_on_after_an_interruption(bench: Path) -> None:
    asked: list[str] = []

    def answer_five(question: anything.Question) -> str:
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append(question.key)
        return SAID[question.key]

    def answer(question: anything.Question) -> str:
        asked.append(question.key)
        return SAID[question.key]

    with pytest.raises(KeyboardInterrupt):
        anything.import_any(HARBOUR / "harbour.onnx", bench / "made", ask=answer_five)
    assert len(tomllib.loads((bench / "made" / "answers.toml").read_text())) >= 3
    assert not (bench / "made" / "model.json").exists()
    made = anything.import_any(HARBOUR / "harbour.onnx", bench / "made", ask=answer)
    assert sorted(asked) == sorted(SAID)  # each once
    assert made.manifest.thresholds.nms_iou is None
    assert made.manifest.licence == ""
    assert anything.import_any(HARBOUR / "harbour.onnx", bench / "made").manifest == made.manifest


@pytest.mark.parametrize(
    ("key", "answer", "says"),
    [
        ("input.colour", "CMYK", "expected one of BGR"),
        ("labels", "", "expected an answer"),
        ("decoder.box_format", "xywh", "expected one of xyxy"),
        ("decoder.background", "minus one", "background"),
        ("thresholds.score", "seven", "score"),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(bench: Path, key: str, answer: str, says: str) -> None:
    with pytest.raises(ApplianceError, match=says):
        anything.import_any(
            HARBOUR / "harbour.onnx", bench / "made", ask=lambda each: answer if each.key == key else SAID[each.key]
        )
    assert not (bench / "made" / "model.json").exists()


@settings(max_examples=40)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_a_file_of_answers_is_answers_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("answers") / "answers.toml"
    path.write_bytes(raw)
    with contextlib.suppress(UsageError):
        assert all(isinstance(key, str) for key in anything._read(path))


def test_cocos_names_are_eighty_and_those_with_a_category_have_one_of_ours() -> None:
    assert len(labels.COCO) == len(set(labels.COCO)) == 80
    assert labels.categories(labels.COCO, ())["airplane"] == "aircraft/aeroplane"
    assert "toaster" not in labels.categories(labels.COCO, ())
