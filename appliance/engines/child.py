"""The child that builds: reads one recipe, builds, tells progress, leaves the plan in the memory it was given.

Run as ``python -m appliance.engines.child`` by `build` alone. Standard input brings one line of JSON (``Order``);
its end means *stop*: whoever asked has cancelled, or is dead. Standard output carries lines of JSON (``Step``, then one
``Done``). The plan is written to a memory file that was passed open, so that it never lies in the clear on a disk.

Rules: a parser's crash, an endless build or a greedy one ends this process and no other. It is nice to the lanes, and
the kernel's choice when memory runs out.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from appliance.engines.builder import BuildCancelled, Listener, Recipe, build
from appliance.engines.nvidia import Flavour, tensorrt_module
from appliance.engines.profiles import ShapeRange
from appliance.engines.progress import Progress, ProgressTree
from appliance.errors import EngineUnavailable
from appliance.host.files import read_at_most, write_whole

MAX_ORDER_BYTES: Final = 1024 * 1024
MAX_CACHE_BYTES: Final = 256 * 1024 * 1024
#: How often progress is told at most, unless it has risen by so much; and how long it is silent at most.
TELL_EVERY_S: Final = 0.1
TELL_RISE: Final = 0.05
HEARTBEAT_S: Final = 0.25
#: After being asked to stop, how long the library may take to come to a step.
GRACE_S: Final = 0.8
NICENESS: Final = 10
_FIRST_TO_GO: Final = "1000"


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to build. File descriptors were passed open; ``cache`` is a path or empty."""

    flavour: Flavour
    onnx_fd: int
    plan_fd: int
    profiles: tuple[dict[str, ShapeRange], ...]
    workspace_bytes: int
    cache: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True, tag="step"):
    """How far it is."""

    fraction: float
    phase: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """How it ended: a plan of ``plan_bytes``, or ``failed`` with the reason, or ``cancelled``."""

    outcome: str
    says: str = ""
    plan_bytes: int = 0
    version: str = ""
    warnings: tuple[str, ...] = ()


class _Teller:
    """Writes progress lines, seldom and from any thread; a reader that has gone ends the build."""

    def __init__(self, out: BinaryIO, *, rtx: bool) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._tree = ProgressTree(time.monotonic(), rtx=rtx)
        self._due_s = self._told = 0.0
        self.gone = threading.Event()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._tree.start(name, parent, steps, time.monotonic())
        self.tell()

    def step(self, name: str, step: int) -> None:
        with self._lock:
            self._tree.step(name, step, time.monotonic())
        self.tell()

    def end(self, name: str) -> None:
        with self._lock:
            self._tree.end(name, time.monotonic())
        self.tell()

    def tell(self, *, now: bool = False) -> None:
        at_s = time.monotonic()
        with self._lock:
            progress = self._tree.at(at_s)
            if at_s < self._due_s and progress.fraction < self._told + TELL_RISE and not now:
                return
            self._due_s, self._told = at_s + TELL_EVERY_S, progress.fraction
            self._write(_step(progress))

    def done(self, done: Done) -> None:
        with self._lock:
            self._write(done)

    def _write(self, message: Step | Done) -> None:
        try:
            self._out.write(msgspec.json.encode(message) + b"\n")
            self._out.flush()
        except OSError:
            self.gone.set()


def _step(progress: Progress) -> Step:
    return Step(fraction=progress.fraction, phase=progress.phase)


def main() -> None:
    """Build as ordered; says how it ended and returns."""
    warnings.simplefilter("ignore")  # RTX calls its timing cache deprecated at every use
    _step_back()
    out = _only_our_output()
    order = msgspec.json.decode(sys.stdin.buffer.readline(MAX_ORDER_BYTES), type=Order)
    teller = _Teller(out, rtx=order.flavour == "tensorrt-rtx")
    threading.Thread(target=_watch_input, args=(teller,), daemon=True).start()
    threading.Thread(target=_beat, args=(teller,), daemon=True).start()
    teller.done(_build(order, teller))


def _build(order: Order, teller: _Teller) -> Done:
    cache = Path(order.cache) if order.cache else None
    try:
        trt = tensorrt_module(order.flavour)
        recipe = Recipe(
            onnx=_read_all(order.onnx_fd),
            profiles=order.profiles,
            workspace_bytes=order.workspace_bytes,
            timing_cache=_read_cache(cache),
        )
        listener = Listener(
            start=teller.start, step=teller.step, end=teller.end, go_on=lambda: not teller.gone.is_set()
        )
        built = build(trt, recipe, listener, lambda blob: _keep_cache(cache, blob))
        _write_all(order.plan_fd, built.plan)
    except BuildCancelled as e:
        return Done(outcome="cancelled", says=str(e))
    except EngineUnavailable as e:
        return Done(outcome="failed", says=str(e))
    except (MemoryError, OSError) as e:
        return Done(outcome="failed", says=f"the build ran out: {type(e).__name__}: {e}")
    return Done(outcome="built", plan_bytes=len(built.plan), version=trt.__version__, warnings=built.said)


def _watch_input(teller: _Teller) -> None:
    """Nothing more is said to us; the end of input asks us to stop, first kindly."""
    while os.read(0, 4096):
        pass
    teller.gone.set()
    time.sleep(GRACE_S)
    os._exit(1)


def _beat(teller: _Teller) -> None:
    """TensorRT can be in one step for minutes: the reader must know that we live."""
    while True:
        time.sleep(HEARTBEAT_S)
        teller.tell(now=True)


def _only_our_output() -> BinaryIO:
    """Standard output is ours alone: what a library prints goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "wb")


def _step_back() -> None:
    """The lanes go first, and this process is the first to go where memory ends."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _write_all(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _read_cache(path: Path | None) -> bytes:
    """What earlier builds measured; a cache that cannot be read costs time, never the build."""
    if path is None:
        return b""
    try:
        blob = read_at_most(path, MAX_CACHE_BYTES)
    except OSError:
        return b""
    return blob if len(blob) <= MAX_CACHE_BYTES else b""


def _keep_cache(path: Path | None, blob: bytes) -> None:
    if path is not None and 0 < len(blob) <= MAX_CACHE_BYTES:
        with contextlib.suppress(OSError):
            write_whole(path, blob, mode=0o600)


if __name__ == "__main__":
    main()
