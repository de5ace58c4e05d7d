"""The demo as people and scripts start it: a process, an exit code, one JSON object, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from hil import __main__ as rig
from hil.demo.__main__ import main

DURATION_S = 12
TIMEOUT_S = 120.0


def _start(repository: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "hil.demo", *options],
        cwd=repository,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def told(repository: Path) -> dict[str, Any]:
    """What one short demo told."""
    process = _start(repository, "--json", "--duration", str(DURATION_S))
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err.decode()
    lines = out.decode().splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


@pytest.mark.slow
def test_what_was_sealed_was_acknowledged_and_opened(told: dict[str, Any]) -> None:
    counts = told["counts"]
    assert counts["agree"] is True
    assert counts["sealed"] == counts["acknowledged"] == counts["opened"] > 100
    assert counts["left_in_outbox"] == 0
    assert told["faults"] == []


@pytest.mark.slow
def test_the_harbour_was_found(told: dict[str, Any]) -> None:
    accuracy = told["accuracy"]
    assert accuracy["truths"] == 10
    assert accuracy["recall"] >= 0.7
    assert accuracy["rmse_m"] <= 20.0
    assert accuracy["category_right"] >= 0.7
    assert {row["truth"] for row in told["entities"]} >= {"Aurelia", "Petrel", "first truck", "second truck"}


@pytest.mark.slow
def test_every_row_says_where_and_on_what_it_rests(told: dict[str, Any]) -> None:
    assert told["entities"]
    for row in told["entities"]:
        assert row["sources"]
        assert row["mgrs"].startswith("31U")
        assert -90 <= row["lat"] <= 90
    aurelia = next(row for row in told["entities"] if row["truth"] == "Aurelia")
    assert aurelia["identities"]["mmsi"] == "200000017"


@pytest.mark.slow
def test_frames_and_latency_are_told(told: dict[str, Any]) -> None:
    assert told["frames"]["processed"] == DURATION_S * 10
    latency = told["latency_ms"]
    assert latency["count"] > 20
    assert 0 < latency["p50"] <= latency["p99"]


@pytest.mark.slow
def test_an_interrupt_ends_with_130_and_leaves_no_process(repository: Path) -> None:
    process = _start(repository, "--duration", "15")
    family = psutil.Process(process.pid)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        # The daemon and its decoder are up: this is the moment at which most could be left behind.
        while len(family.children(recursive=True)) < 3 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.2)
        children = family.children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_the_command_hands_on_how_the_demo_ended(repository: Path) -> None:
    command = [sys.executable, "-c", "from appliance.cli import main; main()", "demo", "--duration", "1"]
    ended = subprocess.run(command, cwd=repository, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 2
    assert b"expected 5 to 600 seconds" in ended.stderr


def test_an_installation_without_the_rig_says_so(repository: Path) -> None:
    without = "import sys; sys.modules['hil'] = None; from appliance.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", without, "demo"], cwd=repository, capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert ended.returncode == 4
    assert b"expected the package `hil`" in ended.stderr


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("keep me")
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        assert main(["--keep", str(tmp_path)]) == 2
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert "expected an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["4", "601", "soon", "nan"])
def test_a_duration_that_cannot_be_is_bad_usage(seconds: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--duration", seconds])
    assert ended.value.code == 2


def test_the_rig_knows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert rig.main(["--help"]) == 0
    assert rig.main(["nonsense"]) == 2
    assert "python -m hil demo" in capsys.readouterr().out
