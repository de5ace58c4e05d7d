"""Golden inputs and outputs of a network: what it must answer, as signed by whoever exported it.

Two files of a release. ``golden.json`` says which tensors there are and how far an answer may be off; ``golden.bin``
holds their numbers, little-endian and in C order, each at a multiple of 64 bytes. Not a measure of accuracy: golden
outputs say that *this* network runs here as it ran at the desk, whatever it is worth.

    Golden ─ Tolerances (per output: ``tolerance`` for ONNX Runtime, ``engine_tolerance`` for a compiled engine)
           └ Case ─ Tensor (inputs, outputs)

Two tolerances, because two things run a network. The runtime that made the outputs repeats them on another processor up
to the order of its sums; an engine in half precision or with other INT8 kernels does not, and must be allowed more, and
single elements that fell to the other side of a step (``outliers``). This file reads the page alone; the numbers, and
the comparison of an answer with them, are in ``answers``: a command that only verifies does not load numpy.

Rules: both files have maxima; unknown and repeated keys are refused; the tensors fill the data without holes or
overlaps; every expected number is finite. A fault in the files is ``BundleRefused``, reason ``golden``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from appliance.bundles.manifest import FixedSize, Manifest, channels, output_names
from appliance.bundles.release import DIGEST_PATTERN
from appliance.errors import BundleRefused

GOLDEN_FILE: Final = "golden.json"
GOLDEN_DATA_FILE: Final = "golden.bin"

MAX_GOLDEN_BYTES: Final = 256 * 1024
"""32 cases of 32 tensors with names of 256 characters fit."""
MAX_DATA_BYTES: Final = 512 * 1024 * 1024
"""A dozen pictures of four megapixels with their outputs."""
MAX_CASES: Final = 32
MAX_TENSORS: Final = 64
MAX_AXES: Final = 8
MAX_SIDE: Final = 2**24
ALIGNMENT_BYTES: Final = 64
"""Cache lines, and what TensorRT and SIMD loads like: a tensor can be fed from the mapped file as it lies there."""
MAX_ERROR: Final = 1e6
"""An absolute tolerance is in the output's own unit: pixels or logits, never millions."""
MAX_RELATIVE: Final = 0.2
MAX_OUTLIERS: Final = 0.05

DType = Literal["float32", "float16", "uint8", "int8", "int32", "int64", "bool"]
ITEM_BYTES: Final[dict[DType, int]] = {
    "float32": 4,
    "float16": 2,
    "uint8": 1,
    "int8": 1,
    "int32": 4,
    "int64": 8,
    "bool": 1,
}
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Unknown keys are refused: one that this version does not know may be the one that makes the test strict."""


class Tensor(_Part, frozen=True, kw_only=True):
    """One tensor in ``golden.bin``: ``length`` bytes from ``offset`` on, little-endian, C order."""

    name: Name
    dtype: DType
    shape: Annotated[tuple[Annotated[int, Meta(ge=1, le=MAX_SIDE)], ...], Meta(max_length=MAX_AXES)]
    offset: Annotated[int, Meta(ge=0, le=MAX_DATA_BYTES)]
    length: Annotated[int, Meta(ge=1, le=MAX_DATA_BYTES)]


class Tolerance(_Part, frozen=True, kw_only=True):
    """An element is right where |answer − expected| ≤ ``absolute`` + ``relative`` × |expected|.

    ``absolute`` is in the output's own unit. ``outliers`` is the share of an output's elements that may be wrong.
    """

    absolute: Annotated[float, Meta(ge=0, le=MAX_ERROR)]
    relative: Annotated[float, Meta(ge=0, le=MAX_RELATIVE)] = 0.0
    outliers: Annotated[float, Meta(ge=0, le=MAX_OUTLIERS)] = 0.0


class Tolerances(_Part, frozen=True, kw_only=True):
    """How far one output may be off, by what runs the network."""

    tolerance: Tolerance
    engine_tolerance: Tolerance


class Case(_Part, frozen=True, kw_only=True):
    """One run of the network. ``source`` is for people: a picture's name, or how the input was made."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
    source: Annotated[str, Meta(max_length=256)] = ""
    inputs: Annotated[tuple[Tensor, ...], Meta(min_length=1, max_length=MAX_TENSORS)]
    outputs: Annotated[tuple[Tensor, ...], Meta(min_length=1, max_length=MAX_TENSORS)]


class Golden(_Part, frozen=True, kw_only=True):
    """``golden.json``. ``model_sha384`` is the network's digest: golden outputs of another network prove nothing."""

    schema: Literal["edge-golden/1"]
    model_sha384: Annotated[str, Meta(pattern=DIGEST_PATTERN)]
    data_sha384: Annotated[str, Meta(pattern=DIGEST_PATTERN)]
    data_bytes: Annotated[int, Meta(ge=1, le=MAX_DATA_BYTES)]
    made_by: Annotated[str, Meta(max_length=256)]
    tolerances: dict[Name, Tolerances]
    cases: Annotated[tuple[Case, ...], Meta(min_length=1, max_length=MAX_CASES)]


