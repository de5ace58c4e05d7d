"""Programs of a test, started as processes of their own and killed at will."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).parent.parent / "bus" / "programs"


class Programs:
    """Starts the programs of ``tests/bus/programs``, and kills what is left of them."""

    def __init__(self, home: Path, repository: Path) -> None:
        self.home = home
        self._environment = {**os.environ, "PYTHONPATH": str(repository)}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.out").open("ab") as out:
            command = [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments]
            self._running.append(subprocess.Popen(command, stdout=out, env=self._environment))
        return self._running[-1]

    def kill(self, program: subprocess.Popen[bytes]) -> None:
        program.send_signal(signal.SIGKILL)
        assert program.wait(10) == -signal.SIGKILL

    def stop(self) -> None:
        for program in self._running:
            program.kill()
            program.wait(10)

    def heard(self) -> list[int]:
        """Numbers that the listener has written."""
        return [int(line) for line in (self.home / "heard").read_bytes().split()]
