"""One SQLite file, opened so that a crash, a full disk or a damaged file each ends in a clear state.

Not here: what is in it. Rules:

- WAL, one process at a time (a lock beside the file), owner-only mode.
- ``durable`` transactions are on the disk when they return (synchronous=FULL). ``light`` ones survive the death of the
  process and may be lost with the power; they are for what can be learnt again.
- A damaged file is moved aside with its name and counted, never deleted, and an empty one takes its place.
- sqlite3's errors become BusUnavailable here and nowhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from appliance.errors import BusUnavailable

_BUSY_S: Final = 10.0
_PAGE_BYTES: Final = 4096
_CHECKPOINT_PAGES: Final = 4000
"""16 MiB. The commit that writes the log back syncs twice more: at SQLite's 1000 pages that is one in a hundred at 200
frames a second, and every hundredth result would wait for it."""
_FEWEST_PAGES: Final = 64
_LOG_SHARE: Final = 16
"""Of the free disk, at most this part becomes log: one that fills the disk leaves no room to write itself back."""
_CORRUPT_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CODE_MASK: Final = 0xFF
"""Extended result codes carry the primary one in the low byte."""

Row = tuple[Any, ...]


class Damaged(BusUnavailable):
    """The file is no database any more; ``Store.replace`` moves it aside."""


class Store:
    """A database file. Every method may be called by any thread; transactions are serialised."""

    def __init__(self, path: Path, schema: str, version: int) -> None:
        """Open or create ``path``. Raises BusUnavailable: in use, not writable, no space, or of a newer release."""
        self.path = path
        self.moved_aside: list[Path] = []
        self._schema = schema
        self._version = version
        self._lock = threading.RLock()
        self._held = _hold(path)
        try:
            self._open_or_replace()
        except BaseException:
            os.close(self._held)
            raise

    @contextmanager
    def durable(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on the disk when the block is left without an error."""
        with self._transaction("FULL") as connection:
            yield connection

    @contextmanager
    def light(self) -> Iterator[sqlite3.Connection]:
        """A transaction that survives the process, not the power."""
        with self._transaction("NORMAL") as connection:
            yield connection

    def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[Row]:
        """Rows of one query over what is committed; does not wait for a transaction that is being written."""
        with self._reading, _translated():
            return self._reader.execute(sql, tuple(parameters)).fetchall()

    def replace(self) -> None:
        """Move a damaged file aside and go on with an empty one."""
        with self._lock, self._reading:
            self._close_connections()
            self._move_aside()
            self._open()

    def close(self) -> None:
        """Close the file and let other processes have it."""
        with self._lock, self._reading:
            if self._held < 0:
                return
            self._close_connections()
            os.close(self._held)
            self._held = -1

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _transaction(self, synchronous: str) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated():
            self._writer.execute(f"PRAGMA synchronous={synchronous}")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as e:
                if self._writer.in_transaction:  # SQLite rolls back by itself where the disk is full
                    self._writer.execute("ROLLBACK")
                if isinstance(e, sqlite3.OperationalError):
                    self._make_room()
                raise

    def _make_room(self) -> None:
        """Write back what can be written back: the log is used from its start again, and needs no more of the disk."""
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _open_or_replace(self) -> None:
        self._reading = threading.Lock()
        try:
            self._open()
        except Damaged:
            self._close_connections()
            self._move_aside()
            self._open()

    def _open(self) -> None:
        with _translated():
            self._writer = _connect(self.path)
            self._reader = self._writer
            version = int(self._writer.execute("PRAGMA user_version").fetchone()[0])
            if version > self._version:
                raise BusUnavailable(f"{self.path}: written by a newer release (format {version} > {self._version})")
            fault = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
            if fault != "ok":
                raise Damaged(f"{self.path}: damaged: {fault}")
            self._writer.execute("PRAGMA journal_mode=WAL")
            pages = _log_pages(self.path)
            self._writer.execute(f"PRAGMA journal_size_limit={pages * _PAGE_BYTES}")
            self._writer.execute(f"PRAGMA wal_autocheckpoint={pages}")
            self._writer.executescript(self._schema)
            self._writer.execute(f"PRAGMA user_version={self._version}")
            self._reader = _connect(self.path)

    def _close_connections(self) -> None:
        for connection in {id(c): c for c in (self._reader, self._writer)}.values():
            connection.close()

    def _move_aside(self) -> None:
        target = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        try:
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.rename(target.with_name(target.name + suffix))
        except OSError as e:
            raise BusUnavailable(f"{self.path}: damaged, and cannot be moved aside: {e}") from e
        self.moved_aside.append(target)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        if getattr(e, "sqlite_errorcode", 0) & _CODE_MASK in _CORRUPT_CODES:
            raise Damaged(f"the database is damaged: {e}") from e
        raise BusUnavailable(f"the store cannot be used: {e}") from e


def _log_pages(path: Path) -> int:
    disk = os.statvfs(path.parent)
    share = disk.f_bavail * disk.f_frsize // _LOG_SHARE
    return max(_FEWEST_PAGES, min(_CHECKPOINT_PAGES, share // _PAGE_BYTES))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)


def _hold(path: Path) -> int:
    """Lock ``path`` for this process; the kernel lets go of it however the process ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise BusUnavailable(f"{path}: cannot be opened: {e}") from e
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except BlockingIOError as e:
        os.close(held)
        raise BusUnavailable(f"{path}: another process is using it") from e
    except OSError as e:
        os.close(held)
        raise BusUnavailable(f"{path}: cannot be opened: {e}") from e
    return held
