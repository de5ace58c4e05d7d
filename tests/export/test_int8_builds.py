"""What `quantize` makes for TensorRT its builder takes; what it makes for the CPU it refuses: hence two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from appliance.engines.build import Build
from appliance.engines.profiles import profiles_of
from appliance.errors import EngineUnavailable
from export.trial import read_manifest
from tests.export.test_model import convolutions
from tests.support.networks import MANIFEST


def test_the_builder_takes_symmetric_int8_and_refuses_the_cpus(bench: Path, run: Any) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="the extra `rtx` (TensorRT for RTX) is not installed")
    (bench / "model.onnx").write_bytes(convolutions())
    (bench / "model.json").write_text(json.dumps(MANIFEST))
    cv2.imwrite("picture.png", np.random.default_rng(4).integers(0, 256, (48, 64, 3), np.uint8))
    assert run("quantize model.onnx --manifest model.json --pictures picture.png --out int8")[0] == 0
    profiles = profiles_of(read_manifest(bench / "model.json"))
    made = {each: (bench / "int8" / f"model-int8-{each}.onnx").read_bytes() for each in ("tensorrt", "cpu")}
    plan = Build(made["tensorrt"], profiles, "tensorrt-rtx").run(lambda _: None)
    assert len(plan.data) > 1000
    with pytest.raises(EngineUnavailable, match=r"DequantizeLinear|[Zz]ero"):
        Build(made["cpu"], profiles, "tensorrt-rtx").run(lambda _: None)
