"""What the unit's own disk says of its results: those that were durable, those that it gave up.

The outbox is SQLite in WAL mode. It is read on the device by SQLite itself, so that it may be in use meanwhile.
"""

from __future__ import annotations

import json
import shlex

from hil.devices.device import Device, DeviceFailed
from hil.rig.record import Name

OUTBOX = "state/outbox.sqlite"
_SCRIPT = """
import json, sqlite3, sys
outbox = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=20)
queries = ("SELECT epoch, counter FROM envelope WHERE kind = 'frame'", "SELECT epoch, counter FROM shed")
print(json.dumps([outbox.execute(query).fetchall() for query in queries]))
"""


def read_books(device: Device, path: str = OUTBOX) -> tuple[frozenset[Name], frozenset[Name]]:
    """(durable, given up), now. Raises DeviceFailed where there is no outbox or it cannot be read."""
    ran = device.shell(f"python3 -I -c {shlex.quote(_SCRIPT)} {shlex.quote(path)}")
    if ran.code != 0:
        raise DeviceFailed(f"{path}: expected an outbox that can be read; {ran.err.strip()[-300:]}")
    durable, shed = (frozenset((epoch, counter) for epoch, counter in rows) for rows in json.loads(ran.out))
    return durable, shed
