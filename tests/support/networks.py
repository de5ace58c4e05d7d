"""A network of a few hundred bytes that any runtime loads, and its manifest."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Cells of a YOLOX output for a picture of 32 × 32 with strides 8, 16 and 32.
CELLS: Final = 4 * 4 + 2 * 2 + 1

MANIFEST: Final[dict[str, Any]] = {
    "schema": "edge.manifest/1",
    "name": "small",
    "task": "detection",
    "input": {"name": "images", "size": {"kind": "fixed", "width_px": 32, "height_px": 32}},
    "decoder": {"kind": "yolox", "output": "output", "strides": [8, 16, 32]},
    "labels": ["person"],
    "categories": {"labels": {"person": "person"}},
    "thresholds": {"score": 0.3},
}


def small_network(fill: float = 0) -> bytes:
    """A real ONNX network: in the shape of a YOLOX output, ``fill`` plus the mean of the picture."""
    zeros = numpy_helper.from_array(np.full((1, CELLS, 6), fill, np.float32), "zeros")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Add", ["zeros", "mean"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, CELLS, 6])],
        [zeros],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
