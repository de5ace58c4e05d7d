"""Runs the missions of this folder over the shared data, each once a session, as a person would: by the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.pipeline.path import PathPlan
from appliance.recorder import Recording, open_recording
from tests.support.brokers import free_port

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Run:
    """What a mission did."""

    folder: Path
    code: int
    summary: dict[str, Any]
    log: str
    recording: Recording

    def told(self, schema: str) -> list[dict[str, Any]]:
        bodies = [json.loads(payload) for _, payload in self.recording.told()]
        return [body for body in bodies if body["schema"] == f"edge/{schema}/1"]

    def entities(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for body in self.told("entity"):
            found.setdefault(body["entity_id"], []).append(body)
        return found

    @property
    def plan(self) -> PathPlan:
        return msgspec.json.decode(self.recording.plan, type=PathPlan)


def prepare(folder: Path, *missions: str) -> Path:
    subprocess.run([sys.executable, HERE / "prepare.py", folder, *missions], check=True, capture_output=True)
    return folder


def run(folder: Path, mission: str) -> Run:
    path = folder / f"{mission}.toml"
    path.write_text(path.read_text().replace('url = "embedded"', f'url = "embedded:{free_port()}"'))
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "run", path, "--until-end", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.stdout, done.stderr
    (recording,) = (folder / "recordings").glob("*.mcap")
    return Run(
        folder=folder,
        code=done.returncode,
        summary=json.loads(done.stdout),
        log=done.stderr,
        recording=open_recording(recording),
    )


@pytest.fixture(scope="session")
def mission(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Runs a mission once a session and gives every test the same outcome."""
    done: dict[str, Run] = {}

    def once(name: str) -> Run:
        if name not in done:
            done[name] = run(prepare(tmp_path_factory.mktemp(name), name), name)
        return done[name]

    return once
