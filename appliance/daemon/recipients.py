"""Who may open results now: the mission's recipients, read again when a file of theirs changes.

What this is: the reading and the watching. What it is not: it begins no epoch (``epochs``).

Rules:

- Only the lists of recipients are taken from a mission that was changed under a running daemon; the rest of it waits
  for the next start. A field unit has nobody who would restart it to put a reader out.
- What cannot be read changes nothing: the recipients in force stay, and the status says why. Whoever wants a reader
  out sees there that it is not out yet.
- A recipient announces its next KEM key itself (``sealing.succession``), in a file beside its public identity. What
  was taken is kept in the state directory, and nothing older is taken again: taking the file away, or putting an old
  one back, brings no old key back. An announcement that is refused changes nothing, and stops nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.config import LoadedMission, load_mission
from appliance.errors import ApplianceError, IdentityRefused
from appliance.host.files import read_at_most, write_whole
from appliance.pipeline.views import VIEWS, View
from appliance.sealing import PublicIdentity
from appliance.sealing.identity import MAX_IDENTITY_BYTES
from appliance.sealing.succession import Successor, lineage, successor_name

log: Final = logging.getLogger("appliance")

Stamp = tuple[int, int, int] | None
"""Inode, size, time of change in nanoseconds; None where there is no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The recipients of an epoch by view. The views are those that anybody has, by number of their audience."""

    by_view: Mapping[View, tuple[PublicIdentity, ...]]

    @property
    def views(self) -> tuple[View, ...]:
        return tuple(self.by_view)

    @property
    def named(self) -> tuple[str, ...]:
        """View and fingerprint of each, for the audit log."""
        return tuple(f"{view} {who.fingerprint}" for view, members in self.by_view.items() for who in members)


class Roster:
    """The mission's recipients as their files stand."""

    def __init__(self, loaded: LoadedMission, taken: Path) -> None:
        """``taken`` is the folder of the announcements that were taken; it may be new."""
        self._loaded = loaded
        self._taken = taken
        self._refused: list[str] = []
        self._mission_stamp = _stamp(loaded.path)
        self._stamps: dict[Path, Stamp] = {}
        self._asked = False
        self._unread = ""

    @property
    def trouble(self) -> str | None:
        """What could not be taken of the recipients' files, for the status; None where all is well."""
        return "; ".join(filter(None, (self._unread, *self._refused))) or None

    def read(self) -> Members:
        """The recipients. Raises IdentityRefused, OSError."""
        self._note_stamps()  # before reading: what changes meanwhile is read again
        bus = self._loaded.mission.bus
        self._refused = []
        named = {"full": bus.recipients, "position-only": bus.position_only}
        members = Members(by_view={view: tuple(map(self._one, named[view])) for view in VIEWS if named[view]})
        for view, whose in members.by_view.items():
            if len({who.kid for who in whose}) < len(whose):
                raise IdentityRefused("recipients", f"a recipient of {view} stands twice, under two names or keys")
        return members

    def look_again(self) -> None:
        """Read at the next ``changed`` whatever the files' stamps say; safe from a signal handler."""
        self._asked = True

    def changed(self) -> Members | None:
        """The recipients where a file of theirs or the mission has changed since they were read, else None."""
        if not self._asked and all(_stamp(path) == before for path, before in self._stamps.items()):
            return None
        self._asked = False
        self._mission_stamp = _stamp(self._loaded.path)
        try:
            self._loaded = load_mission(self._loaded.path)
            members = self.read()
        except (ApplianceError, OSError) as e:
            self._note_stamps()
            self._unread = f"recipients: not read again, those in force stay: {e}"
            log.error(self._unread)  # noqa: TRY400 - the reason is the message
            return None
        self._unread = ""
        return members

    def _one(self, name: str) -> PublicIdentity:
        path = self._loaded.resolve(name)
        named = PublicIdentity.from_json(_read(path))
        kept = self._taken / f"{lineage(named)}.json"
        # A damaged record raises: going on without it would be going back to an old key.
        taken = Successor.from_json(_read(kept), named) if kept.exists() else None
        try:
            announced = _announced(path, named, taken)
        except (IdentityRefused, OSError) as e:
            self._refused.append(f"recipients: {successor_path(path).name}: not taken: {e}")
            log.error(self._refused[-1])  # noqa: TRY400 - the reason is the message
            announced = None
        if announced is not None:
            write_whole(kept, announced.raw)
        newest = announced or taken
        return named if newest is None else newest.identity

    def _note_stamps(self) -> None:
        self._stamps = {path: _stamp(path) for path in self._files()}
        self._stamps[self._loaded.path] = self._mission_stamp

    def _files(self) -> Iterator[Path]:
        bus = self._loaded.mission.bus
        for name in (*bus.recipients, *bus.position_only):
            path = self._loaded.resolve(name)
            yield from (path, successor_path(path))


def successor_path(public: Path) -> Path:
    """Where a recipient's announcement lies: beside its public identity file."""
    return public.with_name(successor_name(public.name))


def _announced(public: Path, named: PublicIdentity, taken: Successor | None) -> Successor | None:
    """A newer announcement than ``taken``, or None. Raises IdentityRefused (also ``stale``, ``conflict``), OSError."""
    path = successor_path(public)
    if not path.exists():
        return None
    found = Successor.from_json(_read(path), named)
    if taken is None or found.number > taken.number:
        return found
    if found.number < taken.number:
        raise IdentityRefused("stale", f"number {found.number} is older than {taken.number}, which was taken")
    if found.identity != taken.identity:
        raise IdentityRefused("conflict", f"number {found.number} was taken with another key")
    return None


def _read(path: Path) -> bytes:
    return read_at_most(path, MAX_IDENTITY_BYTES)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
