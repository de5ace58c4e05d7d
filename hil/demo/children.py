"""Child processes whose output is read as it comes, and which are gone when the block is left, whatever happened."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

END_S = 8.0
"""How long a child may take to end in order before it is killed."""
MAX_LINE_BYTES = 4 * 1024 * 1024

_APPLIANCE = (sys.executable, "-c", "from appliance.cli import main; main()")
"""The ``appliance`` command of this very installation, wherever its script lies."""


class Child:
    """One ``appliance`` command. ``heard`` gets every line of its output with the time it was read (wall, ns)."""

    def __init__(self, name: str, arguments: list[str], log: Path, heard: Callable[[str, int], None]) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*_APPLIANCE, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self._heard = heard
        self._reader = threading.Thread(target=self._read, name=f"child-{name}", daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code once it has ended and all that it said was read; None where it still runs."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(END_S)
        return code

    def interrupt(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def end(self) -> None:
        """Ask it to end, then make it."""
        for ask in (self._process.terminate, self._process.kill):
            if self._process.poll() is not None:
                break
            ask()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        self._reader.join(END_S)

    def last_words(self, lines: int = 12) -> str:
        """The end of what it said on standard error."""
        with contextlib.suppress(OSError):
            return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        return ""

    def said(self, words: str) -> bool:
        """Whether standard error holds ``words`` by now."""
        with contextlib.suppress(OSError):
            return words in self._log.read_text(encoding="utf-8", errors="replace")
        return False

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        while raw := stream.readline(MAX_LINE_BYTES):
            self._heard(raw.decode("utf-8", errors="replace").rstrip("\n"), time.time_ns())


@contextlib.contextmanager
def child(name: str, arguments: list[str], log: Path, heard: Callable[[str, int], None]) -> Iterator[Child]:
    """A child for the length of a block."""
    started = Child(name, arguments, log, heard)
    try:
        yield started
    finally:
        started.end()
