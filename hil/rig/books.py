"""What the unit's own disk says of its results: those that were durable, those that it gave up. Read when it is still.

The outbox is SQLite in WAL mode; the file and its log are fetched and opened in a copy, so the device is not changed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path

from hil.devices.device import Device, DeviceFailed
from hil.rig.record import Name

OUTBOX = "state/outbox.sqlite"


def read_books(device: Device) -> tuple[frozenset[Name], frozenset[Name]]:
    """(durable, given up). Raises DeviceFailed where there is no outbox or it cannot be read."""
    with tempfile.TemporaryDirectory(prefix="rig-books-") as folder:
        copy = Path(folder) / "outbox.sqlite"
        copy.write_bytes(device.fetch(OUTBOX))
        with contextlib.suppress(DeviceFailed):  # closed in order, it has no log
            copy.with_name(copy.name + "-wal").write_bytes(device.fetch(OUTBOX + "-wal"))
        try:
            with contextlib.closing(sqlite3.connect(copy)) as database:
                durable = database.execute("SELECT epoch, counter FROM envelope WHERE kind = 'frame'").fetchall()
                shed = database.execute("SELECT epoch, counter FROM shed").fetchall()
        except sqlite3.Error as e:
            raise DeviceFailed(f"{OUTBOX}: expected an outbox that can be read; {e}") from e
    return frozenset(durable), frozenset(shed)