def parse_golden(raw: bytes, *, model_sha384: str, manifest: Manifest) -> Golden:
    """Reads ``golden.json`` and holds it against the network and the manifest that it came with.

    Raises: BundleRefused ("golden"), naming every fault.
    """
    if len(raw) > MAX_GOLDEN_BYTES:
        raise refused(f"expected at most {MAX_GOLDEN_BYTES} bytes; found {len(raw)}")
    try:
        golden = msgspec.json.decode(raw, type=Golden)
        json.loads(raw, object_pairs_hook=_no_repeats)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise refused(str(e)) from e
    faults = [*_binding_faults(golden, model_sha384), *_layout_faults(golden), *_manifest_faults(golden, manifest)]
    if faults:
        raise refused("; ".join(faults[:8]))
    return golden


def encode_golden(golden: Golden) -> bytes:
    """The form in which the bench writes it: indented, so that a person can read what is signed."""
    return msgspec.json.format(msgspec.json.encode(golden), indent=1) + b"\n"


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise refused("expected each key once in an object; found one repeated")
    return table


def _binding_faults(golden: Golden, model_sha384: str) -> Iterator[str]:
    if golden.model_sha384 != model_sha384:
        yield f"it belongs to another network ({golden.model_sha384[:16]}…)"


def _layout_faults(golden: Golden) -> Iterator[str]:
    """The tensors in the order of the page fill the data: no hole, no overlap, nothing behind the last."""
    names = [case.name for case in golden.cases]
    if len(set(names)) != len(names):
        yield "expected a name of its own for each case; found repeats"
    end = 0
    for case, tensor in _tensors(golden):
        if tensor.length != math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype]:
            yield f"case {case.name}, {tensor.name}: {tensor.length} bytes do not hold {tensor.dtype} {tensor.shape}"
        if tensor.offset != aligned(end):
            yield f"case {case.name}, {tensor.name}: expected offset {aligned(end)}; found {tensor.offset}"
            return
        end = tensor.offset + tensor.length
    if end != golden.data_bytes:
        yield f"data_bytes: expected {end}, the end of the last tensor; found {golden.data_bytes}"


def _manifest_faults(golden: Golden, manifest: Manifest) -> Iterator[str]:
    fed = {manifest.input.name: manifest.input.dtype} | {c.name: c.dtype for c in manifest.input.constants}
    read = set(output_names(manifest.decoder))
    if set(golden.tolerances) != read:
        yield f"tolerances: expected those of {sorted(read)}; found {sorted(golden.tolerances)}"
    for case in golden.cases:
        if {tensor.name: tensor.dtype for tensor in case.inputs} != fed or len(case.inputs) != len(fed):
            yield f"case {case.name}: expected the manifest's inputs {fed}, each once"
        if {tensor.name for tensor in case.outputs} != read or len(case.outputs) != len(read):
            yield f"case {case.name}: expected the outputs that the manifest names, {sorted(read)}, each once"
        yield from _picture_faults(case, manifest)


def _picture_faults(case: Case, manifest: Manifest) -> Iterator[str]:
    image = next((tensor for tensor in case.inputs if tensor.name == manifest.input.name), None)
    if image is None:
        return
    depth, chw = channels(manifest.input.colour), manifest.input.layout == "NCHW"
    if len(image.shape) != 4 or image.shape[1 if chw else 3] != depth or image.shape[0] > manifest.max_batch:
        yield f"case {case.name}: expected {depth} channels in {manifest.input.layout}; found shape {image.shape}"
        return
    height, width = image.shape[2:] if chw else image.shape[1:3]
    size = manifest.input.size
    if isinstance(size, FixedSize):
        right = (height, width) == (size.height_px, size.width_px)
    else:
        right = not (height % size.multiple_px or width % size.multiple_px)
        right = right and height <= size.max_height_px and width <= size.max_width_px
    if not right:
        yield f"case {case.name}: expected a picture of the manifest's size; found {width} × {height}"


def _tensors(golden: Golden) -> Iterator[tuple[Case, Tensor]]:
    for case in golden.cases:
        for tensor in (*case.inputs, *case.outputs):
            yield case, tensor


def aligned(offset: int) -> int:
    """The next place at which a tensor may begin."""
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def refused(message: str) -> BundleRefused:
    """A fault in the page, or in the data that it speaks of."""
    return BundleRefused("golden", f"{GOLDEN_FILE}: {message}")
