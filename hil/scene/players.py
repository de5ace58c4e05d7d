"""Plays a scene at an appliance in real time: radar over UDP, AIS over TCP, GNSS over UDP, reports into a folder.

Loopback only. Each player is a thread with a list of (time, act) that it works off; what is late is sent at once, in
order. The film is not played here: the appliance reads it as a file with a start time.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from hil.scene import ais, gnss, radar
from hil.scene.asterix import datagram
from hil.scene.words import Spoken, spoken
from hil.scene.world import Scene

LOOPBACK = "127.0.0.1"

Cue = tuple[int, Callable[[], None]]
"""When (nanoseconds since 1970, UTC), and what to do then."""


def free_udp_port() -> int:
    """A UDP port that nobody uses at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Player:
    """One thread that does what its cues say, when they say it."""

    def __init__(self, name: str, cues: Iterable[Cue]) -> None:
        self._cues = sorted(cues, key=lambda cue: cue[0])
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._play, name=f"player-{name}", daemon=True)
        self.played = 0
        self.failed: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _play(self) -> None:
        for due_ns, act in self._cues:
            if self._stopped.wait(max(0.0, (due_ns - time.time_ns()) / 1e9)):
                return
            try:
                act()
            except OSError as error:
                self.failed = str(error)
                return
            self.played += 1


class LineServer:
    """A TCP server on loopback that gives every line to all who are connected. Lines before the first caller wait."""

    MAX_KEPT = 10_000

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(0.2)
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._callers: list[socket.socket] = []
        self._kept: list[bytes] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._welcome, name="player-lines", daemon=True)
        self._thread.start()

    def send(self, line: str) -> None:
        raw = line.encode("ascii") + b"\r\n"
        with self._lock:
            if not self._callers:
                self._kept = [*self._kept[-self.MAX_KEPT :], raw]
                return
            for caller in list(self._callers):
                self._give(caller, raw)

    def close(self) -> None:
        self._closed.set()
        self._thread.join(2.0)
        self._listener.close()
        with self._lock:
            for caller in self._callers:
                caller.close()
            self._callers.clear()

    def _give(self, caller: socket.socket, raw: bytes) -> None:
        try:
            caller.sendall(raw)
        except OSError:  # hung up
            self._callers.remove(caller)
            caller.close()

    def _welcome(self) -> None:
        while not self._closed.is_set():
            try:
                caller, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:  # closed
                return
            caller.settimeout(2.0)
            with self._lock:
                self._callers.append(caller)
                kept, self._kept = self._kept, []
                for raw in kept:
                    if caller in self._callers:
                        self._give(caller, raw)


@dataclass(slots=True)
class Sent:
    """What went out, by kind, as it went out."""

    radar_plots: int = 0
    radar_datagrams: int = 0
    ais_sentences: int = 0
    ais_positions: dict[int, int] = field(default_factory=dict)
    gnss_sentences: int = 0
    reports: list[str] = field(default_factory=list)


class Players:
    """All players of one scene. Use as a context; ``start`` when the appliance is up, ``wait`` until all is played."""

    def __init__(self, duration_s: float, inbox: Path, lines: LineServer, radar_port: int, gnss_port: int) -> None:
        self._duration_s, self._inbox, self._lines = duration_s, inbox, lines
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._radar_at, self._gnss_at = (LOOPBACK, radar_port), (LOOPBACK, gnss_port)
        self.sent = Sent()
        self._players: list[Player] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for player in self._players:
            player.stop()
        self._udp.close()

    def start(self, scene: Scene) -> None:
        """Begin. What the scene had to say before this moment was said to nobody: it is left out."""
        now_ns = time.time_ns()
        for name, cues in (
            ("radar", self._radar(scene)),
            ("ais", self._ais(scene)),
            ("gnss", self._gnss(scene)),
            ("reports", self._reports(scene)),
        ):
            player = Player(name, [cue for cue in cues if cue[0] >= now_ns])
            self._players.append(player)
            player.start()

    def wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for player in self._players:
            player.join(max(0.0, deadline - time.monotonic()))

    def faults(self) -> list[str]:
        """Why players stopped early; empty where none did."""
        return [player.failed for player in self._players if player.failed is not None]

    def _radar(self, scene: Scene) -> list[Cue]:
        return [
            (plots[-1].observed_ns, self._datagram(datagram(plots), len(plots)))
            for plots in radar.turns(scene, self._duration_s)
        ]

    def _datagram(self, raw: bytes, plots: int) -> Callable[[], None]:
        def act() -> None:
            self._udp.sendto(raw, self._radar_at)
            self.sent.radar_plots += plots
            self.sent.radar_datagrams += 1

        return act

    def _ais(self, scene: Scene) -> list[Cue]:
        return [(scene.time_ns(one.time_s), self._transmit(one)) for one in ais.transmissions(scene, self._duration_s)]

    def _transmit(self, one: ais.Transmission) -> Callable[[], None]:
        def act() -> None:
            for sentence in one.sentences:
                self._lines.send(sentence)
            self.sent.ais_sentences += len(one.sentences)
            if one.position:
                self.sent.ais_positions[one.mmsi] = self.sent.ais_positions.get(one.mmsi, 0) + 1

        return act

    def _gnss(self, scene: Scene) -> list[Cue]:
        return [(scene.time_ns(time_s), self._fix(pair)) for time_s, pair in gnss.sentences(scene, self._duration_s)]

    def _fix(self, pair: tuple[str, str]) -> Callable[[], None]:
        def act() -> None:
            self._udp.sendto("".join(f"{line}\r\n" for line in pair).encode("ascii"), self._gnss_at)
            self.sent.gnss_sentences += len(pair)

        return act

    def _reports(self, scene: Scene) -> list[Cue]:
        return [
            (scene.time_ns(one.time_s), self._drop(one, scene.time_ns(one.time_s)))
            for one in spoken(scene, self._duration_s)
        ]

    def _drop(self, one: Spoken, time_ns: int) -> Callable[[], None]:
        def act() -> None:
            self.sent.reports.append(drop_report(self._inbox, one, time_ns))

        return act


def drop_report(inbox: Path, one: Spoken, time_ns: int) -> str:
    """Leave a report in an inbox folder, whole: written under a dot, then renamed. Returns its file name."""
    document = {
        "id": one.report_id,
        "author": one.author,
        "grade": one.grade,
        "time": datetime.fromtimestamp(time_ns / 1e9, tz=UTC).isoformat(timespec="milliseconds"),
        "text": one.text,
    }
    name = f"{one.report_id}.json"
    hidden = inbox / f".{name}"
    hidden.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    hidden.rename(inbox / name)
    return name
