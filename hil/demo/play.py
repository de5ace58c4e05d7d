"""The run itself: broker, listener, daemon; then the scene in real time; then all that was opened.

The broker is the product's embedded one, run here rather than inside the daemon, and the listener is subscribed before
the daemon starts: so every sealed result of the epoch can be counted to its opening.

The daemon plays the film from the moment its decoder is up. When that was, it says itself: its first status tells
how many frames it took and when the last was captured. That moment is the scene's beginning for all other sensors.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TextIO

from appliance.bus.embedded import EmbeddedBroker
from appliance.errors import ApplianceError
from hil.demo.children import Child, child
from hil.demo.score import Opened, nanoseconds
from hil.demo.stage import Stage
from hil.scene.film import FRAMES_PER_S
from hil.scene.mission import CAMERA
from hil.scene.players import LOOPBACK, LineServer, Players, Sent, into
from hil.scene.world import Scene

SUBSCRIBED_S = 20.0
"""How long the listener and the daemon may each take to be ready, on a loaded machine."""
FIRST_FRAME_S = 60.0
"""On a fresh installation the daemon compiles its arithmetic first."""
AFTER_S = 35.0
"""How long the daemon may take to end in order after the film has ended."""
OPENED = "opened.jsonl"
"""In the demo's folder: every result as the listener opened it."""
_FRAME_NS = 1_000_000_000 // FRAMES_PER_S


class DemoFailed(ApplianceError):
    """The demo cannot go on: a child ended, or was not ready in time."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What happened: the scene as it was played, what was opened, what the daemon counted, what was sent."""

    scene: Scene
    opened: tuple[Opened, ...]
    summary: Mapping[str, Any]
    sent: Sent
    faults: tuple[str, ...]


class Listener:
    """What the listener has printed so far; every line goes to ``kept`` as well."""

    def __init__(self, kept: TextIO) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._opened: list[Opened] = []
        self.odd: list[str] = []

    def hear(self, line: str, at_ns: int) -> None:
        self._kept.write(line + "\n")
        try:
            body = json.loads(line)
        except ValueError:
            body = None
        with self._lock:
            if isinstance(body, dict) and "schema" in body:
                opened_ns = nanoseconds(body["opened"]) if "opened" in body else at_ns
                self._opened.append(Opened(opened_ns=opened_ns, body=body))
            elif line.strip():
                self.odd.append(line[:200])

    def opened(self) -> tuple[Opened, ...]:
        with self._lock:
            return tuple(self._opened)

    def begun_ns(self) -> int | None:
        """When the film's first frame was captured, as far as any status tells."""
        for message in self.opened():
            if message.schema.startswith("edge/status/"):
                for feed in message.body["feeds"]:
                    if feed["name"] == CAMERA and feed["received"] and feed["last_item_ns"] is not None:
                        return int(feed["last_item_ns"]) - (int(feed["received"]) - 1) * _FRAME_NS
        return None


def play(
    stage: Stage,
    broker: EmbeddedBroker,
    lines: LineServer,
    scene: Scene,
    *,
    duration_s: float,
    told: Callable[[float], None],
) -> Run:
    """Play the scene at the appliance and collect. ``told(seconds)`` is called as the scene goes on."""
    said = _Output()
    with ExitStack() as house:
        listener = Listener(house.enter_context((stage.folder / OPENED).open("w", encoding="utf-8")))
        radar_at, gnss_at = (LOOPBACK, stage.radar_port), (LOOPBACK, stage.gnss_port)
        players = house.enter_context(Players(duration_s, into(stage.inbox), lines, radar_at, gnss_at))
        listening = house.enter_context(
            child("listen", _listen_arguments(stage, broker.url), stage.folder / "listen.log", listener.hear)
        )
        _wait(lambda: listening.said("listening on "), SUBSCRIBED_S, "subscribed", listening)
        daemon = house.enter_context(
            child("run", ["run", str(stage.mission), "--until-end", "--json"], stage.folder / "run.log", said.hear)
        )
        _wait(lambda: listener.begun_ns() is not None, FIRST_FRAME_S, "playing the film", daemon, listening)
        begun_ns = listener.begun_ns()
        started = scene.started(begun_ns if begun_ns is not None else time.time_ns())
        players.start(started)
        _watch(started, duration_s, told, daemon, listening)
        if daemon.wait(AFTER_S) is None:
            raise DemoFailed(f"the daemon has not ended {AFTER_S:.0f} s after the film\n{daemon.last_words()}")
        summary = said.summary(daemon)
        _settle(listener, int(summary["sealed"]))
        listening.interrupt()
        listening.wait(AFTER_S)
        faults = (*players.faults(), *(f"listener said: {line}" for line in listener.odd))
    return Run(scene=started, opened=listener.opened(), summary=summary, sent=players.sent, faults=faults)


def _listen_arguments(stage: Stage, url: str) -> list[str]:
    return [
        "listen", "--identity", str(stage.listener_identity), "--trust", str(stage.device_public),
        "--bus", url, "--state", str(stage.listener_state), "--json",
    ]  # fmt: skip


class _Output:
    """The one JSON object that the daemon ends with."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def hear(self, line: str, _: int) -> None:
        self._lines.append(line)

    def summary(self, daemon: Child) -> Mapping[str, Any]:
        for line in reversed(self._lines):
            try:
                body = json.loads(line)
            except ValueError:
                continue
            if isinstance(body, dict) and "sealed" in body:
                return body
        raise DemoFailed(f"the daemon ended with {daemon.exit_code} and no summary\n{daemon.last_words()}")


def _wait(ready: Callable[[], bool], timeout_s: float, what: str, *children: Child) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        for one in children:
            if one.exit_code is not None:
                raise DemoFailed(
                    f"`appliance {one.name}` ended with {one.exit_code} before it was {what}\n{one.last_words()}"
                )
        if time.monotonic() > deadline:
            words = "\n".join(one.last_words() for one in children)
            raise DemoFailed(f"`appliance {children[0].name}` was not {what} within {timeout_s:.0f} s\n{words}")
        time.sleep(0.05)


def _watch(scene: Scene, duration_s: float, told: Callable[[float], None], daemon: Child, listening: Child) -> None:
    """Wait while the scene plays; a child that ends early ends the demo."""
    while (played_s := (time.time_ns() - scene.start_ns) / 1e9) < duration_s:
        told(played_s)
        if listening.exit_code is not None:
            raise DemoFailed(f"`appliance listen` ended with {listening.exit_code}\n{listening.last_words()}")
        if daemon.exit_code is not None:
            if daemon.exit_code != 0:
                raise DemoFailed(f"`appliance run` ended with {daemon.exit_code}\n{daemon.last_words()}")
            break
        time.sleep(0.1)
    told(duration_s)


def _settle(listener: Listener, sealed: int) -> None:
    """Give what is on its way a moment to arrive."""
    deadline = time.monotonic() + 5.0
    while len(listener.opened()) < sealed and time.monotonic() < deadline:
        time.sleep(0.05)
