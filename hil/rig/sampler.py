"""What the daemon and its children hold of the device, looked at again and again from the outside.

It reads /proc over the device's own shell, so that it is the same on every kind of device. Nothing is asked of the
appliance: a daemon that lies about itself is still measured.
"""

from __future__ import annotations

import threading
import time

from hil.devices.device import Device, DeviceFailed
from hil.rig.record import Sample

_KIB = 1024
_CLOCK_TICKS = 100
"""USER_HZ on every Linux that we run on (time(7))."""
SCRIPT = (
    "for q in {pid} $(cat /proc/{pid}/task/*/children 2>/dev/null); do "
    'echo "process $q"; cat /proc/$q/smaps_rollup; echo "fds $(ls /proc/$q/fd | wc -l)"; '
    'echo "threads $(grep Threads: /proc/$q/status | tr -dc 0-9)"; echo "stat $(cut -d")" -f2- /proc/$q/stat)"; done; '
    "for f in /sys/class/hwmon/hwmon*/power*_input; do [ -r $f ] && echo microwatts $(cat $f); done; true"
)


def parsed(at_ns: int, pid: int, text: str) -> Sample | None:
    """What the script has printed; None where the daemon was gone meanwhile."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(" ")
        words = rest.split()
        if key == "stat" and len(words) > 12:
            sums["cpu"] = sums.get("cpu", 0.0) + (float(words[11]) + float(words[12])) / _CLOCK_TICKS
        elif key == "process":
            sums[key] = sums.get(key, 0.0) + 1.0
        elif words and words[0].isdecimal():
            sums[key] = sums.get(key, 0.0) + float(words[0])
    if "Rss:" not in sums:
        return None
    return Sample(
        at_ns=at_ns,
        pid=pid,
        # Not Private_Clean: 70 MB of libraries are "private" until any other program on the machine maps them too.
        own_bytes=round((sums.get("Private_Dirty:", 0.0) + sums.get("Swap:", 0.0)) * _KIB),
        resident_bytes=round(sums["Rss:"] * _KIB),
        fds=round(sums.get("fds", 0.0)),
        threads=round(sums.get("threads", 0.0)),
        cpu_s=sums.get("cpu", 0.0),
        processes=round(sums.get("process", 0.0)),
        watts=sums["microwatts"] / 1e6 if "microwatts" in sums else None,
    )


class Sampler:
    """Looks every ``every_s`` until stopped; what cannot be seen just then is left out."""

    def __init__(self, device: Device, every_s: float) -> None:
        self._device, self._every_s = device, every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.samples: list[Sample] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(30.0)

    def look(self) -> Sample | None:
        """One look now."""
        pid = self._device.pid("daemon")
        if pid is None:
            return None
        try:
            ran = self._device.shell(SCRIPT.format(pid=pid), timeout_s=20.0)
        except DeviceFailed:  # off, or going off
            return None
        return parsed(time.time_ns(), pid, ran.out)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            sample = self.look()
            if sample is not None:
                self.samples.append(sample)
