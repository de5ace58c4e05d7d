"""The broker's folder on the disk: whole files, their modes and owners, one user at a time.

provision.json            the record                                    root
mosquitto.conf            what the broker starts with                   root
ca/           (0700)      ca.key, ca.pem, local-admin.key, .pem          root; never leaves this machine
broker/       (0700)      what the broker itself reads and writes        the broker's own user
unit/         (0700)      ca.pem, UNIT.pem, UNIT.key                     for the mission's [bus]
recipients/NAME/ (0700)   ca.pem, NAME.pem, and NAME.key or NAME.csr     to hand over
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.errors import UsageError
from appliance.host.files import read_at_most, write_whole

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
CLOSED: Final = 0o700
MAX_FILE_BYTES: Final = 16 * 1024 * 1024


class Folder:
    """Reads and writes below one folder, and remembers what it changed."""

    def __init__(self, root: Path, broker_user: str | None = None) -> None:
        """``broker_user`` owns what the broker reads; None leaves owners alone."""
        self.root = root
        self.changed: list[str] = []
        self._broker_user = broker_user if os.geteuid() == 0 else None  # only root can give files away

    def path(self, name: str) -> Path:
        """Where ``name`` stands."""
        return self.root / name

    def read(self, name: str) -> bytes | None:
        """A file's content, None where it is not there. Raises UsageError where it cannot be read."""
        try:
            return read_at_most(self.path(name), MAX_FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise UsageError(f"{self.path(name)}: expected a readable file; {e.strerror}") from e

    def write(self, name: str, content: bytes, mode: int = PUBLIC) -> None:
        """Make a file have this content, mode and owner; nothing is done where it has."""
        path = self.path(name)
        try:
            self._make_parent(path.parent)
            if self.read(name) != content or path.stat().st_mode & 0o7777 != mode:
                write_whole(path, content, mode=mode)
                self.changed.append(name)
            self._give(path)
        except OSError as e:
            raise UsageError(f"{path}: expected a folder that can be written; {e.strerror}") from e

    def remove(self, name: str) -> None:
        """Remove a file where it is there. Raises UsageError."""
        try:
            self.path(name).unlink()
        except FileNotFoundError:
            return
        except OSError as e:
            raise UsageError(f"{self.path(name)}: cannot be removed; {e.strerror}") from e
        self.changed.append(name)

    def _make_parent(self, folder: Path) -> None:
        closed = folder != self.root
        folder.mkdir(parents=True, exist_ok=True, mode=CLOSED if closed else 0o755)
        if closed and folder.stat().st_mode & 0o7777 != CLOSED:
            folder.chmod(CLOSED)
        self._give(folder)

    def _give(self, path: Path) -> None:
        of_broker = self.root / "broker"
        if self._broker_user is None or not (path == of_broker or of_broker in path.parents):
            return
        try:
            if path.owner() != self._broker_user:
                shutil.chown(path, self._broker_user)
        except (LookupError, KeyError) as e:
            raise UsageError(f"expected the user '{self._broker_user}' on this machine (--run-as): {e}") from e

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder for this process. Raises UsageError where another one has it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            held = os.open(self.path(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        except OSError as e:
            raise UsageError(f"{self.root}: expected a folder that can be written; {e.strerror}") from e
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as e:
            raise UsageError(f"{self.root}: another process is provisioning here") from e
        finally:
            os.close(held)
