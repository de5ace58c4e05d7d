"""A real board on a desk: its power switch, its serial console and its shell, each a command of the rig's own choice.

A board file says how this bench reaches it. labgrid drives power switches, consoles and shells of many makers; its
client's words stand here as well as any others (``docs/rig.md`` has a file for either):

    schema = "edge-board/1"
    unit = "quay-01"
    power_on  = ["labgrid-client", "-p", "orin-3", "power", "on"]
    power_off = ["labgrid-client", "-p", "orin-3", "power", "off"]
    console   = ["labgrid-client", "-p", "orin-3", "console", "--loop"]
    shell     = ["ssh", "-F", "bench.ssh", "orin-3"]

``shell`` gets one more word, a command line for the board's ``sh``, as ssh passes it on; it must end with the
command's own code, add no word to its output, and end with 255 where the board was not reached, which are OpenSSH's
rules. (labgrid's own ``ssh`` writes lines of its own among a command's; its power and console are as good as any.)
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from appliance.errors import UsageError
from hil.devices.device import COMMAND_LIMIT_S, Address, CannotDo, DeviceFailed, DeviceTimeout
from hil.devices.machine import ANSWER_S, BUS_PORT, Answer, Machine

SWITCH_LIMIT_S: Final = 30.0
"""A power switch on a network answers within seconds, or not at all."""
_UNREACHED: Final = 255
_TIMED_OUT: Final = 124  # what timeout(1) ends with
_FACTS: Final = "uname -srm; nproc --all; tr -d '\\0' < /proc/device-tree/model 2>/dev/null || true"

Words = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1, max_length=32)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class BoardFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a bench reaches one board. Addresses are as the device file of its image has them."""

    schema: Literal["edge-board/1"]
    unit: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    power_on: Words
    power_off: Words
    shell: Words
    sensors_address: str
    """The board's address where feeds come in."""
    bus_address: str
    """The board's address where recipients come."""
    rig_address: str
    """The rig's address on the sensors' link: its camera and AIS server are opened there."""
    console: Words | None = None
    camera_port: Port = 554
    lines_port: Port = 10110
    udp_ports: Annotated[tuple[Port, ...], Meta(min_length=4, max_length=16)] = (8600, 8601, 8602, 8603)


def read_board(path: Path) -> BoardFile:
    """Raises UsageError: what was expected and where."""
    try:
        board = msgspec.toml.decode(path.read_bytes(), type=BoardFile)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    except msgspec.MsgspecError as e:
        raise UsageError(f"{path}: {e}") from e
    for name in ("sensors_address", "bus_address", "rig_address"):
        try:
            ip_address(getattr(board, name))
        except ValueError as e:
            raise UsageError(f"{path}: {name}: expected an IP address; found {getattr(board, name)!r}") from e
    return board


class Board(Machine):
    """One board. The console is read for as long as it has power, into ``console.log`` of the folder."""

    def __init__(self, board: BoardFile, folder: Path) -> None:
        super().__init__(board.unit, folder)
        self._board = board
        self._powered = False
        self._console: subprocess.Popen[bytes] | None = None
        self._facts: dict[str, str] = {}

    @property
    def kind(self) -> str:
        return "board"

    @property
    def facts(self) -> Mapping[str, str]:
        return {"reached by": shlex.join(self._board.shell), **self._facts}

    # -- power ---------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        if self._powered:
            return
        self._listen()
        try:
            self._switch(self._board.power_on)
        except BaseException:
            self._hang_up()
            raise
        self._powered = True

    def power_off(self) -> None:
        """Takes it away also where the rig never gave it: a campaign begins with a board that is off."""
        self._hang_up()
        self._powered = False
        self._switch(self._board.power_off)

    @property
    def powered(self) -> bool:
        return self._powered

    def booted(self) -> bool:
        if not super().booted():
            return False
        if not self._facts:
            if (echo := self.reach(["printf", "ready"]).out) != b"ready":
                raise DeviceFailed(
                    f"{shlex.join(self._board.shell)}: expected a command's output alone; found {echo!r}"
                )
            system, cores, *model = self.checked(_FACTS).splitlines()
            self._facts = {"system": system, "cores": cores, **({"model": model[0]} if model else {})}
        return True

    def _listen(self) -> None:
        """Before it has power: the first words of a boot are the ones that are wanted when it fails."""
        if self._board.console is not None:
            try:
                with (self._folder / "console.log").open("ab") as log:
                    self._console = subprocess.Popen(
                        self._board.console, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                    )
            except OSError as e:
                raise CannotDo(f"{self._board.console[0]}: {e.strerror}") from e

    def _hang_up(self) -> None:
        if self._console is not None:
            self._console.kill()
            self._console.wait()
            self._console = None

    def _switch(self, words: Sequence[str]) -> None:
        done = _ran(words, b"", SWITCH_LIMIT_S)
        if done.code != 0:
            said = done.err.decode("utf-8", errors="replace").strip()[-300:]
            raise DeviceFailed(f"{shlex.join(words)}: ended with {done.code}: {said}")

    # -- hands ---------------------------------------------------------------------------------------------------

    def reach(self, argv: Sequence[str], content: bytes = b"", timeout_s: float = COMMAND_LIMIT_S) -> Answer:
        if not self._powered:
            raise DeviceFailed("the board is off")
        line = shlex.join(["timeout", "--kill-after=1", f"{timeout_s:.3f}", *argv])
        answer = _ran([*self._board.shell, line], content, timeout_s + ANSWER_S)
        if answer.code == _TIMED_OUT:
            raise DeviceTimeout(f"{' '.join(argv)[:80]}: not done within {timeout_s:.0f} s")
        if answer.code == _UNREACHED:
            said = answer.err.decode("utf-8", errors="replace").strip()[-300:]
            raise DeviceFailed(f"{shlex.join(self._board.shell)}: the board was not reached: {said}")
        return answer

    # -- where things are ----------------------------------------------------------------------------------------

    @property
    def serve_at(self) -> tuple[Address, Address]:
        at = self._board.rig_address
        return (at, self._board.camera_port), (at, self._board.lines_port)

    def seen_at(self, bound: Address) -> Address:
        return bound

    @property
    def udp_ports(self) -> tuple[int, ...]:
        return self._board.udp_ports

    def udp_at(self, port: int) -> Address:
        if port not in self._board.udp_ports:
            raise CannotDo(f"expected a UDP port of the board file ({self._board.udp_ports}); found {port}")
        return self._board.sensors_address, port

    @property
    def udp_bind(self) -> str:
        return self._board.sensors_address

    @property
    def bus_address(self) -> str:
        return self._board.bus_address

    @property
    def bus_url(self) -> str:
        return f"mqtts://{self._board.bus_address}:{BUS_PORT}"


def _ran(words: Sequence[str], content: bytes, limit_s: float) -> Answer:
    """Raises DeviceTimeout; CannotDo where there is no such program on the rig."""
    try:
        done = subprocess.run(words, input=content, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as e:
        raise DeviceTimeout(f"{shlex.join(words)[:120]}: no answer within {limit_s:.0f} s") from e
    except OSError as e:
        raise CannotDo(f"{words[0]}: {e.strerror}") from e
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)
