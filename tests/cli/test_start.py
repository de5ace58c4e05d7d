"""What a command loads before it does its work: a stick is verified by people who wait."""

from __future__ import annotations

import subprocess
import sys


def test_verifying_a_bundle_loads_neither_arrays_nor_bars_nor_a_runtime() -> None:
    program = "import sys; import appliance.cli.bundle; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "tuf" in loaded
    assert not {"numpy", "rich", "onnxruntime", "cv2", "numba", "paho"} & set(loaded)
