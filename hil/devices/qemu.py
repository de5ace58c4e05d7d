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
import shlex
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

from appliance.bus import TlsFiles
from appliance.host.files import write_whole
from hil.devices.device import (
    COMMAND_LIMIT_S,
    STOP_LIMIT_S,
    CannotDo,
    DeviceBus,
    DeviceFailed,
    DeviceTimeout,
    Part,
    Ran,
)
from hil.vm.build import Image
from hil.vm.recipe import FEED_PORTS, MACHINES

UNIT: Final = "quay-01"
HOME: Final = "/var/lib/edge-appliance/rig"
MISSION: Final = "/etc/edge-appliance/mission.toml"
PROGRAM: Final = "/opt/edge-appliance/bin/appliance"
RIG_ADDRESS: Final = "10.20.0.50"
"""The camera's address of the device file: QEMU gives it to the servers on the rig."""
RELAY: Final = Path(__file__).parent / "relay.py"
_SENSORS: Final = ("10.20.0.0/24", "10.20.0.2")
_BUS: Final = ("10.30.0.0/24", "10.30.0.2")
BUS_PORT: Final = 8883
MEMORY_MB: Final = 2048
CORES: Final = 2
_ANSWER_S: Final = 4.0
"""A poll that asks whether the machine is up waits so long."""
_UNITS: Final[Mapping[Part, str]] = {"daemon": "edge-appliance.service", "broker": "edge-broker.service"}
#: The daemon's own environment, for commands of the appliance's user.
_ENVIRONMENT: Final = (
    "HOME=/var/lib/edge-appliance NUMBA_CACHE_DIR=/var/cache/edge-appliance NUMBA_CPU_NAME=generic"
    " OMP_NUM_THREADS=1 ORT_DISABLE_TELEMETRY=1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwards:
    """Ports on the rig's loopback, the same over all boots of a machine."""

    bus: int
    udp: Mapping[int, int]


def free_forwards() -> Forwards:
    """Ports that nobody uses at this moment."""
    with contextlib.ExitStack() as house:
        tcp = house.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = {}
        for port in FEED_PORTS:
            one = house.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.bind(("127.0.0.1", 0))
            udp[port] = int(one.getsockname()[1])
        return Forwards(bus=int(tcp.getsockname()[1]), udp=udp)


def command_line(
    image: Image, folder: Path, forwards: Forwards, *, stick: Path | None, tpm: bool, cameras: Mapping[int, int]
) -> list[str]:
    """How QEMU is called. ``cameras``: TCP ports at ``RIG_ADDRESS`` → ports on the rig's loopback. Pure."""
    machine = MACHINES[image.architecture]
    udp = ",".join(
        f"hostfwd=udp:127.0.0.1:{here}-{_SENSORS[1]}:{there}" for there, here in sorted(forwards.udp.items())
    )
    out = "".join(
        f",guestfwd=tcp:{RIG_ADDRESS}:{there}-cmd:{sys.executable} {RELAY} {here}"
        for there, here in sorted(cameras.items())
    )
    words = [
        *machine.qemu, "-accel", "tcg,thread=multi", "-smp", str(CORES), "-m", str(MEMORY_MB), "-display", "none",
        "-nodefaults", "-no-user-config", "-kernel", str(image.kernel), "-initrd", str(image.initrd),
        "-append", f"root=/dev/vda rw console={machine.console} net.ifnames=0 apparmor=1 security=apparmor",
        "-chardev", f"file,id=console,path={folder / 'console.log'},append=on", "-serial", "chardev:console",
        "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off",
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
                  "-device", "virtio-blk-pci,drive=stick,id=stick-slot"]  # fmt: skip
    if tpm:
        words += ["-chardev", f"socket,id=tpm,path={folder / 'tpm'}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
                  "-device", f"{machine.tpm_model},tpmdev=tpm0"]  # fmt: skip
    return words


class QemuDevice:
    """One virtual machine with a disk of its own in ``folder``, which outlives power cuts and this object."""

    def __init__(
        self,
        image: Image,
        folder: Path,
        *,
        stick: Path | None = None,
        tpm: bool = False,
        cameras: Mapping[int, int] | None = None,
    ) -> None:
        """Nothing is started. ``stick``: a raw disk that the machine finds as its second one, read-only."""
        self._image, self._folder = image, folder.absolute()
        self._stick, self._tpm, self._cameras = stick, tpm, dict(cameras or {})
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forwards = free_forwards()
        self._process: subprocess.Popen[bytes] | None = None
        self._swtpm: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None
        self._asked = 0
        self._one_at_a_time = threading.Lock()
        self._facts: dict[str, str] = {}
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
            **self._facts,
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
        words = command_line(
            self._image, self._folder, self._forwards, stick=self._stick, tpm=self._tpm, cameras=self._cameras
        )
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

    def booted(self) -> bool:
        """Whether the shell answers and, once it is provisioned, the broker is up."""
        if self._process is not None and self._process.poll() is not None:
            raise DeviceFailed(f"QEMU ended with {self._process.returncode}; {self._folder / 'qemu.log'} says why")
        try:
            ask = "[ ! -e /etc/mosquitto/provision.json ] || systemctl is-active --quiet edge-broker"
            return self.shell(f"cd /; {ask}", timeout_s=_ANSWER_S).code == 0
        except (DeviceTimeout, DeviceFailed):
            return False

    def wait_booted(self, limit_s: float) -> float:
        """Seconds from power to ``booted``. Raises DeviceTimeout with the console's end."""
        deadline = time.monotonic() + limit_s
        while not self.booted():
            if time.monotonic() > deadline:
                raise DeviceTimeout(f"not booted within {limit_s:.0f} s\n{self.console()}")
            time.sleep(0.2)
        return (time.time_ns() - self.powered_ns) / 1e9

    def console(self, lines: int = 15) -> str:
        """The end of what the machine said on its serial console."""
        with contextlib.suppress(OSError):
            text = (self._folder / "console.log").read_text(encoding="utf-8", errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return ""

    def pull_stick(self) -> None:
        """Take the second disk out while the machine runs. Raises DeviceFailed."""
        self._qmp("device_del", {"id": "stick-slot"})

    # -- hands ---------------------------------------------------------------------------------------------------

    def shell(self, command: str, timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        return self._run(["/bin/sh", "-c", f"cd {HOME} 2>/dev/null || cd /\n{command}"], timeout_s=timeout_s)

    def appliance(self, *arguments: str, timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        words = shlex.join([PROGRAM, *arguments])
        return self.shell(f"exec setpriv --reuid edge --regid edge --init-groups env {_ENVIRONMENT} {words}", timeout_s)

    def doctor_command(self) -> str:
        return f"{PROGRAM} doctor {HOME}/mission.toml --json"

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        target = shlex.quote(self._at(path))
        self.checked(
            f"set -e; install -d -o edge -g edge -m 755 {HOME} $(dirname {target})\n"
            f"cat > {target}.new; chown edge:edge {target}.new; chmod {mode:o} {target}.new; sync {target}.new\n"
            f"mv {target}.new {target}",
            content,
        )

    def fetch(self, path: str) -> bytes:
        answer = self._ask(["/bin/cat", self._at(path)], b"", COMMAND_LIMIT_S)
        if answer.get("code") != 0:
            raise DeviceFailed(f"{path}: {_text(answer, 'err').strip() or answer}")
        return base64.b64decode(answer["out"])

    def _at(self, path: str) -> str:
        return path if path.startswith("/") else f"{HOME}/{path}"

    def checked(self, command: str, content: bytes = b"", timeout_s: float = COMMAND_LIMIT_S) -> str:
        """What a shell command says that must end well. Raises DeviceFailed where it does not."""
        ran = self._run(["/bin/sh", "-c", command], content, timeout_s)
        if ran.code != 0:
            raise DeviceFailed(f"{command.splitlines()[0][:80]}: ended with {ran.code}: {ran.err.strip()[-300:]}")
        return ran.out

    # -- services ------------------------------------------------------------------------------------------------

    def start(self, mission: str) -> None:
        """``mission`` below the home, or the field's own ``/etc/edge-appliance/mission.toml``, the unit file's."""
        folder = f"/etc/systemd/system/{_UNITS['daemon']}.d"
        if mission != MISSION:
            path = self._at(mission)
            dropped = (
                f"[Unit]\nConditionPathExists=\nConditionPathExists={path}\n"
                f"[Service]\nExecStart=\nExecStart={PROGRAM} run {path}\n"
            )
            self.checked(f"mkdir -p {folder}; cat > {folder}/70-rig.conf", dropped.encode())
        self.checked(
            "systemctl daemon-reload; systemctl enable --quiet edge-appliance; "
            "systemctl start --no-block edge-appliance; sync"
        )

    def stop(self, timeout_s: float = STOP_LIMIT_S) -> int:
        unit = _UNITS["daemon"]
        self.checked(f"systemctl disable --quiet {unit}; systemctl stop {unit}", timeout_s=timeout_s)
        return int(self.checked(f"systemctl show --value -p ExecMainStatus {unit}").strip() or "0")

    def pid(self, part: Part) -> int | None:
        found = self.checked(f"systemctl show --value -p MainPID {_UNITS[part]}").strip()
        return int(found) if found not in {"", "0"} else None

    def kill(self, part: Part) -> None:
        self.shell(f"systemctl kill --kill-whom=main --signal=KILL {_UNITS[part]}")

    def hold(self, part: Part, *, held: bool) -> None:
        unit = _UNITS[part]
        if held:
            self.checked(f"systemctl mask --runtime --quiet {unit}; systemctl stop {unit} || true")
        else:
            self.checked(f"systemctl unmask --runtime --quiet {unit}; systemctl daemon-reload; systemctl start {unit}")

    def step_clock(self, offset_s: float) -> None:
        self.checked(f"date --utc --set=@{time.time() + offset_s:.3f}")

    def log(self, part: Part, lines: int = 40) -> str:
        return self.shell(f"journalctl --no-pager -o cat -n {lines} -u {_UNITS[part]}").out

    # -- where things are ----------------------------------------------------------------------------------------

    @property
    def rig_address(self) -> str:
        return RIG_ADDRESS

    @property
    def udp_ports(self) -> tuple[int, ...]:
        return tuple(self._forwards.udp)

    def udp_at(self, port: int) -> tuple[str, int]:
        if port not in self._forwards.udp:
            raise CannotDo(f"expected a UDP port that the packet filter lets in ({FEED_PORTS}); found {port}")
        return "127.0.0.1", self._forwards.udp[port]

    @property
    def udp_bind(self) -> str:
        return _SENSORS[1]

    @property
    def unit(self) -> str:
        return UNIT

    @property
    def bus(self) -> DeviceBus:
        folder = "/etc/edge-appliance/bus"
        return DeviceBus(
            host=_BUS[1],
            port=BUS_PORT,
            ca=f"{folder}/ca.pem",
            certificate=f"{folder}/{UNIT}.pem",
            key=f"{folder}/{UNIT}.key",
        )

    def bus_through(self, port: int) -> DeviceBus:  # noqa: ARG002 - the protocol names it
        raise CannotDo("the packet filter lets this unit speak to no broker but its own")

    @property
    def bus_url(self) -> str:
        return f"mqtts://localhost:{self._forwards.bus}"

    def reader_tls(self, name: str) -> TlsFiles:
        there = f"/etc/mosquitto/recipients/{name}"
        here = self._folder / "readers" / name
        files = TlsFiles(ca=here / "ca.pem", certificate=here / f"{name}.pem", key=here / f"{name}.key")
        if not files.key.exists():
            self.checked(f"{_ENVIRONMENT} {PROGRAM} provision recipient {shlex.quote(name)}", timeout_s=COMMAND_LIMIT_S)
            for path in (files.ca, files.certificate, files.key):
                write_whole(path, self.fetch(f"{there}/{path.name}"), mode=0o600)
        return files

    # -- inside --------------------------------------------------------------------------------------------------

    def _start_tpm(self) -> None:
        state = self._folder / "tpm-state"
        state.mkdir(exist_ok=True)
        self._swtpm = subprocess.Popen(
            [_tool("swtpm"), "socket", "--tpm2", "--tpmstate", f"dir={state}",
             "--ctrl", f"type=unixio,path={self._folder / 'tpm'}", "--flags", "startup-clear"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + _ANSWER_S
        while not (self._folder / "tpm").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _run(self, argv: Sequence[str], content: bytes = b"", timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        answer = self._ask(argv, content, timeout_s)
        if answer.get("timeout"):
            raise DeviceTimeout(f"{' '.join(argv)[:80]}: not done within {timeout_s:.0f} s")
        if "fault" in answer:
            raise DeviceFailed(f"{' '.join(argv)[:80]}: {answer['fault']}")
        return Ran(code=int(answer["code"]), out=_text(answer, "out"), err=_text(answer, "err"))

    def _ask(self, argv: Sequence[str], content: bytes, timeout_s: float) -> dict[str, Any]:
        with self._one_at_a_time:
            self._asked += 1
            request = {"id": self._asked, "argv": list(argv), "timeout_s": timeout_s}
            request["input"] = base64.b64encode(content).decode()
            try:
                port = self._connected()
                port.settimeout(timeout_s + _ANSWER_S)
                port.sendall(json.dumps(request).encode() + b"\n")
                return self._answer(port, self._asked, time.monotonic() + timeout_s + _ANSWER_S)
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

    def _qmp(self, execute: str, arguments: Mapping[str, object]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as monitor:
            monitor.settimeout(_ANSWER_S)
            monitor.connect(os.fspath(self._folder / "qmp"))
            lines = monitor.makefile("rb")
            lines.readline()
            for command in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": dict(arguments)}):
                monitor.sendall(json.dumps(command).encode() + b"\n")
                while "return" not in (answer := json.loads(lines.readline())):
                    if "error" in answer:
                        raise DeviceFailed(f"QEMU: {answer['error'].get('desc')}")


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotDo(f"expected {name} (`bash .ci/system vm`)")
    return found


def _text(answer: Mapping[str, Any], stream: str) -> str:
    return base64.b64decode(answer.get(stream, "")).decode("utf-8", errors="replace")
