"""A result and what its user keeps of it are one transaction; a reader asks for its trusted units alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from appliance.bus import Reader
from appliance.bus.inbox import Inbox, Raw
from appliance.bus.intake import Intake
from appliance.errors import BusUnavailable
from appliance.sealing import Opened, PrivateIdentity, Sender, generate

TOPIC = "edge/v1/alpha/entity/01J"
NOWHERE = "mqtt://127.0.0.1:9"


@pytest.fixture
def filled(tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity) -> Path:
    """A reader's store with two results that nobody has asked for."""
    path = tmp_path / "inbox"
    sender = Sender("alpha", 1, device, [recipient.public], 1)
    envelopes = [sender.grant(), sender.seal(TOPIC, b"0"), sender.seal(TOPIC, b"1")]
    inbox = Inbox(path)
    Intake(inbox, [recipient], [device.public]).take([Raw(topic=e.topic, data=e.data) for e in envelopes])
    inbox.close()
    return path


def taken(reader: Reader) -> bytes:
    result = reader.take(20)
    assert isinstance(result, Opened)
    return result.payload


def keep(payload: bytes, database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE IF NOT EXISTS user_kept (payload BLOB)")
    database.execute("INSERT INTO user_kept VALUES (?)", (payload,))


def kept(path: Path) -> list[bytes]:
    with sqlite3.connect(path) as database:
        return [row[0] for row in database.execute("SELECT payload FROM user_kept")]


def test_what_a_user_writes_is_there_exactly_when_the_result_is_handed_over(
    filled: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    with Reader(NOWHERE, recipient, [device.public], filled) as reader:
        assert taken(reader) == b"0"
        reader.done(lambda database: keep(b"0", database))
        assert taken(reader) == b"1"  # and killed here
    with Reader(NOWHERE, recipient, [device.public], filled) as reader:
        assert taken(reader) == b"1"
        reader.done(lambda database: keep(b"1", database))
        assert reader.take(0.1) is None
    assert kept(filled) == [b"0", b"1"]


def test_where_the_user_cannot_write_the_result_is_not_handed_over(
    filled: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    with Reader(NOWHERE, recipient, [device.public], filled) as reader:
        assert taken(reader) == b"0"
        with pytest.raises(BusUnavailable, match="no such table"):
            reader.done(lambda database: database.execute("INSERT INTO user_missing VALUES (1)"))
        reader.done(lambda database: keep(b"0", database))
        assert reader.status().handed_over == 1
    assert kept(filled) == [b"0"]


def test_a_reader_asks_for_the_topics_of_the_units_that_it_trusts_and_no_others(
    device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    bravo = generate("device", "bravo")
    reader = Reader(NOWHERE, recipient, [bravo.public, device.public])
    assert reader._topics == ("edge/v1/alpha/#", "edge/v1/bravo/#")
    reader.stop()
