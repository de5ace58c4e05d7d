"""Where a device keeps its things, unless a command is told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Trust, slots, audit log, outbox (the image's StateDirectory).
STATE: Final = Path("/var/lib/edge-appliance")
