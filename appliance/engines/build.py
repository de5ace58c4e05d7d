"""A build as its parent sees it: one child process, its progress, its limits, its end.

    start child ─ send order ─ read steps ─ (cancel | limits) ─ done ─ plan from memory

The verified network goes to the child through memory, not by a name that could come to mean another file; the plan
comes back the same way. Rules: ``cancel`` ends a build within about a second, kindly first; a child that dies, whatever
killed it, is ``EngineUnavailable`` and says how; nothing of it stays behind.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from appliance.engines.builder import BuildCancelled
from appliance.engines.child import Done, Order, Step
from appliance.engines.nvidia import Flavour
from appliance.engines.profiles import Profile
from appliance.engines.progress import Progress, paced
from appliance.errors import EngineUnavailable

GIB: Final = 1024**3
DEFAULT_WORKSPACE_BYTES: Final = GIB
#: A large detector takes twenty minutes on a small Jetson.
DEFAULT_TIME_S: Final = 3600.0
_SHARE_OF_MEMORY: Final = 0.75
"""Of the machine's memory: the lanes and the desktop need the rest, and swapping helps nobody."""
MAX_PLAN_BYTES: Final = 4 * GIB
_POLL_S: Final = 0.2
_KILL_AFTER_S: Final = 1.0
_MAX_LINE_BYTES: Final = 64 * 1024
_MAX_TAIL_BYTES: Final = 2_000
#: A child says something every second; this long without a word means that it hangs with the interpreter's lock held.
_SILENT_S: Final = 120.0

Tell = Callable[[Progress], None]
Message = Step | Done


