"""What an outbox gives up, and in which order: by size, by backlog, by age.

Not here: when it is asked, and what is kept in memory beside it (``outbox``). Everything runs inside a transaction that
the caller holds. Grants and closes are never given up; they are a few kilobytes an epoch.

    room      more than ``max_bytes``:     the resend window, oldest first        nothing is lost: a broker has had it
                                           what is superseded                     "superseded"
                                           the rest, least important kind first,
                                           of it the oldest; alerts last          "full"
    backlog   more than ``detail_bytes``
              wait for the link:           what is superseded                     "superseded"
    age       waited ``max_age_ns`` of
              running time:                all but alerts                         "age"
              ``ALERT_AGES`` times that:   alerts                                 "age"

A frame is *superseded* when a newer one of the same topic waits behind it: an entity's older state, an older picture,
an older status. The newest of each topic is not, so what a slow link costs is detail and never the truth. Alerts are
never superseded: each says something of its own.

Age is running time of the unit, not what its clock says: a clock that jumps to 2060 must not cost a single result, and
neither must the weeks in which the unit lay in a box.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from appliance.bus.outbox_rows import Gone, Priority, delete_until, note_shed

ALERT_AGES: Final = 4
"""Alerts are kept this many times as long as the rest."""
_SLACK_PARTS: Final = 64
"""Superseded frames go a sixty-fourth of the bound at a time, so that a full outbox does not search at every put."""

_WAITS: Final = "acknowledged_ns IS NULL"
_SUPERSEDED: Final = f"""{_WAITS} AND priority IN ({Priority.ENTITY:d}, {Priority.PICTURE:d}, {Priority.STATUS:d})
    AND EXISTS (SELECT 1 FROM envelope AS newer
        WHERE newer.topic = envelope.topic AND newer.acknowledged_ns IS NULL AND newer.seq > envelope.seq)"""  # noqa: S608
_LEAST_IMPORTANT: Final = "priority DESC, seq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much an outbox holds: bytes of envelopes in all, bytes that wait before detail goes, and running time."""

    max_bytes: int
    detail_bytes: int
    max_age_ns: int


@dataclass(slots=True)
class Room:
    """Gives up what the bounds say. ``_searched_at`` spares searches that cannot find anything yet."""

    bounds: Bounds
    _put_bytes: int = 0
    _searched_at: int | None = field(default=None)

    def make(
        self, database: sqlite3.Connection, size: int, *, held: int, waiting: int
    ) -> Mapping[str | None, Sequence[Gone]]:
        """Give up until ``size`` more bytes fit beside ``held``, of which ``waiting`` wait. What went, by reason.

        The reason None stands for what a broker has had already.
        """
        self._put_bytes += size
        shed: dict[str | None, list[Gone]] = {}
        over = held + size - self.bounds.max_bytes
        if over > 0:
            shed[None] = delete_until(database, over, f"NOT ({_WAITS})", "seq")
            over -= _size(shed[None])
        behind = max(over, waiting + size - self.bounds.detail_bytes)
        if behind > 0 and self._may_find():
            shed["superseded"] = self._superseded(database, behind)
            over -= _size(shed["superseded"])
        if over > 0:
            shed["full"] = delete_until(database, over, _WAITS, _LEAST_IMPORTANT)
        for reason, gone in shed.items():
            if reason is not None:
                note_shed(database, gone)
        return shed

    def too_old(self, database: sqlite3.Connection, lived_ns: int) -> Sequence[Gone]:
        """Give up what has waited too long; ``lived_ns`` is the running time that rows were stamped with."""
        put_by = (lived_ns - ALERT_AGES * self.bounds.max_age_ns, lived_ns - self.bounds.max_age_ns)
        where = f"{_WAITS} AND put_ns <= CASE priority WHEN {Priority.ALERT:d} THEN ? ELSE ? END"
        gone = delete_until(database, self.bounds.max_bytes, where, "seq", put_by)
        note_shed(database, gone)
        return gone

    def _may_find(self) -> bool:
        return self._searched_at is None or self._put_bytes - self._searched_at >= self._slack()

    def _superseded(self, database: sqlite3.Connection, behind: int) -> list[Gone]:
        wanted = behind + self._slack()
        gone = delete_until(database, wanted, _SUPERSEDED, _LEAST_IMPORTANT)
        self._searched_at = None if _size(gone) >= wanted else self._put_bytes
        return gone

    def _slack(self) -> int:
        return min(self.bounds.max_bytes, self.bounds.detail_bytes) // _SLACK_PARTS


def _size(gone: Sequence[Gone]) -> int:
    return sum(row.size for row in gone)
