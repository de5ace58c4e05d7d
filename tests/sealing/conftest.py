"""A unit, its recipients and a stranger; made once, since every test may share them."""

from __future__ import annotations

import pytest

from appliance.sealing import Opener, PrivateIdentity, Sender, generate


@pytest.fixture(scope="session")
def device() -> PrivateIdentity:
    return generate("device", "alpha")


@pytest.fixture(scope="session")
def reader() -> PrivateIdentity:
    return generate("recipient", "reader-1")


@pytest.fixture(scope="session")
def second() -> PrivateIdentity:
    return generate("recipient", "reader-2")


@pytest.fixture(scope="session")
def stranger() -> PrivateIdentity:
    return generate("recipient", "stranger")


@pytest.fixture
def sender(device: PrivateIdentity, reader: PrivateIdentity) -> Sender:
    return Sender("alpha", 7, device, [reader.public], 1_000)


@pytest.fixture
def opener(device: PrivateIdentity, reader: PrivateIdentity, sender: Sender) -> Opener:
    """An opener that has the grant of ``sender`` already."""
    opener = Opener(reader, [device.public])
    opener.accept(sender.grant().topic, sender.grant().data)
    return opener
