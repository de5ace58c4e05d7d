"""The radio profile's reader: entities again from keys and deltas, and what was missed.

What this is: a unit's keys as one reader knows them, and a pure step from a frame to results. It is a value that can be
stored (``export``) and made again; the reader's store keeps it in the transaction that hands the frame over.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import msgspec

from appliance.pipeline.bodies import AlertBody, EntityBody
from appliance.pipeline.radio_wire import (
    MAX_ENTITIES,
    STATUSES,
    Key,
    RadioFrame,
    alert_of,
    apply,
    check,
    decode,
    entity_of,
)

_DELETED: Final = STATUSES.index("deleted")
_STATUS: Final = 1


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    epoch: int
    keys: tuple[Key, ...]


_stored: Final = msgspec.msgpack.Decoder(_Stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioRead:
    """What one frame said. ``missed`` counts deltas whose key is not known here (yet, or any more)."""

    alerts: tuple[AlertBody, ...]
    entities: tuple[EntityBody, ...]
    missed: int


class RadioState:
    """The keys of one unit's newest epoch."""

    def __init__(self, unit: str, stored: bytes = b"") -> None:
        """``stored`` is what ``export`` gave; what cannot be read is as if nothing had been stored."""
        self._unit = unit
        self._epoch = -1
        self._keys: OrderedDict[int, Key] = OrderedDict()
        try:
            known = _stored.decode(stored) if stored else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            known = None
        if known is not None:
            self._epoch = known.epoch
            self._keys.update((key.number, key) for key in known.keys)

    def export(self) -> bytes:
        """Everything that must outlive a restart."""
        return msgspec.msgpack.encode(_Stored(self._epoch, tuple(self._keys.values())))

    def read(self, payload: bytes, epoch: int) -> RadioRead:
        """The results of one frame. Raises BadRecord (``radio``), and then nothing was taken from it."""
        frame = decode(payload)
        if epoch < self._epoch:
            return RadioRead(alerts=(), entities=(), missed=len(frame.keys) + len(frame.deltas))
        keys = OrderedDict(self._keys) if epoch == self._epoch else OrderedDict[int, Key]()
        alerts = tuple(alert_of(frame, alarm, unit=self._unit) for alarm in frame.alarms)
        told = self._take_keys(frame, keys)
        changed, missed = self._take_deltas(frame, keys)
        while len(keys) > MAX_ENTITIES:
            keys.popitem(last=False)
        self._epoch, self._keys = epoch, keys
        return RadioRead(alerts=alerts, entities=(*told, *changed), missed=missed)

    def _take_keys(self, frame: RadioFrame, keys: OrderedDict[int, Key]) -> list[EntityBody]:
        told = []
        for key in frame.keys:
            check(key.state)
            told.append(entity_of(frame, key, key.state, key.ticks, unit=self._unit))
            keys[key.number] = key
            keys.move_to_end(key.number)
        return told

    def _take_deltas(self, frame: RadioFrame, keys: OrderedDict[int, Key]) -> tuple[list[EntityBody], int]:
        changed, missed = [], 0
        for delta in frame.deltas:
            key = keys.get(delta.number)
            if key is None or key.serial != delta.serial:
                missed += 1
                continue
            state = apply(key.state, delta)
            changed.append(entity_of(frame, key, state, delta.ticks, unit=self._unit))
            if state[_STATUS] == _DELETED:
                del keys[delta.number]
        return changed, missed
