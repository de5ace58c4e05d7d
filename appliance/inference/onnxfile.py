"""A look into an ONNX file before the runtime sees it: is it whole, and does it stand alone?

Not an ONNX parser. It walks protobuf fields (protobuf.dev/programming-guides/encoding) just deep enough to reach each
tensor, by the field numbers of onnx.proto, and answers two questions: does every field end inside its message, and does
any tensor keep its data in another file? A verified model is one file; weights beside it were verified by nobody, and
the runtime would open whatever path the tensor names.

Rules: no recursion (nesting is the file's choice); a file that ends too soon is ``EngineUnavailable``; external data
is ``BundleRefused``, reason ``external-data``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from appliance.errors import BundleRefused, EngineUnavailable

MAX_MODEL_BYTES: Final = 2**31 - 1
"""Protobuf's own limit for one message."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}

#: onnx.proto: message → field number → the message that the field holds, where that can lead to a tensor.
_CHILDREN: Final[Mapping[str, Mapping[int, str]]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_GRAPH_FIELD: Final = 7
_EXTERNAL_DATA_FIELD: Final = 13
_DATA_LOCATION_FIELD: Final = 14


def require_one_whole_file(model: bytes) -> None:
    """Return where ``model`` is a whole ONNX protobuf that needs no other file; raise otherwise (see above)."""
    if not 0 < len(model) <= MAX_MODEL_BYTES:
        raise EngineUnavailable(f"ONNX model: expected 1 to {MAX_MODEL_BYTES} bytes; found {len(model)}")
    waiting = [("Model", memoryview(model))]
    graphs = 0
    while waiting:
        message, data = waiting.pop()
        children = _CHILDREN[message]
        for number, value in _fields(data):
            if message == "Tensor":
                _require_inside(number, value)
            elif number in children and isinstance(value, memoryview):
                waiting.append((children[number], value))
                graphs += message == "Model" and number == _GRAPH_FIELD
    if graphs != 1:
        raise EngineUnavailable(f"ONNX model: expected one graph; found {graphs}; this is no ONNX file")


def _require_inside(number: int, value: memoryview | int) -> None:
    if number == _EXTERNAL_DATA_FIELD or (number == _DATA_LOCATION_FIELD and value != 0):
        raise BundleRefused("external-data", "ONNX model: expected all tensors inside the file; found one outside it")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of one message: number, and the value of a varint or the bytes of anything else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        length = _FIXED_BYTES.get(kind, 0)
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif not length:
            raise EngineUnavailable(f"ONNX model: expected a protobuf wire type; found {kind}; this is no ONNX file")
        if at + length > len(data):
            raise _cut_short(f"a field of {length} bytes with {len(data) - at} left")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _cut_short("the end in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise EngineUnavailable("ONNX model: expected a number of at most 10 bytes; found more; this is no ONNX file")


def _cut_short(found: str) -> EngineUnavailable:
    return EngineUnavailable(f"ONNX model: expected every field to end inside the file; found {found}; truncated?")
