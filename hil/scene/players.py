"""Plays a scene at an appliance in real time: radar over UDP, AIS over TCP, GNSS over UDP, reports into a folder.

Loopback only. Each player is a thread with a list of (time, act) that it works off; what is late is sent at once, in
order. The film is not played here: the appliance reads it as a file with a start time.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from hil.scene import ais, gnss, radar
from hil.scene.asterix import RadarPlot, datagram
from hil.scene.wires import Wire
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


def callers(listener: socket.socket, closed: threading.Event) -> Iterator[socket.socket]:
    """Who calls, one after the other, until ``closed``: the listener's own time-out is how often that is looked at."""
    while not closed.is_set():
        try:
            caller, _ = listener.accept()
        except TimeoutError:
            continue
        except OSError:  # the listener is closed
            return
        yield caller


class Player:
    """One thread that does what its cues say, when they say it."""

    def __init__(self, name: str, cues: Iterable[Cue]) -> None:
        """``cues`` are taken as they come: in order of time, or in order within each lap."""
        self._cues = cues
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
    """A TCP server that gives every line to all who are connected. Lines before the first caller wait."""

    MAX_KEPT = 10_000

    def __init__(self, at: tuple[str, int] = (LOOPBACK, 0)) -> None:
        self._listener = socket.create_server(at)
        self._listener.settimeout(0.2)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._lock = threading.Lock()
        self._callers: list[socket.socket] = []
        self._kept: list[bytes] = []
        self._away = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._welcome, name="player-lines", daemon=True)
        self._thread.start()

    def send(self, line: str) -> None:
        self.send_bytes(line.encode("ascii") + b"\r\n")

    def send_bytes(self, raw: bytes) -> None:
        with self._lock:
            if not self._callers:
                if self._away:
                    return
                self._kept = [*self._kept[-self.MAX_KEPT :], raw]
                return
            for caller in list(self._callers):
                self._give(caller, raw)

    def go_away(self, *, away: bool) -> None:
        """Hang up and take no caller while away; what is said meanwhile is said to nobody."""
        self._away = away
        if away:
            self._hang_up()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(2.0)
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
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
        for caller in callers(self._listener, self._closed):
            if self._away:
                caller.close()
                continue
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
    """All players of one scene. Use as a context; ``start`` when the appliance is up, ``wait`` until all is played.

    ``wires`` are the ways of the sensors, by name: radar, ais, gnss, reports. Faults bend them.
    """

    def __init__(self, duration_s: float, deliver: Deliver, lines: LineServer, radar_at: At, gnss_at: At) -> None:
        self._duration_s, self._deliver, self._lines = duration_s, deliver, lines
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._radar_at, self._gnss_at = radar_at, gnss_at
        self.sent = Sent()
        self.wires = {name: Wire() for name in ("radar", "ais", "gnss", "reports")}
        self.gnss_drift: Drift = _no_drift
        self._players: list[Player] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._udp.close()

    def start(self, scene: Scene, laps: int = 1) -> None:
        """Begin. What the scene had to say before this moment was said to nobody: it is left out.

        With more laps the scene begins again when its time is over; reports of later laps have names of their own.
        """
        now_ns = time.time_ns()
        for name, cues in (
            ("radar", self._radar),
            ("ais", self._ais),
            ("gnss", self._gnss),
            ("reports", self._reports),
        ):
            player = Player(name, self._lapped(cues, scene, laps, now_ns))
            self._players.append(player)
            player.start()

    def stop(self) -> None:
        """Say nothing more."""
        for player in self._players:
            player.stop()

    def wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for player in self._players:
            player.join(max(0.0, deadline - time.monotonic()))

    def faults(self) -> list[str]:
        """Why players stopped early; empty where none did."""
        return [player.failed for player in self._players if player.failed is not None]

    def _lapped(
        self, cues: Callable[[Scene, int], list[Cue]], scene: Scene, laps: int, now_ns: int
    ) -> Iterator[Cue]:  # fmt: skip
        for lap in range(laps):
            begun = scene.started(scene.time_ns(lap * self._duration_s))
            yield from (cue for cue in sorted(cues(begun, lap), key=lambda cue: cue[0]) if cue[0] >= now_ns)

    def _radar(self, scene: Scene, _: int) -> list[Cue]:
        return [(plots[-1].observed_ns, self._datagram(plots)) for plots in radar.turns(scene, self._duration_s)]

    def _datagram(self, plots: list[RadarPlot]) -> Callable[[], None]:
        def act() -> None:
            self.wires["radar"].carry(lambda shift_ns: datagram(_shifted(plots, shift_ns)), self._to(self._radar_at))
            self.sent.radar_plots += len(plots)
            self.sent.radar_datagrams += 1

        return act

    def _to(self, where: At) -> Callable[[bytes], None]:
        def send(raw: bytes) -> None:
            self._udp.sendto(raw, where)

        return send

    def _ais(self, scene: Scene, _: int) -> list[Cue]:
        return [(scene.time_ns(one.time_s), self._transmit(one)) for one in ais.transmissions(scene, self._duration_s)]

    def _transmit(self, one: ais.Transmission) -> Callable[[], None]:
        raw = "".join(f"{sentence}\r\n" for sentence in one.sentences).encode("ascii")

        def act() -> None:
            self.wires["ais"].carry(lambda _: raw, self._lines.send_bytes)
            self.sent.ais_sentences += len(one.sentences)
            if one.position:
                self.sent.ais_positions[one.mmsi] = self.sent.ais_positions.get(one.mmsi, 0) + 1

        return act

    def _gnss(self, scene: Scene, _: int) -> list[Cue]:
        return [(scene.time_ns(float(second)), self._fix(scene, second)) for second in range(int(self._duration_s) + 1)]

    def _fix(self, scene: Scene, second: int) -> Callable[[], None]:
        def act() -> None:
            off_m = self.gnss_drift(time.monotonic())

            def make(shift_ns: int) -> bytes:
                pair = gnss.sentence_pair(scene.started(scene.start_ns + shift_ns), second, off_m)
                return "".join(f"{line}\r\n" for line in pair).encode("ascii")

            self.wires["gnss"].carry(make, self._to(self._gnss_at))
            self.sent.gnss_sentences += 2

        return act

    def _reports(self, scene: Scene, lap: int) -> list[Cue]:
        told = [replace(one, report_id=f"{one.report_id}-{lap}") if lap else one for one in self._spoken(scene)]
        return [
            (scene.time_ns(one.time_s), self._drop(one, scene.time_ns(one.time_s)))
            for one in told
        ]  # fmt: skip

    def _spoken(self, scene: Scene) -> tuple[Spoken, ...]:
        return spoken(scene, self._duration_s)

    def _drop(self, one: Spoken, time_ns: int) -> Callable[[], None]:
        """What a bend makes of one report lies in as many files: nothing is written over what was not read yet."""

        def act() -> None:
            names = (f"{one.report_id}{f'.{n}' if n else ''}.json" for n in itertools.count())
            self.wires["reports"].carry(
                lambda shift_ns: written_report(one, time_ns + shift_ns), lambda raw: self._deliver(next(names), raw)
            )
            self.sent.reports.append(f"{one.report_id}.json")

        return act


