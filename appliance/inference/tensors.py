"""What tensors a manifest promises, and whether a model or an answer keeps the promise.

Shapes are tuples in which None stands for *any*; the first axis is always the batch. Data types are numpy names.
Every runner checks its model with ``require_agreement`` when it loads, and ``decode`` checks each answer with
``require_answer``, because a model with symbolic axes can only be judged by what it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from appliance.bundles.manifest import (
    Decoder,
    Detr,
    FixedSize,
    ImageInput,
    Manifest,
    NanoDet,
    Ssd,
    Yolox,
    Yunet,
    channels,
    output_names,
)
from appliance.errors import BundleRefused, EngineUnavailable

Shape = tuple[int | None, ...]

FLOATS: Final = ("float32", "float16")
INDICES: Final = ("int64", "int32", "float32")
"""Some exports give labels and counts as floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One tensor as the manifest has it: allowed data types, and the shapes of which one must fit."""

    dtypes: tuple[str, ...]
    shapes: tuple[Shape, ...]

    def __str__(self) -> str:
        return f"{'|'.join(self.dtypes)} {' or '.join(_spelt(shape) for shape in self.shapes)}"

    def kept_by(self, dtype: str, shape: Shape) -> bool:
        """Whether a tensor of this type and shape can be what was promised."""
        return dtype in self.dtypes and any(_fits(promised, shape) for promised in self.shapes)


def promised_inputs(manifest: Manifest) -> Mapping[str, Promise]:
    """What the runner will be fed, by input name."""
    image = manifest.input
    batch = 1 if manifest.max_batch == 1 else None
    promises = {image.name: Promise(dtypes=(image.dtype,), shapes=(_image_shape(image, batch),))}
    for constant in image.constants:
        shape = (batch, len(constant.values))
        promises[constant.name] = Promise(dtypes=(constant.dtype,), shapes=(shape,))
    return promises


def promised_outputs(manifest: Manifest, net: tuple[int, int] | None = None) -> Mapping[str, Promise]:
    """What the decoder will read, by output name; ``net`` is the (height, width) fed, where that is open."""
    size = manifest.input.size
    if net is None and isinstance(size, FixedSize):
        net = (size.height_px, size.width_px)
    return dict(_outputs(manifest.decoder, len(manifest.labels), net))


def require_agreement(
    manifest: Manifest,
    inputs: Mapping[str, tuple[str, Shape]],
    outputs: Mapping[str, tuple[str, Shape]],
) -> None:
    """Raise ``BundleRefused``, reason ``model-mismatch``, unless the model's inputs and outputs fit the manifest."""
    faults = [
        *_broken_inputs(promised_inputs(manifest), inputs),
        *_broken_outputs(promised_outputs(manifest), outputs),
    ]
    if faults:
        raise BundleRefused(
            "model-mismatch", f"model {manifest.name} is not what its manifest says: {'; '.join(faults)}"
        )


def require_answer(
    manifest: Manifest, answer: Mapping[str, npt.NDArray[Any]], batch: int, net: tuple[int, int]
) -> None:
    """Raise ``EngineUnavailable`` unless a runner's answer has the promised tensors for ``batch`` pictures."""
    for name, promise in promised_outputs(manifest, net).items():
        tensor = answer.get(name)
        if tensor is None:
            raise EngineUnavailable(f"model {manifest.name}: expected an output {name!r}; found {sorted(answer)}")
        if not promise.kept_by(str(tensor.dtype), tensor.shape) or tensor.shape[0] != batch:
            found = f"{tensor.dtype} {_spelt(tensor.shape)}"
            raise EngineUnavailable(
                f"model {manifest.name}: output {name!r}: expected {promise} with batch {batch}; found {found}"
            )


def _broken_inputs(promises: Mapping[str, Promise], found: Mapping[str, tuple[str, Shape]]) -> Iterator[str]:
    if set(found) != set(promises):
        yield f"inputs: expected {sorted(promises)}; found {sorted(found)}"
    for name in promises.keys() & found.keys():
        dtype, shape = found[name]
        if dtype not in promises[name].dtypes or not any(_takes(shape, fed) for fed in promises[name].shapes):
            yield f"input {name!r}: expected {promises[name]}; found {dtype} {_spelt(shape)}"


