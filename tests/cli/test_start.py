"""What a command loads before it does its work: a stick is verified by people who wait, and so is a start."""

from __future__ import annotations

import subprocess
import sys


def _loaded_by(module: str) -> set[str]:
    """The top-level packages and modules that importing one module brings in."""
    program = f"import sys; import {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_verifying_a_bundle_loads_neither_arrays_nor_bars_nor_a_runtime() -> None:
    loaded = _loaded_by("appliance.cli.bundle")
    assert "tuf" in loaded
    assert not {"numpy", "rich", "onnxruntime", "cv2", "numba", "paho"} & loaded


def test_a_daemon_loads_nothing_that_verifies_sticks() -> None:
    assert not {"tuf", "securesystemslib", "urllib3", "pkcs11"} & _loaded_by("appliance.daemon")
