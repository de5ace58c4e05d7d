"""Looking into an ONNX file: whole, alone, of a sane size and of known operators, or refused; never a crash."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from appliance.bundles.network import MAX_FIELDS, MAX_NODES, look_into
from appliance.bundles.operators import OPERATORS
from appliance.errors import BundleRefused
from tests.support.networks import small_network

OPSET = [helper.make_opsetid("", 17)]


def _refused(model: bytes, reason: str = "onnx") -> str:
    with pytest.raises(BundleRefused) as caught:
        look_into(model)
    assert caught.value.reason == reason
    return str(caught.value)


def _changed(change: Callable[[Any], object]) -> bytes:
    model = onnx.load_from_string(small_network())
    change(model)
    return bytes(model.SerializeToString())


def _external(tensor: Any) -> Any:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def _branch(nodes: list[Any]) -> Any:
    return helper.make_graph(nodes, "branch", [], [])


def _nested(levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = helper.make_node("If", ["x"], ["y"], then_branch=_branch([inner]), else_branch=_branch([]))
    return inner


def test_a_whole_file_passes_and_is_counted() -> None:
    seen = look_into(small_network())
    assert (seen.nodes, seen.tensors) == (2, 1)
    assert seen.operators == {("", "ReduceMean"), ("", "Add")}


def test_real_networks_pass(shared_data: Path, repository: Path) -> None:
    paths = [*(shared_data / "models").glob("*.onnx"), *(repository / "models").rglob("*.onnx")]
    for path in paths:
        assert look_into(path.read_bytes()).nodes == len(onnx.load(path).graph.node)


def test_the_table_of_operators_holds_none_that_onnx_does_not_have() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    if onnx.defs.onnx_opset_version() >= 26:
        assert OPERATORS[""] <= known
    assert not OPERATORS[""] & {"ImageDecoder", "RegexFullMatch", "RandomNormal", "StringConcat", "TfIdfVectorizer"}


def test_every_cut_of_a_small_file_is_noticed_or_leaves_one_graph() -> None:
    model = small_network()
    noticed = 0
    for length in range(len(model)):
        try:
            look_into(model[:length])
        except BundleRefused:
            noticed += 1
        else:
            # What remains is a shorter message that happens to end between two fields after the graph.
            assert len(onnx.load_from_string(model[:length]).graph.node) == 2
    assert noticed > len(model) * 0.9


@pytest.mark.parametrize("raw", [b"", b"\x00", b"not a model at all", b"\xff" * 40, b"PK\x03\x04zip", b"\x0b\x0c"])
def test_what_is_no_onnx_file_is_refused(raw: bytes) -> None:
    _refused(raw)


def test_numbers_in_another_file_are_refused_wherever_the_tensor_hides() -> None:
    hidden = _external(helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0]))
    constant = helper.make_node("Constant", [], ["c"], value=hidden)
    function = helper.make_function("own", "F", [], ["c"], [constant], OPSET)
    cases: list[Callable[[Any], object]] = [
        lambda model: _external(model.graph.initializer[0]),
        lambda model: model.graph.node.append(_nested(2, constant)),
        lambda model: model.functions.append(function),
        lambda model: model.graph.sparse_initializer.add().values.CopyFrom(hidden),
        lambda model: model.graph.node[0].attribute.append(helper.make_attribute("many", [hidden])),
    ]
    for change in cases:
        _refused(_changed(change), "external-data")


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("", "RunThis"),
        ("evil", "Add"),
        ("com.microsoft", "RunThis"),
        ("ai.onnx.training", "Adam"),
        ("TRT", "Plugin"),
        ("", "ImageDecoder"),
        ("", "RandomNormal"),
        ("", "RegexFullMatch"),
        ("ai.onnx.ml", "TreeEnsemble"),
    ],
)
def test_an_operator_that_is_not_in_the_table_is_refused(domain: str, name: str) -> None:
    node = helper.make_node(name, ["images"], ["more"], domain=domain)
    assert name in _refused(_changed(lambda model: model.graph.node.append(node)))
    assert name in _refused(_changed(lambda model: model.graph.node.append(_nested(1, node))))


@pytest.mark.parametrize(
    "dims", [[2**62], [-1, 4], [2**20, 2**20], [2**24 + 1], [1] * 17, [2**16, 2**16, 2**16, 0, 2**63 - 1]]
)
def test_a_gigantic_shape_is_refused_in_a_tensor_and_where_it_is_stated(dims: list[int]) -> None:
    def in_tensor(model: Any) -> None:
        model.graph.initializer[0].ClearField("dims")
        model.graph.initializer[0].dims.extend(dims)

    def stated(model: Any) -> None:
        model.graph.value_info.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, dims))

    def sparse(model: Any) -> None:
        tensor = model.graph.sparse_initializer.add()
        tensor.dims.extend(dims)

    for change in (in_tensor, stated, sparse):
        assert "shape" in _refused(_changed(change))


def test_a_tensor_that_claims_more_than_it_holds_is_refused() -> None:
    def change(model: Any) -> None:
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(4, np.float32), "zeros"))
        model.graph.initializer[0].dims[0] = 1_000_000

    assert "16 bytes" in _refused(_changed(change))


@pytest.mark.parametrize(
    "tensor",
    [
        numpy_helper.from_array(np.zeros((0, 4), np.float32), "t"),
        numpy_helper.from_array(np.float32(3), "t"),
        numpy_helper.from_array(np.array(["", "b"], object), "t"),
        helper.make_tensor("t", TensorProto.INT64, [3], [1, -2, 3]),
        helper.make_tensor("t", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("t", TensorProto.INT4, [3], [1, 2, 3]),
        helper.make_tensor("t", TensorProto.BOOL, [2], [True, False]),
    ],
    ids=["empty", "scalar", "strings", "int64", "float16", "int4", "bool"],
)
def test_tensors_of_every_kind_pass(tensor: Any) -> None:
    look_into(_changed(lambda model: model.graph.initializer.append(tensor)))


def test_graphs_in_graphs_pass_until_they_are_too_deep() -> None:
    node = helper.make_node("Identity", ["images"], ["more"])
    assert look_into(_changed(lambda model: model.graph.node.append(_nested(6, node)))).nodes == 9
    assert "nested" in _refused(_changed(lambda model: model.graph.node.append(_nested(9, node))))


def test_types_in_types_without_end_are_refused() -> None:
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    for _ in range(40):
        kind = helper.make_sequence_type_proto(kind)
    value = helper.make_value_info("deep", kind)
    assert "nested" in _refused(_changed(lambda model: model.graph.value_info.append(value)))


def test_more_nodes_than_a_network_has_are_refused() -> None:
    node = helper.make_node("Identity", ["a"], ["b"]).SerializeToString()
    message = b"\x0a" + bytes([len(node)]) + node
    body = message * (MAX_NODES + 1)
    assert "nodes" in _refused(b"\x3a" + _varint(len(body)) + body)


def test_more_fields_than_a_network_has_are_refused_in_bounded_time() -> None:
    body = b"\x10\x00" * (MAX_FIELDS + 1)  # a data type, stated a million times
    tensor = b"\x2a" + _varint(len(body)) + body
    begun = time.process_time()
    assert "fields" in _refused(b"\x3a" + _varint(len(tensor)) + tensor)
    assert time.process_time() - begun < 60


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _function(name: str, *calls: str) -> Any:
    nodes = [helper.make_node(call, ["x"], ["y"], domain="own") for call in calls]
    nodes.append(helper.make_node("Identity", ["x"], ["y"]))
    return helper.make_function("own", name, ["x"], ["y"], nodes, OPSET)


def _calling(first: str, *functions: Any) -> bytes:
    def change(model: Any) -> None:
        model.functions.extend(functions)
        model.graph.node.append(helper.make_node(first, ["images"], ["more"], domain="own"))

    return _changed(change)


def test_functions_count_where_they_are_called() -> None:
    assert look_into(_calling("A", _function("A", "B", "B"), _function("B"))).nodes == 2 + 3


def test_functions_in_a_circle_are_refused() -> None:
    assert "circle" in _refused(_calling("A", _function("A", "B"), _function("B", "A")))
    assert "circle" in _refused(_calling("A", _function("A", "A")))


def test_functions_that_double_at_each_step_are_refused() -> None:
    steps = [_function(f"F{n}", f"F{n + 1}", f"F{n + 1}") for n in range(40)]
    assert "written out" in _refused(_calling("F0", *steps, _function("F40")))


def test_a_function_that_takes_an_operators_name_is_refused() -> None:
    function = _function("A")
    function.domain, function.name = "", "Add"
    _refused(_changed(lambda model: model.functions.append(function)))


def test_an_export_with_training_information_is_refused() -> None:
    assert "training" in _refused(_changed(lambda model: model.training_info.add()))


def test_a_name_of_a_megabyte_is_refused() -> None:
    assert "name" in _refused(_changed(lambda model: setattr(model.graph.node[0], "op_type", "A" * 1_000_000)))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_end_in_a_refusal_or_pass(data: st.DataObject) -> None:
    raw = bytearray(small_network())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BundleRefused):
        look_into(bytes(raw))
