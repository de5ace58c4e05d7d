"""Where the service manager puts what it has opened for a service (systemd.exec(5), ``$CREDENTIALS_DIRECTORY``).

What lies there is there while the service runs, and its user's alone: it is neither checked nor judged from outside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

CREDENTIALS: Final = Path("/run/credentials")


def is_credential(path: Path) -> bool:
    """Whether a path names what the service manager makes when a service starts."""
    return CREDENTIALS in path.parents
