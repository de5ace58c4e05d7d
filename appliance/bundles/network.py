"""A look into an ONNX file before any runtime sees it: is it whole, does it stand alone, is it of a sane size?

Not an ONNX parser and no checker of graphs. It walks protobuf fields (protobuf.dev/programming-guides/encoding) by the
field numbers of onnx.proto, just deep enough to see every node, tensor and stated shape, and refuses what must not be
loaded at all, however well it is signed: data in other files (the runtime would open whatever path the tensor names),
operators that need code of somebody's own, shapes that ask for more memory than there is, graphs in graphs in graphs.
What a graph makes of its inputs is for the self-test, which runs it in a child with limits.

Rules: no recursion (nesting is the file's choice); nothing is copied but names; work and memory are bounded by the
maxima below, not by the file. External data is ``BundleRefused``, reason ``external-data``; everything else ``onnx``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from appliance.bundles.operators import OPERATORS
from appliance.errors import BundleRefused

MAX_MODEL_BYTES: Final = 2**31 - 1
"""Protobuf's own limit for one message."""
MAX_NODES: Final = 50_000
"""Twenty times the largest detector that we know; functions count where they are called."""
MAX_TENSORS: Final = 100_000
MAX_FIELDS: Final = 1_000_000
"""Some ten for each node and tensor; a few seconds to walk them."""
MAX_NESTING: Final = 24
"""Messages in messages: a graph in a graph costs three (node, attribute, graph). Loop in If in Loop fits twice."""
MAX_NAME_BYTES: Final = 4096
MAX_AXES: Final = 16
MAX_SIDE: Final = 2**24
MAX_ELEMENTS: Final = 2**31
"""Of one stated shape: 8 GiB of float32, more than a device gives to one tensor."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}
_SIGN: Final = 1 << 63

#: onnx.proto: message → field number → the message that the field holds, where there is something to see in it.
_CHILDREN: Final[Mapping[str, Mapping[int, str]]] = {
    "Model": {7: "Graph", 8: "Opset", 20: "Training", 25: "Function"},
    "Opset": {},
    "Training": {},
    "Graph": {1: "Node", 5: "Tensor", 11: "Value", 12: "Value", 13: "Value", 15: "SparseTensor"},
    "Function": {7: "Node", 9: "Opset", 11: "Attribute", 12: "Value"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        14: "Type",
        15: "Type",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
    "Value": {2: "Type"},
    "Type": {1: "TensorType", 4: "Sequence", 8: "TensorType", 9: "Sequence"},
    "Sequence": {1: "Type"},
    "TensorType": {2: "Shape"},
    "Shape": {},
}
#: Fields of a tensor that hold its numbers, and those that name another file.
_TENSOR_DATA: Final = frozenset({4, 5, 6, 7, 9, 10, 11})
_TENSOR_DIMS, _TENSOR_LOCATION, _TENSOR_EXTERNAL = 1, 14, 13
_NODE_NAME, _NODE_DOMAIN = 4, 7
_FUNCTION_NAME, _FUNCTION_DOMAIN = 1, 10
_SPARSE_DIMS: Final = 3
#: An int4 element takes half a byte, every other at least one.
_ELEMENTS_PER_BYTE: Final = 2

Operator = tuple[str, str]
"""Domain and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What was seen. ``nodes`` counts functions where they are called; ``operators`` are (domain, name)."""

    nodes: int
    tensors: int
    operators: frozenset[Operator]


class _Open(NamedTuple):
    """A message that waits to be walked. ``owner`` is the function whose body it is part of; "" is the graph's."""

    kind: str
    data: memoryview
    depth: int
    owner: Operator | None


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What has been counted so far."""

    fields: int = 0
    nodes: int = 0
    tensors: int = 0
    graphs: int = 0
    calls: dict[Operator | None, dict[Operator, int]] = field(default_factory=dict)
    functions: set[Operator] = field(default_factory=set)


def look_into(model: bytes | memoryview) -> Network:
    """What an ONNX file holds, where it may be loaded.

    Raises: BundleRefused: "external-data", "onnx" (see above).
    """
    if not 0 < len(model) <= MAX_MODEL_BYTES:
        raise _refused(f"expected 1 to {MAX_MODEL_BYTES} bytes; found {len(model)}")
    seen = _Seen()
    waiting = [_Open("Model", memoryview(model).toreadonly(), 0, None)]
    while waiting:
        message = waiting.pop()
        if message.depth > MAX_NESTING:
            raise _refused(f"graphs or types are nested deeper than {MAX_NESTING} messages")
        owner = _function_name(message.data, seen) if message.kind == "Function" else message.owner
        _walk(message._replace(owner=owner), seen, waiting)
    if seen.graphs != 1:
        raise _refused(f"expected one graph; found {seen.graphs}; this is no ONNX file")
    nodes = _expanded(seen)
    used = {operator for calls in seen.calls.values() for operator in calls} - seen.functions
    for domain, name in sorted(used):
        if name not in OPERATORS.get(domain, ()):
            raise _refused(f"operator {_short(name)} of domain {_short(domain) or 'ai.onnx'} is not one that may run")
    return Network(nodes=nodes, tensors=seen.tensors, operators=frozenset(used))


def _walk(message: _Open, seen: _Seen, waiting: list[_Open]) -> None:
    """Looks at one message and puts its children on the pile."""
    if message.kind == "Tensor":
        _tensor(message.data, seen)
    elif message.kind == "Node":
        _node(message, seen)
    elif message.kind == "Shape":
        _shape(message.data, seen)
    elif message.kind == "Training":
        raise _refused("the file carries training information; export it for inference")
    children = _CHILDREN[message.kind]
    if not children:
        return
    sparse: list[int] = []
    for number, value in _fields(message.data, seen):
        if message.kind == "SparseTensor" and number == _SPARSE_DIMS:
            sparse.extend(_numbers(value, seen))
        child = children.get(number)
        if child is None or not isinstance(value, memoryview):
            continue
        seen.graphs += message.kind == "Model" and child == "Graph"
        waiting.append(_Open(child, value, message.depth + 1, message.owner))
    _require_sane(sparse)


def _node(message: _Open, seen: _Seen) -> None:
    seen.nodes += 1
    if seen.nodes > MAX_NODES:
        raise _refused(f"more than {MAX_NODES} nodes")
    name, domain = _names(message.data, seen, _NODE_NAME, _NODE_DOMAIN)
    calls = seen.calls.setdefault(message.owner, {})
    calls[domain, name] = calls.get((domain, name), 0) + 1


def _function_name(data: memoryview, seen: _Seen) -> Operator:
    name, domain = _names(data, seen, _FUNCTION_NAME, _FUNCTION_DOMAIN)
    if (domain, name) in seen.functions or name in OPERATORS.get(domain, ()):
        raise _refused(f"function {_short(name)} has the name of an operator, or is there twice")
    seen.functions.add((domain, name))
    return domain, name


def _names(data: memoryview, seen: _Seen, *numbers: int) -> tuple[str, ...]:
    found = dict.fromkeys(numbers, "")
    for number, value in _fields(data, seen):
        if number in found and isinstance(value, memoryview):
            if len(value) > MAX_NAME_BYTES:
                raise _refused(f"a name of {len(value)} bytes")
            found[number] = bytes(value).decode("utf-8", "replace")
    return tuple(found.values())


def _expanded(seen: _Seen) -> int:
    """How many nodes there are once every function stands where it is called. Functions that call each other in a
    circle, or double at each step, are refused: a runtime would write them all out."""
    sizes: dict[Operator, int] = {}
    for _ in range(len(seen.functions) + 1):
        ready = [f for f in seen.functions - sizes.keys() if _callees(seen, f) <= sizes.keys()]
        if not ready:
            break
        for function in ready:
            sizes[function] = _size(seen, function, sizes)
    if len(sizes) < len(seen.functions):
        raise _refused("functions call each other in a circle")
    return _size(seen, None, sizes)


def _callees(seen: _Seen, owner: Operator | None) -> set[Operator]:
    return seen.calls.get(owner, {}).keys() & seen.functions


def _size(seen: _Seen, owner: Operator | None, sizes: Mapping[Operator, int]) -> int:
    total = sum(count * sizes.get(operator, 1) for operator, count in seen.calls.get(owner, {}).items())
    if total > MAX_NODES:
        raise _refused(f"more than {MAX_NODES} nodes once functions are written out")
    return total


def _tensor(data: memoryview, seen: _Seen) -> None:
    seen.tensors += 1
    if seen.tensors > MAX_TENSORS:
        raise _refused(f"more than {MAX_TENSORS} tensors")
    dims: list[int] = []
    held = 0
    for number, value in _fields(data, seen):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise BundleRefused("external-data", "network: expected all tensors inside the file; found one outside it")
        if number == _TENSOR_DIMS:
            dims.extend(_numbers(value, seen))
        elif number in _TENSOR_DATA:
            held += len(value) if isinstance(value, memoryview) else 8
            held += number == 6  # a string may be empty and is an element all the same
    _require_sane(dims)
    if math.prod(dims) > _ELEMENTS_PER_BYTE * held:
        raise _refused(f"a tensor of shape {dims[:MAX_AXES]} has {held} bytes of numbers")


def _shape(data: memoryview, seen: _Seen) -> None:
    """A shape that is stated for an input, an output or a value between; sides without a number are open."""
    dims: list[int] = []
    for number, dim in _fields(data, seen):
        if number == 1 and isinstance(dim, memoryview):
            dims.extend(value for key, value in _fields(dim, seen) if key == 1 and isinstance(value, int))
    _require_sane(dims)


def _require_sane(dims: list[int]) -> None:
    sane = len(dims) <= MAX_AXES and all(0 <= side <= MAX_SIDE for side in dims)
    if not sane or math.prod(dims) > MAX_ELEMENTS:
        raise _refused(f"a shape of {len(dims)} axes, {dims[:MAX_AXES]}: at most {MAX_ELEMENTS} elements are loaded")


def _numbers(value: memoryview | int, seen: _Seen) -> Iterator[int]:
    """A repeated whole number: one alone, or packed."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        _count(seen)
        yield number


def _count(seen: _Seen) -> None:
    seen.fields += 1
    if seen.fields > MAX_FIELDS:
        raise _refused(f"more than {MAX_FIELDS} fields")


def _fields(data: memoryview, seen: _Seen) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of one message: number, and the value of a varint or the bytes of anything else."""
    at = 0
    while at < len(data):
        _count(seen)
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
            raise _refused(f"expected a protobuf wire type; found {kind}; this is no ONNX file")
        if length < 0 or at + length > len(data):
            raise _cut_short(f"a field of {length} bytes with {len(data) - at} left")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of up to 64 bits; int64 below nothing has all ten bytes."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _cut_short("the end in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value if value < _SIGN else value - 2 * _SIGN), at
    raise _refused("expected a number of at most 10 bytes; found more; this is no ONNX file")


def _short(name: str) -> str:
    return repr(name[:64]) if name else ""


def _refused(message: str) -> BundleRefused:
    return BundleRefused("onnx", f"network: {message}")


def _cut_short(found: str) -> BundleRefused:
    return _refused(f"expected every field to end inside the file; found {found}; truncated?")
