"""The unit and the listener of a crash campaign: the product's own parts, in processes that are killed in an instant.

They are forked from one process that has everything imported, so a start takes milliseconds and a campaign spends its
time under load. What the unit publishes goes its real way: Publisher, Sender, Outbox, Link. The listener keeps what it
opens in the reader's own store, in the transaction that hands it over; nothing there makes a number unique, so a result
that came twice would stand there twice.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from appliance.bus import Link, Outbox, Reader, TlsFiles
from appliance.daemon.publisher import Publisher
from appliance.errors import BusUnavailable
from appliance.pipeline.results import Result
from appliance.sealing import Closed, Opened, PrivateIdentity, PublicIdentity, Sender

UNIT = "alpha"
RATE = 50
ENTITIES = 7
SETTLE_S = 1.5
STILL_S = 5.0
RESEND_S = 60.0
"""The product's own default: a listener that is back this soon after the link has missed nothing."""
HEARD = "CREATE TABLE IF NOT EXISTS user_heard (epoch INTEGER, counter INTEGER, payload BLOB)"

Frame = tuple[int, int]
"""Epoch and counter."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What both programs need to know."""

    url: str
    outbox: Path
    inbox: Path
    device: str
    recipient: str
    unit_tls: TlsFiles | None = None
    reader_tls: TlsFiles | None = None


@dataclass(frozen=True, kw_only=True)
class Signals:
    """Between a program and who runs it: ``rest`` and ``stop`` are asked of it, ``up`` and ``received`` it says."""

    rest: Any
    stop: Any
    up: Any
    received: Any
    """Messages that a listener has had since its start, those included that had come before."""


def unit(place: Place, signals: Signals) -> None:
    """Seal and publish until killed, or until ``rest`` is set; then close the epoch, and send on until ``stop``."""
    device = PrivateIdentity.from_json(place.device)
    reader = PrivateIdentity.from_json(place.recipient).public
    outbox = Outbox(place.outbox, resend_s=RESEND_S)
    sender = Sender(UNIT, outbox.next_epoch(time.time_ns()), device, [reader], time.time_ns())
    publisher = Publisher(sender, outbox)
    publisher.open()
    link = Link(outbox, place.url, unit=UNIT, tls=place.unit_tls, settle_s=SETTLE_S)
    link.start()
    number, due_s = 0, time.monotonic()
    while not signals.rest.is_set():
        topic = f"edge/v1/{UNIT}/entity/{number % ENTITIES}"
        publisher.publish([Result(topic=topic, priority="entity", payload=b"%d" % number)])
        signals.up.set()
        number += 1
        due_s += 1 / RATE
        time.sleep(max(due_s - time.monotonic(), 0.0))
    while not publisher.settled:
        publisher.publish([])
        time.sleep(0.05)
    publisher.close()
    signals.stop.wait()
    assert outbox.wait_acknowledged(600)
    link.stop()
    outbox.close()


def listener(place: Place, signals: Signals) -> None:
    """Keep every result until killed, or until ``stop`` is set."""
    recipient = PrivateIdentity.from_json(place.recipient)
    device = PublicIdentity.from_json(PrivateIdentity.from_json(place.device).public.to_json())
    with Reader(place.url, recipient, [device], place.inbox, tls=place.reader_tls) as reader:
        while not signals.stop.is_set():
            status = reader.status()
            if status.state == "connected":
                signals.up.set()
            signals.received.value = status.received
            result = reader.take(0.1)
            if isinstance(result, Opened | Closed):
                _keep(reader, result, signals.stop)


def _keep(reader: Reader, result: Opened | Closed, stop: Any) -> None:
    def write(database: sqlite3.Connection) -> None:
        database.execute(HEARD)
        if isinstance(result, Opened):
            row = (result.epoch, result.counter, result.payload)
            database.execute("INSERT INTO user_heard VALUES (?, ?, ?)", row)

    while not stop.is_set():
        try:
            reader.done(write)
        except BusUnavailable:  # the disk refuses: the result stays taken
            time.sleep(0.1)
        else:
            return


