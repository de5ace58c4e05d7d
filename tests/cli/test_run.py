"""``appliance run`` and the signals of the terminal or service manager that started it."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.sealing import generate

MISSION = """\
schema = "edge-mission/1"
[unit]
id = "quay-01"
origin = { latitude_deg = 50.8, longitude_deg = -1.1 }
identity = "device.json"
[bus]
url = "BROKER"
recipients = ["ops.public.json"]
[[feeds]]
name = "reports"
kind = "reports"
uri = "dir:inbox"
"""


class Terminal:
    """A daemon at a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.said = b""
        self.child, self.master = os.forkpty()
        if self.child == 0:
            os.chdir(folder)
            os.execv(sys.executable, [sys.executable, "-m", "appliance", "run", "mission.toml"])

    def wait_for(self, words: bytes, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while words not in self.said:
            assert time.monotonic() < deadline, self.said.decode()
            if select.select([self.master], [], [], 0.2)[0]:
                self.said += os.read(self.master, 4096)

    def ended(self, timeout_s: float) -> int | None:
        """The exit code, or None where it runs on."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found, status = os.waitpid(self.child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        return None


@pytest.fixture
def folder(tmp_path: Path, mosquitto: Any) -> Path:
    device, recipient = generate("device", "quay-01"), generate("recipient", "ops")
    (tmp_path / "device.json").write_text(device.to_json())
    (tmp_path / "ops.public.json").write_text(recipient.public.to_json())
    (tmp_path / "mission.toml").write_text(MISSION.replace("BROKER", mosquitto.url))
    (tmp_path / "inbox").mkdir()
    return tmp_path


def test_a_hang_up_asks_a_unit_to_look_again_and_ends_it_when_its_terminal_is_gone(folder: Path) -> None:
    terminal = Terminal(folder)
    terminal.wait_for(b"is up", 90)
    os.kill(terminal.child, signal.SIGHUP)
    assert terminal.ended(2) is None, "somebody asked, and the terminal is there"
    os.close(terminal.master)
    assert terminal.ended(60) is not None, "nobody is there any more"
