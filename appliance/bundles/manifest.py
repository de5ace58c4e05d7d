"""A model's manifest: the signed page that says what goes into a network and what its numbers mean.

It is data, read with a schema and cross-checked; it carries no code and names no file. Everything that inference needs
to prepare a picture and to read the outputs stands here, so that an integrator's model needs a manifest and no code.
Nothing here touches a network, an array or a file: `inference` does, and checks the model against what is said here.

Rules: the size is bounded before parsing; unknown keys are refused (a misspelt threshold must not fall back to a
default), and so are repeated keys; every fault is ``BundleRefused`` with reason ``manifest`` and names the key, what
was expected and what was found. `docs/manifest.md` explains each key, with an example for each decoder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from appliance.bundles.manifest_parts import (
    MAX_LABELS,
    BoxFormat,
    BoxUnit,
    Calibration,
    CategoryMap,
    Constant,
    Decoder,
    Detr,
    DynamicSize,
    FixedSize,
    ImageInput,
    Label,
    NanoDet,
    Part,
    PriorLevel,
    Priors,
    ScoreKind,
    Ssd,
    Thresholds,
    Yolox,
    Yunet,
    channels,
    largest_input,
    output_names,
)
from appliance.domain import CATEGORIES
from appliance.errors import BundleRefused

__all__ = [
    "MAX_MANIFEST_BYTES",
    "BoxFormat",
    "BoxUnit",
    "Calibration",
    "CategoryMap",
    "Constant",
    "Decoder",
    "Detr",
    "DynamicSize",
    "FixedSize",
    "ImageInput",
    "Manifest",
    "NanoDet",
    "PriorLevel",
    "Priors",
    "ScoreKind",
    "Ssd",
    "Thresholds",
    "Yolox",
    "Yunet",
    "channels",
    "largest_input",
    "manifest_schema",
    "output_names",
    "parse_manifest",
]

MAX_MANIFEST_BYTES: Final = 256 * 1024
"""A manifest with 4,096 labels of 40 characters, each mapped, is under this."""


class Manifest(Part, frozen=True):
    """All of it. ``labels`` are in the order of the network's class indices, the background class left out."""

    schema: Literal["edge.manifest/1"]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    task: Literal["detection"]
    input: ImageInput
    decoder: Decoder
    labels: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=MAX_LABELS)]
    categories: CategoryMap
    thresholds: Thresholds
    calibration: Calibration = Calibration()
    max_batch: Annotated[int, Meta(ge=1, le=64)] = 1
    licence: Annotated[str, Meta(max_length=128)] = ""
    description: Annotated[str, Meta(max_length=2000)] = ""

    def category_of(self, label: str) -> str | None:
        """The category that ``label`` is reported as, or None where it is not reported."""
        return self.categories.labels.get(label, self.categories.default)


Fault = tuple[str, str]
"""A key, and what was expected there and what was found."""


