"""The link: sends what the outbox holds to the broker, for as long as it takes.

Not here: sealing, storing, what the broker does with it.

Rules:

- In the outbox's order, QoS 1, as many in flight as the broker takes and no more; an envelope is acknowledged in the
  outbox only when the broker has answered for it.
- Every connection starts with everything that the outbox still keeps: grants, then the rest (see ``outbox``). A broker
  that was killed has forgotten its readers too, and acknowledges what nobody hears until they are back. So the resend
  window goes out once more after ``settle_s``, when most are, and again when the connection is as old as the window is
  long. A reader that is back by then has missed nothing.
- The resend window goes out beside what is new, a few envelopes at a time: it was acknowledged once and can wait; what
  is new would otherwise queue behind thousands of it, in the broker and in every reader.
- A broker that is away, refuses or is silent is tried again with growing pauses; nothing here ever gives up or raises.
- Availability is one byte, retained, on ``edge/v1/<unit>/status``: ``1`` while connected, ``0`` by will or farewell. It
  is the one payload that is not sealed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from appliance.bus.endpoint import TlsFiles, endpoint
from appliance.bus.mqtt import Connection, Dialer, Protocol, Wake, Will
from appliance.bus.outbox import Outbox, Outgoing
from appliance.errors import BusUnavailable

MOST_IN_FLIGHT: Final = 256
CONTENT_TYPE: Final = "application/vnd.edge.envelope"
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 15.0
_STEP_S: Final = 0.25
_GATHER_S: Final = 0.02
"""Acknowledgements are written together when this old; they are light, and lost ones only cost a repeat."""
_GATHER_COUNT: Final = 256
MOST_AGAIN: Final = 8
"""Of the resend window, in flight at a time and sent every ``_GATHER_S``: 400 a second, which costs what is new a few
milliseconds, and sends a minute at 200 a second within half a minute."""
SETTLE_S: Final = 15.0
"""A reader that runs is back by then: its longest pause, and a moment for the handshake."""
_PRUNE_EVERY_S: Final = 1.0
_SILENCE_S: Final = 30.0
_PACKET_OVERHEAD_BYTES: Final = 64
_HARMLESS: Final = frozenset({"Topic name invalid", "Payload format invalid", "Packet too large"})
"""Refusals that concern one message; every other one concerns us and ends the connection."""

LinkState = Literal["stopped", "connecting", "connected", "backing-off"]
ONLINE: Final = b"1"
OFFLINE: Final = b"0"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """Where the link stands. ``again`` counts envelopes sent that a broker had acknowledged before."""

    state: LinkState
    protocol: Protocol | None
    connections: int
    published: int
    again: int
    acknowledged: int
    in_flight: int
    refused: Mapping[str, int]
    last_error: str | None


class Link:
    """A thread that keeps one unit connected. ``status`` may be asked from any thread."""

    def __init__(
        self, outbox: Outbox, url: str, *, unit: str, tls: TlsFiles | None = None, settle_s: float = SETTLE_S
    ) -> None:
        """``url`` is mqtt:// or mqtts://, the latter with ``tls``. Raises ConfigError for what cannot be used."""
        self._settle_s = settle_s
        self._repeats_at: list[float] = []
        self._outbox = outbox
        self._status_topic = f"edge/v1/{unit}/status"
        will = Will(topic=self._status_topic, payload=OFFLINE)
        self._dialer = Dialer(endpoint(url, tls), f"edge-unit-{unit}", will=will)
        self._wake = Wake()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"bus-link-{unit}", daemon=True)
        self._state: LinkState = "stopped"
        self._in_flight: dict[int, Outgoing | None] = {}
        self._again_at = 0.0
        self._gathered: list[int] = []
        self._gathered_at = 0.0
        self._heard_at = 0.0
        self._pruned_at = 0.0
        self._connections = self._published = self._again = self._acknowledged = 0
        self._refused: Counter[str] = Counter()
        self._last_error: str | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._outbox.on_ready(self._wake.set)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Say farewell and end; what is not acknowledged stays in the outbox."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._outbox.on_ready(_nothing)
            self._wake.close()

    def status(self) -> LinkStatus:
        """Counts since the start."""
        return LinkStatus(
            state=self._state,
            protocol=self._dialer.protocol if self._state == "connected" else None,
            connections=self._connections,
            published=self._published,
            again=self._again,
            acknowledged=self._acknowledged,
            in_flight=len(self._in_flight),
            refused=dict(self._refused),
            last_error=self._last_error,
        )

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            acknowledged = self._acknowledged
            try:
                self._serve()
            except BusUnavailable as e:  # the one boundary of this thread: every trouble ends in a pause
                self._last_error = str(e)
            if self._acknowledged > acknowledged:
                pause = _FIRST_PAUSE_S
            if not self._stopping.is_set():
                self._state = "backing-off"
                self._stopping.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
        self._state = "stopped"

    def _serve(self) -> None:
        """One connection, from its first byte to its last."""
        self._state = "connecting"
        connection = self._dialer.dial(self._wake, self._stopping.is_set)
        try:
            self._outbox.rewind()
            self._begin(connection)
            while not self._stopping.is_set():
                self._fill(connection)
                connection.step(_GATHER_S if self._gathered else _STEP_S, self._wake)
                self._collect(connection)
                self._tidy(connection)
            connection.publish(self._status_topic, OFFLINE, retain=True)
            connection.close(farewell=True)
        finally:
            connection.close(farewell=False)
            self._in_flight.clear()
            self._save()

    def _begin(self, connection: Connection) -> None:
        self._state = "connected"
        self._connections += 1
        self._last_error = None
        self._heard_at = self._pruned_at = time.monotonic()
        after_s = {self._settle_s, max(self._settle_s, self._outbox.resend_s)}
        self._repeats_at = [self._heard_at + s for s in sorted(after_s)]
        self._in_flight[connection.publish(self._status_topic, ONLINE, retain=True)] = None

    def _fill(self, connection: Connection) -> None:
        window = min(MOST_IN_FLIGHT, connection.most_in_flight)
        for item in self._outbox.claim(window - len(self._in_flight), again=self._again_now()):
            if len(item.data) + len(item.topic) + _PACKET_OVERHEAD_BYTES > connection.max_packet_bytes:
                self._give_up(item, "Packet too large")
                continue
            mid = connection.publish(
                item.topic, item.data, retain=item.retain, expires_s=item.expires_s, content_type=CONTENT_TYPE
            )
            self._in_flight[mid] = item
            self._published += 1
            self._again += item.again

    def _again_now(self) -> int:
        """How many of the resend window may go now."""
        now = time.monotonic()
        if now < self._again_at:
            return 0
        self._again_at = now + _GATHER_S
        return MOST_AGAIN - sum(item is not None and item.again for item in self._in_flight.values())

    def _collect(self, connection: Connection) -> None:
        now = time.monotonic()
        for answer in connection.answers():
            self._heard_at = now
            item = self._in_flight.pop(answer.mid, None)
            if item is None:
                continue
            if answer.refused is None:
                self._gathered_at = self._gathered_at if self._gathered else now
                self._gathered.append(item.seq)
                self._acknowledged += 1
            else:
                self._refuse(item, answer.refused)
        if len(self._gathered) >= _GATHER_COUNT or (self._gathered and now - self._gathered_at >= _GATHER_S):
            self._save()
        if self._in_flight and now - self._heard_at > _SILENCE_S:
            raise BusUnavailable(f"the broker has not acknowledged anything for {_SILENCE_S:.0f} s")
        if not self._in_flight:
            self._heard_at = now

    def _refuse(self, item: Outgoing, reason: str) -> None:
        if reason in _HARMLESS:
            self._give_up(item, reason)
            return
        self._refused[reason] += 1
        raise BusUnavailable(f"the broker refused {item.topic}: {reason}")

    def _give_up(self, item: Outgoing, reason: str) -> None:
        self._refused[reason] += 1
        self._outbox.give_up(item.seq, reason)

    def _save(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._outbox.acknowledge(gathered)

    def _tidy(self, connection: Connection) -> None:
        now = time.monotonic()
        if self._repeats_at and now >= self._repeats_at[0]:
            del self._repeats_at[0]
            self._save()
            self._outbox.repeat()
        if now - self._pruned_at < _PRUNE_EVERY_S:
            return
        self._pruned_at = now
        for topic in self._outbox.prune():
            self._in_flight[connection.publish(topic, b"", retain=True)] = None


def _nothing() -> None:
    """No link is there any more."""
