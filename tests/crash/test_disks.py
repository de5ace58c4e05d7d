"""A disk that is full or takes no writes, and a broker that is away: every frame that was sealed is opened once.

Time is scaled in ordinary runs: a minute is `--minute-s` seconds (2; 60 in `make crash`). An hour without a broker is
as many frames as an hour has at 50 a second, sealed as fast as they can be (180,000 in `make crash`; 3,000 ordinarily).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.bus import Link, Outbox, Priority, Reader
from appliance.sealing import Closed, Opened, PrivateIdentity, Sender
from tests.crash.parts import ENTITIES, UNIT, Books, Place, Program, listener, unit
from tests.support.brokers import until
from tests.support.provisioned import ProvisionedBroker

_LEFT_BYTES = 8192


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Another file takes all the room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(4096))
    assert os.statvfs(disk).f_bavail * 4096 <= _LEFT_BYTES
    try:
        yield
    finally:
        filler.unlink()


def running(place: Place) -> tuple[Program, Program, Books]:
    sending, listening, books = Program(unit, place), Program(listener, place), Books(place)
    listening.start()
    sending.start()
    until(lambda: place.inbox.exists() and len(books.heard()) > 20, 300)
    return sending, listening, books


def finish(sending: Program, listening: Program, books: Books, what: str) -> None:
    """The counters of the one epoch must be whole: nothing that was sealed was given up. Slowness is no failure."""
    time.sleep(1)
    sending.end(600)
    books.read()
    assert books.shed == set()
    until(lambda: len(books.heard()) >= len(books.durable), 600)
    time.sleep(0.5)
    listening.end(600)
    heard = books.heard()
    (epoch,) = {epoch for epoch, _ in heard}
    assert set(heard) == {(epoch, counter) for counter in range(len(heard))}, "no counter is missing"
    assert set(heard.values()) == {1}
    print(f"\n{what}: {len(heard)} frames sealed, each opened once")  # noqa: T201


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_full_disk_of_unit_and_listener_costs_no_frame(
    small_disk: Path,
    place_in: Callable[..., Place],
    make_provisioned: Callable[..., ProvisionedBroker],
    request: pytest.FixtureRequest,
) -> None:
    minute_s = request.config.getoption("--minute-s")
    sending, listening, books = running(place_in(small_disk, make_provisioned()))
    with filled(small_disk):
        before = sum(books.heard().values())
        time.sleep(minute_s)
        refused = sum(books.heard().values()) - before
    finish(sending, listening, books, f"disk full for {minute_s:g} s ({refused} were opened meanwhile)")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("whose", ["unit", "listener"])
def test_a_disk_that_takes_no_write_costs_no_frame(
    whose: str,
    tmp_path: Path,
    place_in: Callable[..., Place],
    make_provisioned: Callable[..., ProvisionedBroker],
    request: pytest.FixtureRequest,
) -> None:
    """As on a file system that went read-only under open files: the kernel refuses each write, EFBIG for EROFS."""
    minute_s = request.config.getoption("--minute-s")
    sending, listening, books = running(place_in(tmp_path, make_provisioned()))
    with (sending if whose == "unit" else listening).unable_to_write():
        time.sleep(0.5)
        books.read()
        durable, heard = set(books.durable), books.heard()
        time.sleep(minute_s)
        books.read()
        assert (books.durable == durable) if whose == "unit" else (books.heard() == heard), "nothing could be written"
    finish(sending, listening, books, f"no write by the {whose} for {minute_s:g} s")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_hour_without_a_broker_is_delivered_whole_when_it_comes_back(
    tmp_path: Path,
    device: PrivateIdentity,
    recipient: PrivateIdentity,
    make_provisioned: Callable[..., ProvisionedBroker],
    request: pytest.FixtureRequest,
) -> None:
    count = request.config.getoption("--backlog")
    broker = make_provisioned()
    tls, reader_tls = broker.tls_of(UNIT), broker.tls_of("reader")
    outbox = Outbox(tmp_path / "outbox.sqlite", resend_s=5)
    sender = Sender(UNIT, outbox.next_epoch(0), device, [recipient.public], 1)
    outbox.put(sender.grant())
    link = Link(outbox, broker.url, unit=UNIT, tls=tls, settle_s=5)
    link.start()
    with Reader(broker.url, recipient, [device.public], tmp_path / "inbox", tls=reader_tls) as reader:
        assert reader.wait_connected(20)
        broker.kill()
        for first in range(0, count, 500):
            numbers = range(first, min(first + 500, count))
            outbox.put_many(
                [(sender.seal(f"edge/v1/{UNIT}/entity/{n % ENTITIES}", b"%d" % n), Priority.ENTITY) for n in numbers]
            )
        outbox.put(sender.close(), priority=Priority.CLOSE)
        assert outbox.status().shed == {}
        broker.start()
        heard: Counter[int] = Counter()
        closed = None
        while len(heard) < count or closed is None:
            result = reader.take(60)
            assert result is not None, (len(heard), reader.status(), link.status())
            if isinstance(result, Opened):
                heard[int(result.payload)] += 1
            elif isinstance(result, Closed):
                closed = result
        assert outbox.wait_acknowledged(60)
        while (result := reader.take(1)) is not None:  # time for a second one to come, were there one
            assert not isinstance(result, Opened)
    link.stop()
    outbox.close()
    assert set(heard.values()) == {1}
    print(f"\nbroker away for {count} frames ({count / 50:.0f} s at 50/s): each opened once")  # noqa: T201
