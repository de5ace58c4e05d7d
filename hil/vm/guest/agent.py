"""The rig's hands in the virtual device: runs what comes through a virtio port, as root, and says how it ended.

ONLY in the virtual test device. Whoever holds the other end of the port is root here; QEMU gives it to a socket of the
rig's own folder, and no field image carries this file. One JSON object a line, both ways; standard library alone.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import time

PORT = "/dev/virtio-ports/org.edge.rig"
IDLE_S = 0.1
MAX_LINE_BYTES = 64 * 1024 * 1024


def act(request: dict[str, object]) -> dict[str, object]:
    """Run one request's command to its end."""
    answer: dict[str, object] = {"id": request.get("id")}
    try:
        done = subprocess.run(  # the rig's own words; the whole point of this file
            [str(word) for word in request["argv"]],  # type: ignore[attr-defined]
            check=False,
            capture_output=True,
            input=base64.b64decode(str(request.get("input", ""))),
            timeout=float(str(request.get("timeout_s", 60.0))),
        )
    except subprocess.TimeoutExpired:
        return {**answer, "timeout": True}
    except (OSError, KeyError, ValueError, TypeError) as e:
        return {**answer, "fault": f"{type(e).__name__}: {e}"}
    out, err = (base64.b64encode(stream).decode() for stream in (done.stdout, done.stderr))
    return {**answer, "code": done.returncode, "out": out, "err": err}


def serve(handle: int) -> None:
    """Answer line by line, for ever. Nobody at the other end reads as nothing: wait, and forget half a line."""
    waiting = b""
    while True:
        got = os.read(handle, 1024 * 1024)
        if not got:
            waiting = b""
            time.sleep(IDLE_S)
            continue
        waiting += got
        if len(waiting) > MAX_LINE_BYTES:
            waiting = b""
        while b"\n" in waiting:
            line, _, waiting = waiting.partition(b"\n")
            with contextlib.suppress(ValueError):
                request = json.loads(line)
                if isinstance(request, dict):
                    send(handle, json.dumps(act(request)).encode() + b"\n")


def send(handle: int, data: bytes) -> None:
    """All of it."""
    while data:
        data = data[os.write(handle, data) :]


def opened(port: str) -> int:
    """The port, once the kernel has it."""
    while not os.path.exists(port):  # noqa: PTH110 - the guest's own file, standard library at its plainest
        time.sleep(IDLE_S)
    return os.open(port, os.O_RDWR)


if __name__ == "__main__":
    serve(opened(sys.argv[1] if len(sys.argv) > 1 else PORT))
