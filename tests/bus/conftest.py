"""Brokers to test against: the embedded one, and those of ``tests.support.brokers``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from appliance.bus import TlsFiles
from appliance.bus.embedded import EmbeddedBroker
from appliance.sealing import PrivateIdentity, generate
from tests.support.brokers import LocalCa


class Broker(Protocol):
    """What the tests need of a broker."""

    @property
    def url(self) -> str: ...

    @property
    def tls(self) -> TlsFiles | None: ...

    def stop(self) -> None: ...


class Embedded(EmbeddedBroker):
    """The embedded broker, seen as the others."""

    tls = None


@pytest.fixture(params=["embedded", "mosquitto", "mosquitto over mTLS"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each kind of broker in turn."""
    if request.param == "embedded":
        with Embedded() as embedded:
            yield embedded
        return
    make = request.getfixturevalue("make_mosquitto")
    yield make(LocalCa(tmp_path / "ca") if "mTLS" in request.param else None)


@pytest.fixture(scope="session")
def device() -> PrivateIdentity:
    return generate("device", "alpha")


@pytest.fixture(scope="session")
def recipient() -> PrivateIdentity:
    return generate("recipient", "reader-1")


@pytest.fixture(scope="session")
def stranger() -> PrivateIdentity:
    return generate("recipient", "stranger")
