"""A whole machine as the device under test: the image of ``hil.vm`` in QEMU, by software emulation.

Networks lead to the rig and nowhere else: QEMU's user network is ``restrict``ed, what comes in is forwarded from ports
on the rig's loopback, what goes out reaches the servers that ``cameras`` names and nobody. Power is cut by SIGKILL of
QEMU: what the guest had not flushed to its disk is gone (its page cache, QEMU's own tables of the disk file), what it
had flushed is on the host's disk. A real disk that lies about flushing is worse, and is not modelled.

The rig's shell is a virtio port that only this test device has (``hil/vm/guest``).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.devices.device import BOOT_LOOK_S, COMMAND_LIMIT_S, Address, CannotDo, DeviceFailed, DeviceTimeout
from hil.devices.machine import ANSWER_S, BUS_PORT, Answer, Machine
from hil.vm.build import Image
from hil.vm.recipe import CAMERA_PORT, FEED_PORTS, LINES_PORT, MACHINES, RIG_ADDRESS

UNIT: Final = "quay-01"
RELAY: Final = Path(__file__).parent / "relay.py"
_SENSORS: Final = ("10.20.0.0/24", "10.20.0.2")
_BUS: Final = ("10.30.0.0/24", "10.30.0.2")
MEMORY_MB: Final = 2048
CORES: Final = 2
#: An emulated processor speculates nothing: what guards real ones against that would only slow it down.
KERNEL_OPTIONS: Final = "net.ifnames=0 apparmor=1 security=apparmor mitigations=off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwards:
    """Ports on the rig's loopback, the same over all boots of a machine."""

    bus: int
    udp: Mapping[int, int]
    servers: Mapping[int, int]
    """TCP ports at ``RIG_ADDRESS`` → ports on the rig's loopback: a camera, and a server of lines."""


