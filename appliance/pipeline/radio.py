"""The radio profile's sender: what goes into the next frame when a link carries two kilobits a second.

What this is: results in, frames out, as many as a bit budget allows; deterministic, with time as an argument. What it
is not: the frame's bytes (``radio_wire``), sealing, sending. docs/radio.md is the specification.

Rules:

- The budget is a token bucket over every byte on the wire in both directions, as far as it can be known here: payload,
  envelope, MQTT, TLS, TCP and IP of the frame and of its acknowledgement, and keep-alives. Grants and closes are paid
  from it as well (``spend``): after a start the bucket is in debt for as long as the grant takes.
- One frame carries many entities, because what a frame costs beside its payload is as much as thirty deltas.
- Order: alerts, then what is gone, then what recipients do not know yet, then what changed, longest unsent first, then
  keys that are due. Of an entity only the newest state waits; what it replaces is counted, not sent.
- A delta is against the entity's last key. Keys are never shed, so every recipient has it or will; who missed one takes
  the entity up again at its next key.
- Pictures and statuses are not sent: whether the unit is up is told by its availability byte.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from appliance.pipeline.bodies import AlertBody, EntityBody
from appliance.pipeline.radio_wire import (
    CLOCKS,
    INTEGRITIES,
    VERSION,
    Alarm,
    Delta,
    Key,
    RadioFrame,
    State,
    alarm_of,
    delta_of,
    encode,
    state_of,
    ticks,
    ulid_bytes,
)
from appliance.pipeline.results import Result
from appliance.pipeline.times import time_ns

_NS_PER_S: Final = 1_000_000_000
ENVELOPE_BYTES: Final = 108
"""docs/envelope.md: at most; 104 as a rule."""
MQTT_BYTES: Final = 72
"""PUBLISH: 5 header, 2 + topic (about 22), 2 packet id, 36 expiry and content type, and the PUBACK of 4."""
TLS_BYTES: Final = 44
"""A record of TLS 1.3 each way: 5 header, 1 type, 16 tag."""
TCP_IP_BYTES: Final = 156
"""IPv4 20, TCP 20, time stamps 12: the frame, its acknowledgement, and the acknowledgement of that."""
FRAME_COST_BYTES: Final = ENVELOPE_BYTES + MQTT_BYTES + TLS_BYTES + TCP_IP_BYTES
KEEPALIVE_BYTES_PER_S: Final = 16
"""PINGREQ and PINGRESP every 15 s where nothing else is sent, with TLS, TCP and IP."""
_HEADER_BYTES: Final = 16
_FILL_S: Final = 4.0
"""A frame is as large as the budget of so long allows: larger ones waste less, smaller ones wait less."""
_LEAST_PAYLOAD: Final = 200
_MOST_PAYLOAD: Final = 1000
"""With everything round it still one TCP segment."""
_BURST_FRAMES: Final = 2
_KEY_SHARE: Final = 0.75
"""Of a frame in which changes wait too; else a hundred new entities would silence the rest."""
MAX_ALARMS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioSettings:
    """The link's bits per second, and how often each entity is sent in full."""

    bits_per_s: float
    key_interval_s: float


@dataclass(slots=True)
class _Entity:
    number: int
    latest: EntityBody
    state: State
    serial: int = -1
    key: State | None = None
    key_ns: int = 0
    sent_ns: int = 0
    waits: bool = True

    @property
    def gone(self) -> bool:
        return self.latest.status == "deleted"


@dataclass(slots=True)
class _Draft:
    """A frame that is being filled."""

    room: int
    alarms: list[Alarm] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)

    def take(self, size: int, room: int | None = None) -> bool:
        if size > (self.room if room is None else min(room, self.room)):
            return False
        self.room -= size
        return True


_entities: Final = msgspec.json.Decoder(EntityBody)
_alerts: Final = msgspec.json.Decoder(AlertBody)


