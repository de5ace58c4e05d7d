"""Opening a model: what loads, what is refused, and what it says it runs on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from appliance.errors import BundleRefused, EngineUnavailable
from appliance.inference.runner import open_runner

Outputs = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def outputs() -> Outputs:
    return {
        "boxes": np.zeros((1, 5, 4), np.float32),
        "scores": np.zeros((1, 5), np.float32),
        "labels": np.zeros((1, 5), np.int64),
    }


@pytest.fixture
def image() -> np.ndarray[Any, Any]:
    return np.zeros((1, 3, 64, 64), np.float32)


def test_a_runner_says_what_really_runs_and_answers(
    answering: Callable[..., bytes], manifest: Callable[..., Any], outputs: Outputs, image: np.ndarray[Any, Any]
) -> None:
    runner = open_runner(answering(outputs), manifest())
    assert runner.provider.startswith("onnxruntime ")
    assert runner.provider.endswith(" CPUExecutionProvider")
    answer = runner.run(image)
    assert {name: value.shape for name, value in answer.items()} == {
        name: value.shape for name, value in outputs.items()
    }


def test_a_model_opens_from_a_file_too(
    tmp_path: Path, answering: Callable[..., bytes], manifest: Callable[..., Any], outputs: Outputs
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(answering(outputs))
    assert "CPU" in open_runner(path, manifest()).provider


def test_a_device_of_two_gigabytes_opens_a_small_model(repository: Path) -> None:
    script = (
        "import resource; from pathlib import Path; limit = 1900 * 1024**2\n"
        "from appliance.inference.runner import open_runner; from appliance.bundles.manifest import parse_manifest\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "folder = Path('models/harbour'); manifest = parse_manifest((folder / 'model.json').read_bytes())\n"
        "print(open_runner(folder / 'harbour.onnx', manifest).provider)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=False)
    assert "CPUExecutionProvider" in done.stdout, done.stderr


def test_a_missing_file_is_unavailable(tmp_path: Path, manifest: Callable[..., Any]) -> None:
    with pytest.raises(EngineUnavailable, match="No such file"):
        open_runner(tmp_path / "nothing.onnx", manifest())


def test_a_provider_that_this_build_lacks_is_unavailable_and_never_the_cpu_in_silence(
    answering: Callable[..., bytes], manifest: Callable[..., Any], outputs: Outputs
) -> None:
    with pytest.raises(EngineUnavailable, match=r"expected provider NoSuchExecutionProvider; found .*CPU"):
        open_runner(answering(outputs), manifest(), providers=["NoSuchExecutionProvider"])


def test_the_cpu_stands_in_where_the_caller_lists_it(
    answering: Callable[..., bytes], manifest: Callable[..., Any], outputs: Outputs
) -> None:
    asked = ["NoSuchExecutionProvider", "CPUExecutionProvider"]
    assert open_runner(answering(outputs), manifest(), providers=asked).provider.endswith("CPUExecutionProvider")


def test_half_a_real_model_is_refused(shared_data: Path, repository: Path, manifest: Callable[..., Any]) -> None:
    raw = (shared_data / "models" / "yolox_nano.onnx").read_bytes()
    with pytest.raises(BundleRefused, match="truncated"):
        open_runner(raw[: len(raw) // 2], manifest())


def test_a_whole_file_with_nonsense_inside_is_unavailable(
    answering: Callable[..., bytes], manifest: Callable[..., Any], outputs: Outputs, capfd: pytest.CaptureFixture[str]
) -> None:
    proto = onnx.load_from_string(answering(outputs))
    proto.graph.node[0].op_type = "Conv"
    with pytest.raises(EngineUnavailable, match=r"cannot load it: .*Conv"):
        open_runner(proto.SerializeToString(), manifest())
    assert capfd.readouterr() == ("", "")


MISMATCHES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "input name": ({}, {"input.name": "picture"}, r"inputs: expected \['picture'\]; found \['image'\]"),
    "input size": ({}, {"input.size.width_px": 96}, r"'image': expected float32 \[1, 3, 64, 96\]; found float32"),
    "input type": ({}, {"input.dtype": "uint8"}, "expected uint8 .* found float32"),
    "input layout": ({}, {"input.layout": "NHWC"}, r"expected float32 \[1, 64, 64, 3\]"),
    "input depth": ({}, {"input.colour": "GRAY"}, r"expected float32 \[1, 1, 64, 64\]"),
    "batch that the model cannot take": ({}, {"max_batch": 4}, r"expected float32 \[any, 3, 64, 64\]; found"),
    "dynamic size that the model cannot take": (
        {},
        {"input.size": {"kind": "multiple", "multiple_px": 32, "max_width_px": 64, "max_height_px": 64}},
        r"expected float32 \[1, 3, any, any\]",
    ),
    "output that is not there": ({}, {"decoder.scores": "points"}, "output 'points': .* found no such output among"),
    "output rank": (
        {"scores": np.zeros((1, 5, 3), np.float32)},
        {},
        r"'scores': expected .* \[any, any\]; found",
    ),
    "output type": ({"boxes": np.zeros((1, 5, 4), np.int64)}, {}, "'boxes': expected float32.* found int64"),
    "output width": ({"boxes": np.zeros((1, 5, 5), np.float32)}, {}, r"'boxes': .*found float32 \[1, 5, 5\]"),
    "an input that nobody feeds": (
        {},
        {"input.constants": [{"name": "size", "dtype": "int64", "values": [64, 64]}]},
        r"inputs: expected \['image', 'size'\]; found \['image'\]",
    ),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_model_that_is_not_what_its_manifest_says_is_refused(
    answering: Callable[..., bytes], manifest: Callable[..., Any], outputs: Outputs, case: str
) -> None:
    other, changes, message = MISMATCHES[case]
    with pytest.raises(BundleRefused, match=message) as refusal:
        open_runner(answering({**outputs, **other}), manifest(changes))
    assert refusal.value.reason == "model-mismatch"


def test_a_class_count_that_differs_from_the_labels_is_refused(
    answering: Callable[..., bytes], manifest: Callable[..., Any], outputs: Outputs
) -> None:
    decoder = {"kind": "yolox", "output": "raw", "strides": [32]}
    model = answering({"raw": np.zeros((1, 4, 5 + 80), np.float32)})
    with pytest.raises(BundleRefused, match=r"'raw': expected .* \[any, 4, 8\]; found .* \[1, 4, 85\]"):
        open_runner(model, manifest({"decoder": decoder}))


def test_constants_are_fed_for_each_picture_of_a_batch(manifest: Callable[..., Any]) -> None:
    nodes = [
        helper.make_node("Cast", ["size"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["real", "real"], ["four"], axis=1),
        helper.make_node("Unsqueeze", ["four", "one"], ["boxes"]),
        helper.make_node("ReduceMax", ["boxes"], ["scores"], axes=[2], keepdims=1),
    ]
    one = onnx.numpy_helper.from_array(np.array([1], np.int64), "one")
    graph = helper.make_graph(
        nodes,
        "sized",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 64, 64]),
            helper.make_tensor_value_info("size", TensorProto.INT64, ["n", 2]),
        ],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 1, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1, 1]),
        ],
        [one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    changes = {
        "input.constants": [{"name": "size", "dtype": "int64", "values": [7, 9]}],
        "labels": ["person"],
        "categories": {"labels": {"person": "person"}},
        "decoder": {"kind": "detr", "boxes": "boxes", "scores": "scores"},
        "max_batch": 2,
    }
    runner = open_runner(model.SerializeToString(), manifest(changes))
    assert runner.run(np.zeros((2, 3, 64, 64), np.float32))["boxes"].tolist() == [[[7, 9, 7, 9]], [[7, 9, 7, 9]]]


def test_a_batch_that_the_network_does_not_take_is_unavailable_and_says_why(
    answering: Callable[..., bytes], manifest: Callable[..., Any], outputs: Outputs, image: np.ndarray[Any, Any]
) -> None:
    runner = open_runner(answering(outputs), manifest())
    with pytest.raises(EngineUnavailable, match=r"model small: onnxruntime .* did not answer: .*image"):
        runner.run(image[:, :, :32])
    assert runner.run(image)["boxes"].shape == (1, 5, 4)
