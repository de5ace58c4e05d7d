"""The outbox: every sealed envelope is on the disk before it is sent, and stays until a broker has had it for a while.

Not here: sealing, sending. One outbox belongs to one unit and one process.

Rules:

- ``put`` returns when the envelopes are on the disk; callers that come at the same time share one commit.
- An envelope leaves on the broker's acknowledgement, but is kept for ``resend_s`` of connected time after it: a broker
  that is killed hard loses what it has acknowledged. A link that connects starts with everything that is kept.
- Order: grants, then what was never acknowledged by priority and age, then the resend window.
- When there is more than ``max_bytes``: first the resend window goes (oldest first), then frames never acknowledged,
  the least important kind first and of it the oldest, so alerts go last. Grants and closes never go. Every frame that
  is given up is counted and told to the recipients by the close (``shed``).
- Epoch numbers only go up, and are on the disk before they are used, here and in a file of their own, so that a damaged
  database cannot bring an old number back.
"""

from __future__ import annotations

import heapq
import itertools
import os
import sqlite3
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from appliance.bus.outbox_rows import (
    AGAIN,
    SCHEMA,
    VERSION,
    Gone,
    Priority,
    delete,
    delete_until,
    insert_row,
    note_shed,
    order_class,
    priority_of,
    retire_grants,
)
from appliance.bus.store import Damaged, Row, Store
from appliance.errors import BusUnavailable
from appliance.sealing import Envelope

