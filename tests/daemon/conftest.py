"""A unit in a folder, run and listened to by the commands that a person uses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from appliance.sealing import generate
from tests.support.brokers import free_port, until

UNIT = "quay-01"
HEAD = """\
schema = "edge-mission/1"
[unit]
id = "quay-01"
origin = {{ latitude_deg = 50.8, longitude_deg = -1.1 }}
identity = "device.json"
[bus]
url = "{bus}"
recipients = ["ops.public.json"]
resend_window_s = 3600
[picture]
interval_s = 0.2
entity_interval_s = 0
status_interval_s = 1
"""


@dataclass
class House:
    """One unit, its recipients, and the processes that were started."""

    folder: Path
    ais_port: int = field(default_factory=free_port)
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def write_mission(self, bus: str, feeds: str, more: str = "") -> Path:
        path = self.folder / "mission.toml"
        path.write_text(HEAD.format(bus=bus) + more + feeds, encoding="utf-8")
        return path

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start ``appliance ARGUMENTS``; standard output goes to a file of its own, standard error to the log."""
        number = len(self.children)
        with (
            (self.folder / f"out-{number}").open("w") as out,
            (self.folder / f"log-{number}").open("w") as log,
        ):
            command = [sys.executable, "-m", "appliance", *map(str, arguments)]
            self.children.append(subprocess.Popen(command, stdout=out, stderr=log, text=True, cwd=self.folder))
        return self.children[-1]

    def run_daemon(self, *arguments: object) -> subprocess.Popen[str]:
        child = self.start("run", "mission.toml", "--json", *arguments)
        until(lambda: "is up" in self.log_of(child) or child.poll() is not None, 90)
        return child

    def listen(self, bus: str, who: str = "ops", *arguments: object) -> subprocess.Popen[str]:
        listening = ["listen", "--identity", f"{who}.json", "--trust", "device.public.json", "--bus", bus]
        return self.start(*listening, "--json", *arguments)

    def out_of(self, child: subprocess.Popen[str]) -> str:
        return (self.folder / f"out-{self.children.index(child)}").read_text()

    def log_of(self, child: subprocess.Popen[str]) -> str:
        return (self.folder / f"log-{self.children.index(child)}").read_text()

    def results(self, child: subprocess.Popen[str]) -> list[dict[str, Any]]:
        whole = self.out_of(child).rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def end(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        """Ask a daemon to end in order; what it says of itself."""
        child.send_signal(signal.SIGTERM)
        child.wait(90)
        summary: dict[str, Any] = json.loads(self.out_of(child))
        return summary


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[[str], House]]:
    """Makes a unit in a folder of ``tmp_path``; what it has started ends with the test."""
    made: list[House] = []

    def make(folder: str) -> House:
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        for kind, name, file in (
            ("device", UNIT, "device"),
            ("recipient", "ops", "ops"),
            ("recipient", "stranger", "stranger"),
        ):
            identity = generate(kind, name)
            (home / f"{file}.json").write_text(identity.to_json())
            (home / f"{file}.public.json").write_text(identity.public.to_json())
        (home / "inbox").mkdir()
        made.append(House(home))
        return made[-1]

    yield make
    for child in (child for house in made for child in house.children):
        if child.poll() is None:
            child.kill()
        child.wait(30)


@pytest.fixture
def house(make_house: Callable[[str], House]) -> House:
    return make_house(".")


@pytest.fixture
def plots() -> Callable[[Path, int, float], Path]:
    """Writes a replay of twenty vessels that report themselves, so many plots at so many a second."""

    def write(folder: Path, count: int, rate_hz: float) -> Path:
        path = folder / "plots.jsonl"
        with path.open("w") as out:
            for n in range(count):
                vessel, turn = n % 20, n // 20
                row = {
                    "time": 1_700_000_000 + n / rate_hz,
                    "kind": "position",
                    "latitude_deg": 50.7 + 0.01 * vessel,
                    "longitude_deg": -1.2 + 0.00005 * turn,
                    "position_sigma_m": 10.0,
                    "identity_kind": "mmsi",
                    "identity": str(235_000_000 + vessel),
                    "category": "vessel/ship",
                    "cooperative": True,
                }
                out.write(json.dumps(row) + "\n")
        return path

    return write