class Radio:
    """One unit's sender. ``counts`` says what was sent, replaced and left out."""

    def __init__(self, unit: str, settings: RadioSettings, *, now_ns: int) -> None:
        self._unit = unit
        self._bytes_per_s = max(settings.bits_per_s / 8.0 - KEEPALIVE_BYTES_PER_S, 1.0)
        self._key_ns = round(settings.key_interval_s * _NS_PER_S)
        payload = round(self._bytes_per_s * _FILL_S) - FRAME_COST_BYTES
        self.payload_bytes = min(max(payload, _LEAST_PAYLOAD), _MOST_PAYLOAD)
        self._full_cost = self.payload_bytes + FRAME_COST_BYTES
        self._tokens = 0.0
        self._filled_ns = now_ns
        self._known: dict[str, _Entity] = {}
        self._alarms: deque[AlertBody] = deque()
        self._numbers = 0
        self.counts: Counter[str] = Counter()

    def spend(self, size: int) -> None:
        """``size`` bytes beside the frames go over the link: a grant or a close."""
        self._tokens -= size + FRAME_COST_BYTES

    def restart(self) -> None:
        """A new epoch: its recipients know nothing yet."""
        self._numbers = 0
        for known in self._known.values():
            self._numbers += 1
            known.number, known.key, known.waits = self._numbers, None, True

    def pack(self, results: Iterable[Result], now_ns: int) -> tuple[Result, ...]:
        """Take results; the frames that the budget allows now."""
        for result in results:
            self._offer(result)
        self._fill(now_ns)
        return tuple(self._frames(now_ns))

    def waiting(self) -> int:
        """Entities and alerts that have something unsent."""
        return len(self._alarms) + sum(known.waits for known in self._known.values())

    def _offer(self, result: Result) -> None:
        if result.priority == "alert":
            self._alarms.append(_alerts.decode(result.payload))
            if len(self._alarms) > MAX_ALARMS:
                self._alarms.popleft()
                self.counts["radio_alerts_given_up"] += 1
        elif result.priority == "entity":
            self._offer_entity(_entities.decode(result.payload))
        else:
            self.counts["radio_left_out"] += 1

    def _offer_entity(self, entity: EntityBody) -> None:
        known = self._known.get(entity.entity_id)
        if known is None:
            if entity.status == "deleted":
                return
            self._numbers += 1
            self._known[entity.entity_id] = _Entity(self._numbers, entity, state_of(entity))
            return
        self.counts["radio_replaced"] += known.waits
        known.latest, known.state, known.waits = entity, state_of(entity), True
        if known.gone and known.key is None:
            del self._known[entity.entity_id]  # nobody was told of it

    def _fill(self, now_ns: int) -> None:
        passed_s = max(now_ns - self._filled_ns, 0) / _NS_PER_S
        self._filled_ns = now_ns
        self._tokens = min(self._tokens + passed_s * self._bytes_per_s, _BURST_FRAMES * self._full_cost)

    def _frames(self, now_ns: int) -> Iterator[Result]:
        while self._tokens >= self._full_cost or (self._alarms and self._tokens >= self._alarm_cost()):
            room = min(self.payload_bytes, int(self._tokens) - FRAME_COST_BYTES)
            draft = self._draft(now_ns, room - _HEADER_BYTES)
            if not (draft.alarms or draft.keys or draft.deltas):
                return
            payload = encode(self._frame(draft, now_ns))
            self._tokens -= len(payload) + FRAME_COST_BYTES
            self.counts["radio_frames"] += 1
            self.counts["radio_bytes"] += len(payload) + FRAME_COST_BYTES
            yield Result(topic=f"edge/v1/{self._unit}/radio", priority="radio", payload=payload)

    def _alarm_cost(self) -> int:
        return len(encode(alarm_of(self._alarms[0], 0))) + _HEADER_BYTES + FRAME_COST_BYTES

    def _frame(self, draft: _Draft, now_ns: int) -> RadioFrame:
        receipts = [known.latest.receipt for known in self._known.values()]
        clock = CLOCKS.index(receipts[-1].clock) if receipts else CLOCKS.index("free-running")
        integrity = INTEGRITIES.index(receipts[-1].position_integrity) if receipts else INTEGRITIES.index("none")
        parts = tuple(draft.alarms), tuple(draft.keys), tuple(draft.deltas)
        return RadioFrame(VERSION, now_ns // _NS_PER_S, clock, integrity, *parts)

    def _draft(self, now_ns: int, room: int) -> _Draft:
        draft, base_s = _Draft(room), now_ns // _NS_PER_S
        while self._alarms:
            alarm = alarm_of(self._alarms[0], base_s)
            if not draft.take(len(encode(alarm))):
                break
            draft.alarms.append(alarm)
            self._alarms.popleft()
        waiting = [known for known in self._known.values() if known.waits]
        changed = sorted((k for k in waiting if k.key is not None), key=lambda k: (not k.gone, k.sent_ns, k.number))
        unknown = [k for k in waiting if k.key is None]
        due = sorted((k for k in self._known.values() if self._is_due(k, now_ns)), key=lambda k: (k.key_ns, k.number))
        self._write_changed([k for k in changed if k.gone], draft, now_ns)
        spare = int(draft.room * (1.0 - _KEY_SHARE)) if changed else 0
        self._write_keys(unknown, draft, now_ns, spare)
        self._write_keys(due, draft, now_ns, max(spare, draft.room // 2 if changed else 0))
        self._write_changed([k for k in changed if not k.gone and k.waits], draft, now_ns)
        return draft

    def _is_due(self, known: _Entity, now_ns: int) -> bool:
        return known.key is not None and not known.gone and now_ns - known.key_ns >= self._key_ns

    def _write_keys(self, entities: Sequence[_Entity], draft: _Draft, now_ns: int, spare: int) -> None:
        for known in entities:
            key = self._key_of(known, now_ns)
            if not draft.take(len(encode(key)), draft.room - spare):
                return
            draft.keys.append(key)
            known.serial, known.key, known.key_ns = key.serial, known.state, now_ns
            known.sent_ns, known.waits = now_ns, False
            self.counts["radio_keys"] += 1

    def _write_changed(self, entities: Sequence[_Entity], draft: _Draft, now_ns: int) -> None:
        for known in entities:
            assert known.key is not None
            mask, values = delta_of(known.key, known.state)
            at = ticks(time_ns(known.latest.produced), now_ns // _NS_PER_S)
            delta = Delta(known.number, known.serial, at, mask, values)
            if not draft.take(len(encode(delta))):
                return
            draft.deltas.append(delta)
            known.sent_ns, known.waits = now_ns, False
            self.counts["radio_deltas"] += 1
            if known.gone:
                del self._known[known.latest.entity_id]

    def _key_of(self, known: _Entity, now_ns: int) -> Key:
        entity = known.latest
        identities = {kind[:32]: name[:64] for kind, name in list(entity.identities.items())[:16] if kind != "tracklet"}
        return Key(
            known.number,
            (known.serial + 1) % 256,
            ticks(time_ns(entity.produced), now_ns // _NS_PER_S),
            ulid_bytes(entity.entity_id),
            entity.category[:64],
            identities,
            known.state,
        )