RESEND_S: Final = 60.0
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_SHED_RUNS: Final = 4096
_MAX_EPOCH_DIGITS: Final = 20
_NS_PER_S: Final = 1_000_000_000
_CLAIM_CHUNK: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One envelope on its way. ``seq`` is the outbox's own number for it."""

    seq: int
    topic: str
    data: bytes
    retain: bool
    again: bool
    """True where a broker has acknowledged it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """Where the outbox stands. ``waiting`` were never acknowledged; ``kept`` are in the resend window."""

    state: Literal["good", "failing"]
    trouble: str | None
    waiting: int
    kept: int
    bytes: int
    put: int
    acknowledged: int
    shed: Mapping[str, int]
    moved_aside: tuple[Path, ...]


class _Job:
    __slots__ = ("done", "envelopes", "error", "now_ns")

    def __init__(self, envelopes: Sequence[tuple[Envelope, Priority]], now_ns: int) -> None:
        self.envelopes = envelopes
        self.now_ns = now_ns
        self.done = False
        self.error: BusUnavailable | None = None


class Outbox:
    """An outbox in one file. Every method may be called by any thread."""

    def __init__(self, path: Path, *, resend_s: float = RESEND_S, max_bytes: int = MAX_BYTES) -> None:
        """Open or create; a damaged file is moved aside (see ``status``). Raises BusUnavailable."""
        self._store = Store(path, SCHEMA, VERSION)
        self._epoch_file = path.with_name(path.name + ".epoch")
        self._resend_s = resend_s
        self._max_bytes = max_bytes
        self._memory = threading.Condition()
        self._commit = threading.Lock()
        self._jobs: list[_Job] = []
        self._notify: Callable[[], None] = _nobody
        self._ready: list[tuple[int, int, int]] = []
        self._kept: OrderedDict[int, float] = OrderedDict()
        self._waiting: set[int] = set()
        self._bytes = 0
        self._put = 0
        self._acknowledged = 0
        self._shed: Counter[str] = Counter()
        self._trouble: str | None = None
        self._epoch = -1
        self._grant: Envelope | None = None
        try:
            self.rewind()
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

    def put(self, envelope: Envelope, *, priority: Priority = Priority.ENTITY, now_ns: int | None = None) -> None:
        """Store one envelope; it is on the disk on return. Raises BusUnavailable where it is not."""
        self.put_many([(envelope, priority)], now_ns=now_ns)

    def put_many(self, envelopes: Sequence[tuple[Envelope, Priority]], *, now_ns: int | None = None) -> None:
        """Store several envelopes in one commit: all or none. Raises BusUnavailable (disk full, read-only, damaged).

        After a failure the outbox can be used again as soon as the disk can.
        """
        if not envelopes:
            return
        job = _Job(envelopes, time.time_ns() if now_ns is None else now_ns)
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

    def claim(self, most: int) -> list[Outgoing]:
        """The next envelopes to send; each is given once until ``rewind``. Raises BusUnavailable."""
        claimed: list[Outgoing] = []
        while len(claimed) < most:
            with self._memory:
                chunk = [heapq.heappop(self._ready) for _ in range(min(most - len(claimed), len(self._ready)))]
            if not chunk:
                break
            claimed += self._load([seq for _, _, seq in chunk])
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
                self._ready = [(order_class(kind, acked), priority, seq) for seq, kind, priority, acked, _ in rows]
                heapq.heapify(self._ready)
                self._waiting = {seq for seq, _, _, acked, _ in rows if acked is None}
                self._bytes = sum(size for *_, size in rows)
                self._kept.clear()
                self._memory.notify_all()

    def repeat(self) -> None:
        """Send what is in the resend window once more: for readers that came back later than the link did."""
        with self._memory:
            for seq in self._kept:
                heapq.heappush(self._ready, (AGAIN, 0, seq))

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
                if seq in self._waiting:
                    self._waiting.discard(seq)
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
        oldest = time.monotonic() - self._resend_s
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
        rows = [(job.now_ns, e, priority_of(e, wanted)) for job in jobs for e, wanted in job.envelopes]
        size = sum(len(e.data) for _, e, _ in rows)
        with self._store.durable() as database:
            shed = self._make_room(database, size)
            ready = [insert_row(database, e, priority, now_ns) for now_ns, e, priority in rows]
        for reason, gone in shed.items():
            self._forget(gone, reason)
        with self._memory:
            for entry in ready:
                heapq.heappush(self._ready, entry)
                self._waiting.add(entry[2])
            self._bytes += size
            self._put += len(rows)
        self._grant = next((e for _, e, _ in reversed(rows) if e.kind == "grant"), self._grant)

    def _make_room(self, database: sqlite3.Connection, size: int) -> dict[str | None, list[Gone]]:
        """Give up what the rules say until ``size`` more bytes fit; what went, by reason."""
        over = self._bytes + size - self._max_bytes
        shed: dict[str | None, list[Gone]] = {}
        if over > 0:
            shed[None] = delete_until(database, over, "acknowledged_ns IS NOT NULL", "seq")
            over -= sum(gone.size for gone in shed[None])
        if over > 0:
            shed["full"] = delete_until(database, over, "acknowledged_ns IS NULL", "priority DESC, seq")
            note_shed(database, shed["full"])
        return shed

    def _forget(self, gone: Sequence[Gone], reason: str | None) -> None:
        with self._memory:
            for row in gone:
                self._waiting.discard(row.seq)
                self._kept.pop(row.seq, None)
                self._bytes -= row.size
            if reason is not None:
                self._shed[reason] += len(gone)
            self._memory.notify_all()

    def _start_anew(self) -> None:
        """The file was damaged while in use: it is aside now; what waited in it is counted as shed."""
        self._store.replace()
        with self._memory:
            self._shed["damaged"] += len(self._waiting)
            self._ready, self._bytes = [], 0
            self._waiting.clear()
            self._kept.clear()
        with self._store.durable() as database:
            database.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (max(self._epoch, 0),))
        if self._grant is not None:  # without it nobody can open what follows
            self._insert([_Job([(self._grant, Priority.GRANT)], time.time_ns())])

    def _load(self, seqs: Sequence[int]) -> list[Outgoing]:
        found: dict[int, Outgoing] = {}
        for at in range(0, len(seqs), _CLAIM_CHUNK):
            chunk = seqs[at : at + _CLAIM_CHUNK]
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT seq, topic, data, kind, acknowledged_ns FROM envelope WHERE seq IN ({marks})"  # noqa: S608
            for seq, topic, data, kind, acked in self._store.read(sql, chunk):
                found[seq] = Outgoing(seq=seq, topic=topic, data=data, retain=kind == "grant", again=acked is not None)
        return [found[seq] for seq in seqs if seq in found]

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
