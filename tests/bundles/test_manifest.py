"""Model manifests: what is read, and above all what is refused, by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundles.manifest import (
    MAX_MANIFEST_BYTES,
    DynamicSize,
    Manifest,
    Ssd,
    Yolox,
    manifest_schema,
    output_names,
    parse_manifest,
)
from appliance.errors import BundleRefused

GONE = object()

BASE: dict[str, Any] = {
    "schema": "edge.manifest/1",
    "name": "harbour-1",
    "task": "detection",
    "input": {"name": "image", "size": {"kind": "fixed", "width_px": 416, "height_px": 416}},
    "decoder": {"kind": "yolox", "output": "raw"},
    "labels": ["person", "ship", "buoy"],
    "categories": {"labels": {"person": "person", "ship": "vessel/ship"}},
    "thresholds": {"score": 0.3},
}
NANODET = {"kind": "nanodet", "output": "raw"}
DETR = {"kind": "detr", "boxes": "boxes", "scores": "scores"}
SSD = {"kind": "ssd", "boxes": "boxes", "scores": "scores"}
PRIORS = {"levels": [{"stride_px": 16, "sizes_px": [[16, 16]]}]}
YUNET = {
    "kind": "yunet",
    "class_outputs": ["c8", "c16", "c32"],
    "objectness_outputs": ["o8", "o16", "o32"],
    "box_outputs": ["b8", "b16", "b32"],
}


def page(changes: Mapping[str, Any]) -> bytes:
    copy = json.loads(json.dumps(BASE))
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = copy
        for key in parents:
            at = at[key]
        if value is GONE:
            del at[last]
        else:
            at[last] = value
    return json.dumps(copy).encode()


def test_a_plain_manifest_is_read_with_its_defaults() -> None:
    manifest = parse_manifest(page({}))
    assert isinstance(manifest.decoder, Yolox)
    assert manifest.decoder.strides == (8, 16, 32)
    assert (manifest.max_batch, manifest.calibration.temperature, manifest.input.pad) == (1, 1.0, 114)
    assert manifest.input.layout == "NCHW"


def test_a_label_takes_its_category_or_the_default_or_is_not_reported() -> None:
    manifest = parse_manifest(page({}))
    assert [manifest.category_of(label) for label in manifest.labels] == ["person", "vessel/ship", "unknown"]
    silent = parse_manifest(page({"categories.default": None}))
    assert [silent.category_of(label) for label in silent.labels] == ["person", "vessel/ship", None]


@pytest.mark.parametrize("decoder", [NANODET, DETR, SSD, YUNET, {**SSD, "box_format": "cxcywh", "priors": PRIORS}])
def test_each_decoder_is_told_by_its_kind(decoder: dict[str, Any]) -> None:
    manifest = parse_manifest(page({"decoder": decoder}))
    assert type(manifest.decoder).__name__.lower() == decoder["kind"]
    assert output_names(manifest.decoder)


def test_the_manifests_of_this_repository_are_read(repository: Path) -> None:
    pages = sorted((repository / "models" / "manifests").glob("*.json"))
    assert len(pages) >= 2
    for path in pages:
        assert isinstance(parse_manifest(path.read_bytes()), Manifest)


def test_the_examples_of_the_manual_are_read_and_show_every_decoder(repository: Path) -> None:
    manual = (repository / "docs" / "manifest.md").read_text(encoding="utf-8")
    examples = re.findall(r"```json\n(\{\n  \"schema\".*?\n)```", manual, re.DOTALL)
    kinds = [type(parse_manifest(example.encode()).decoder).__name__ for example in examples]
    assert sorted(set(kinds)) == ["Detr", "NanoDet", "Ssd", "Yolox", "Yunet"]


def test_a_dynamic_size_is_told_from_a_fixed_one() -> None:
    size = {"kind": "multiple", "multiple_px": 32, "max_width_px": 640, "max_height_px": 384}
    assert isinstance(parse_manifest(page({"input.size": size})).input.size, DynamicSize)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no schema": ({"schema": GONE}, "document: Object missing required field `schema`"),
    "another schema": ({"schema": "edge.manifest/2"}, "schema: Invalid enum value 'edge.manifest/2'"),
    "a key nobody knows": ({"treshold": 0.5}, "document: Object contains unknown field `treshold`"),
    "a key nobody knows, deeper": ({"thresholds.nms": 0.5}, "thresholds: Object contains unknown field `nms`"),
    "a name that is a path": ({"name": "../up"}, "name: Expected `str` matching regex"),
    "another task": ({"task": "segmentation"}, "task: Invalid enum value"),
    "no labels": ({"labels": []}, "labels: Expected `array` of length >= 1"),
    "an empty label": ({"labels": ["person", ""]}, "labels[1]: Expected `str` of length >= 1"),
    "a label twice": ({"labels": ["person", "ship", "ship"]}, "labels: expected each label once; found repeats"),
    "a category for no label": (
        {"categories.labels": {"tank": "vehicle/tracked"}},
        "categories.labels.tank: expected one of the 3 labels; found 'tank'",
    ),
    "a category that is not in the tree": (
        {"categories.labels": {"ship": "vessel/submarine"}},
        "categories.labels.ship: expected a category of the tree; found 'vessel/submarine'",
    ),
    "a default that is not in the tree": (
        {"categories.default": "thing"},
        "categories.default: expected a category of the tree or null; found 'thing'",
    ),
    "nothing that is reported": (
        {"categories": {"labels": {}, "default": None}},
        "categories.labels: expected at least one label where default is null; found none",
    ),
    "no threshold": ({"thresholds": {}}, "thresholds: Object missing required field `score`"),
    "a threshold above one": ({"thresholds.score": 1.5}, "thresholds.score: Expected `float` <= 1.0"),
    "a threshold below zero": ({"thresholds.nms_iou": -0.1}, "thresholds.nms_iou: Expected `float` >= 0.0"),
    "a threshold in words": ({"thresholds.score": "high"}, "thresholds.score: Expected `float`, got `str`"),
    "a threshold for no label": (
        {"thresholds.per_label": {"kite": 0.5}},
        "thresholds.per_label.kite: expected one of the 3 labels; found 'kite'",
    ),
    "no detections at all": ({"thresholds.max_detections": 0}, "thresholds.max_detections: Expected `int` >= 1"),
    "an input without a size": ({"input": {"name": "image"}}, "input: Object missing required field `size`"),
    "a size of no kind": ({"input.size": {"width_px": 4}}, "input.size: Object missing required field `kind`"),
    "a size that is too large": ({"input.size.width_px": 100_000}, "input.size.width_px: Expected `int` <= 8192"),
    "a side that no stride divides": (
        {"input.size.width_px": 400},
        "input.size.width_px: expected a multiple of the largest stride 32; found 400",
    ),
    "a multiple that no stride divides": (
        {"input.size": {"kind": "multiple", "multiple_px": 8, "max_width_px": 64, "max_height_px": 64}},
        "input.size.multiple_px: expected a multiple of the largest stride 32; found 8",
    ),
    "a maximum that is no multiple": (
        {"input.size": {"kind": "multiple", "multiple_px": 32, "max_width_px": 64, "max_height_px": 100}},
        "input.size.max_height_px: expected a multiple of 32; found 100",
    ),
    "two means for three colours": (
        {"input.mean": [0.5, 0.5]},
        "input.mean: expected 1 or 3 values for BGR; found 2",
    ),
    "three deviations for grey": (
        {"input.std": [1, 1, 1], "input.colour": "GRAY"},
        "input.std: expected 1 or 1 values for GRAY; found 3",
    ),
    "a deviation of zero": ({"input.std": [0]}, "input.std[0]: Expected `float` > 0.0"),
    "bytes that are scaled": (
        {"input.dtype": "uint8", "input.scale": 0.5},
        "input.dtype: expected scale 1, mean 0 and std 1 with uint8",
    ),
    "a layout nobody knows": ({"input.layout": "CHWN"}, "input.layout: Invalid enum value 'CHWN'"),
    "a padding that is no byte": ({"input.pad": 256}, "input.pad: Expected `int` <= 255"),
    "a constant with the input's name": (
        {"input.constants": [{"name": "image", "dtype": "int64", "values": [1]}]},
        "input.constants: expected names that differ",
    ),
    "a decoder nobody knows": ({"decoder": {"kind": "magic"}}, "decoder.kind: Invalid value 'magic'"),
    "another decoder's parameter": (
        {"decoder": {**DETR, "reg_max": 7}},
        "decoder: Object contains unknown field `reg_max`",
    ),
    "strides that fall": (
        {"decoder.strides": [32, 16, 8]},
        "decoder.strides: expected strides that rise; found [32, 16, 8]",
    ),
    "no strides": ({"decoder.strides": []}, "decoder.strides: Expected `array` of length >= 1"),
    "nanodet both ways": (
        {"decoder": {**NANODET, "class_outputs": ["a"]}},
        "decoder.output: expected either output or class_outputs with distance_outputs; found both",
    ),
    "nanodet neither way": (
        {"decoder": {"kind": "nanodet"}},
        "decoder.distance_outputs: expected 4 names, one per stride; found 0",
    ),
    "one output too few": (
        {"decoder": {**YUNET, "box_outputs": ["b8", "b16"]}},
        "decoder.box_outputs: expected 3 names, one per stride; found 2",
    ),
    "one output for two things": (
        {"decoder": {**DETR, "scores": "boxes"}},
        "decoder: expected output names that differ; found repeats",
    ),
    "a background that is no class": (
        {"decoder": {**DETR, "background": 4}},
        "decoder.background: expected 0 to 3, a class index; found 4",
    ),
    "softmax over chosen scores": (
        {"decoder": {**DETR, "labels": "labels", "score_kind": "softmax"}},
        "decoder.score_kind: expected 'probability' or 'sigmoid' with a labels output; found 'softmax'",
    ),
    "all labels of a chosen one": (
        {"decoder": {**DETR, "labels": "labels"}, "thresholds.labels_per_box": "all"},
        "thresholds.labels_per_box: expected 'best' where the decoder names a labels output; found 'all'",
    ),
    "priors with corners": (
        {"decoder": {**SSD, "priors": PRIORS}},
        "decoder.box_format: expected 'cxcywh' with priors; found 'xyxy'",
    ),
    "priors with a count": (
        {"decoder": {**SSD, "box_format": "cxcywh", "priors": PRIORS, "count": "n"}},
        "decoder.priors: expected no labels or count output with priors; found one",
    ),
    "a temperature of zero": (
        {"calibration": {"temperature": 0}},
        "calibration.temperature: Expected `float` > 0.0",
    ),
    "a batch of none": ({"max_batch": 0}, "max_batch: Expected `int` >= 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_its_key_and_what_was_expected(fault: str) -> None:
    changes, message = FAULTS[fault]
    with pytest.raises(BundleRefused) as refusal:
        parse_manifest(page(changes))
    assert refusal.value.reason == "manifest"
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("model manifest: ")


def test_every_cross_check_that_fails_is_told_at_once() -> None:
    changes = {"labels": ["person", "person"], "input.mean": [1, 2], "decoder.strides": [16, 8]}
    with pytest.raises(BundleRefused) as refusal:
        parse_manifest(page(changes))
    for key in ("labels: ", "categories.labels.ship: ", "input.mean: ", "decoder.strides: "):
        assert key in str(refusal.value)


def test_a_key_that_is_said_twice_is_refused() -> None:
    raw = page({}).replace(b'"score": 0.3', b'"score": 0.9, "score": 0.3')
    with pytest.raises(BundleRefused, match="score: expected each key once in an object; found it repeated"):
        parse_manifest(raw)


def test_a_label_that_is_mapped_twice_is_refused() -> None:
    raw = page({}).replace(b'"person": "person"', b'"person": "person", "person": "animal"')
    with pytest.raises(BundleRefused, match="person: expected each key once"):
        parse_manifest(raw)


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"{", b"\xff\xfe{}", b"[" * 5000, b'{"a":' * 5000, b"NaN", b'{"schema":"\xc3\x28"}']
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(BundleRefused) as refusal:
        parse_manifest(raw)
    assert refusal.value.reason == "manifest"


def test_a_manifest_above_the_limit_is_refused_unread() -> None:
    with pytest.raises(BundleRefused, match=f"expected at most {MAX_MANIFEST_BYTES} bytes"):
        parse_manifest(page({}) + b" " * MAX_MANIFEST_BYTES)


def test_numbers_that_are_no_numbers_are_refused() -> None:
    for text in (b"NaN", b"Infinity", b"1e999"):
        with pytest.raises(BundleRefused):
            parse_manifest(page({}).replace(b"0.3", text))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(["input", "input.size", "decoder", "labels", "categories.labels", "thresholds.score",
                             "input.constants", "max_batch", "decoder.strides", "calibration"]), junk=JUNK)  # fmt: skip
def test_whatever_stands_at_a_key_it_is_read_or_refused(path: str, junk: Any) -> None:
    try:
        manifest = parse_manifest(page({path: junk}))
    except BundleRefused as refusal:
        assert refusal.reason == "manifest"  # noqa: PT017 - both ends are right; only another error is wrong
    else:
        assert isinstance(manifest, Manifest)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_pages_are_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(page({}))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_manifest(bytes(raw))
    except BundleRefused as refusal:
        assert refusal.reason == "manifest"  # noqa: PT017 - both ends are right; only another error is wrong


def test_the_schema_names_every_part_and_takes_nothing_unknown() -> None:
    schema = manifest_schema()
    parts = schema["$defs"]
    assert {"Manifest", "ImageInput", "Yolox", "NanoDet", "Detr", "Ssd", "Yunet", "Thresholds"} <= parts.keys()
    assert all(part["additionalProperties"] is False for part in parts.values())
    assert parts["Thresholds"]["properties"]["score"] == {"type": "number", "minimum": 0.0, "maximum": 1.0}
    json.dumps(schema)


def test_outputs_are_named_in_a_fixed_order() -> None:
    manifest = parse_manifest(page({"decoder": {**SSD, "labels": "kinds", "count": "many"}}))
    assert isinstance(manifest.decoder, Ssd)
    assert output_names(manifest.decoder) == ("boxes", "scores", "kinds", "many")
    yunet = parse_manifest(page({"decoder": YUNET})).decoder
    assert output_names(yunet) == ("c8", "c16", "c32", "o8", "o16", "o32", "b8", "b16", "b32")
