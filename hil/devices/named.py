"""Which device is meant: ``local``, ``qemu-amd64``, ``qemu-arm64``, or the path of a board file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hil.devices.board import Board, read_board
from hil.devices.device import Device
from hil.devices.local import LocalDevice
from hil.devices.qemu import QemuDevice
from hil.vm.build import build
from hil.vm.recipe import MACHINES

UNIT = "havre-neuf-01"


def device_named(name: str, folder: Path, say: Callable[[str], None]) -> Device:
    """Not started yet. ``folder`` is its own; a virtual one's image is built where it does not lie in the cache.

    Raises: UsageError (a board file that is none), CannotDo, BuildFailed.
    """
    for architecture in MACHINES:
        if name == f"qemu-{architecture}":
            return QemuDevice(build(architecture, say=say), folder, tpm=True)
    return LocalDevice(folder, UNIT) if name == "local" else Board(read_board(Path(name)), folder)
