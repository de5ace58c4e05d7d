"""A folder in which people or programs leave reports: ``*.txt`` (plain text) and ``*.json`` (one document).

Rules:

- a file must appear whole: write it under another name (a leading dot will do) and rename it.
- what was read moves to ``done/`` once the consumer is done with it, what cannot be read to ``bad/``. A crash in
  between leaves the file where it is; it is read again and gets the same id, so that nothing is lost and a reader
  who keeps ids sees nothing twice.
- the time of a report that states none is the file's own modification time.
- only plain files are opened, never links, devices or pipes; files over the limit go to ``bad/`` unread.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from appliance.domain import Report
from appliance.errors import BadReport, FeedUnavailable
from appliance.feeds.report_text import MAX_DOCUMENT_BYTES, from_json, from_text, with_id
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec, ReportOptions
from appliance.feeds.streams import open_plain_file
from appliance.feeds.uris import FeedUri

SCAN_S: Final = 0.5
SUFFIXES: Final = frozenset({".txt", ".json"})
MAX_LISTED: Final = 10_000
"""Of one scan; the rest comes with the next."""


class Inbox:
    """One inbox folder."""

    def __init__(self, spec: FeedSpec, uri: FeedUri) -> None:
        options = spec.options if isinstance(spec.options, ReportOptions) else ReportOptions()
        self._name = spec.name
        self._author = options.default_author or spec.name
        self._folder = Path(uri.path)
        self._in_hand: set[str] = set()
        self._lock = threading.Lock()

    def run(self, tap: Tap) -> None:
        """See ``Source``. Never ends by itself."""
        self._make_folders()
        tap.opened()
        while True:
            for name in self._waiting():
                tap.check()
                self._take(name, tap)
            tap.wait(SCAN_S)

    def _make_folders(self) -> None:
        if not self._folder.is_dir():
            raise FeedUnavailable(f"cannot watch {self._folder}: expected a folder")
        try:
            for sub in ("done", "bad"):
                (self._folder / sub).mkdir(exist_ok=True)
        except OSError as e:
            raise FeedUnavailable(f"cannot make done/ and bad/ in {self._folder}: {e.strerror}") from e

    def _waiting(self) -> list[str]:
        """Names to read, oldest first, then by name."""
        found: list[tuple[int, str]] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if self._wanted(entry.name) and len(found) < MAX_LISTED and not entry.is_dir(follow_symlinks=False):
                        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        except FileNotFoundError as e:
            if not self._folder.is_dir():
                raise FeedUnavailable(f"cannot list {self._folder}: it has gone") from e
            return []  # a file was taken away between listing and looking; the next scan sees what is there
        except OSError as e:
            raise FeedUnavailable(f"cannot list {self._folder}: {e.strerror}") from e
        return [name for _, name in sorted(found)]

    def _wanted(self, name: str) -> bool:
        with self._lock:
            return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES and name not in self._in_hand

    def _take(self, name: str, tap: Tap) -> None:
        try:
            report = self._read(name)
        except BadReport as e:  # drops this one file
            tap.bad(e.reason)
            self._move(name, "bad")
            return
        except FeedUnavailable:  # a link, a device, or unreadable to us; it will not become better
            tap.bad("not a plain file")
            self._move(name, "bad")
            return
        with self._lock:
            self._in_hand.add(name)
        tap.put(report, taken=lambda: self._done(name))

    def _read(self, name: str) -> Report:
        fd = open_plain_file(str(self._folder / name), follow=False)
        try:
            received_ns = os.fstat(fd).st_mtime_ns
            raw = _read_up_to(fd, MAX_DOCUMENT_BYTES + 1)
        finally:
            os.close(fd)
        build = from_json if Path(name).suffix.lower() == ".json" else from_text
        return with_id(build(raw, sensor_id=self._name, author=self._author, received_ns=received_ns))

    def _done(self, name: str) -> None:
        self._move(name, "done")
        with self._lock:
            self._in_hand.discard(name)

    def _move(self, name: str, sub: str) -> None:
        """Atomic; a name that is already there is kept beside the new one. Failing is not fatal: see the rules."""
        source = self._folder / name
        for n in range(1000):
            target = self._folder / sub / (name if n == 0 else f"{Path(name).stem}.{n}{Path(name).suffix}")
            try:
                if not target.exists():
                    source.rename(target)
                    return
            except OSError:
                break
        with self._lock:
            self._in_hand.add(name)  # could not be moved: do not read it over and over in this run


def _read_up_to(fd: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        while size < limit and (part := os.read(fd, limit - size)):
            parts.append(part)
            size += len(part)
    except OSError as e:
        raise FeedUnavailable(f"cannot read: {e.strerror}") from e
    return b"".join(parts)
