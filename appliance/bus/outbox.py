"""The outbox: every sealed envelope is on the disk before it is sent, and stays until a broker has had it for a while.

Not here: sealing, sending. One outbox belongs to one unit and one process.

Rules:

- ``put`` returns when the envelopes are on the disk; callers that come at the same time share one commit.
- An envelope leaves on the broker's acknowledgement, but is kept for ``resend_s`` of connected time after it: a broker
  that is killed hard loses what it has acknowledged. A link that connects starts with everything that is kept.
- Order: grants, then what was never acknowledged by priority and age, then the resend window by priority: of it first
  what was acknowledged longest ago, so that a unit which is killed again and again comes round to all of it.
- It is bounded in bytes and in age; ``outbox_room`` says what goes first: detail, never the newest state of anything,
  and alerts last. Every frame that is given up is counted by its reason, and told to the recipients by the close.
- Epoch numbers only go up, and are on the disk before they are used, here and in a file of their own, so that a damaged
  database cannot bring an old number back.
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
import sqlite3
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from appliance.bus.outbox_room import Bounds, Room
from appliance.bus.outbox_rows import (
    AGAIN,
    SCHEMA,
    VERSION,
    Gone,
    Priority,
    Turn,
    delete,
    insert_row,
    note_shed,
    priority_of,
    retire_grants,
    turn_of,
)
from appliance.bus.store import Damaged, Row, Store
from appliance.errors import BusUnavailable
from appliance.sealing import Envelope

RESEND_S: Final = 60.0
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_AGE_S: Final = 7 * 24 * 3600.0
"""A week: by then a result is history, and the recording on the unit has it."""
_AGE_EVERY_S: Final = 10.0
MAX_SHED_RUNS: Final = 4096
_MAX_EPOCH_DIGITS: Final = 20
_NS_PER_S: Final = 1_000_000_000
_THESE: Final = """SELECT seq, topic, data, kind, acknowledged_ns, put_ns FROM envelope
    WHERE seq IN (SELECT value FROM json_each(?))"""
"""One text for however many: each other text would be a statement of its own, and sqlite3 keeps 128 of them."""
_REPEATED: Final = max(Priority) + 1
"""In the resend window, after what this connection has not sent yet."""
_LONGEST_EXPIRY_S: Final = 2**32 - 2
"""MQTT 5 §3.3.2.3.3: four bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One envelope on its way. ``seq`` is the outbox's own number for it."""

    seq: int
    topic: str
    data: bytes
    retain: bool
    again: bool
    """True where a broker has acknowledged it before."""
    expires_s: int | None
    """What is left of its life, whole seconds, at least one; None for what does not age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """Where the outbox stands. ``waiting`` were never acknowledged; ``kept`` are in the resend window."""

    state: Literal["good", "failing"]
    trouble: str | None
    waiting: int
    waiting_bytes: int
    kept: int
    bytes: int
    put: int
    acknowledged: int
    shed: Mapping[str, int]
    moved_aside: tuple[Path, ...]


class _Job:
    __slots__ = ("done", "envelopes", "error")

    def __init__(self, envelopes: Sequence[tuple[Envelope, Priority]]) -> None:
        self.envelopes = envelopes
        self.done = False
        self.error: BusUnavailable | None = None


class Outbox:
    """An outbox in one file. Every method may be called by any thread."""

    def __init__(
        self,
        path: Path,
        *,
        resend_s: float = RESEND_S,
        max_bytes: int = MAX_BYTES,
        detail_bytes: int | None = None,
        max_age_s: float = MAX_AGE_S,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or create; a damaged file is moved aside (see ``status``). Raises BusUnavailable.

        ``detail_bytes`` is how much may wait for the link before superseded frames go; left out, ``max_bytes``.
        """
        self._store = Store(path, SCHEMA, VERSION)
        self._epoch_file = path.with_name(path.name + ".epoch")
        self.resend_s = resend_s
        detail_bytes = max_bytes if detail_bytes is None else detail_bytes
        max_age_ns = round(max_age_s * _NS_PER_S)
        self._room = Room(Bounds(max_bytes=max_bytes, detail_bytes=detail_bytes, max_age_ns=max_age_ns))
        self._steady_s = steady_s
        self._began_ns = 0
        self._aged_s = -math.inf
        self._memory = threading.Condition()
        self._commit = threading.Lock()
        self._jobs: list[_Job] = []
        self._notify: Callable[[], None] = _nobody
        self._ready: list[Turn] = []
        self._kept: OrderedDict[int, float] = OrderedDict()
        self._waiting: dict[int, int] = {}
        self._waiting_bytes = 0
        self._bytes = 0
        self._put = 0
        self._acknowledged = 0
        self._shed: Counter[str] = Counter()
        self._trouble: str | None = None
        self._epoch = -1
        self._grant: Envelope | None = None
        try:
            self.rewind()
            newest_ns = self._store.read("SELECT coalesce(max(put_ns), 0) FROM envelope")[0][0]
            self._began_ns = int(newest_ns) - round(steady_s() * _NS_PER_S)
        except BaseException:
            self._store.close()
            raise

    def next_epoch(self, now_ns: int) -> int:
        """A number that no epoch of this unit had before, stored before it is returned. Raises BusUnavailable.

        It is one more than the last, and at least the seconds since 1970, so that a unit whose state was wiped still
        goes forward where its clock is right.
        """
        stored = [int(row[0]) for row in self._store.read("SELECT value FROM meta WHERE key = 'epoch'")]
        epoch = max([*stored, self._epoch_in_file(), 0]) + 1
        epoch = max(epoch, now_ns // _NS_PER_S)
        self._write_epoch_file(epoch)
        with self._store.durable() as database:
            database.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
            database.execute("DELETE FROM shed WHERE epoch NOT IN (SELECT epoch FROM envelope)")
        self._epoch = epoch
        return epoch

    def put(self, envelope: Envelope, *, priority: Priority = Priority.ENTITY) -> None:
        """Store one envelope; it is on the disk on return. Raises BusUnavailable where it is not."""
        self.put_many([(envelope, priority)])

    def put_many(self, envelopes: Sequence[tuple[Envelope, Priority]]) -> None:
        """Store several envelopes in one commit: all or none. Raises BusUnavailable (disk full, read-only, damaged).

        After a failure the outbox can be used again as soon as the disk can.
        """
        if not envelopes:
            return
        job = _Job(envelopes)
        with self._memory:
            self._jobs.append(job)
        with self._commit:  # whoever comes first writes for all who wait by then
            if not job.done:
                self._write_jobs()
        if job.error is not None:
            raise BusUnavailable(str(job.error)) from job.error
        self._notify()

    def on_ready(self, notify: Callable[[], None]) -> None:
        """Call ``notify`` after each put; it must return at once."""
        self._notify = notify

    def claim(self, most: int, *, again: int | None = None) -> list[Outgoing]:
        """The next envelopes to send, at most ``again`` of them from the resend window. Raises BusUnavailable.

        Each is given once until ``rewind``.
        """
        claimed: list[Outgoing] = []
        again = most if again is None else again
        while turns := self._next(most - len(claimed), again):
            items = self._load([turn[-1] for turn in turns])
            again -= sum(item.again for item in items)
            claimed += items
        return claimed

    def rewind(self) -> None:
        """Start again with everything that is kept: for a link that has just connected. Raises BusUnavailable."""
        with self._commit:
            try:
                rows = self._held_rows()
            except Damaged:
                self._start_anew()
                rows = self._held_rows()
            with self._memory:
                self._ready = [turn_of(seq, kind, priority, acked) for seq, kind, priority, acked, _ in rows]
                heapq.heapify(self._ready)
                self._waiting = {seq: size for seq, _, _, acked, size in rows if acked is None}
                self._waiting_bytes = sum(self._waiting.values())
                self._bytes = sum(size for *_, size in rows)
                self._kept.clear()
                self._memory.notify_all()

    def repeat(self) -> None:
        """Send what is in the resend window once more: for readers that came back later than the link did.

        Grants are not among it, the broker retains them. The rest is not forgotten before the broker has acknowledged
        it anew, however long the link takes. Raises BusUnavailable.
        """
        grants = {row[0] for row in self._store.read("SELECT seq FROM envelope WHERE kind = 'grant'")}
        with self._memory:
            for at, seq in enumerate([seq for seq in self._kept if seq not in grants]):
                heapq.heappush(self._ready, (AGAIN, _REPEATED, at, seq))
                del self._kept[seq]

    def acknowledge(self, seqs: Iterable[int], now_ns: int | None = None) -> None:
        """A broker has these. Raises BusUnavailable; then they will be sent again, which does no harm."""
        stamp = time.time_ns() if now_ns is None else now_ns
        known = list(seqs)
        with self._store.light() as database:
            database.executemany(
                "UPDATE envelope SET acknowledged_ns = ? WHERE seq = ?", [(stamp, seq) for seq in known]
            )
        at = time.monotonic()
        with self._memory:
            for seq in known:
                self._kept[seq] = at
                self._kept.move_to_end(seq)
                if self._no_longer_waits(seq):
                    self._acknowledged += 1
            self._memory.notify_all()

    def give_up(self, seq: int, reason: str) -> None:
        """Never send this one: the broker will not take it. It is counted under ``reason`` and told by the close."""
        with self._store.light() as database:
            gone = delete(database, [seq])
            note_shed(database, gone)
        self._forget(gone, reason)

    def prune(self) -> list[str]:
        """Forget what was acknowledged longer than the resend window ago; call it only while connected.

        Returns topics of grants that nothing kept needs any more: the broker should forget them. Raises BusUnavailable.
        """
        oldest = time.monotonic() - self.resend_s
        with self._memory:
            due = list(itertools.takewhile(lambda seq: self._kept[seq] <= oldest, self._kept))
        if not due:
            return []
        with self._store.light() as database:
            gone = delete(database, due, but="grant")
            grants = retire_grants(database)
        self._forget(gone, None)
        self._forget(grants, None)
        with self._memory:
            for seq in due:
                self._kept.pop(seq, None)
        return [grant.topic for grant in grants]

    def shed_runs(self, epoch: int) -> tuple[tuple[int, int], ...]:
        """Counters of ``epoch`` that were given up without an acknowledgement, as runs for the close."""
        rows = self._store.read("SELECT counter FROM shed WHERE epoch = ? ORDER BY counter", (epoch,))
        runs: list[tuple[int, int]] = []
        for (counter,) in rows:
            if runs and counter == runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], counter)
            else:
                runs.append((counter, counter))
        return tuple(runs[:MAX_SHED_RUNS])

    def wait_acknowledged(self, timeout_s: float) -> bool:
        """Wait until a broker has everything; False where that took longer than ``timeout_s``."""
        with self._memory:
            return self._memory.wait_for(lambda: not self._waiting, timeout_s)

    def status(self) -> OutboxStatus:
        """Counts since this outbox was opened, and what it holds now."""
        with self._memory:
            return OutboxStatus(
                state="good" if self._trouble is None else "failing",
                trouble=self._trouble,
                waiting=len(self._waiting),
                waiting_bytes=self._waiting_bytes,
                kept=len(self._kept),
                bytes=self._bytes,
                put=self._put,
                acknowledged=self._acknowledged,
                shed=dict(self._shed),
                moved_aside=tuple(self._store.moved_aside),
            )

    def close(self) -> None:
        """Close the file."""
        with self._commit:
            self._store.close()

    def _next(self, most: int, again: int) -> list[Turn]:
        turns: list[Turn] = []
        with self._memory:
            while self._ready and len(turns) < most and (self._ready[0][0] != AGAIN or again > 0):
                turns.append(heapq.heappop(self._ready))
                again -= turns[-1][0] == AGAIN
        return turns

    def _held_rows(self) -> list[Row]:
        return self._store.read("SELECT seq, kind, priority, acknowledged_ns, length(data) FROM envelope")

    def _write_jobs(self) -> None:
        with self._memory:
            jobs, self._jobs = self._jobs, []
        try:
            try:
                self._insert(jobs)
            except Damaged:
                self._start_anew()
                self._insert(jobs)
            self._trouble = None
        except BusUnavailable as e:
            self._trouble = str(e)
            for job in jobs:
                job.error = e
        finally:
            for job in jobs:
                job.done = True

    def _insert(self, jobs: Sequence[_Job]) -> None:
        rows = [(e, priority_of(e, wanted)) for job in jobs for e, wanted in job.envelopes]
        size = sum(len(e.data) for e, _ in rows)
        lived_ns = self._lived_ns()
        with self._store.durable() as database:
            shed = {**self._room.make(database, size, held=self._bytes, waiting=self._waiting_bytes)}
            shed["age"] = self._too_old(database, lived_ns)
            ready = [insert_row(database, e, priority, lived_ns) for e, priority in rows]
        for reason, gone in shed.items():
            self._forget(gone, reason)
        with self._memory:
            for entry, (e, _) in zip(ready, rows, strict=True):
                heapq.heappush(self._ready, entry)
                self._waiting[entry[-1]] = len(e.data)
            self._waiting_bytes += size
            self._bytes += size
            self._put += len(rows)
        self._grant = next((e for e, _ in reversed(rows) if e.kind == "grant"), self._grant)

    def _lived_ns(self) -> int:
        """The unit's running time as far as this outbox knows it; what its rows are stamped with."""
        return self._began_ns + round(self._steady_s() * _NS_PER_S)

    def _too_old(self, database: sqlite3.Connection, lived_ns: int) -> Sequence[Gone]:
        steady_s = self._steady_s()
        if steady_s - self._aged_s < _AGE_EVERY_S:
            return ()
        self._aged_s = steady_s
        return self._room.too_old(database, lived_ns)

    def _no_longer_waits(self, seq: int) -> bool:
        size = self._waiting.pop(seq, None)
        self._waiting_bytes -= size or 0
        return size is not None

    def _forget(self, gone: Sequence[Gone], reason: str | None) -> None:
        with self._memory:
            for row in gone:
                self._no_longer_waits(row.seq)
                self._kept.pop(row.seq, None)
                self._bytes -= row.size
            if reason is not None and gone:
                self._shed[reason] += len(gone)
            self._memory.notify_all()

    def _start_anew(self) -> None:
        """The file was damaged while in use: it is aside now; what waited in it is counted as shed."""
        self._store.replace()
        with self._memory:
            self._shed["damaged"] += len(self._waiting)
            self._ready, self._bytes, self._waiting_bytes = [], 0, 0
            self._waiting.clear()
            self._kept.clear()
        with self._store.durable() as database:
            database.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (max(self._epoch, 0),))
        if self._grant is not None:  # without it nobody can open what follows
            self._insert([_Job([(self._grant, Priority.GRANT)])])

    def _load(self, seqs: Sequence[int]) -> list[Outgoing]:
        found: dict[int, Outgoing] = {}
        wanted = msgspec.json.encode(seqs).decode()
        for seq, topic, data, kind, acked, put_ns in self._store.read(_THESE, (wanted,)):
            found[seq] = Outgoing(
                seq=seq,
                topic=topic,
                data=data,
                retain=kind == "grant",
                again=acked is not None,
                expires_s=self._expires_s(put_ns) if kind == "frame" else None,
            )
        return [found[seq] for seq in seqs if seq in found]

    def _expires_s(self, put_ns: int) -> int:
        left_ns = put_ns + self._room.bounds.max_age_ns - self._lived_ns()
        return min(max(left_ns // _NS_PER_S, 1), _LONGEST_EXPIRY_S)

    def _epoch_in_file(self) -> int:
        try:
            text = self._epoch_file.read_text("ascii")[: _MAX_EPOCH_DIGITS + 1]
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError) as e:
            raise BusUnavailable(f"{self._epoch_file}: cannot be read: {e}") from e
        number = text.strip()
        return int(number) if number.isascii() and number.isdigit() and len(number) <= _MAX_EPOCH_DIGITS else 0

    def _write_epoch_file(self, epoch: int) -> None:
        new = self._epoch_file.with_name(self._epoch_file.name + ".new")
        try:
            with new.open("w", encoding="ascii") as file:
                file.write(f"{epoch}\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._epoch_file)
            folder = os.open(self._epoch_file.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as e:
            raise BusUnavailable(f"{self._epoch_file}: the epoch cannot be stored: {e}") from e


def _nobody() -> None:
    """No link is there yet."""