def _broken_outputs(promises: Mapping[str, Promise], found: Mapping[str, tuple[str, Shape]]) -> Iterator[str]:
    for name, promise in promises.items():
        if name not in found:
            yield f"output {name!r}: expected {promise}; found no such output among {sorted(found)}"
        elif not promise.kept_by(*found[name]):
            yield f"output {name!r}: expected {promise}; found {found[name][0]} {_spelt(found[name][1])}"


def _image_shape(image: ImageInput, batch: int | None) -> Shape:
    sides: Shape = (None, None)
    if isinstance(image.size, FixedSize):
        sides = (image.size.height_px, image.size.width_px)
    depth = channels(image.colour)
    return (batch, depth, *sides) if image.layout == "NCHW" else (batch, *sides, depth)


def _outputs(decoder: Decoder, labels: int, net: tuple[int, int] | None) -> Iterator[tuple[str, Promise]]:
    match decoder:
        case Yolox():
            yield decoder.output, _floats((None, _cells(net, decoder.strides), 5 + labels))
        case NanoDet():
            yield from _nanodet_outputs(decoder, labels, net)
        case Yunet():
            per_part = (labels, 1, 4)
            for position, name in enumerate(output_names(decoder)):
                part, level = divmod(position, len(decoder.strides))
                yield name, _floats((None, _cells(net, decoder.strides[level : level + 1]), per_part[part]))
        case Detr() | Ssd():
            yield from _box_set_outputs(decoder, labels, net)


def _nanodet_outputs(decoder: NanoDet, labels: int, net: tuple[int, int] | None) -> Iterator[tuple[str, Promise]]:
    distances = 4 * (decoder.reg_max + 1)
    if decoder.output is not None:
        yield decoder.output, _floats((None, _cells(net, decoder.strides), labels + distances))
        return
    for names, width in ((decoder.class_outputs, labels), (decoder.distance_outputs, distances)):
        for name, stride in zip(names or (), decoder.strides, strict=True):
            yield name, _floats((None, _cells(net, (stride,)), width))


def _box_set_outputs(decoder: Detr | Ssd, labels: int, net: tuple[int, int] | None) -> Iterator[tuple[str, Promise]]:
    rows = None
    if isinstance(decoder, Ssd) and decoder.priors is not None:
        counts = [_cells(net, (level.stride_px,)) for level in decoder.priors.levels]
        sizes = [len(level.sizes_px) for level in decoder.priors.levels]
        rows = None if net is None else sum((n or 0) * k for n, k in zip(counts, sizes, strict=True))
    yield decoder.boxes, _floats((None, rows, 4))
    if decoder.labels is not None:
        yield decoder.scores, _floats((None, rows))
        yield decoder.labels, Promise(dtypes=INDICES, shapes=((None, rows),))
    else:
        yield decoder.scores, _floats((None, rows, labels + (decoder.background is not None)))
    if isinstance(decoder, Ssd) and decoder.count is not None:
        yield decoder.count, Promise(dtypes=INDICES, shapes=((None,), (None, 1)))


def _floats(shape: Shape) -> Promise:
    return Promise(dtypes=FLOATS, shapes=(shape,))


def _cells(net: tuple[int, int] | None, strides: tuple[int, ...]) -> int | None:
    """How many cells the feature maps have together; a side that is no multiple of a stride rounds up."""
    if net is None:
        return None
    return sum(-(-net[0] // stride) * -(-net[1] // stride) for stride in strides)


def _fits(promised: Shape, found: Shape) -> bool:
    """Whether an output can be what was promised: an axis that either leaves open fits."""
    if len(promised) != len(found):
        return False
    return all(p is None or f is None or p == f for p, f in zip(promised, found, strict=True))


def _takes(model: Shape, fed: Shape) -> bool:
    """Whether an input takes everything that will be fed: a fixed axis of the model takes that one size alone."""
    return len(model) == len(fed) and all(m is None or m == f for m, f in zip(model, fed, strict=True))


def _spelt(shape: Shape) -> str:
    return f"[{', '.join('any' if side is None else str(side) for side in shape)}]"
