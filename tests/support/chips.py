"""A TPM 2 in software (swtpm), for tests of what systemd-creds seals to a chip."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 10.0


def why_not() -> str | None:
    """Why there is no software TPM here; None where there is one."""
    for tool in ("swtpm", "systemd-creds", "tpm2_dictionarylockout"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    for library in ("tcti-swtpm", "esys", "rc", "mu"):
        if not list(Path("/usr/lib").glob(f"*/libtss2-{library}.so.0")):
            return f"libtss2-{library} is not installed (it comes with tpm2-tools)"
    return None


@contextmanager
def chip(state: Path) -> Iterator[str]:
    """A chip with its memory in ``state``: what systemd-creds takes for --tpm2-device."""
    state.mkdir(parents=True, exist_ok=True)
    command, control = _free_pair()
    process = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server", f"type=tcp,port={command}",
         "--ctrl", f"type=tcp,port={control}", "--flags", "not-need-init,startup-clear"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _until_there(control)
        yield f"swtpm:host=127.0.0.1,port={command}"
    finally:
        process.kill()
        process.wait()


def _free_pair() -> tuple[int, int]:
    """Two neighbours: the library finds the control port one above the other."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            try:
                two.bind(("127.0.0.1", one.getsockname()[1] + 1))
            except OSError:
                continue
            return int(one.getsockname()[1]), int(two.getsockname()[1])


def _until_there(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("swtpm did not start")
