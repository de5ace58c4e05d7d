"""ONNX Runtime speaks to nobody. What it keeps below HOME is the sign that its telemetry ran."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.quiet_onnxruntime import SWITCH

OURS = """
from appliance.bundles.manifest import parse_manifest
from appliance.inference.runner import open_runner
open_runner(Path(model), parse_manifest(Path(manifest).read_bytes()))
"""
SELF_TEST = """
from appliance.slots.selftest_child import main
main(Path(model), Path(manifest))
"""
BARE = """
import onnxruntime
onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
"""


@pytest.fixture
def kept(repository: Path, tmp_path: Path) -> object:
    """What a process that opens the shipped network leaves below its HOME."""
    harbour = repository / "models" / "harbour"

    def run(code: str) -> list[str]:
        paths = f"model, manifest = {str(harbour / 'harbour.onnx')!r}, {str(harbour / 'model.json')!r}"
        head = f"from pathlib import Path\n{paths}\n"
        environment = {name: value for name, value in os.environ.items() if name != SWITCH}
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("XDG_CACHE_HOME", None)
        done = subprocess.run([sys.executable, "-c", head + code], env=environment, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())

    return run


@pytest.mark.parametrize("code", [OURS, SELF_TEST], ids=["runner", "self-test"])
def test_a_model_that_we_open_leaves_no_trace_of_telemetry(code: str, kept: object) -> None:
    assert kept(code) == []  # type: ignore[operator]


def test_the_library_by_itself_would_leave_one(kept: object) -> None:
    """Else the test above proves nothing, and the door may go."""
    found = kept(BARE)  # type: ignore[operator]
    if not found:
        pytest.skip("this build of ONNX Runtime has no telemetry")
    assert "deviceid" in found
