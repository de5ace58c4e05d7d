"""When one epoch ends and the next begins, under a running daemon: the close of the old, then the grant of the new.

What this is: the decision and the making. What it is not: it seals no result (``publisher``), and reads no recipient
(``recipients``).

An epoch ends when the recipients changed, so that one who was removed opens nothing of the next; when it is old, so
that a unit which runs for months forgets its secrets daily; and long before its numbers are used up, so that no unit
is ever stopped by them. While the disk refuses, the epoch goes on: an epoch's number is on the disk before it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.bus import Outbox
from appliance.daemon.publisher import Publisher
from appliance.daemon.recipients import Members, Roster
from appliance.errors import ApplianceError, BusUnavailable
from appliance.sealing import PrivateIdentity, Sender
from appliance.slots.auditlog import AuditLog

log: Final = logging.getLogger("appliance")

#: Far below the 2^32 at which a sender refuses; at 50 results a second a day has 4.3 million.
MAX_FRAMES: Final = 2**24
#: How often the recipients' files are looked at.
WATCH_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an epoch may hold at most, in frames and in nanoseconds of the steady clock."""

    age_ns: int
    frames: int = MAX_FRAMES


class Epochs:
    """The epochs of one run."""

    def __init__(
        self,
        *,
        device: PrivateIdentity,
        outbox: Outbox,
        roster: Roster,
        audit: AuditLog,
        limits: Limits,
        now_ns: Callable[[], int],
        steady_ns: Callable[[], int],
    ) -> None:
        self._device = device
        self._outbox = outbox
        self._roster = roster
        self._audit = audit
        self._limits = limits
        self._now_ns, self._steady_ns = now_ns, steady_ns
        self._members: Members | None = None
        self._wanted: Members | None = None
        self._began_ns = self._look_due_ns = 0
        self._said = ""
        self.number = -1

    @property
    def trouble(self) -> str | None:
        """Why the recipients could not be read again, if they could not."""
        return self._roster.trouble

    def begin(self, mission_digest: str) -> Publisher:
        """The first epoch; its grant is durable on return. Raises ApplianceError, OSError."""
        members = self._roster.read()
        publisher = Publisher(self._sender(members), self._outbox, views=members.views)
        publisher.open()
        self._audit.append(
            "daemon.start", self._now_ns(), epoch=self.number, mission=mission_digest, recipients=members.named
        )
        return publisher

    def turn(self, publisher: Publisher) -> bool:
        """End the epoch and begin the next where that is due; whether it was done."""
        why, members = self._due(publisher)
        if why is None or not publisher.settled:
            return False
        ending, sealed = self.number, publisher.sealed_in_epoch
        shed = publisher.shed_runs()  # before the next number: taking it forgets what past epochs shed
        try:
            sender = self._sender(members)
        except BusUnavailable as e:
            self._say_once(f"the epoch goes on, because no other can begin: {e}")
            return False
        self._said = ""
        checkpoint = self._record(why, ending, sealed, members)
        publisher.turn(sender, views=members.views, checkpoint=checkpoint, shed=shed)
        log.info("epoch %d ends (%s), epoch %d begins", ending, why, self.number)
        return True

    def _due(self, publisher: Publisher) -> tuple[str | None, Members]:
        """Why the epoch should end, if it should, and the recipients of the next."""
        steady = self._steady_ns()
        if steady >= self._look_due_ns:
            self._look_due_ns = steady + WATCH_NS
            self._wanted = self._roster.changed() or self._wanted
        members = self._wanted or self._members
        assert members is not None  # begin() was called
        if members != self._members:
            return "recipients", members
        if publisher.sealed_in_epoch >= self._limits.frames:
            return "frames", members
        return ("age" if steady - self._began_ns >= self._limits.age_ns else None), members

    def _sender(self, members: Members) -> Sender:
        first, *further = members.by_view.values()
        unit = self._device.public.name
        number = self._outbox.next_epoch(self._now_ns())
        sender = Sender(unit, number, self._device, first, issued_ns=self._now_ns(), audiences=further)
        self.number, self._members, self._wanted = number, members, None
        self._began_ns = self._steady_ns()
        return sender

    def _say_once(self, trouble: str) -> None:
        """A disk may refuse for days, and is asked every second."""
        if trouble != self._said:
            log.error(trouble)
        self._said = trouble

    def _record(self, why: str, ending: int, sealed: int, members: Members) -> bytes:
        try:
            now_ns = self._now_ns()
            self._audit.append(
                "epoch.turn", now_ns, why=why, ended=ending, sealed=sealed, epoch=self.number, recipients=members.named
            )
            return self._audit.checkpoint()
        except (ApplianceError, OSError) as e:
            # Whoever was put out must be out, with or without a record of it.
            log.error("the audit log cannot be written: %s", e)  # noqa: TRY400 - the reason is the message
            return b""
