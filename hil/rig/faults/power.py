"""The power and the processes: cut, killed, taken away from the broker."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from hil.devices.device import DeviceTimeout
from hil.rig.bench import Bench
from hil.rig.campaign import Step
from hil.rig.faults.table import Facts, FaultKind
from hil.rig.strategy import RUNNING_LIMIT_S


@contextlib.contextmanager
def power_cut(bench: Bench, step: Step) -> Iterator[Facts]:
    """Off, hard, for the step's time; then on, and waited for until the unit is heard again."""
    facts: Facts = {}
    bench.note_books()
    bench.device.power_off()
    bench.strategy.state = "off"
    yield facts
    began = time.monotonic()
    bench.strategy.revive()
    facts["back_after_power_s"] = time.monotonic() - began


@contextlib.contextmanager
def daemon_kill(bench: Bench, step: Step) -> Iterator[Facts]:
    """SIGKILL to the daemon; whoever keeps services starts it again."""
    bench.note_books()
    began_ns = time.time_ns()
    bench.device.kill("daemon")
    yield {}
    deadline = time.monotonic() + RUNNING_LIMIT_S
    while not bench.heard_since(began_ns):
        if time.monotonic() > deadline:
            raise DeviceTimeout(f"the unit was not heard within {RUNNING_LIMIT_S:.0f} s after its daemon was killed")
        time.sleep(0.05)


@contextlib.contextmanager
def broker_kill(bench: Bench, step: Step) -> Iterator[Facts]:
    """SIGKILL to the broker, which stays away for the step's time."""
    bench.device.hold("broker", held=True)
    bench.device.kill("broker")
    try:
        yield {}
    finally:
        bench.device.hold("broker", held=False)


TABLE = {
    "power-cut": FaultKind(act=power_cut, says="takes the power away in the middle of the work, and gives it back"),
    "daemon-kill": FaultKind(act=daemon_kill, says="ends the daemon with SIGKILL; the service manager starts it again"),
    "broker-kill": FaultKind(act=broker_kill, says="ends the broker with SIGKILL and keeps it away"),
}
