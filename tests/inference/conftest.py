"""Small networks and manifests that this room's tests are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.domain import Frame

Builder = Callable[..., bytes]
TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "float16": TensorProto.FLOAT16}


def onnx_bytes(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], constants: Sequence[Any]) -> bytes:
    graph = helper.make_graph(list(nodes), "small", list(inputs), list(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def replace(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with dotted keys set; a value of ``...`` takes the key away."""
    copy = json.loads(json.dumps(base))
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = copy
        for key in parents:
            at = at[key]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    return copy


BASE: dict[str, Any] = {
    "schema": "edge.manifest/1",
    "name": "small",
    "task": "detection",
    "input": {"name": "image", "size": {"kind": "fixed", "width_px": 64, "height_px": 64}, "pad": 0},
    "decoder": {"kind": "detr", "boxes": "boxes", "scores": "scores", "labels": "labels", "box_format": "xyxy",
                "box_unit": "pixel"},
    "labels": ["person", "car", "boat"],
    "categories": {"labels": {"person": "person", "car": "vehicle/car", "boat": "vessel/boat"}},
    "thresholds": {"score": 0.25},
}  # fmt: skip


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    """A valid manifest with dotted keys changed: ``manifest({"thresholds.score": 0.5})``."""

    def make(changes: Mapping[str, Any] | None = None) -> Manifest:
        return parse_manifest(json.dumps(replace(BASE, changes or {})).encode())

    return make


@pytest.fixture
def answering() -> Builder:
    """An ONNX file that gives the same outputs whatever it sees."""

    def make(
        outputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        shape: Sequence[int | str] = (1, 3, 64, 64),
        dtype: str = "float32",
        name: str = "image",
        extra: Sequence[Any] = (),
    ) -> bytes:
        constants = [numpy_helper.from_array(value, f"{key}_value") for key, value in outputs.items()]
        nodes = [helper.make_node("Identity", [f"{key}_value"], [key]) for key in outputs]
        infos = [
            helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for key, value in outputs.items()
        ]
        image = helper.make_tensor_value_info(name, TYPES[dtype], list(shape))
        return onnx_bytes(nodes, [image, *extra], infos, constants)

    return make


@pytest.fixture
def looking() -> bytes:
    """An ONNX file with a dynamic batch whose one box and score are the mean brightness of each picture.

    NHWC uint8 in; boxes (batch, 1, 4) = (0, 0, 64 m, 64 m) and scores (batch, 1, 1) = m with m the mean over 255.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["bright"]),
        helper.make_node("Reshape", ["bright", "one_by_one"], ["scores"]),
        helper.make_node("Mul", ["scores", "corner"], ["boxes"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(1 / 255), "scale"),
        numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "one_by_one"),
        numpy_helper.from_array(np.array([0, 0, 64, 64], np.float32), "corner"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", 1, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 1, 1]),
    ]
    return onnx_bytes(nodes, [image], outputs, constants)


#: What turns the base manifest into the manifest of ``looking``.
LOOKING_CHANGES: dict[str, Any] = {
    "input.layout": "NHWC",
    "input.dtype": "uint8",
    "labels": ["bright"],
    "categories": {"labels": {"bright": "fire"}},
    "decoder": {"kind": "detr", "boxes": "boxes", "scores": "scores", "box_format": "xyxy", "box_unit": "pixel"},
    "thresholds.score": 0.05,
    "max_batch": 4,
}


@pytest.fixture
def looking_manifest(manifest: Callable[..., Manifest]) -> Callable[..., Manifest]:
    def make(changes: Mapping[str, Any] | None = None) -> Manifest:
        return manifest({**LOOKING_CHANGES, **(changes or {})})

    return make


@pytest.fixture
def picture() -> Callable[..., Frame]:
    """A read-only frame of one grey level, or of given pixels."""

    def make(
        level: int | np.ndarray[Any, Any] = 128,
        *,
        sensor_id: str = "cam",
        sequence: int = 0,
        height: int = 48,
        width: int = 64,
    ) -> Frame:
        pixels = np.full((height, width, 3), level, np.uint8) if isinstance(level, int) else level
        pixels.setflags(write=False)
        return Frame(sensor_id=sensor_id, sequence=sequence, captured_ns=sequence * 40_000_000, pixels=pixels)

    return make


@pytest.fixture
def intel_frames(shared_data: Path) -> Callable[[Callable[[int], bool]], Iterator[tuple[int, np.ndarray[Any, Any]]]]:
    """Frames of the clip of people who walk into a room one by one, those whose number ``wanted`` asks for."""

    def frames(wanted: Callable[[int], bool]) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        clip = cv2.VideoCapture(str(shared_data / "videos" / "intel_one-by-one-person-detection.mp4"))
        number = 0
        while clip.grab():
            if wanted(number):
                pixels = clip.retrieve()[1]
                pixels.setflags(write=False)
                yield number, pixels
            number += 1
        clip.release()

    return frames
