"""A device made of processes of this machine: a provisioned Mosquitto over mutual TLS, and the daemon, in one folder.

A power cut is SIGKILL to every process group at once. What the kernel has taken but not yet written to the disk
survives it, unlike in the field; a virtual machine cuts for real.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.bus import TlsFiles
from appliance.host.files import write_whole
from appliance.provision import BrokerSettings, enrol, read_provisioned
from hil.devices.device import (
    COMMAND_LIMIT_S,
    STOP_LIMIT_S,
    Address,
    CannotDo,
    DeviceBus,
    DeviceFailed,
    DeviceTimeout,
    Part,
    Ran,
)
from hil.scene.players import LOOPBACK, free_udp_port

APPLIANCE = (sys.executable, "-m", "appliance")
CLOCK_FILE = "clock-offset"
REPOSITORY = Path(__file__).resolve().parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
RESTART_S = 1.0
"""As ``RestartSec`` of the unit file."""
_LOOK_S = 0.1
_SBIN = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


class Service:
    """One program that is started again when it dies, as a service manager would."""

    def __init__(self, command: Sequence[str], home: Path, log: Path, env: Mapping[str, str]) -> None:
        self.command, self._home, self.log_path, self._env = tuple(command), home, log, dict(env)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted, self._held, self._died_s = False, False, 0.0
        self._thread = threading.Thread(target=self._watch, name=f"service-{log.stem}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        with self._lock:
            return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        with self._lock:
            self._wanted = True
            self._spawn()

    def hold(self, *, held: bool) -> None:
        with self._lock:
            self._held = held

    def kill(self, *, for_good: bool) -> None:
        """SIGKILL to the whole group."""
        with self._lock:
            self._wanted = self._wanted and not for_good
            if self._process is not None:
                _kill_group(self._process)
                self._process.wait(10)
                self._died_s = time.monotonic()

    def end(self, timeout_s: float) -> int:
        """SIGTERM, and leave it off. Raises DeviceTimeout."""
        with self._lock:
            self._wanted = False
            process = self._process
            if process is None:
                raise DeviceFailed(f"{self.log_path.stem} was not started")
            process.terminate()
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired as e:
            raise DeviceTimeout(f"{self.log_path.stem} has not ended {timeout_s:.0f} s after SIGTERM") from e

    def _spawn(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=self._home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self._env}, start_new_session=True,
            )  # fmt: skip

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            with self._lock:
                gone = self._process is not None and self._process.poll() is not None
                if not gone:
                    self._died_s = 0.0
                    continue
                self._died_s = self._died_s or time.monotonic()
                if self._wanted and not self._held and time.monotonic() - self._died_s >= RESTART_S:
                    self._spawn()


class LocalDevice:
    """See ``Device``. ``program`` is what is started as ``appliance``; ``env`` is added to the daemon's environment."""

    kind = "local"
    serve_at = ((LOOPBACK, 0), (LOOPBACK, 0))
    udp_bind = LOOPBACK

    def __init__(
        self, folder: Path, unit: str, *, program: Sequence[str] = APPLIANCE, env: Mapping[str, str] | None = None
    ) -> None:
        self.unit = unit
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self._program = tuple(program)
        self._env = {**ONE_THREAD, "PYTHONPATH": str(REPOSITORY), **(env or {})}
        self._broker_folder = folder / "broker"
        self._settings = _broker_settings(self._broker_folder)
        self.udp_ports = tuple(free_udp_port() for _ in range(4))
        self._broker = Service(_broker_command(self._broker_folder), self.home, folder / "broker.log", {})
        self._daemon: Service | None = None
        self._daemon_env: dict[str, str] = {}
        self._daemon_log = folder / "daemon.log"
        self._on = self._enabled = self._provisioned = False
        self._clock: Path | None = None
        self._commands: set[subprocess.Popen[bytes]] = set()
        """Those that run now; a power cut takes them as well."""

    def outfit(self, *, program: Sequence[str] = APPLIANCE, faked: bool = False) -> None:
        """Between two runs: another build of the appliance, and a clock that can be stepped. Raises CannotDo."""
        self._provisioned = self._provisioned and self._program == tuple(program)
        self._program, self._daemon, self._clock = tuple(program), None, None
        self._daemon_env = {}
        if faked:
            self._daemon_env = faked_clock(self.home)
            self._clock = self.home / CLOCK_FILE

    @property
    def facts(self) -> Mapping[str, str]:
        return machine_facts()

    # -- power ---------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        if self._on:
            return
        self._on = True
        if not self._provisioned:
            self._provision()
        self._broker.start()
        if self._daemon is not None and self._enabled:
            self._daemon.start()

    def power_off(self) -> None:
        for service in (self._daemon, self._broker):
            if service is not None:
                service.kill(for_good=True)
        self._on = False
        for command in tuple(self._commands):
            _kill_group(command)

    def _provision(self) -> None:
        """By the appliance's own command, so that a build that does it wrong is found out."""
        own = self._settings
        where = ("--listen", own.listen, "--port", str(own.port), "--out", str(self._broker_folder))
        how = ("--run-as", own.run_as, "--plugin", own.plugin)
        ran = self.appliance("provision", "broker", self.unit, *where, *how)
        if ran.code != 0:
            raise DeviceFailed(f"`appliance provision broker` ended with {ran.code}: {ran.err.strip()[-300:]}")
        self._provisioned = True

    def booted(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return self._on and probe.connect_ex((LOOPBACK, self._settings.port)) == 0

    def first_boot(self) -> None:
        """Its broker is made with its power: a folder of files costs nothing to look at again."""

    # -- hands ---------------------------------------------------------------------------------------------------

    def shell(self, command: str, timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        return self._run(("/bin/sh", "-c", command), timeout_s)

    def appliance(self, *arguments: str, timeout_s: float = COMMAND_LIMIT_S) -> Ran:
        return self._run((*self._program, *arguments), timeout_s)

    def doctor_command(self) -> str:
        return " ".join((*self._program, "doctor", "mission.toml", "--json"))

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content, mode=mode)

    def fetch(self, path: str) -> bytes:
        try:
            return (self.home / path).read_bytes()
        except OSError as e:
            raise DeviceFailed(f"{path}: {e.strerror}") from e

    def _run(self, command: Sequence[str], timeout_s: float) -> Ran:
        if not self._on:
            raise DeviceFailed("the device is off")
        with subprocess.Popen(
            command, cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **self._env}, start_new_session=True,
        ) as process:  # fmt: skip
            self._commands.add(process)
            try:
                said = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired as e:
                raise DeviceTimeout(f"{command[-1]!r} has not ended within {timeout_s:.0f} s") from e
            finally:
                self._commands.discard(process)
                _kill_group(process)
        if process.returncode == -signal.SIGKILL and not self._on:
            raise DeviceFailed("the power went")
        out, err = (raw.decode("utf-8", errors="replace") for raw in said)
        return Ran(code=process.returncode, out=out, err=err)

    # -- services ------------------------------------------------------------------------------------------------

    def start(self, mission: str) -> None:
        command = (*self._program, "run", mission, "--json")
        if self._daemon is None or self._daemon.command != command:
            self._daemon = Service(command, self.home, self._daemon_log, {**self._env, **self._daemon_env})
        self._enabled = True
        self._daemon.start()

    def stop(self, timeout_s: float = STOP_LIMIT_S) -> int:
        if self._daemon is None:
            raise DeviceFailed("the daemon was not started")
        self._enabled = False
        return self._daemon.end(timeout_s)

    def pid(self, part: Part) -> int | None:
        service = self._service(part)
        return service.pid if service is not None else None

    def kill(self, part: Part) -> None:
        service = self._service(part)
        if service is not None:
            service.kill(for_good=False)

    def hold(self, part: Part, *, held: bool) -> None:
        service = self._service(part)
        if service is not None:
            service.hold(held=held)

    def step_clock(self, offset_s: float) -> None:
        if self._clock is None:
            raise CannotDo("this trial's clock is not faked: a local device shares its clock with the rig")
        write_whole(self._clock, f"{offset_s:+.0f}s\n".encode())

    def log(self, part: Part, lines: int = 40) -> str:
        service = self._service(part)
        if service is None or not service.log_path.exists():
            return ""
        return "\n".join(service.log_path.read_text("utf-8", errors="replace").splitlines()[-lines:])

    def _service(self, part: Part) -> Service | None:
        return self._broker if part == "broker" else self._daemon

    # -- where things are ----------------------------------------------------------------------------------------

    def seen_at(self, bound: Address) -> Address:
        return bound

    def udp_at(self, port: int) -> Address:
        return LOOPBACK, port

    @property
    def bus(self) -> DeviceBus:
        return self.bus_through(self._settings.port)

    def bus_through(self, port: int) -> DeviceBus:
        tls = read_provisioned(self._broker_folder).tls(self.unit)
        return DeviceBus(
            host=LOOPBACK, port=port, ca=str(tls.ca), certificate=str(tls.certificate), key=str(tls.key)
        )  # fmt: skip

    @property
    def bus_url(self) -> str:
        return f"mqtts://{LOOPBACK}:{self._settings.port}"

    def reader_tls(self, name: str) -> TlsFiles:
        known = read_provisioned(self._broker_folder)
        return (known if name in known.record.members else enrol(self._broker_folder, name)).tls(name)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def machine_facts() -> dict[str, str]:
    """This machine, for the report."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.1f} GiB",
        "Python": platform.python_version(),
        "load of the last 15 minutes": f"{os.getloadavg()[2]:.1f}",
    }


def _broker_settings(folder: Path) -> BrokerSettings:
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if shutil.which("mosquitto", path=_SBIN) is None or plugin is None:
        raise CannotDo("Mosquitto or its dynamic-security plugin is not installed here")
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    user = "root" if os.geteuid() == 0 else "mosquitto"
    return BrokerSettings(listen=LOOPBACK, port=port, run_as=user, home=str(folder), plugin=str(plugin))


def _broker_command(folder: Path) -> tuple[str, ...]:
    return (shutil.which("mosquitto", path=_SBIN) or "mosquitto", "-c", str(folder / "mosquitto.conf"))


def faked_clock(home: Path) -> dict[str, str]:
    """The environment in which a process reads its clock from ``clock-offset`` in the home. Raises CannotDo."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise CannotDo("libfaketime is not installed here: the clock of a local device cannot be stepped")
    file = home / CLOCK_FILE
    file.write_text("+0s\n", encoding="ascii")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
