"""The recipient's store across formats: what was seen is never forgotten."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from appliance.bus.inbox import Batch, Inbox
from appliance.sealing import EpochState

VERSION_1 = """
CREATE TABLE inbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE waiting (seq INTEGER PRIMARY KEY AUTOINCREMENT, unit TEXT NOT NULL, topic TEXT NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX waiting_unit ON waiting (unit, seq);
CREATE TABLE epoch (unit TEXT NOT NULL, epoch INTEGER NOT NULL, grant_data BLOB NOT NULL, close_data BLOB NOT NULL,
    seen BLOB NOT NULL, PRIMARY KEY (unit, epoch));
CREATE TABLE floor (unit TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO epoch VALUES ('a', 1, x'6731', x'', x'01'), ('a', 2, x'6732', x'', x'02');
PRAGMA user_version = 1;
"""


def epoch(number: int, *, grant: bytes, close: bytes = b"", seen: bytes) -> EpochState:
    return EpochState(unit="a", epoch=number, grant=grant, close=close, seen=seen)


def epochs(path: Path) -> tuple[EpochState, ...]:
    inbox = Inbox(path)
    try:
        return inbox.state().epochs
    finally:
        inbox.close()


def commit(path: Path, *states: EpochState, gone: int = 0) -> None:
    inbox = Inbox(path)
    table: dict[tuple[str, int], EpochState | None] = {("a", state.epoch): state for state in states}
    inbox.commit(Batch(epochs=table | ({("a", gone): None} if gone else {})))
    inbox.close()


def test_a_store_of_version_1_keeps_what_it_had_seen_and_takes_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1)
    assert epochs(path) == (epoch(1, grant=b"g1", seen=b"\1"), epoch(2, grant=b"g2", seen=b"\2"))
    commit(path, epoch(2, grant=b"g2", seen=b"\3"))
    assert epochs(path) == (epoch(1, grant=b"g1", seen=b"\1"), epoch(2, grant=b"g2", seen=b"\3"))


def test_an_epoch_given_up_leaves_nothing_and_a_close_is_added_to_its_grant(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite"
    commit(path, epoch(1, grant=b"g1", seen=b"\1"), epoch(2, grant=b"g2", seen=b"\2"))
    commit(path, epoch(2, grant=b"g2", close=b"c2", seen=b"\2"), gone=1)
    assert epochs(path) == (epoch(2, grant=b"g2", close=b"c2", seen=b"\2"),)
    commit(path, epoch(1, grant=b"g1", seen=b""))
    assert epochs(path)[0] == epoch(1, grant=b"g1", seen=b"")
