"""Looking into an ONNX file: whole, alone, or refused; never a crash."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from appliance.errors import BundleRefused, EngineUnavailable
from appliance.inference.onnxfile import require_one_whole_file


@pytest.fixture
def model(answering: Callable[..., bytes]) -> bytes:
    return answering({"boxes": np.zeros((1, 2, 4), np.float32)})


def with_external(tensor: Any) -> Any:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return tensor


def test_whole_files_pass(model: bytes, shared_data: Path) -> None:
    require_one_whole_file(model)
    for path in (shared_data / "models").glob("*.onnx"):
        require_one_whole_file(path.read_bytes())


def test_every_cut_of_a_small_file_is_noticed_or_leaves_one_graph(model: bytes) -> None:
    noticed = 0
    for length in range(len(model)):
        try:
            require_one_whole_file(model[:length])
        except EngineUnavailable:
            noticed += 1
        else:
            # What remains is a shorter message that happens to end between two fields after the graph.
            assert len(onnx.load_from_string(model[:length]).graph.node) == 1
    assert noticed > len(model) * 0.9


def test_a_truncated_real_model_says_that_it_is_truncated(shared_data: Path) -> None:
    raw = (shared_data / "models" / "yolox_nano.onnx").read_bytes()
    with pytest.raises(EngineUnavailable, match="truncated"):
        require_one_whole_file(raw[: len(raw) // 2])


@pytest.mark.parametrize("raw", [b"", b"\x00", b"not a model at all", b"\xff" * 40, b"PK\x03\x04zip", b"\x0b\x0c"])
def test_what_is_no_onnx_file_is_unavailable(raw: bytes) -> None:
    with pytest.raises(EngineUnavailable, match="ONNX model: expected"):
        require_one_whole_file(raw)


def test_weights_in_another_file_are_refused(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    with_external(proto.graph.initializer[0])
    with pytest.raises(BundleRefused) as refusal:
        require_one_whole_file(proto.SerializeToString())
    assert refusal.value.reason == "external-data"


def test_weights_in_another_file_are_refused_in_a_constant_of_a_nested_graph(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    hidden = with_external(helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0]))
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=hidden)], "inner", [], [])
    outer = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)], "o", [], [])
    proto.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=outer, else_branch=outer))
    with pytest.raises(BundleRefused) as refusal:
        require_one_whole_file(proto.SerializeToString())
    assert refusal.value.reason == "external-data"


def test_weights_in_another_file_are_refused_in_a_function(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    hidden = with_external(helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0]))
    node = helper.make_node("Constant", [], ["c"], value=hidden)
    proto.functions.append(helper.make_function("own", "F", [], ["c"], [node], [helper.make_opsetid("", 17)]))
    with pytest.raises(BundleRefused) as refusal:
        require_one_whole_file(proto.SerializeToString())
    assert refusal.value.reason == "external-data"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_end_in_one_of_our_errors_or_pass(model: bytes, data: st.DataObject) -> None:
    raw = bytearray(model)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(EngineUnavailable, BundleRefused):
        require_one_whole_file(bytes(raw))
