"""Helpers of the feeds' tests: a tap that records, ports that are free, sockets that speak."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asterix import generated
from pyais.encode import encode_dict

from appliance.domain import Geodetic
from appliance.feeds import Feed, FeedSpec, Item, open_feed
from appliance.feeds.source import Stopped

PATIENCE_S = 60.0


class RecordingTap:
    """A tap without a feed: keeps what it is given and stops after ``stop_after`` items or checks."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.bads: Counter[str] = Counter()
        self.ignoreds: Counter[str] = Counter()
        self.overruns = 0
        self.waited_s: list[float] = []
        self.stopping = False

    def opened(self) -> None:
        pass

    def put(self, item: Item, taken: Callable[[], None] | None = None) -> None:
        self.check()
        self.items.append(item)
        if taken is not None:
            taken()

    def bad(self, reason: str, count: int = 1) -> None:
        self.bads[reason] += count

    def ignored(self, reason: str, count: int = 1) -> None:
        self.ignoreds[reason] += count

    def overrun(self, count: int = 1) -> None:
        self.overruns += count

    def wait(self, seconds: float) -> None:
        self.check()
        self.waited_s.append(seconds)

    def check(self) -> None:
        if self.stopping:
            raise Stopped


@pytest.fixture
def tap() -> RecordingTap:
    return RecordingTap()


@pytest.fixture
def spec() -> Callable[..., FeedSpec]:
    """A spec with small defaults; fast pace, quick back-off."""

    def make(kind: str = "ais", uri: str = "file:none", **changes: Any) -> FeedSpec:
        wanted: dict[str, Any] = {
            "name": "sensor",
            "kind": kind,
            "uri": uri,
            "pace": "fast",
            "origin": Geodetic(latitude_deg=50.8, longitude_deg=-1.1),
            "backoff_first_s": 0.05,
            "backoff_cap_s": 0.2,
        }
        return FeedSpec(**{**wanted, **changes})

    return make


@pytest.fixture
def started(spec: Callable[..., FeedSpec]) -> Iterator[Callable[..., Feed]]:
    """Opens and starts feeds; stops them all at the end of the test."""
    feeds: list[Feed] = []

    def start(kind: str, uri: str, **changes: Any) -> Feed:
        feed = open_feed(spec(kind, uri, **changes))
        feeds.append(feed)
        feed.start()
        return feed

    yield start
    for feed in feeds:
        feed.stop()


@pytest.fixture
def drain() -> Callable[[Feed], list[Item]]:
    """Everything that a replay delivers until it has ended."""

    def drained(feed: Feed) -> list[Item]:
        items: list[Item] = []
        deadline = time.monotonic() + PATIENCE_S
        while not feed.ended:
            assert time.monotonic() < deadline, feed.status()
            item = feed.take(0.2)
            if item is not None:
                items.append(item)
        return items

    return drained


@pytest.fixture
def take_n() -> Callable[[Feed, int], list[Item]]:
    """The next ``n`` items of a live feed."""

    def taken(feed: Feed, n: int) -> list[Item]:
        items: list[Item] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(items) < n:
            assert time.monotonic() < deadline, feed.status()
            item = feed.take(0.2)
            if item is not None:
                items.append(item)
        return items

    return taken


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], None]:
    """Waits for something to become true."""

    def wait(condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it never became true"
            time.sleep(0.02)

    return wait


@pytest.fixture
def free_port() -> Callable[..., int]:
    """A port of loopback that nobody listens on just now."""

    def find(kind: int = socket.SOCK_STREAM) -> int:
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

    return find


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A TCP server on loopback for the feed under test to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(PATIENCE_S)
        yield sock


@pytest.fixture
def ais_line() -> Callable[..., bytes]:
    """Encodes one AIS message as AIVDM lines, as a receiver would send it."""

    def encoded(**fields: Any) -> bytes:
        lines = encode_dict(fields, talker_id="AI", sentence_type="VDM")
        return b"".join(line.encode("ascii") + b"\r\n" for line in lines)

    return encoded


@pytest.fixture(scope="session")
def asterix_block() -> Callable[..., bytes]:
    """Encodes ASTERIX records of one category as one data block."""
    specifications = {34: generated.Cat_034_1_29, 48: generated.Cat_048_1_32, 62: generated.Cat_062_1_21}

    def encoded(category: int, *records: dict[str, Any]) -> bytes:
        specification = specifications[category]
        made = [specification.cv_record.create(dict(record)) for record in records]
        return bytes(specification.create(made).unparse().to_bytes())

    return encoded


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file and returns its path."""

    def write(content: bytes | str, name: str = "recording") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write
