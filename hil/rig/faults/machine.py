"""The box itself: its disk, its clock, its memory, its heat."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from hil.devices.device import CannotDo, DeviceFailed
from hil.rig.bench import Bench
from hil.rig.campaign import Step
from hil.rig.faults.table import Facts, FaultKind

CLOCK_STEP_S = 3600.0
MEMORY_SPARE_BYTES = 2_000_000
HOT_MILLI_CELSIUS = 104_000


@contextlib.contextmanager
def disk_refuses(bench: Bench, step: Step) -> Iterator[Facts]:
    """The kernel refuses every write of the daemon to any file: a full disk, a read-only one (prlimit RLIMIT_FSIZE)."""
    with _limited(bench, _daemon(bench), "fsize", 0):
        yield {}


@contextlib.contextmanager
def memory_pressure(bench: Bench, step: Step) -> Iterator[Facts]:
    """The daemon gets hardly a byte more than it has (prlimit RLIMIT_AS)."""
    pid = _daemon(bench)
    size = _must(bench, f"awk '/^VmSize/ {{print $2 * 1024}}' /proc/{pid}/status")
    with _limited(bench, pid, "as", int(float(size)) + round(step.amount or MEMORY_SPARE_BYTES)):
        yield {}


@contextlib.contextmanager
def clock_step(bench: Bench, step: Step) -> Iterator[Facts]:
    """The device's clock jumps, and jumps back when the step is over. Needs a clock that is the device's own."""
    bench.device.step_clock(step.amount or CLOCK_STEP_S)
    try:
        yield {}
    finally:
        bench.device.step_clock(0.0)


@contextlib.contextmanager
def heat(bench: Bench, step: Step) -> Iterator[Facts]:
    """A thermal zone near its limit, laid over /sys in a mount namespace of the doctor's own. Needs root."""
    facts: Facts = {}
    bench.device.put("hot/thermal_zone0/type", b"cpu-thermal\n")
    bench.device.put("hot/thermal_zone0/temp", f"{HOT_MILLI_CELSIUS}\n".encode())
    bench.device.put("hot/thermal_zone0/trip_point_0_type", b"critical\n")
    bench.device.put("hot/thermal_zone0/trip_point_0_temp", b"105000\n")
    here = _must(bench, "pwd").strip()
    lay = f"mount -t tmpfs none /sys/class && mkdir /sys/class/thermal && cp -r {here}/hot/. /sys/class/thermal/"
    ran = bench.device.shell(f"unshare -m sh -c '{lay} && {bench.device.doctor_command()}'")
    yield facts
    try:
        findings = json.loads(ran.out)["findings"]
    except (ValueError, KeyError, TypeError) as e:
        raise DeviceFailed(f"the doctor said no JSON ({ran.code}): {ran.err.strip()[-300:]}") from e
    facts["heat_missed"] = float(not any(f["check"] == "heat" and f["verdict"] == "bad" for f in findings))


@contextlib.contextmanager
def _limited(bench: Bench, pid: int, resource: str, limit: int) -> Iterator[None]:
    """A soft limit of prlimit(1), taken back at the end."""
    _must(bench, f"prlimit --pid {pid} --{resource}={limit}:unlimited")
    try:
        yield
    finally:
        bench.device.shell(f"prlimit --pid {pid} --{resource}=unlimited:unlimited")


def _daemon(bench: Bench) -> int:
    pid = bench.device.pid("daemon")
    if pid is None:
        raise DeviceFailed("the daemon does not run")
    return pid


def _must(bench: Bench, command: str) -> str:
    ran = bench.device.shell(command)
    if ran.code != 0:
        raise CannotDo(f"`{command.split(maxsplit=1)[0]}` ended with {ran.code}: {ran.err.strip()[-200:]}")
    return ran.out


TABLE = {
    "disk-full": FaultKind(act=disk_refuses, says="lets the disk refuse every write"),
    "memory-pressure": FaultKind(act=memory_pressure, says="leaves the daemon hardly any memory beyond what it has"),
    "clock-step": FaultKind(act=clock_step, says="steps the device's clock, and back"),
    "heat": FaultKind(act=heat, says="heats a thermal zone to just under its critical limit, and asks the doctor"),
}