def parse_manifest(raw: bytes) -> Manifest:
    """Read a manifest from JSON. Raises ``BundleRefused``, reason ``manifest``, naming each cross-check that failed."""
    if len(raw) > MAX_MANIFEST_BYTES:
        raise _refused(f"expected at most {MAX_MANIFEST_BYTES} bytes; found {len(raw)}")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
        json.loads(raw, object_pairs_hook=_no_repeats)
    except msgspec.ValidationError as error:
        raise _refused(_readable(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(f"expected one JSON object in UTF-8; found: {error}") from error
    faults = [f"{key}: {text}" for key, text in _faults(manifest)]
    if faults:
        raise _refused("; ".join(faults))
    return manifest


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a manifest. It says everything but the cross-checks between keys."""
    return msgspec.json.schema(Manifest)


def _refused(message: str) -> BundleRefused:
    return BundleRefused("manifest", f"model manifest: {message}")


def _readable(message: str) -> str:
    """msgspec says ``what - at `$.path` ``; a person looks for the key first."""
    what, separator, where = message.rpartition(" - at `")
    key = where.rstrip("`").removeprefix("$").lstrip(".") if separator else ""
    return f"{key or 'document'}: {what if separator else message}"


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers may disagree about which of two equal keys counts; a signed page must mean one thing."""
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise _refused(f"{repeated[0]}: expected each key once in an object; found it repeated")
    return table


def _faults(manifest: Manifest) -> Iterator[Fault]:
    yield from _label_faults(manifest)
    yield from _input_faults(manifest.input)
    yield from _decoder_faults(manifest)


def _label_faults(manifest: Manifest) -> Iterator[Fault]:
    labels = set(manifest.labels)
    if len(labels) != len(manifest.labels):
        yield "labels", "expected each label once; found repeats"
    for label, category in manifest.categories.labels.items():
        yield from _unknown_label(f"categories.labels.{label}", label, labels)
        if category not in CATEGORIES:
            yield f"categories.labels.{label}", f"expected a category of the tree; found {category!r}"
    default = manifest.categories.default
    if default is not None and default not in CATEGORIES:
        yield "categories.default", f"expected a category of the tree or null; found {default!r}"
    if default is None and not manifest.categories.labels:
        yield "categories.labels", "expected at least one label where default is null; found none"
    for label in manifest.thresholds.per_label:
        yield from _unknown_label(f"thresholds.per_label.{label}", label, labels)


def _unknown_label(key: str, label: str, labels: set[str]) -> Iterator[Fault]:
    if label not in labels:
        yield key, f"expected one of the {len(labels)} labels; found {label!r}"


def _input_faults(image: ImageInput) -> Iterator[Fault]:
    expected = channels(image.colour)
    for key, values in (("mean", image.mean), ("std", image.std)):
        if len(values) not in {1, expected}:
            yield f"input.{key}", f"expected 1 or {expected} values for {image.colour}; found {len(values)}"
    plain = image.scale == 1.0 and not any(image.mean) and all(value == 1.0 for value in image.std)
    if image.dtype == "uint8" and not plain:
        yield "input.dtype", "expected scale 1, mean 0 and std 1 with uint8 (the graph normalises); found others"
    names = [image.name, *(constant.name for constant in image.constants)]
    if len(set(names)) != len(names):
        yield "input.constants", "expected names that differ from each other and from input.name; found repeats"
    size = image.size
    if isinstance(size, DynamicSize):
        for key, value in (("max_width_px", size.max_width_px), ("max_height_px", size.max_height_px)):
            if value % size.multiple_px:
                yield f"input.size.{key}", f"expected a multiple of {size.multiple_px}; found {value}"


def _decoder_faults(manifest: Manifest) -> Iterator[Fault]:
    decoder = manifest.decoder
    names = list(output_names(decoder))
    if len(set(names)) != len(names):
        yield "decoder", "expected output names that differ; found repeats"
    if isinstance(decoder, Yolox | Yunet):
        yield from _grid_faults(manifest.input.size, decoder.strides)
    if isinstance(decoder, Yolox | NanoDet | Yunet) and list(decoder.strides) != sorted(set(decoder.strides)):
        yield "decoder.strides", f"expected strides that rise; found {list(decoder.strides)}"
    if isinstance(decoder, NanoDet):
        yield from _nanodet_faults(decoder)
    if isinstance(decoder, Yunet):
        keys = ("class_outputs", "objectness_outputs", "box_outputs")
        yield from _one_per_stride({key: getattr(decoder, key) for key in keys}, decoder.strides)
    if isinstance(decoder, Detr | Ssd):
        yield from _box_set_faults(manifest, decoder)


def _grid_faults(size: FixedSize | DynamicSize, strides: tuple[int, ...]) -> Iterator[Fault]:
    largest = max(strides)
    sides = (
        (("width_px", size.width_px), ("height_px", size.height_px))
        if isinstance(size, FixedSize)
        else (("multiple_px", size.multiple_px),)
    )
    for key, value in sides:
        if value % largest:
            yield f"input.size.{key}", f"expected a multiple of the largest stride {largest}; found {value}"


def _one_per_stride(outputs: Mapping[str, tuple[str, ...] | None], strides: tuple[int, ...]) -> Iterator[Fault]:
    for key, names in outputs.items():
        if len(names or ()) != len(strides):
            yield f"decoder.{key}", f"expected {len(strides)} names, one per stride; found {len(names or ())}"


def _nanodet_faults(decoder: NanoDet) -> Iterator[Fault]:
    separate = (decoder.class_outputs, decoder.distance_outputs)
    if decoder.output is None:
        keys = {"class_outputs": decoder.class_outputs, "distance_outputs": decoder.distance_outputs}
        yield from _one_per_stride(keys, decoder.strides)
    elif separate != (None, None):
        yield "decoder.output", "expected either output or class_outputs with distance_outputs; found both"


def _box_set_faults(manifest: Manifest, decoder: Detr | Ssd) -> Iterator[Fault]:
    if decoder.background is not None and decoder.background > len(manifest.labels):
        yield "decoder.background", f"expected 0 to {len(manifest.labels)}, a class index; found {decoder.background}"
    if decoder.labels is not None and manifest.thresholds.labels_per_box == "all":
        yield "thresholds.labels_per_box", "expected 'best' where the decoder names a labels output; found 'all'"
    if decoder.labels is not None and decoder.score_kind == "softmax":
        yield (
            "decoder.score_kind",
            "expected 'probability' or 'sigmoid' with a labels output; found 'softmax'",
        )
    if isinstance(decoder, Ssd) and decoder.priors is not None:
        if decoder.box_format != "cxcywh":
            yield "decoder.box_format", f"expected 'cxcywh' with priors; found {decoder.box_format!r}"
        if decoder.labels is not None or decoder.count is not None:
            yield "decoder.priors", "expected no labels or count output with priors; found one"
