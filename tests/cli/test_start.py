"""What a command loads before it does its work: a stick is verified by people who wait, and so is a start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


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


def test_a_daemon_loads_nothing_of_a_recipients() -> None:
    program = "import sys; import appliance.daemon; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    others = {"appliance.sealing.opener", "appliance.bus.reader", "appliance.bus.inbox", "appliance.pipeline.radio"}
    assert not others & set(done.stdout.split())


def test_what_a_unit_file_starts_loads_no_parser_of_command_lines() -> None:
    assert not {"cyclopts", "rich"} & _loaded_by("appliance.cli.serve, appliance.config, appliance.daemon")


def test_what_a_unit_file_starts_ends_as_the_command_does(tmp_path: Path) -> None:
    mission = tmp_path / "mission.toml"
    mission.write_text("")
    by_service = [sys.executable, "-P", "-m", "appliance.cli.serve", str(mission)]
    by_command = [sys.executable, "-P", "-m", "appliance", "run", str(mission)]
    ends = [subprocess.run(how, capture_output=True, text=True, check=False) for how in (by_service, by_command)]
    assert ends[0].returncode == ends[1].returncode == 2
    assert ends[0].stderr == ends[1].stderr != ""
    nothing = subprocess.run(by_service[:-1], capture_output=True, text=True, check=False)
    assert nothing.returncode == 2
    assert "expected one argument, the mission file" in nothing.stderr