def free_forwards() -> Forwards:
    """Ports that nobody uses at this moment."""
    with contextlib.ExitStack() as house:
        tcp = [house.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        bus, camera, lines = (int(one.getsockname()[1]) for one in tcp)
        udp = {}
        for port in FEED_PORTS:
            one = house.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.bind(("127.0.0.1", 0))
            udp[port] = int(one.getsockname()[1])
        return Forwards(bus=bus, udp=udp, servers={CAMERA_PORT: camera, LINES_PORT: lines})


def command_line(image: Image, folder: Path, forwards: Forwards, *, stick: Path | None, tpm: bool) -> list[str]:
    """How QEMU is called. Pure."""
    machine = MACHINES[image.architecture]
    udp = ",".join(
        f"hostfwd=udp:127.0.0.1:{here}-{_SENSORS[1]}:{there}" for there, here in sorted(forwards.udp.items())
    )
    out = "".join(
        f",guestfwd=tcp:{RIG_ADDRESS}:{there}-cmd:{sys.executable} {RELAY} {here}"
        for there, here in sorted(forwards.servers.items())
    )
    words = [
        *machine.qemu, "-accel", "tcg,thread=multi", "-smp", str(CORES), "-m", str(MEMORY_MB), "-display", "none",
        "-nodefaults", "-no-user-config", "-kernel", str(image.kernel), "-initrd", str(image.initrd),
        "-append", f"root=/dev/vda rw console={machine.console} {KERNEL_OPTIONS}",
        "-chardev", f"file,id=console,path={folder / 'console.log'},append=on", "-serial", "chardev:console",
        "-drive", f"file={folder / 'disk.qcow2'},if=none,id=disk,format=qcow2,cache=writeback",
        "-device", "virtio-blk-pci,drive=disk",
        "-netdev", f"user,id=sensors,ipv6=off,net={_SENSORS[0]},host=10.20.0.1,dns=10.20.0.3,restrict=on,{udp}{out}",
        "-device", "virtio-net-pci,netdev=sensors,mac=52:54:00:20:00:02",
        "-netdev", f"user,id=bus,ipv6=off,net={_BUS[0]},host=10.30.0.1,dns=10.30.0.3,restrict=on,"
        f"hostfwd=tcp:127.0.0.1:{forwards.bus}-{_BUS[1]}:{BUS_PORT}",
        "-device", "virtio-net-pci,netdev=bus,mac=52:54:00:30:00:02",
        "-device", "virtio-serial-pci", "-chardev", f"socket,id=rig,path={folder / 'rig'},server=on,wait=off",
        "-device", "virtserialport,chardev=rig,name=org.edge.rig",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    if stick is not None:
        words += ["-drive", f"file={stick},if=none,id=stick,format=raw,readonly=on",
                  "-device", "virtio-blk-pci,drive=stick"]  # fmt: skip
    if tpm:
        words += ["-chardev", f"socket,id=tpm,path={folder / 'tpm'}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
                  "-device", f"{machine.tpm_model},tpmdev=tpm0"]  # fmt: skip
    return words


class QemuDevice(Machine):
    """One virtual machine with a disk of its own in ``folder``, which outlives power cuts and this object."""

    def __init__(
        self,
        image: Image,
        folder: Path,
        *,
        stick: Path | None = None,
        tpm: bool = False,
    ) -> None:
        """Nothing is started. ``stick``: a raw disk that the machine finds as its second one, read-only."""
        super().__init__(UNIT, folder)
        self._image, self._stick, self._tpm = image, stick, tpm
        self._forwards = free_forwards()
        self._process: subprocess.Popen[bytes] | None = None
        self._swtpm: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None
        self._asked = 0
        self._one_at_a_time = threading.Lock()
        self.powered_ns = 0
        """When power was last given, nanoseconds since 1970."""

    @property
    def kind(self) -> str:
        return f"qemu-{self._image.architecture}"

    @property
    def facts(self) -> Mapping[str, str]:
        machine = MACHINES[self._image.architecture]
        return {
            "machine": " ".join(machine.qemu) + f", TCG, {CORES} cores, {MEMORY_MB} MB",
            "image": self._image.name,
        }

    # -- power ---------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        disk = self._folder / "disk.qcow2"
        if not disk.exists():
            subprocess.run(
                [_tool("qemu-img"), "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self._image.disk, disk],
                check=True,
            )
        if self._tpm:
            self._start_tpm()
        words = command_line(self._image, self._folder, self._forwards, stick=self._stick, tpm=self._tpm)
        self.powered_ns = time.time_ns()
        with (self._folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def power_off(self) -> None:
        self._hang_up()
        for process in (self._process, self._swtpm):
            if process is not None:
                process.kill()
                process.wait()
        self._process = self._swtpm = None

    @property
    def powered(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise DeviceFailed(f"QEMU ended with {self._process.returncode}; {self._folder / 'qemu.log'} says why")
        return self._process is not None

    def wait_booted(self, limit_s: float) -> float:
        """Seconds from power to ``booted``. Raises DeviceTimeout with the console's end."""
        deadline = time.monotonic() + limit_s
        while not self.booted():
            if time.monotonic() > deadline:
                raise DeviceTimeout(f"not booted within {limit_s:.0f} s\n{self.console()}")
            time.sleep(BOOT_LOOK_S)
        return (time.time_ns() - self.powered_ns) / 1e9

    def console(self, lines: int = 15) -> str:
        """The end of what the machine said on its serial console."""
        with contextlib.suppress(OSError):
            text = (self._folder / "console.log").read_text(encoding="utf-8", errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return ""

    # -- where things are ----------------------------------------------------------------------------------------

    @property
    def serve_at(self) -> tuple[Address, Address]:
        camera, lines = self._forwards.servers.values()
        return ("127.0.0.1", camera), ("127.0.0.1", lines)

    def seen_at(self, bound: Address) -> Address:
        return RIG_ADDRESS, next(there for there, here in self._forwards.servers.items() if here == bound[1])

    @property
    def udp_ports(self) -> tuple[int, ...]:
        return tuple(self._forwards.udp)

    def udp_at(self, port: int) -> Address:
        if port not in self._forwards.udp:
            raise CannotDo(f"expected a UDP port that the packet filter lets in ({FEED_PORTS}); found {port}")
        return "127.0.0.1", self._forwards.udp[port]

    @property
    def udp_bind(self) -> str:
        return _SENSORS[1]

    @property
    def bus_address(self) -> str:
        return _BUS[1]

    @property
    def bus_url(self) -> str:
        return f"mqtts://localhost:{self._forwards.bus}"

    # -- inside --------------------------------------------------------------------------------------------------

    def _start_tpm(self) -> None:
        state = self._folder / "tpm-state"
        state.mkdir(exist_ok=True)
        self._swtpm = subprocess.Popen(
            [_tool("swtpm"), "socket", "--tpm2", "--tpmstate", f"dir={state}",
             "--ctrl", f"type=unixio,path={self._folder / 'tpm'}", "--flags", "startup-clear"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + ANSWER_S
        while not (self._folder / "tpm").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def reach(self, argv: Sequence[str], content: bytes = b"", timeout_s: float = COMMAND_LIMIT_S) -> Answer:
        answer = self._ask(argv, content, timeout_s)
        if answer.get("timeout"):
            raise DeviceTimeout(f"{' '.join(argv)[:80]}: not done within {timeout_s:.0f} s")
        if "fault" in answer:
            raise DeviceFailed(f"{' '.join(argv)[:80]}: {answer['fault']}")
        out, err = (base64.b64decode(answer.get(stream, "")) for stream in ("out", "err"))
        return Answer(code=int(answer["code"]), out=out, err=err)

    def _ask(self, argv: Sequence[str], content: bytes, timeout_s: float) -> dict[str, Any]:
        with self._one_at_a_time:
            self._asked += 1
            request = {"id": self._asked, "argv": list(argv), "timeout_s": timeout_s}
            request["input"] = base64.b64encode(content).decode()
            try:
                port = self._connected()
                port.settimeout(timeout_s + ANSWER_S)
                port.sendall(json.dumps(request).encode() + b"\n")
                return self._answer(port, self._asked, time.monotonic() + timeout_s + ANSWER_S)
            except TimeoutError as e:
                self._hang_up()
                raise DeviceTimeout(f"{' '.join(argv)[:80]}: no answer within {timeout_s:.0f} s") from e
            except (OSError, ValueError) as e:
                self._hang_up()
                raise DeviceFailed(f"{' '.join(argv)[:80]}: {e}") from e

    def _answer(self, port: socket.socket, asked: int, deadline: float) -> dict[str, Any]:
        waiting = b""
        while True:
            port.settimeout(max(0.01, deadline - time.monotonic()))
            got = port.recv(1024 * 1024)
            if not got:
                raise OSError("the machine hung up")
            waiting += got
            while b"\n" in waiting:
                line, _, waiting = waiting.partition(b"\n")
                answer = json.loads(line)
                if answer.get("id") == asked:  # another one: to a question that was given up
                    return dict(answer)

    def _connected(self) -> socket.socket:
        if self._process is None:
            raise OSError("it is off")
        if self._port is None:
            self._port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._port.connect(os.fspath(self._folder / "rig"))
        return self._port

    def _hang_up(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotDo(f"expected {name} (`bash .ci/system vm`)")
    return found
