"""The recipient's store: what was received and not yet handed to the user, and what was seen of every epoch.

Not here: opening, the network. Nothing in this file is plaintext: frames lie as they came, and the grants beside them
open with the identity alone.

A batch is one transaction: new frames, what was seen, grants and closes go in together, so that after any crash a frame
is either not here and not seen, or here and seen; then the broker is told. Handing over removes the frame.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance.bus.store import Row, Store
from appliance.sealing import EpochState, OpenerState

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS inbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS waiting (seq INTEGER PRIMARY KEY AUTOINCREMENT, unit TEXT NOT NULL, topic TEXT NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS waiting_unit ON waiting (unit, seq);
CREATE TABLE IF NOT EXISTS epoch (unit TEXT NOT NULL, epoch INTEGER NOT NULL, grant_data BLOB NOT NULL,
    close_data BLOB NOT NULL, seen BLOB NOT NULL, PRIMARY KEY (unit, epoch));
CREATE TABLE IF NOT EXISTS seen (unit TEXT NOT NULL, epoch INTEGER NOT NULL, seen BLOB NOT NULL,
    PRIMARY KEY (unit, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS floor (unit TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_VERSION: Final = 2
"""Since 2 what was seen of an epoch has a table of its own: it changes with each batch, the grant of 6 kB beside it
never. A file of version 1 has it beside the grant until its next batch."""
_STATE: Final = """
SELECT epoch.unit, epoch.epoch, grant_data, close_data, coalesce(seen.seen, epoch.seen)
FROM epoch LEFT JOIN seen USING (unit, epoch) ORDER BY epoch.unit, epoch.epoch
"""
_KEEP_EPOCH: Final = """
INSERT INTO epoch VALUES (?, ?, ?, ?, x'') ON CONFLICT (unit, epoch)
DO UPDATE SET grant_data = excluded.grant_data, close_data = excluded.close_data
WHERE grant_data <> excluded.grant_data OR close_data <> excluded.close_data
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """One envelope as it came. ``seq`` is the store's number for it, 0 where it is not stored yet."""

    seq: int = 0
    topic: str
    data: bytes = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one transaction changes. ``opened`` and ``parked`` are new; ``unparked`` are settled waiting rows."""

    opened: list[Raw] = field(default_factory=list)
    parked: list[tuple[str, Raw]] = field(default_factory=list)
    unparked: list[int] = field(default_factory=list)
    epochs: dict[tuple[str, int], EpochState | None] = field(default_factory=dict)
    floors: Mapping[str, int] | None = None


class Inbox:
    """A recipient's store in one file."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises BusUnavailable."""
        self._store = Store(path, _SCHEMA, _VERSION)
        self._counting = threading.Lock()
        self.waiting_count, self.waiting_bytes = self._store.read(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM waiting"
        )[0]
        self.stored_bytes = int(self._store.read("SELECT coalesce(sum(length(data)), 0) FROM inbox")[0][0])

    @property
    def moved_aside(self) -> Sequence[Path]:
        """Damaged files that this one replaced."""
        return tuple(self._store.moved_aside)

    def client_id(self) -> str:
        """This store's own name towards the broker, made once, so that the broker's session outlives a restart."""
        with self._store.durable() as database:
            database.execute(
                "INSERT OR IGNORE INTO meta VALUES ('client', ?)", (f"edge-reader-{secrets.token_hex(8)}",)
            )
        return str(self._store.read("SELECT value FROM meta WHERE key = 'client'")[0][0])

    def state(self) -> OpenerState:
        """What an Opener needs to go on."""
        rows = self._store.read(_STATE)
        epochs = tuple(EpochState(unit=u, epoch=e, grant=g, close=c, seen=s) for u, e, g, c, s in rows)
        return OpenerState(epochs=epochs, floors=dict(self._store.read("SELECT unit, epoch FROM floor")))

    def commit(self, batch: Batch) -> list[int]:
        """Store a batch durably; the numbers of its opened frames. Raises BusUnavailable: then nothing is stored."""
        with self._store.durable() as database:
            numbers = [
                database.execute("INSERT INTO inbox (topic, data) VALUES (?, ?)", (raw.topic, raw.data)).lastrowid or 0
                for raw in batch.opened
            ]
            database.executemany(
                "INSERT INTO waiting (unit, topic, data) VALUES (?, ?, ?)",
                [(unit, raw.topic, raw.data) for unit, raw in batch.parked],
            )
            unparked = [
                database.execute("DELETE FROM waiting WHERE seq = ? RETURNING length(data)", (seq,)).fetchone()
                for seq in batch.unparked
            ]
            for key, state in batch.epochs.items():
                if state is None:
                    database.execute("DELETE FROM epoch WHERE unit = ? AND epoch = ?", key)
                    database.execute("DELETE FROM seen WHERE unit = ? AND epoch = ?", key)
                else:
                    database.execute(_KEEP_EPOCH, (*key, state.grant, state.close))
                    database.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (*key, state.seen))
            for unit, epoch in (batch.floors or {}).items():
                database.execute("INSERT OR REPLACE INTO floor VALUES (?, ?)", (unit, epoch))
        sizes = [row[0] for row in unparked if row is not None]
        self.waiting_count += len(batch.parked) - len(sizes)
        self.waiting_bytes += sum(len(raw.data) for _, raw in batch.parked) - sum(sizes)
        with self._counting:
            self.stored_bytes += sum(len(raw.data) for raw in batch.opened)
        return numbers

    def waiting(self, unit: str, after: int, most: int) -> list[Raw]:
        """Envelopes of ``unit`` that came before their grant, oldest first."""
        sql = "SELECT seq, topic, data FROM waiting WHERE unit = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [Raw(seq=seq, topic=topic, data=data) for seq, topic, data in self._store.read(sql, (unit, after, most))]

    def oldest_waiting(self, most: int) -> list[int]:
        """Numbers of the envelopes that have waited longest."""
        return [row[0] for row in self._store.read("SELECT seq FROM waiting ORDER BY seq LIMIT ?", (most,))]

    def stored(self, after: int, most: int) -> list[Raw]:
        """Frames not handed over yet, oldest first."""
        sql = "SELECT seq, topic, data FROM inbox WHERE seq > ? ORDER BY seq LIMIT ?"
        return [Raw(seq=seq, topic=topic, data=data) for seq, topic, data in self._store.read(sql, (after, most))]

    def handed_over(self, numbers: Iterable[int], write: Callable[[sqlite3.Connection], object] | None = None) -> None:
        """The user has these. Survives the process; after a power cut the last few may be handed over again.

        What ``write`` writes is of the same transaction, so it is there exactly when the frames are gone.
        """
        with self._store.light() as database:
            sql = "DELETE FROM inbox WHERE seq = ? RETURNING length(data)"
            rows = [database.execute(sql, (seq,)).fetchone() for seq in numbers]
            if write is not None:
                write(database)
        with self._counting:
            self.stored_bytes -= sum(row[0] for row in rows if row is not None)

    def look(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """Rows of a user's own tables. Raises BusUnavailable."""
        return self._store.read(sql, parameters)

    def close(self) -> None:
        """Close the file."""
        self._store.close()
