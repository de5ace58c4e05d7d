"""Networks at the bench: made smaller, compared, described. Small networks that are real, and the shipped one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from appliance.errors import UsageError
from export import card, quantise
from export.facts import facts_of
from export.trial import read_manifest
from tests.support.networks import CELLS, MANIFEST

HARBOUR = Path(__file__).parents[2] / "models" / "harbour"


def convolutions(*, opset: int = 17, seed: int = 1, nudge: float = 0.0) -> bytes:
    """Three convolutions and a head that fills a YOLOX output for 32 × 32; ``nudge`` is added to every answer."""
    dice = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(dice.normal(0, 0.3, shape).astype(np.float32), f"w{number}")
        for number, shape in enumerate([(8, 3, 3, 3), (8, 8, 3, 3), (6, 8, 1, 1)])
    ]
    more = [
        numpy_helper.from_array(np.array([1, 6, -1], np.int64), "flat"),
        numpy_helper.from_array(np.array([CELLS], np.int64), "end"),
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
        numpy_helper.from_array(np.array([2], np.int64), "axis"),
        numpy_helper.from_array(np.array([nudge], np.float32), "nudge"),
        numpy_helper.from_array(np.array([1 / 255], np.float32), "scale"),
    ]
    conv = [
        helper.make_node("Mul", ["images", "scale"], ["x"]),
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2], name="second"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"], name="head"),
        helper.make_node("Reshape", ["e", "flat"], ["f"]),
        helper.make_node("Slice", ["f", "zero", "end", "axis"], ["g"]),
        helper.make_node("Transpose", ["g"], ["h"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["h"], ["i"]),
        helper.make_node("Add", ["i", "nudge"], ["output"]),
    ]
    graph = helper.make_graph(
        conv,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, CELLS, 6])],
        [*weights, *more],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def small(bench: Path) -> Path:
    """A bench with a convolutional network, its manifest and sixteen pictures."""
    (bench / "model.onnx").write_bytes(convolutions())
    (bench / "model.json").write_text(json.dumps(MANIFEST | {"thresholds": {"score": 0.1}}))
    (bench / "pictures").mkdir()
    dice = np.random.default_rng(2)
    for number in range(16):
        picture = cv2.resize(dice.integers(0, 256, (6, 6, 3), np.uint8), (64, 48))
        cv2.imwrite(str(bench / "pictures" / f"{number:02}.png"), picture)
    return bench


QUANTIZE = "quantize model.onnx --manifest model.json --pictures pictures --out int8"


def _zero_points(path: Path) -> list[Any]:
    network = onnx.load(path)
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    return [known[node.input[2]] for node in network.graph.node if node.op_type == "QuantizeLinear"]


def test_int8_is_made_twice_as_each_runtime_wants_it(small: Path, run: Any) -> None:
    code, out, err = run(QUANTIZE)
    assert code == 0, err
    tensorrt, cpu = (_zero_points(small / "int8" / f"model-int8-{target}.onnx") for target in ("tensorrt", "cpu"))
    assert all(point.dtype == np.int8 and not point.any() for point in tensorrt)
    assert any(point.dtype == np.uint8 for point in cpu)
    network = onnx.load(small / "int8" / "model-int8-cpu.onnx")
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    assert list(weights["w0_scale"].dims) == [8]  # one scale per channel
    assert "| model-int8-tensorrt.onnx |" in out
    for word in ("calibrating for cpu", "pictures/s", "left"):
        assert word in err


def test_accuracy_is_measured_on_pictures_that_calibrated_nothing(small: Path, run: Any) -> None:
    code, out, _ = run(f"{QUANTIZE} --target cpu --json")
    report = json.loads(out)
    assert (code, report["calibrated_on"], report["judged_on"], report["unseen"]) == (0, 8, 8, True)
    before, after = report["rows"]
    assert before["recall"] is None
    assert after["boxes"] > 0
    assert after["recall"] > 0.9
    assert json.loads((small / "int8" / "accuracy.json").read_bytes()) == report


def test_average_precision_is_given_where_the_truth_is(small: Path, run: Any) -> None:
    images = [{"id": number, "file_name": f"{number:02}.png"} for number in range(16)]
    boxes = [{"image_id": number, "category_id": 1, "bbox": [0, 0, 40, 40]} for number in range(16)]
    page = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    (small / "truth.json").write_text(json.dumps(page))
    code, out, _ = run(f"{QUANTIZE} --target cpu --truth truth.json --json")
    assert code == 0
    assert all(0.0 <= row["map_50_95"] <= row["map_50"] <= 1.0 for row in json.loads(out)["rows"])


def test_the_heads_stay_in_float_unless_asked(small: Path, run: Any) -> None:
    network = onnx.load(small / "model.onnx")
    assert quantise.heads(network) == ("head",)
    counts = []
    for extra in ("", " --heads"):
        assert run(f"{QUANTIZE}{extra} --target tensorrt")[0] == 0
        counts.append(facts_of(small / "int8" / "model-int8-tensorrt.onnx").operators["QuantizeLinear"])
    assert counts[1] > counts[0]


def test_a_network_of_an_old_opset_is_brought_up(small: Path, run: Any) -> None:
    (small / "model.onnx").write_bytes(convolutions(opset=11))
    assert run(f"{QUANTIZE} --target cpu")[0] == 0
    assert facts_of(small / "int8" / "model-int8-cpu.onnx").opset >= 13


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ((" --pictures pictures", ""), 2, "--pictures"),
        (("--pictures pictures", "--pictures nowhere"), 2, "no such file or folder"),
        (("--pictures pictures", "--pictures int8"), 2, "no such file"),
        (("--pictures pictures", "--pictures card.md"), 2, "picture that can be read"),
        (("--pictures pictures", "--pictures film.mp4"), 2, "video that can be read"),
        (("--out", "--limit 0 --out"), 2, "expected 1 to"),
        (("--out", "--exclude nobody --out"), 2, "no node named 'nobody'"),
        (("quantize model.onnx", "quantize nothing.onnx"), 2, "no such file"),
        (("quantize model.onnx", "quantize card.md"), 3, "[onnx]"),
        (("--manifest model.json", "--manifest card.md"), 3, "[manifest]"),
        (("--manifest model.json", "--manifest nothing.json"), 2, "no such file"),
        (("--out", "--truth card.md --out"), 2, "COCO"),
    ],
)
def test_what_cannot_be_quantised_says_why(
    small: Path, run: Any, change: tuple[str, str], code: int, says: str
) -> None:
    (small / "film.mp4").write_bytes(b"no film")
    found, _, err = run(QUANTIZE.replace(*change))
    assert (found, says in err) == (code, True), err


def test_a_network_that_is_quantised_already_is_not_quantised_again(small: Path, run: Any) -> None:
    run(f"{QUANTIZE} --target cpu")
    code, _, err = run(QUANTIZE.replace("quantize model.onnx", "quantize int8/model-int8-cpu.onnx"))
    assert (code, "quantised already" in err) == (2, True)


def test_a_network_without_convolutions_has_nothing_to_quantise(small: Path, bench: Path, run: Any) -> None:
    from tests.support.networks import small_network  # noqa: PLC0415 - the one that adds

    (bench / "model.onnx").write_bytes(small_network())
    code, _, err = run(QUANTIZE)
    assert (code, "expected nodes to quantise" in err) == (2, True)


def test_a_zero_point_that_tensorrt_would_refuse_is_found(small: Path, run: Any) -> None:
    run(f"{QUANTIZE} --target cpu")
    with pytest.raises(UsageError, match="zero point of zero"):
        quantise.require_symmetric(onnx.load(small / "int8" / "model-int8-cpu.onnx"))


def test_the_shipped_network_keeps_its_boxes_in_both(tmp_path: Path, run: Any) -> None:
    """Drawn harbours; on x86 without VNNI a runtime that lets sums overflow loses nearly all of them."""
    from models.harbour.examine import unseen  # noqa: PLC0415 - renders scenes

    (tmp_path / "pictures").mkdir()
    for number, (pixels, _) in enumerate(unseen(8)):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), pixels)
    line = f"quantize {HARBOUR / 'harbour.onnx'} --manifest {HARBOUR / 'model.json'} --json"
    code, out, _ = run(f"{line} --pictures {tmp_path / 'pictures'} --out {tmp_path / 'int8'}")
    assert code == 0
    for row in json.loads(out)["rows"][1:]:
        assert row["recall"] >= 0.9, row
        assert row["precision"] >= 0.9, row


def test_a_network_is_on_a_par_with_itself(small: Path, run: Any) -> None:
    code, out, _ = run("parity model.onnx model.onnx --manifest model.json")
    assert (code, "same output: 0 %" in out) == (0, True)


def test_two_networks_that_differ_are_told_apart_by_output_place_and_picture(small: Path, run: Any) -> None:
    (small / "other.onnx").write_bytes(convolutions(nudge=0.1))
    code, out, err = run("parity model.onnx other.onnx --manifest model.json --pictures pictures")
    assert (code, "DIFFERS output: 100 %" in out, "[parity]" in err) == (3, True, True)
    assert "by 0.1 at [0, " in err
    code, out, _ = run("parity model.onnx other.onnx --manifest model.json --absolute 0.5 --json")
    assert (code, json.loads(out)["outputs"][0]["passed"]) == (0, True)


def test_parity_with_another_kind_of_network_is_refused(small: Path, run: Any) -> None:
    code, _, err = run(f"parity model.onnx {HARBOUR / 'harbour.onnx'} --manifest model.json")
    assert (code, "[model-mismatch]" in err) == (3, True)


CARD = "card --model model.onnx --manifest model.json --out new.md"


def test_a_card_is_made_of_what_can_be_read_and_what_was_said(small: Path, run: Any) -> None:
    run(QUANTIZE)
    words = ("--trained-on", "4,000 pictures of our own harbour, by our own people")
    code, _, err = run(f"{CARD} --report int8/accuracy.json", *words)
    text = (small / "new.md").read_text()
    assert (code, "names no licence" in err) == (0, True)
    for part in (words[1], "**not stated**", "Conv 3", facts_of(small / "model.onnx").sha384, "model-int8-cpu.onnx"):
        assert part in text


def test_a_card_without_a_training_statement_does_not_exist(small: Path, run: Any) -> None:
    for words in ((), ("--trained-on", "n/a")):
        code, _, err = run(CARD, *words)
        assert (code, "--trained-on" in err) == (2, True)
        assert not (small / "new.md").exists()


def test_a_card_is_brought_up_to_date_and_a_persons_words_stay(small: Path, run: Any) -> None:
    run(CARD, "--trained-on", "pictures of our own")
    path = small / "new.md"
    path.write_text(path.read_text() + "\n## Limits\n\nNever at night.\n")
    (small / "model.json").write_text(json.dumps(MANIFEST | {"licence": "Apache-2.0", "thresholds": {"score": 0.1}}))
    assert run(CARD)[0] == 0
    text = path.read_text()
    assert "Never at night." in text
    assert "pictures of our own" in text
    assert "| licence | Apache-2.0 |" in text
    assert text.count("<!-- export:facts -->") == 1
    assert run(f"{QUANTIZE} --target cpu --card new.md")[0] == 0
    assert "model-int8-cpu.onnx" in path.read_text()


def test_broken_markers_and_foreign_text_do_not_break_a_card(small: Path) -> None:
    page = read_manifest(small / "model.json")
    facts = facts_of(small / "model.onnx")
    with pytest.raises(UsageError, match="markers"):
        card.make("<!-- export:training -->", facts, page, trained_on="our own pictures", report=None)
    hostile = page.__class__(**{name: getattr(page, name) for name in page.__struct_fields__} | {
        "description": "a | b\n<!-- export:facts -->"})  # fmt: skip
    made = card.make(None, facts, hostile, trained_on="our own pictures", report=None)
    assert made.count("<!-- export:facts -->") == 1
    assert r"a \| b <" in made
