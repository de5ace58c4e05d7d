from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli import COMMANDS, call


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([name, "--help"]) == 0
    assert name in capsys.readouterr().out


def test_an_unknown_command_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["dance"]) == 2
    assert "[usage]" in capsys.readouterr().err


def test_a_missing_argument_is_bad_usage() -> None:
    assert call(["run"]) == 2


def test_check_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["check", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"].startswith("Mission file")


def test_check_tells_faults_as_json_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.toml").write_text('schema = "edge-mission/1"\n')
    assert call(["check", str(tmp_path / "m.toml"), "--json"]) == 2
    body = json.loads(capsys.readouterr().out)
    assert body["ok"] is False
    assert {fault["key"] for fault in body["faults"]} == {"unit", "bus", "feeds"}


def test_check_tells_faults_to_people_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.toml").write_text("")
    assert call(["check", str(tmp_path / "m.toml")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "schema: expected 'edge-mission/1'; found nothing" in captured.err


def test_the_command_starts_without_loading_what_it_does_not_need() -> None:
    heavy = ("cv2", "onnxruntime", "av", "scipy", "numba", "tuf")
    script = f"import sys, appliance.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_house_starts_nothing() -> None:
    script = (
        "import threading, pkgutil, importlib, appliance\n"
        "names = [m.name for m in pkgutil.walk_packages(appliance.__path__, 'appliance.') if 'child' not in m.name]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
