"""The states of a device under test, and the way from one to another: off → booted → running.

As labgrid's strategies: whoever needs a state asks for it, and the steps to it are taken in order. Every wait has a
limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from hil.devices.device import BOOT_LIMIT_S, BOOT_LOOK_S, Device, DeviceTimeout

State = Literal["off", "booted", "running"]
RUNNING_LIMIT_S = 120.0
"""From the start of the daemon to its first word: on a fresh device it compiles its arithmetic first."""
_LOOK_S = 0.05


class Strategy:
    """``is_running`` says whether the unit has been heard since it was started; ``mission`` is its file."""

    def __init__(self, device: Device, mission: str, is_running: Callable[[int], bool]) -> None:
        self._device, self._mission, self._is_running = device, mission, is_running
        self.state: State = "off"
        self.took_s: dict[str, float] = {}

    def to(self, wanted: State) -> None:
        """Take the steps that lead to ``wanted``. Raises DeviceTimeout, DeviceFailed."""
        if wanted == "off":
            self._device.power_off()
        elif wanted == "booted":
            self._boot() if self.state == "off" else self._stop()
        else:
            if self.state == "off":
                self.to("booted")
            self._run()
        self.state = wanted

    def revive(self) -> None:
        """Give a device that has lost its power the power back, and wait until it runs again by itself."""
        self.state = "off"
        began_ns = time.time_ns()
        self._boot()
        self._until(lambda: self._is_running(began_ns), RUNNING_LIMIT_S, "running after a power cut")
        self.state = "running"

    def _boot(self) -> None:
        self._device.power_on()
        self._until(self._device.booted, BOOT_LIMIT_S, "booted", look_s=BOOT_LOOK_S)

    def _run(self) -> None:
        began_ns = time.time_ns()
        self._device.start(self._mission)
        self._until(lambda: self._is_running(began_ns), RUNNING_LIMIT_S, "running")

    def _stop(self) -> None:
        if self.state == "running":
            self._device.stop()

    def _until(self, ready: Callable[[], bool], limit_s: float, what: str, *, look_s: float = _LOOK_S) -> None:
        began = time.monotonic()
        while not ready():
            if time.monotonic() - began > limit_s:
                words = "\n".join(self._device.log("daemon", 8).splitlines())
                raise DeviceTimeout(f"the device was not {what} within {limit_s:.0f} s\n{words}")
            time.sleep(look_s)
        self.took_s[what] = time.monotonic() - began
