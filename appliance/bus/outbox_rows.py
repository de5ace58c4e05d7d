"""The outbox's table: its columns, and the statements over it.

Not here: when any of them is used, and what is kept in memory beside it (``outbox``). Everything runs inside a
transaction that the caller holds.
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from appliance.sealing import Envelope

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS envelope (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    topic TEXT NOT NULL,
    kind TEXT NOT NULL,
    priority INTEGER NOT NULL,
    data BLOB NOT NULL,
    put_ns INTEGER NOT NULL,
    acknowledged_ns INTEGER
);
CREATE INDEX IF NOT EXISTS envelope_epoch ON envelope (epoch, kind);
CREATE INDEX IF NOT EXISTS envelope_waiting ON envelope (priority, seq) WHERE acknowledged_ns IS NULL;
CREATE INDEX IF NOT EXISTS envelope_topic ON envelope (topic, seq) WHERE acknowledged_ns IS NULL;
CREATE TABLE IF NOT EXISTS shed (epoch INTEGER NOT NULL, counter INTEGER NOT NULL, PRIMARY KEY (epoch, counter));
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
VERSION: Final = 1

AGAIN: Final = 2
"""Order class of the resend window; see ``turn_of``."""

Turn = tuple[int, int, int, int]
"""An envelope's place in sending, the least first: class, priority, when it was acknowledged last, its number."""


class Priority(enum.IntEnum):
    """What is sent first and given up last; a smaller number is more important."""

    GRANT = 0
    ALERT = 1
    ENTITY = 2
    PICTURE = 3
    STATUS = 4
    CLOSE = 5


@dataclass(frozen=True, slots=True)
class Gone:
    """What is left to say of a row that was deleted; ``size`` in bytes."""

    seq: int
    epoch: int
    counter: int
    kind: str
    size: int
    topic: str


_GONE_COLUMNS: Final = "seq, epoch, counter, kind, length(data), topic"


def delete(database: sqlite3.Connection, seqs: Sequence[int], *, but: str = "") -> list[Gone]:
    """Delete these rows, except those of kind ``but``."""
    gone = []
    for seq in seqs:
        sql = f"DELETE FROM envelope WHERE seq = ? AND kind != ? RETURNING {_GONE_COLUMNS}"  # noqa: S608
        gone += [Gone(*row) for row in database.execute(sql, (seq, but)).fetchall()]
    return gone


def delete_until(
    database: sqlite3.Connection, size: int, where: str, order: str, parameters: Sequence[int] = ()
) -> list[Gone]:
    """Delete frames that match ``where``, in ``order``, until ``size`` bytes have gone or none are left.

    What differs from call to call belongs into ``parameters``: each other text stays compiled, 128 of them.
    """
    sql = f"SELECT {_GONE_COLUMNS} FROM envelope WHERE kind = 'frame' AND {where} ORDER BY {order}"  # noqa: S608
    gone: list[Gone] = []
    for row in database.execute(sql, parameters):
        if size <= 0:
            break
        gone.append(Gone(*row))
        size -= gone[-1].size
    database.executemany("DELETE FROM envelope WHERE seq = ?", [(row.seq,) for row in gone])
    return gone


def note_shed(database: sqlite3.Connection, gone: Sequence[Gone]) -> None:
    """Remember the numbers of frames that were given up, for the close."""
    frames = [(row.epoch, row.counter) for row in gone if row.kind == "frame"]
    database.executemany("INSERT OR IGNORE INTO shed VALUES (?, ?)", frames)


def retire_grants(database: sqlite3.Connection) -> list[Gone]:
    """Delete grants of past epochs of which nothing else is left."""
    sql = f"""DELETE FROM envelope WHERE kind = 'grant' AND epoch < (SELECT max(epoch) FROM envelope)
        AND epoch NOT IN (SELECT epoch FROM envelope WHERE kind != 'grant') RETURNING {_GONE_COLUMNS}"""  # noqa: S608
    return [Gone(*row) for row in database.execute(sql).fetchall()]


def insert_row(database: sqlite3.Connection, envelope: Envelope, priority: Priority, lived_ns: int) -> Turn:
    """Insert an envelope, stamped with the outbox's running time; its place in sending."""
    row = (envelope.epoch, envelope.counter, envelope.topic, envelope.kind, int(priority), envelope.data, lived_ns)
    cursor = database.execute(
        "INSERT INTO envelope (epoch, counter, topic, kind, priority, data, put_ns) VALUES (?,?,?,?,?,?,?)", row
    )
    return turn_of(cursor.lastrowid or 0, envelope.kind, priority, None)


def turn_of(seq: int, kind: str, priority: int, acknowledged_ns: int | None) -> Turn:
    """Of class 0: grants; 1: never acknowledged; 2: the resend window, of which the most recently sent goes last."""
    if kind == "grant":
        return 0, int(priority), 0, seq
    if acknowledged_ns is None:
        return 1, int(priority), 0, seq
    return AGAIN, int(priority), acknowledged_ns, seq


def priority_of(envelope: Envelope, wanted: Priority) -> Priority:
    """Grants and closes have their own priority, whatever was wanted."""
    if envelope.kind == "frame":
        return wanted
    return Priority.GRANT if envelope.kind == "grant" else Priority.CLOSE