At = tuple[str, int]
Deliver = Callable[[str, bytes], None]
"""Leaves a report in the appliance's inbox under a name."""
Drift = Callable[[float], tuple[float, float]]
"""Monotonic seconds → how far the receiver believes itself away from where it stands: east and north in metres."""


def _no_drift(_: float) -> tuple[float, float]:
    return 0.0, 0.0


def _shifted(plots: list[RadarPlot], shift_ns: int) -> list[RadarPlot]:
    return [replace(plot, observed_ns=plot.observed_ns + shift_ns) for plot in plots] if shift_ns else plots


def into(inbox: Path) -> Deliver:
    """Into a folder of this machine, whole: written under a dot, then renamed."""

    def deliver(name: str, raw: bytes) -> None:
        hidden = inbox / f".{name}"
        hidden.write_bytes(raw)
        hidden.rename(inbox / name)

    return deliver


def written_report(one: Spoken, time_ns: int) -> bytes:
    """A report as an inbox takes it."""
    document = {
        "id": one.report_id,
        "author": one.author,
        "grade": one.grade,
        "time": datetime.fromtimestamp(time_ns / 1e9, tz=UTC).isoformat(timespec="milliseconds"),
        "text": one.text,
    }
    return json.dumps(document, ensure_ascii=False).encode()