@dataclass
class Program:
    """One of the two, started again and again."""

    target: Any
    place: Place
    process: BaseProcess | None = None
    kills: int = 0
    signals: Signals = field(init=False)

    def start(self) -> None:
        event = _CONTEXT.Event
        self.signals = Signals(rest=event(), stop=event(), up=event(), received=_CONTEXT.Value("L", 0))
        self.process = _CONTEXT.Process(target=self.target, args=(self.place, self.signals), daemon=True)
        self.process.start()

    def kill(self) -> None:
        """With -9, in the middle of whatever it does. It must have been alive."""
        assert self.process is not None
        self.assert_alive()
        self.process.kill()
        self.process.join()
        self.kills += 1

    def assert_alive(self) -> None:
        assert self.process is not None
        assert self.process.is_alive(), f"{self.target.__name__} ended by itself with {self.process.exitcode}"

    def end(self, timeout_s: float) -> None:
        """In order."""
        assert self.process is not None
        self.signals.rest.set()
        self.signals.stop.set()
        self.process.join(timeout_s)
        assert self.process.exitcode == 0, f"{self.target.__name__} ended with {self.process.exitcode}"

    @contextlib.contextmanager
    def unable_to_write(self) -> Iterator[None]:
        """The kernel refuses every write of this process to any file."""
        assert self.process is not None
        pid = self.process.pid
        assert pid is not None
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@dataclass
class Books:
    """Every frame that was durable in the outbox, as read from the disk at each moment and at the end.

    The outbox forgets a frame when it has been acknowledged for a minute; readings that lie further apart would miss
    some, and those would count as frames of no unit.
    """

    place: Place
    durable: set[Frame] = field(default_factory=set)
    shed: set[Frame] = field(default_factory=set)
    newest: int = 0

    def read(self) -> None:
        """What was added; of epochs before the newest known one there can be nothing new."""
        with contextlib.closing(sqlite3.connect(self.place.outbox, timeout=60)) as database:
            sql = "SELECT epoch, counter FROM envelope WHERE kind = 'frame' AND epoch >= ?"
            self.durable |= set(database.execute(sql, (self.newest,)))
            self.shed |= set(database.execute("SELECT epoch, counter FROM shed"))
        self.newest = max((epoch for epoch, _ in self.durable), default=0)

    def closed(self) -> bool:
        """Whether the close of the newest epoch is durable: nothing is sealed any more."""
        with contextlib.closing(sqlite3.connect(self.place.outbox, timeout=60)) as database:
            sql = "SELECT count(*) FROM envelope WHERE kind = 'close' AND epoch = (SELECT max(epoch) FROM envelope)"
            return bool(database.execute(sql).fetchone()[0])

    def held(self, before: int = 2**48) -> int:
        """Frames of epochs ``before`` this one that the outbox still has."""
        with contextlib.closing(sqlite3.connect(self.place.outbox, timeout=60)) as database:
            sql = "SELECT count(*) FROM envelope WHERE kind = 'frame' AND epoch < ?"
            return int(database.execute(sql, (before,)).fetchone()[0])

    def heard(self) -> Counter[Frame]:
        with contextlib.closing(sqlite3.connect(self.place.inbox, timeout=60)) as database:
            database.execute(HEARD)
            return Counter(database.execute("SELECT epoch, counter FROM user_heard").fetchall())


def finish(sending: Program, listening: Program, books: Books) -> None:
    """A moment more of load; then everything ends in order, when what is on its way has arrived.

    No clock decides that a frame is lost: the outbox has forgotten it, after its whole resend window with nobody
    killed, and the listener has come to rest without it.
    """
    time.sleep(2)
    sending.signals.rest.set()
    while not books.closed():
        sending.assert_alive()
        time.sleep(0.1)
    books.read()
    while set(books.heard()) < books.durable - books.shed and books.held():
        sending.assert_alive()
        time.sleep(0.5)
    at_rest(listening)  # also time for a second one to come, were there one
    sending.end(600)
    listening.end(600)


def at_rest(listening: Program) -> None:
    """Wait until the broker has had nothing more for the listener for a while."""
    received, since = -1, time.monotonic()
    while time.monotonic() - since < STILL_S:
        now = listening.signals.received.value
        received, since = now, since if now == received else time.monotonic()
        time.sleep(0.2)


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