def most_of_memory() -> int:
    """What a build may take where nobody says: three quarters of this machine's memory, in bytes."""
    return int(_SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a build may take before it is ended. ``memory_bytes`` is resident memory of the child."""

    time_s: float = DEFAULT_TIME_S
    memory_bytes: int = field(default_factory=most_of_memory)
    workspace_bytes: int = DEFAULT_WORKSPACE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan just built: executable code, in the clear, for this process alone."""

    data: bytes
    version: str
    warnings: tuple[str, ...]
    seconds: float


class Build:
    """One build. ``run`` blocks; ``cancel`` is for any thread or signal handler."""

    def __init__(
        self,
        onnx: bytes,
        profiles: Sequence[Profile],
        flavour: Flavour,
        *,
        limits: Limits | None = None,
        timing_cache: Path | None = None,
        command: Sequence[str] = (sys.executable, "-m", "appliance.engines.child"),
    ) -> None:
        """``command`` starts the child; tests give others, to see what becomes of a child that misbehaves."""
        self._onnx = onnx
        self._profiles = profiles
        self._flavour: Flavour = flavour
        self._limits = limits or Limits()
        self._cache = timing_cache
        self._command = tuple(command)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the build to stop; ``run`` then raises ``BuildCancelled`` within about a second."""
        self._cancelled.set()

    def run(self, tell: Tell) -> Plan:
        """Build, telling progress at least each second. Raises ``EngineUnavailable``, ``BuildCancelled``."""
        started_s = time.monotonic()
        onnx_fd, plan_fd = os.memfd_create("onnx"), os.memfd_create("plan")
        try:
            _fill(onnx_fd, self._onnx)
            child = self._start(onnx_fd, plan_fd)
            try:
                done = _Watch(child, self._limits, self._cancelled, tell, started_s).until_done()
            finally:
                _end(child)
            plan = self._taken(done, plan_fd, time.monotonic() - started_s)
            tell(paced(1.0, "done", plan.seconds))
            return plan
        finally:
            os.close(onnx_fd)
            os.close(plan_fd)

    def _start(self, onnx_fd: int, plan_fd: int) -> subprocess.Popen[bytes]:
        order = Order(
            flavour=self._flavour,
            onnx_fd=onnx_fd,
            plan_fd=plan_fd,
            profiles=tuple(dict(profile) for profile in self._profiles),
            workspace_bytes=self._limits.workspace_bytes,
            cache=str(self._cache) if self._cache else "",
        )
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(onnx_fd, plan_fd),
            start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on
        )
        assert child.stdin is not None
        with contextlib.suppress(OSError):  # it died at once; the watch finds out how
            child.stdin.write(msgspec.json.encode(order) + b"\n")
            child.stdin.flush()
        return child

    def _taken(self, done: Done, plan_fd: int, seconds: float) -> Plan:
        if done.outcome == "cancelled":
            raise BuildCancelled("the build was cancelled")
        if done.outcome != "built":
            raise EngineUnavailable(done.says or "the build failed without a reason")
        size = os.fstat(plan_fd).st_size
        if not 0 < size == done.plan_bytes <= MAX_PLAN_BYTES:
            raise EngineUnavailable(f"expected a plan of {done.plan_bytes} bytes from the build; found {size}")
        return Plan(data=_pour(plan_fd, size), version=done.version, warnings=done.warnings, seconds=seconds)


class _Watch:
    """Reads a child's lines until it is done, cancelled, over a limit or dead."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        limits: Limits,
        cancelled: threading.Event,
        tell: Tell,
        started_s: float,
    ) -> None:
        self._child = child
        self._limits = limits
        self._cancelled = cancelled
        self._tell = tell
        self._started_s = self._heard_s = started_s
        self._fraction = 0.0
        self._buffer = b""
        self._errors = b""
        self._asked_s: float | None = None
        self._why: EngineUnavailable | None = None
        self._done: Done | None = None

    def until_done(self) -> Done:
        with selectors.DefaultSelector() as selector:
            for pipe in (self._child.stdout, self._child.stderr):
                assert pipe is not None
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map() and self._done is None:
                for key, _ in selector.select(_POLL_S):
                    data = os.read(key.fd, _MAX_LINE_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is self._child.stdout:
                        self._take(data)
                    else:
                        self._errors = (self._errors + data)[-_MAX_TAIL_BYTES:]
                self._check(time.monotonic())
        if self._why is not None:
            raise self._why
        return self._done if self._done is not None else self._died()

    def _take(self, data: bytes) -> None:
        self._heard_s = time.monotonic()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _MAX_LINE_BYTES:
            self._stop(EngineUnavailable("the build said something that is no progress"))
        for line in lines:
            try:
                message = msgspec.json.decode(line, type=Message)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._stop(EngineUnavailable(f"the build said something that is no progress: {line[:80]!r}"))
                return
            if isinstance(message, Done):
                self._done = message
            else:
                self._advance(message)

    def _advance(self, step: Step) -> None:
        """One fraction that only rises, whatever the child says."""
        self._fraction = max(self._fraction, min(step.fraction, 1.0))
        self._tell(paced(self._fraction, step.phase, time.monotonic() - self._started_s))

    def _check(self, now_s: float) -> None:
        if self._asked_s is not None:
            if now_s - self._asked_s > _KILL_AFTER_S:
                self._child.kill()
            return
        if self._cancelled.is_set():
            self._stop(BuildCancelled("the build was cancelled"))
        elif now_s - self._started_s > self._limits.time_s:
            self._stop(EngineUnavailable(f"the build took longer than its limit of {self._limits.time_s:.0f} s"))
        elif now_s - self._heard_s > _SILENT_S:
            self._stop(EngineUnavailable(f"the build has said nothing for {_SILENT_S:.0f} s"))
        elif (taken := _resident_bytes(self._child.pid)) > self._limits.memory_bytes:
            limit = self._limits.memory_bytes // 1024**2
            self._stop(EngineUnavailable(f"the build took {taken // 1024**2} MiB of memory; its limit is {limit} MiB"))

    def _stop(self, why: EngineUnavailable) -> None:
        """Close the child's input, which asks it to stop; it is killed if it does not."""
        self._why = self._why or why
        self._asked_s = self._asked_s or time.monotonic()
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # already gone
            self._child.stdin.close()

    def _died(self) -> Done:
        code = self._child.wait()
        last = self._errors.decode(errors="replace").strip().splitlines()
        tail = f": {last[-1][:300]}" if last else ""
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            how += " (the library crashed)" if -code in {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS} else ""
            how += " (out of memory, or by hand)" if -code == signal.SIGKILL else ""
        else:
            how = f"ended with {code} before it was done"
        raise EngineUnavailable(f"the build process {how}{tail}")


def _end(child: subprocess.Popen[bytes]) -> None:
    """However a build ended, its process is gone when this returns."""
    if child.poll() is None:
        try:
            child.wait(0.2)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # unsent bytes for a reader that has gone
                pipe.close()


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process; address space says nothing, because CUDA reserves terabytes of it."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _fill(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)


def _pour(descriptor: int, size: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read(size)
