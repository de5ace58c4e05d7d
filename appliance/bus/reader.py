"""The recipient's side: every result once to the user, whatever dies in between.

Not here: opening and storing (``intake``, ``inbox``).

Rules:

- A message is stored and counted as seen in one transaction before the broker is told that we have it. What the broker
  or the unit sends again is a duplicate, also after a restart.
- A result counts as handed over when the next one is asked for, or at ``done``. Whoever dies while working on a result
  gets that one again; whoever has finished it and asked on never does. A result's (unit, epoch, counter) is its name
  for ever, for users who keep their own books. After a power cut (not a crash) the last few may come again.
- Who keeps results in tables of this store writes them in ``done(write)``: result and hand-over are one transaction,
  so each result is there exactly once, whatever kills the process or the power.
- A user who is slow costs disk, not results: what does not fit into memory waits in the store, sealed.
- Where the state lies in no file (``state`` None) all this holds for as long as the reader lives.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from appliance.bus.endpoint import TlsFiles, endpoint
from appliance.bus.inbox import Inbox, Raw
from appliance.bus.intake import Delivery, Intake
from appliance.bus.mqtt import Connection, Dialer, Message, Protocol, Wake
from appliance.errors import BusUnavailable
from appliance.sealing import Closed, NotForUs, Opened, PrivateIdentity, PublicIdentity

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
SUBSCRIBE_TIMEOUT_S: Final = 10.0
_STEP_S: Final = 0.25
_MOST_IN_MEMORY: Final = 2048
_READ_AT_ONCE: Final = 256

ReaderState = Literal["stopped", "connecting", "connected", "backing-off"]
Result = Opened | Closed | NotForUs


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderStatus:
    """Where the reader stands. ``refused`` is by reason; ``available`` is what the units say of themselves."""

    state: ReaderState
    protocol: Protocol | None
    connections: int
    received: int
    opened: int
    handed_over: int
    duplicates: int
    not_for_us: int
    waited_for_grant: int
    dropped_waiting: int
    refused: Mapping[str, int]
    available: Mapping[str, bool]
    last_error: str | None


class Reader:
    """Reads one broker for one recipient. One user thread asks; a thread of its own receives."""

    def __init__(
        self,
        url: str,
        identity: PrivateIdentity | Sequence[PrivateIdentity],
        trusted: Sequence[PublicIdentity],
        state: Path | None = None,
        *,
        tls: TlsFiles | None = None,
        topics: tuple[str, ...] | None = None,
    ) -> None:
        """``state`` is the file that remembers; None forgets at the end. ``trusted`` are the units' public identities.

        ``topics`` left out are those of the trusted units: a broker grants each of them, and no wildcard over units.

        Raises ConfigError (URL, certificates), IdentityRefused (wrong kind), BusUnavailable (the file).
        """
        where = endpoint(url, tls)
        identities = (identity,) if isinstance(identity, PrivateIdentity) else tuple(identity)
        self._topics = topics if topics is not None else tuple(sorted({f"edge/v1/{unit.name}/#" for unit in trusted}))
        self._folder = tempfile.TemporaryDirectory(prefix="edge-reader-") if state is None else None
        path = Path(self._folder.name) / "inbox.sqlite" if self._folder is not None else state
        assert path is not None
        self._inbox = Inbox(path)
        try:
            self._intake = Intake(self._inbox, identities, trusted)
            self._dialer = Dialer(where, self._inbox.client_id(), persistent=True)
        except BaseException:
            self._release()
            raise
        self._wake = Wake()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus-reader", daemon=True)
        self._ready = threading.Condition()
        self._deliveries: deque[Delivery] = deque(self._intake.not_for_us())
        self._queued = 0
        self._behind = True
        self._taken: Delivery | None = None
        self._state: ReaderState = "stopped"
        self._numbers: Counter[str] = Counter()
        self._last_error: str | None = None

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End. The result that was taken last is handed over only if ``done`` was called or another was asked for."""
        self._stopping.set()
        self._wake.set()
        with self._ready:
            self._ready.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._wake.close()
            self._release()

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the broker has granted the subscription: what is published from then on comes here."""
        with self._ready:
            return self._ready.wait_for(lambda: self._state == "connected" or self._stopping.is_set(), timeout_s)

    def take(self, timeout_s: float) -> Result | None:
        """The next result, or None where none came in time. The one before counts as handed over from here on.

        ``Opened`` is a result; ``NotForUs`` says that a unit's epoch holds nothing for this identity; ``Closed`` ends
        an epoch. Raises BusUnavailable where the store cannot note the hand-over.
        """
        self.done()
        with self._ready:
            self._ready.wait_for(lambda: self._deliveries or self._stopping.is_set(), timeout_s)
            if not self._deliveries or self._stopping.is_set():
                return None
            self._taken = self._deliveries.popleft()
            low = self._behind and len(self._deliveries) < _MOST_IN_MEMORY // 2
        if low:
            self._wake.set()
        return self._taken.result

    def done(self, write: Callable[[sqlite3.Connection], object] | None = None) -> None:
        """The result that was taken last is finished: it will not come again. Raises BusUnavailable.

        ``write`` may write to tables of its own (named ``user_...``) in the store, in the transaction that hands the
        result over: both happen or neither. Where it raises, the result stays taken.
        """
        taken = self._taken
        if taken is not None and taken.seq:
            self._inbox.handed_over([taken.seq], write)
            self._numbers["handed_over"] += 1
        self._taken = None

    def look(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a user's own tables (named ``user_...``) in the store. Raises BusUnavailable."""
        return self._inbox.look(sql, parameters)

    def __iter__(self) -> Iterator[Opened]:
        """Opened results until the reader is stopped."""
        while not self._stopping.is_set():
            result = self.take(_STEP_S)
            if isinstance(result, Opened):
                yield result

    def status(self) -> ReaderStatus:
        """Counts since the start."""
        counts = self._intake.counts
        return ReaderStatus(
            state=self._state,
            protocol=self._dialer.protocol if self._state == "connected" else None,
            connections=self._numbers["connections"],
            received=self._numbers["received"],
            opened=counts["opened"],
            handed_over=self._numbers["handed_over"],
            duplicates=counts["duplicates"],
            not_for_us=counts["not_for_us"],
            waited_for_grant=counts["waiting"],
            dropped_waiting=counts["dropped_waiting"],
            refused=dict(self._intake.refused),
            available=dict(self._intake.available),
            last_error=self._last_error,
        )

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            received = self._numbers["received"]
            try:
                self._serve()
            except BusUnavailable as e:  # the one boundary of this thread: every trouble ends in a pause
                self._last_error = str(e)
            if self._numbers["received"] > received:
                pause = _FIRST_PAUSE_S
            if not self._stopping.is_set():
                self._state = "backing-off"
                self._stopping.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
        self._state = "stopped"

    def _serve(self) -> None:
        self._state = "connecting"
        granted = False
        self._catch_up()
        connection = self._dialer.dial(self._wake, self._stopping.is_set)
        try:
            connection.subscribe(self._topics)
            heard_at = time.monotonic()
            while not self._stopping.is_set():
                if self._receive(connection):
                    heard_at = time.monotonic()  # what was on its way to us before comes before the broker's answer
                self._catch_up()
                connection.step(_STEP_S, self._wake, most=_READ_AT_ONCE)
                granted = granted or self._is_granted(connection, heard_at + SUBSCRIBE_TIMEOUT_S)
            connection.close(farewell=True)
        finally:
            connection.close(farewell=False)

    def _is_granted(self, connection: Connection, deadline: float) -> bool:
        if connection.subscribed():
            with self._ready:
                self._state, self._last_error = "connected", None
                self._numbers["connections"] += 1
                self._ready.notify_all()
            return True
        if time.monotonic() > deadline:
            raise BusUnavailable("the broker does not answer the subscription")
        return False

    def _receive(self, connection: Connection) -> bool:
        """Take what has come; whether anything had."""
        messages: list[Message] = connection.messages()
        if not messages:
            return False
        self._numbers["received"] += len(messages)
        deliveries = self._intake.take([Raw(topic=m.topic, data=m.payload) for m in messages])
        self._queue(deliveries)
        for message in messages:
            if message.qos:
                connection.acknowledge(message)
        return True

    def _queue(self, deliveries: Sequence[Delivery]) -> None:
        with self._ready:
            for delivery in deliveries:
                if delivery.seq and (self._behind or len(self._deliveries) >= _MOST_IN_MEMORY):
                    self._behind = True  # it is in the store, and comes from there when there is room
                    continue
                self._queued = max(self._queued, delivery.seq)
                self._deliveries.append(delivery)
            self._ready.notify_all()

    def _catch_up(self) -> None:
        """Take from the store what did not fit into memory, or was left there by the process before."""
        if not self._behind or len(self._deliveries) > _MOST_IN_MEMORY // 2:
            return
        most = _MOST_IN_MEMORY // 2
        deliveries, last = self._intake.reload(self._queued, most)
        with self._ready:
            self._behind = last > self._queued
            self._queued = last
            self._deliveries.extend(deliveries)
            self._ready.notify_all()

    def _release(self) -> None:
        self._inbox.close()
        if self._folder is not None:
            self._folder.cleanup()
