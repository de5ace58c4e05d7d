"""A start: from what the unit file starts to READY=1, which is what a unit's people wait for after a power cut.

    python -m benchmarks start

The demo's own mission (camera with a model, radar, AIS, GNSS, reports) from a warm disk, with path and byte code
compiled before, as in an image, and nobody at the other ends: a start waits for no broker and no sensor.
Floor: an interpreter that imports the libraries which that mission needs, and does nothing. Wall time and processor
time are medians; on a processor so many times slower, a start takes so many times longer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import Table
from hil.demo import stage
from hil.scene.harbour import harbour

ROUNDS = 7
READY_S = 300.0
POLL_S = 0.2
FILM_S = 5.0
LIBRARIES = "numpy, llvmlite.binding, cv2, onnxruntime, pyproj, cryptography, msgspec, paho.mqtt.client"
NOTHING, LIBRARIES_ALONE, READY = "interpreter", "its libraries, imported", "the daemon, to READY=1"


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as name:
        mission = _mission(Path(name))
        floor = [sys.executable, "-c", f"import {LIBRARIES}"]
        start = [sys.executable, "-m", "appliance.cli.serve", str(mission)]
        _ended(floor, Path(name))
        _ready(start, Path(name))  # the disk is warm, and what is compiled is kept
        timed: dict[str, list[tuple[float, float]]] = {NOTHING: [], LIBRARIES_ALONE: [], READY: []}
        for _ in range(ROUNDS):  # in turns: what disturbs one disturbs all
            timed[NOTHING].append(_ended([sys.executable, "-c", "pass"], Path(name)))
            timed[LIBRARIES_ALONE].append(_ended(floor, Path(name)))
            timed[READY].append(_ready(start, Path(name)))
    alone = statistics.median(cpu for _, cpu in timed[LIBRARIES_ALONE])
    table = Table(["", "wall s", "processor s", "of the libraries alone"])
    for what, times in timed.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        table.row(what, f"{wall:.2f}", f"{cpu:.2f}", f"{cpu / alone:.2f}")
    print(table)


def _mission(folder: Path) -> Path:
    made = stage.make_bundle(folder, lambda _: None)
    identities = stage.make_identities(folder)
    stage.install(folder, made)
    film = stage.make_film(folder, harbour(1), FILM_S, lambda _done, _all: None)
    return stage.make_mission(folder, film, identities, bus_url="mqtt://127.0.0.1:9", ais_port=9).mission


def _environment(folder: Path) -> dict[str, str]:
    """Ours, where what is compiled from sources is kept."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def _ended(command: list[str], folder: Path) -> tuple[float, float]:
    began, before = time.monotonic(), os.times()
    subprocess.run(command, env=_environment(folder), check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, cpu


def _ready(command: list[str], folder: Path) -> tuple[float, float]:
    """(wall, processor) seconds of the daemon's own process when it says READY=1. Ends the program without it."""
    address = folder / "notify"
    address.unlink(missing_ok=True)
    environment = {**_environment(folder), "NOTIFY_SOCKET": str(address)}
    log = folder / "start.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard, log.open("wb") as said:
        heard.bind(str(address))
        heard.settimeout(POLL_S)
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        try:
            while process.poll() is None and time.monotonic() - began < READY_S:
                with contextlib.suppress(TimeoutError):
                    heard.recv(64)
                    return time.monotonic() - began, _processor_s(process.pid)
        finally:
            process.kill()
            process.wait()
    sys.exit(f"expected READY=1 of the daemon; it said {log.read_text(encoding='utf-8', errors='replace')}")


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
