"""What can be read off a network: its size and digest, what goes in and out, which operators, how many parameters.

Reads ONNX and counts; it judges nothing. Files beside the network are never opened.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from appliance.bundles.network import MAX_MODEL_BYTES
from appliance.errors import UsageError
from appliance.host.files import read_at_most

#: Weights; whole numbers of 32 and 64 bits are shapes, axes and indices.
_WEIGHT_TYPES: Final = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
    | {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}
)
QUANTISED_OPS: Final = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An input or output: numpy name of the type, and sides as numbers or names of open axes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One network. ``operators`` counts nodes, those of subgraphs too; ``parameters`` counts elements of weights."""

    length_bytes: int
    sha384: str
    opset: int
    producer: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operators: dict[str, int]
    parameters: int

    @property
    def quantised(self) -> bool:
        """Whether the graph rounds to steps anywhere."""
        return not QUANTISED_OPS.isdisjoint(self.operators)


def read_model(path: Path) -> tuple[bytes, onnx.ModelProto]:
    """The bytes of an ONNX file and what they say.

    Raises: UsageError for a file that cannot be read or is no ONNX.
    """
    try:
        raw = read_at_most(path, MAX_MODEL_BYTES)
        model = onnx.load_model_from_string(raw)
    except OSError as e:
        raise UsageError(f"{path}: no such file, or not to be read: {e.strerror}") from e
    except (DecodeError, ValueError) as e:
        raise UsageError(f"{path}: expected an ONNX network; found: {e}") from e
    if not model.graph.node:
        raise UsageError(f"{path}: expected an ONNX network; found no node in it")
    return raw, model


def facts_of(path: Path) -> Facts:
    """The facts of the network at ``path``.

    Raises: UsageError.
    """
    raw, model = read_model(path)
    graph = model.graph
    fed = {value.name for value in graph.initializer}
    return Facts(
        length_bytes=len(raw),
        sha384=hashlib.sha384(raw).hexdigest(),
        opset=opset_of(model),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=tuple(value_of(value) for value in graph.input if value.name not in fed),
        outputs=tuple(value_of(value) for value in graph.output),
        operators=dict(Counter(node.op_type for each in graphs(graph) for node in each.node).most_common()),
        parameters=sum(_size(tensor) for each in graphs(graph) for tensor in _weights(each)),
    )


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the network was written for; 0 where it names none."""
    return max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)


def value_of(value: Any) -> Value:
    """A graph's input or output as a value."""
    tensor = value.type.tensor_type
    dtype = "unknown"
    if tensor.elem_type:
        dtype = str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    sides = (side.dim_value if side.HasField("dim_value") else side.dim_param or "?" for side in tensor.shape.dim)
    return Value(name=value.name, dtype=dtype, shape=tuple(sides))


def graphs(graph: Any) -> Iterator[Any]:
    """The graph and every graph inside it."""
    waiting = [graph]
    while waiting:
        each = waiting.pop()
        yield each
        for node in each.node:
            for attribute in node.attribute:
                waiting.extend([attribute.g] if attribute.HasField("g") else [])
                waiting.extend(attribute.graphs)


def _weights(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _size(tensor: Any) -> int:
    return math.prod(tensor.dims) if tensor.data_type in _WEIGHT_TYPES else 0
