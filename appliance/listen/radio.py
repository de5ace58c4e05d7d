"""Results of the radio profile: one frame becomes several, and a unit's keys are kept beside the results.

The keys go to the reader's store in the transaction that hands the frame over, so that a restart goes on with exactly
those keys that its results were made from.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from typing import Final

import msgspec

from appliance.bus import Reader
from appliance.errors import BadRecord
from appliance.listen.results import Result, Unread
from appliance.pipeline.bodies import AlertBody, EntityBody
from appliance.pipeline.radio_state import RadioState
from appliance.pipeline.radio_wire import LEFT_OUT
from appliance.sealing import Opened

_TABLE: Final = "CREATE TABLE IF NOT EXISTS user_radio (unit TEXT PRIMARY KEY, state BLOB NOT NULL)"
_encoder: Final = msgspec.json.Encoder(order="deterministic")


def is_radio(opened: Opened) -> bool:
    """Whether a frame is one of the radio profile."""
    return opened.topic == f"edge/v1/{opened.unit}/radio"


class RadioKeys:
    """The keys of every unit that speaks in the radio profile. ``missed`` counts deltas whose key is not known."""

    def __init__(self, reader: Reader) -> None:
        """Raises BusUnavailable where the store cannot be read."""
        tables = reader.look("SELECT name FROM sqlite_master WHERE name = 'user_radio'")
        rows = reader.look("SELECT unit, state FROM user_radio") if tables else []
        self._states = {unit: RadioState(unit, state) for unit, state in rows}
        self.missed = 0

    def read(self, opened: Opened, opened_ns: int) -> list[Result]:
        """The results of one frame; one that is no frame is a result that says so."""
        state = self._states.setdefault(opened.unit, RadioState(opened.unit))
        whole = Result(
            unit=opened.unit,
            topic=opened.topic,
            epoch=opened.epoch,
            counter=opened.counter,
            opened_ns=opened_ns,
            body=Unread("", ""),
            payload=opened.payload,
        )
        try:
            said = state.read(opened.payload, opened.epoch)
        except BadRecord as e:
            return [dataclasses.replace(whole, body=Unread("", str(e)))]
        self.missed += said.missed
        bodies: tuple[AlertBody | EntityBody, ...] = (*said.alerts, *said.entities)
        return [
            dataclasses.replace(
                whole,
                body=body,
                payload=_encoder.encode(body),
                index=index,
                left_out=LEFT_OUT if isinstance(body, EntityBody) else (),
            )
            for index, body in enumerate(bodies)
        ]

    def writer(self, unit: str) -> Callable[[sqlite3.Connection], None]:
        """Writes the unit's keys, in a transaction of the reader's store."""
        row = (unit, self._states[unit].export())

        def write(database: sqlite3.Connection) -> None:
            database.execute(_TABLE)
            database.execute("INSERT OR REPLACE INTO user_radio VALUES (?, ?)", row)

        return write
