"""A device with a service manager of its own, whatever carries commands to it: the appliance as it is flashed.

One primitive, ``reach``, runs a program on the device as root; files, services, the clock and enrolment follow from it.
``hil.devices.qemu`` reaches through a virtio port, ``hil.devices.board`` through a remote shell.
"""

from __future__ import annotations

import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.bus import TlsFiles
from appliance.host.files import write_whole
from hil.devices.device import COMMAND_LIMIT_S, STOP_LIMIT_S, CannotDo, DeviceBus, DeviceFailed, Part, Ran

HOME: Final = "/var/lib/edge-appliance/rig"
MISSION: Final = "/etc/edge-appliance/mission.toml"
PROGRAM: Final = "/opt/edge-appliance/bin/appliance"
#: As the unit file starts it.
SERVICE: Final = "/opt/edge-appliance/bin/python -P -m appliance.cli.serve"
BUS_PORT: Final = 8883
ANSWER_S: Final = 4.0
"""A poll that asks whether the machine is up waits so long; so does every answer beyond its command's own limit."""
_UNITS: Final[Mapping[Part, str]] = {"daemon": "edge-appliance.service", "broker": "edge-broker.service"}
#: The daemon's own environment, for commands of the appliance's user.
_ENVIRONMENT: Final = (
    "HOME=/var/lib/edge-appliance NUMBA_CACHE_DIR=/var/cache/edge-appliance NUMBA_CPU_NAME=generic"
    " OMP_NUM_THREADS=1 ORT_DISABLE_TELEMETRY=1"
)


def listens(port: int) -> str:
    """The shell's words for whether somebody takes connections at a port (proc_pid_net(5); TCP_LISTEN is 0A).

    Asked again and again while the device boots, and so without its service manager, which has other work then.
    """
    return f"grep -q ':{port:04X} 00000000:0000 0A' /proc/net/tcp"


_READY: Final = f"[ ! -e /etc/mosquitto/provision.json ] || {listens(BUS_PORT)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a program on the device ended, and its streams byte for byte."""

    code: int
    out: bytes
    err: bytes


class Machine(ABC):
    """What ``Device`` asks of hands and services, by means of ``reach`` alone.

    unit: the unit's name. folder: where the rig keeps what belongs to this device, readers' certificates among it.
    """

    def __init__(self, unit: str, folder: Path) -> None:
        self.unit = unit
        self._folder = folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def reach(self, argv: Sequence[str], content: bytes = b"", timeout_s: float = COMMAND_LIMIT_S) -> Answer:
        """Run a program on the device as root, ``content`` on its standard input.

        Raises: DeviceTimeout; DeviceFailed where the device does not answer or is off.
        """

    @property
    @abstractmethod
    def powered(self) -> bool:
        """Whether it has power. Raises DeviceFailed where it should have and has not."""

    def booted(self) -> bool:
        """Whether the shell answers and, once it is provisioned, the broker is up."""
        if not self.powered:
            return False
        try:
            return self.shell(f"cd /; {_READY}", timeout_s=ANSWER_S).code == 0
        except DeviceFailed:
            return False

    # -- hands ---------------------------------------------------------------------------------------------------

    def shell(self, command: str, timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        return self._told(["/bin/sh", "-c", f"cd {HOME} 2>/dev/null || cd /\n{command}"], timeout_s=timeout_s)

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
        answer = self.reach(["/bin/cat", self._at(path)])
        if answer.code != 0:
            raise DeviceFailed(f"{path}: {_text(answer.err).strip() or f'cat ended with {answer.code}'}")
        return answer.out

    def _at(self, path: str) -> str:
        return path if path.startswith("/") else f"{HOME}/{path}"

    def checked(self, command: str, content: bytes = b"", timeout_s: float = COMMAND_LIMIT_S) -> str:
        """What a shell command says that must end well. Raises DeviceFailed where it does not."""
        ran = self._told(["/bin/sh", "-c", command], content, timeout_s)
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
                f"[Service]\nExecStart=\nExecStart={SERVICE} {path}\n"
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

    # -- the unit's own broker -----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def bus_address(self) -> str:
        """The address of the interface on which recipients come."""

    def first_boot(self, brought: str = "", timeout_s: float = 3 * COMMAND_LIMIT_S) -> str:
        """``appliance provision unit``, as a person at a new device would; what it said, as JSON. May be repeated.

        brought: a folder on the device. Raises: DeviceFailed, DeviceTimeout.
        """
        told = ["--from", brought] if brought else []
        words = [PROGRAM, "provision", "unit", self.unit, "--listen", self.bus_address, "--name", "localhost", *told]
        ran = self.shell(shlex.join([*words, "--json"]), timeout_s)
        if not ran.out.strip().startswith("{"):
            raise DeviceFailed(f"provisioning ended with {ran.code}: {ran.err.strip()[-400:]}")
        self.checked("systemctl daemon-reload; systemctl start edge-broker")
        return ran.out

    @property
    def bus(self) -> DeviceBus:
        folder = "/etc/edge-appliance/bus"
        return DeviceBus(
            host=self.bus_address,
            port=BUS_PORT,
            ca=f"{folder}/ca.pem",
            certificate=f"{folder}/{self.unit}.pem",
            key=f"{folder}/{self.unit}.key",
        )

    def bus_through(self, port: int) -> DeviceBus:  # noqa: ARG002 - the protocol names it
        raise CannotDo("the packet filter lets this unit speak to no broker but its own")

    def reader_tls(self, name: str) -> TlsFiles:
        there = f"/etc/mosquitto/recipients/{name}"
        here = self._folder / "readers" / name
        files = TlsFiles(ca=here / "ca.pem", certificate=here / f"{name}.pem", key=here / f"{name}.key")
        if not files.key.exists():
            self.checked(f"{_ENVIRONMENT} {PROGRAM} provision recipient {shlex.quote(name)}")
            for path in (files.ca, files.certificate, files.key):
                write_whole(path, self.fetch(f"{there}/{path.name}"), mode=0o600)
        return files

    # -- inside --------------------------------------------------------------------------------------------------

    def _told(self, argv: Sequence[str], content: bytes = b"", timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        answer = self.reach(argv, content, timeout_s)
        return Ran(code=answer.code, out=_text(answer.out), err=_text(answer.err))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")
