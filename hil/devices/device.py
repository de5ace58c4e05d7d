"""What the rig asks of a device under test, whatever it is made of: processes, a virtual machine, a board on a desk.

    off ── power_on ──▶ (boots) ── booted() ──▶ start(mission) ──▶ running
     ◀──────────────────── power_off: hard, at any moment ─────────────┘

Rules for those who write one:

- Paths are relative to the device's *home*: a folder in which the rig may write, in which commands begin, and which
  outlives a power cut as the device's disk does. It is where the mission, identities and the state lie.
- Every call that waits has a limit and raises ``DeviceTimeout`` when it is over; what the device cannot do at all
  raises ``CannotDo``, and the campaign says so instead of passing.
- The daemon is a service: once started it is started again when it dies, and after every boot, until ``stop``. That is
  what the unit file does in the field; a device without a service manager does it itself.
- ``power_off`` flushes nothing and asks nobody.
- Nothing here is called from two threads at once, but ``shell``, which the sampler calls beside the rest, and
  ``power_off``, which may come while a command runs: that ends with ``DeviceFailed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from appliance.bus import TlsFiles
from appliance.errors import ApplianceError

Address = tuple[str, int]
"""Host and port."""
Part = Literal["daemon", "broker"]
"""A service of the device: the appliance itself, or the Mosquitto that stands beside it."""

BOOT_LIMIT_S = 180.0
BOOT_LOOK_S = 0.5
"""From one look whether a device has booted to the next: each takes a small device's processor from its start."""
COMMAND_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0


class DeviceFailed(ApplianceError):
    """The device does not do what a device must; the trial ends as ERROR."""

    exit_code = 4


class DeviceTimeout(DeviceFailed):
    """The device did not do it in time; the trial ends as TIMEOUT."""


class CannotDo(ApplianceError):
    """This kind of device has no way to do it (no power switch, no root, no such tool); the trial is not run."""

    exit_code = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command on the device ended, and what it said (UTF-8, replaced where it is not)."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBus:
    """The unit's broker from the device's own side: the lines of the mission's ``[bus]``; paths are the device's."""

    host: str
    port: int
    ca: str
    certificate: str
    key: str


@runtime_checkable
class Device(Protocol):
    """One device under test."""

    @property
    def kind(self) -> str:
        """``local``, ``qemu-amd64``, …: stands in reports, and chooses budgets where those differ by kind."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What a reader of the report wants to know: machine, kernel, cores, memory, version. May be asked when off."""
        ...

    # -- power ---------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Give it power; returns at once. On a device that has power already this does nothing."""
        ...

    def power_off(self) -> None:
        """Take its power away, hard. After this nothing of it runs. On one that is off this does nothing."""
        ...

    def booted(self) -> bool:
        """Whether ``shell`` answers and the broker is up. Asked again and again; must not take longer than 5 s."""
        ...

    def first_boot(self) -> object:
        """What a booted device needs once, before anything is put on it: its own broker. May be asked again.

        Raises: DeviceFailed, DeviceTimeout.
        """
        ...

    # -- hands ---------------------------------------------------------------------------------------------------

    def shell(self, command: str, timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        """Run a POSIX shell command in the home, as root where there is one. Raises DeviceTimeout, DeviceFailed."""
        ...

    def appliance(self, *arguments: str, timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        """Run ``appliance ARGUMENTS`` in the home as the appliance's own user. Raises as ``shell`` does."""
        ...

    def doctor_command(self) -> str:
        """A shell command, without single quotes, that runs ``appliance doctor MISSION --json`` in the home."""
        ...

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file below the home, whole (written aside, renamed); folders are made; owned by the appliance."""
        ...

    def fetch(self, path: str) -> bytes:
        """The content of a file below the home. Raises DeviceFailed where there is none."""
        ...

    # -- services ------------------------------------------------------------------------------------------------

    def start(self, mission: str) -> None:
        """Start the daemon with a mission file below the home, now and after each boot, and again when it dies."""
        ...

    def stop(self, timeout_s: float = STOP_LIMIT_S) -> int:
        """End the daemon in order (SIGTERM) and leave it off; its exit code. Raises DeviceTimeout."""
        ...

    def pid(self, part: Part) -> int | None:
        """The main process of a service on the device, None where it does not run now."""
        ...

    def kill(self, part: Part) -> None:
        """End a service with SIGKILL; the service manager starts it again. Does nothing where it does not run."""
        ...

    def hold(self, part: Part, *, held: bool) -> None:
        """While held, a service that has died is not started again (a broker that stays away)."""
        ...

    def step_clock(self, offset_s: float) -> None:
        """Set the clock so far from the rig's; 0 sets it right. Raises CannotDo."""
        ...

    def log(self, part: Part, lines: int = 40) -> str:
        """The end of what a service has said."""
        ...

    # -- where things are ----------------------------------------------------------------------------------------

    @property
    def serve_at(self) -> tuple[Address, Address]:
        """Where the rig opens its TCP servers for this device: a camera, a server of lines. Port 0: any free one."""
        ...

    def seen_at(self, bound: Address) -> Address:
        """The address under which the device reaches a server that the rig has opened at ``bound``."""
        ...

    @property
    def udp_ports(self) -> tuple[int, ...]:
        """At least four UDP ports of the device that the mission may listen on and the rig can reach."""
        ...

    def udp_at(self, port: int) -> Address:
        """Where the rig sends datagrams that shall reach one of ``udp_ports``."""
        ...

    @property
    def udp_bind(self) -> str:
        """The address that the mission's ``udp://`` feeds listen on."""
        ...

    @property
    def unit(self) -> str:
        """The unit's name, which its broker's certificates bear."""
        ...

    @property
    def bus(self) -> DeviceBus:
        """For the mission. May be asked once booted."""
        ...

    def bus_through(self, port: int) -> DeviceBus:
        """The same, with a TCP proxy of the rig at ``port`` of the rig in between. Raises CannotDo."""
        ...

    @property
    def bus_url(self) -> str:
        """The broker's URL from the rig: ``mqtts://HOST:PORT``."""
        ...

    def reader_tls(self, name: str) -> TlsFiles:
        """Certificate files, on the rig's disk, of a recipient who is enrolled if not there yet."""
        ...
