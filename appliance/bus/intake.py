"""From messages to what the user may have: opens a batch, stores it, and only then lets it out.

Not here: the network and the user's queue (``reader``). Rule: crypto first, then one transaction, then the outcome.
Where the transaction fails, the opener is made again from the store, so memory never knows more than the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from appliance.bus.inbox import Batch, Inbox, Raw
from appliance.errors import BusUnavailable, EnvelopeRefused
from appliance.sealing import (
    Closed,
    Duplicate,
    Granted,
    NoGrant,
    NotForUs,
    Opened,
    Opener,
    Outcome,
    PrivateIdentity,
    PublicIdentity,
)

MAX_WAITING: Final = 20_000
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
MAX_STORED_BYTES: Final = 1024 * 1024 * 1024
_UNPARK_CHUNK: Final = 512
_AVAILABILITY: Final = {b"0": False, b"1": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One thing for the user. ``seq`` is the inbox's number of an opened frame, 0 for the rest."""

    seq: int
    result: Opened | Closed | NotForUs


class Intake:
    """A recipient's opener and its store, kept in step. Belongs to one thread; ``counts`` may be read by others."""

    def __init__(self, inbox: Inbox, identities: Sequence[PrivateIdentity], trusted: Sequence[PublicIdentity]) -> None:
        """Raises BusUnavailable where the store cannot be read, IdentityRefused for identities of the wrong kind."""
        self._inbox = inbox
        self._identities = tuple(identities)
        self._trusted = tuple(trusted)
        self.refused: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.available: dict[str, bool] = {}
        self._opener = self._make_opener()
        self._stored_epochs = set(self._opener.epochs())
        self._stored_floors = inbox.state().floors

    def take(self, messages: Sequence[Raw]) -> list[Delivery]:
        """Open and store ``messages``. Raises BusUnavailable, and then it is as if they had never come."""
        if self._inbox.stored_bytes > MAX_STORED_BYTES:
            raise BusUnavailable(f"the inbox holds {self._inbox.stored_bytes} bytes that nobody has asked for")
        work = _Work(batch=Batch(), opened=[], events=[], touched=set(), granted=[])
        for raw in messages:
            self._take_one(raw, work)
        for unit in dict.fromkeys(work.granted):
            self._unpark(unit, work)
        self._bound_waiting(work)
        try:
            return self._commit(work)
        except BusUnavailable:
            self._opener = self._make_opener()
            raise

    def reload(self, after: int, most: int) -> tuple[list[Delivery], int]:
        """Frames of the store after number ``after``, opened again, and the last number that was looked at."""
        deliveries, last, spoilt = [], after, []
        for raw in self._inbox.stored(after, most):
            last = raw.seq
            try:
                deliveries.append(Delivery(seq=raw.seq, result=self._opener.reopen(raw.topic, raw.data)))
            except EnvelopeRefused as e:
                self.refused[e.reason] += 1
                spoilt.append(raw.seq)
        if spoilt:
            self._inbox.handed_over(spoilt)
        return deliveries, last

    def not_for_us(self) -> list[Delivery]:
        """Stored epochs that give this identity nothing, the latest of each unit."""
        latest = dict(self._opener.epochs())
        return [
            Delivery(seq=0, result=NotForUs(unit=unit, epoch=epoch, kind="grant"))
            for unit, epoch in latest.items()
            if not self._opener.audiences(unit, epoch)
        ]

    def _make_opener(self) -> Opener:
        return Opener(self._identities, self._trusted, self._inbox.state())

    def _take_one(self, raw: Raw, work: _Work) -> None:
        if raw.topic.endswith("/status") and raw.data in _AVAILABILITY:
            self.available[raw.topic.split("/")[2]] = _AVAILABILITY[raw.data]
            return
        if not raw.data:
            return  # a retained grant was cleared
        outcome = self._accept(raw)
        if isinstance(outcome, NoGrant):
            work.batch.parked.append((outcome.unit, raw))
            self.counts["waiting"] += 1
        elif outcome is not None:
            self._settle(raw, outcome, work)

    def _accept(self, raw: Raw) -> Outcome | None:
        try:
            return self._opener.accept(raw.topic, raw.data)
        except EnvelopeRefused as e:  # dropped and counted by its reason
            self.refused[e.reason] += 1
            return None

    def _settle(self, raw: Raw, outcome: Outcome, work: _Work) -> None:
        if isinstance(outcome, NoGrant):
            return
        if isinstance(outcome, Duplicate):
            self.counts["duplicates"] += 1
            return
        work.touched.add((outcome.unit, outcome.epoch))
        if isinstance(outcome, Opened):
            self.counts["opened"] += 1
            work.batch.opened.append(raw)
            work.opened.append(outcome)
        elif isinstance(outcome, Granted):
            work.granted.append(outcome.unit)
        elif isinstance(outcome, Closed):
            work.events.append(Delivery(seq=0, result=outcome))
        elif outcome.kind == "grant":
            work.granted.append(outcome.unit)
            work.events.append(Delivery(seq=0, result=outcome))
        else:
            self.counts["not_for_us"] += 1

    def _unpark(self, unit: str, work: _Work) -> None:
        """Try again what came before its grant: of this batch, then of the store."""
        still = []
        for parked_unit, raw in work.batch.parked:
            outcome = self._accept(raw) if parked_unit == unit else NoGrant(unit=parked_unit, kind="frame")
            if isinstance(outcome, NoGrant):
                still.append((parked_unit, raw))
            elif outcome is not None:
                self._settle(raw, outcome, work)
        work.batch.parked = still
        after = 0
        while rows := self._inbox.waiting(unit, after, _UNPARK_CHUNK):
            after = rows[-1].seq
            for raw in rows:
                outcome = self._accept(raw)
                if not isinstance(outcome, NoGrant):
                    work.batch.unparked.append(raw.seq)
                    if outcome is not None:
                        self._settle(raw, outcome, work)

    def _bound_waiting(self, work: _Work) -> None:
        """What waits for a grant is unproven, so it is bounded: the oldest goes."""
        new_bytes = sum(len(raw.data) for _, raw in work.batch.parked)
        while new_bytes > MAX_WAITING_BYTES:
            new_bytes -= len(work.batch.parked.pop(0)[1].data)
            self.counts["dropped_waiting"] += 1
        if not work.batch.parked or (
            self._inbox.waiting_count + len(work.batch.parked) <= MAX_WAITING
            and self._inbox.waiting_bytes + new_bytes <= MAX_WAITING_BYTES
        ):
            return
        oldest = self._inbox.oldest_waiting(max(len(work.batch.parked), MAX_WAITING // 10))
        dropped = [seq for seq in oldest if seq not in set(work.batch.unparked)]
        work.batch.unparked += dropped
        self.counts["dropped_waiting"] += len(dropped)

    def _commit(self, work: _Work) -> list[Delivery]:
        batch = work.batch
        epochs = set(self._opener.epochs())
        for key in work.touched | (self._stored_epochs - epochs):
            batch.epochs[key] = self._opener.epoch_state(*key)
        floors = self._opener.floors()
        if floors != self._stored_floors:  # also where an epoch came and was given up within one batch
            batch.floors = floors
        if not (batch.opened or batch.parked or batch.unparked or batch.epochs or batch.floors):
            return work.events
        numbers = self._inbox.commit(batch)
        self._stored_epochs, self._stored_floors = epochs, floors
        results = zip(numbers, work.opened, strict=True)
        return [*(Delivery(seq=seq, result=result) for seq, result in results), *work.events]


@dataclass(slots=True, kw_only=True)
class _Work:
    batch: Batch
    opened: list[Opened]
    events: list[Delivery]
    touched: set[tuple[str, int]]
    granted: list[str]
