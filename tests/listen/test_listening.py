"""The asynchronous reader over real brokers: each result once, whatever becomes of the one who asks."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.bus import Link, Outbox, Priority
from appliance.bus.embedded import EmbeddedBroker
from appliance.errors import BusUnavailable, ConfigError, IdentityRefused, UsageError
from appliance.listen import AlertBody, EntityBody, EpochClosed, Listening, NothingForUs, Result, Unread, listen
from appliance.pipeline.radio import Radio
from appliance.pipeline.radio_wire import LEFT_OUT
from appliance.sealing import PrivateIdentity, Sender, generate
from tests.listen.test_results import ALERT
from tests.pipeline.test_radio import SETTINGS, START, moving

TOPIC = "edge/v1/quay-01/alert"


class Unit:
    """A unit that tells numbered alerts."""

    def __init__(self, folder: Path, url: str, device: PrivateIdentity, recipient: PrivateIdentity) -> None:
        self.outbox = Outbox(folder / "outbox.sqlite")
        self.sender = Sender("quay-01", self.outbox.next_epoch(0), device, [recipient.public], 1)
        self.outbox.put(self.sender.grant())
        self.link = Link(self.outbox, url, unit="quay-01", settle_s=3.0)
        self.link.start()

    def tell(self, *numbers: int) -> None:
        for number in numbers:
            body = {**ALERT, "dispute": {**ALERT["dispute"], "claimed": f"claim {number}"}}
            self.outbox.put(self.sender.seal(TOPIC, json.dumps(body).encode()), priority=Priority.ALERT)

    def close(self) -> None:
        self.outbox.put(self.sender.close())


@pytest.fixture(scope="module")
def device() -> PrivateIdentity:
    return generate("device", "quay-01")


@pytest.fixture(scope="module")
def recipient() -> PrivateIdentity:
    return generate("recipient", "ops")


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


@pytest.fixture
def unit(tmp_path: Path, broker: EmbeddedBroker, device: PrivateIdentity, recipient: PrivateIdentity) -> Iterator[Unit]:
    made = Unit(tmp_path, broker.url, device, recipient)
    yield made
    made.link.stop()
    made.outbox.close()


def number(result: Result) -> int:
    assert isinstance(result.body, AlertBody)
    return int(result.body.dispute.claimed.split()[1])


async def connected(results: Listening) -> None:
    """From here on nothing is missed; what was told before comes with the link's repetition, much later."""
    async with asyncio.timeout(20):
        while results.status().state != "connected":
            await asyncio.sleep(0.01)


async def some(results: Listening, count: int) -> list[int]:
    return [number(await asyncio.wait_for(anext(results), 20)) for _ in range(count)]


@pytest.fixture
def start(tmp_path: Path, broker: EmbeddedBroker, device: PrivateIdentity, recipient: PrivateIdentity) -> Any:
    return lambda **changed: listen(
        **{"bus": broker.url, "identity": recipient, "units": [device.public], "state": tmp_path / "seen", **changed}
    )


def test_results_come_typed_and_in_order_and_the_last_one_is_finished_by_leaving(unit: Unit, start: Any) -> None:
    async def main() -> None:
        async with start() as results:
            await connected(results)
            unit.tell(1, 2, 3, 4)
            assert await some(results, 2) == [1, 2]
        async with start() as results:
            assert await some(results, 2) == [3, 4]

    asyncio.run(main())


def test_who_fails_while_working_on_a_result_gets_it_again(unit: Unit, start: Any) -> None:
    async def fail() -> None:
        async with start() as results:
            await connected(results)
            unit.tell(1, 2, 3)
            assert await some(results, 2) == [1, 2]
            raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await fail()
        async with start() as results:
            assert await some(results, 2) == [2, 3]

    asyncio.run(main())


def test_a_wait_that_is_cancelled_loses_nothing(unit: Unit, start: Any) -> None:
    async def main() -> None:
        async with start() as results:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(results), 0.03)
            await connected(results)
            unit.tell(*range(20))
            heard: list[int] = []
            while len(heard) < 20:
                try:
                    heard.append(number(await asyncio.wait_for(anext(results), 0.002)))
                except TimeoutError:
                    continue
            assert sorted(heard) == list(range(20)), "the order is the broker's"

    asyncio.run(main())


def test_a_cancelled_task_ends_cleanly_and_what_it_worked_on_comes_again(unit: Unit, start: Any) -> None:
    async def main() -> None:
        working = asyncio.Event()

        async def work() -> None:
            async with start() as results:
                await connected(results)
                unit.tell(1)
                async for _ in results:
                    working.set()
                    await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await asyncio.wait_for(working.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with start() as results:
            assert await some(results, 1) == [1]

    asyncio.run(main())


def test_events_tell_the_end_of_an_epoch(unit: Unit, start: Any) -> None:
    async def main() -> None:
        async with start() as results:
            await connected(results)
            unit.tell(1, 2)
            unit.close()
            events = [await asyncio.wait_for(results.next_event(), 20) for _ in range(3)]
            closed = events[-1]
            assert isinstance(closed, EpochClosed)
            assert (closed.count, closed.missing, closed.given_up, closed.results) == (2, (), (), "all")

    asyncio.run(main())


def test_a_stranger_is_told_that_nothing_is_for_him(unit: Unit, start: Any) -> None:
    async def main() -> None:
        unit.tell(1)
        async with start(identity=generate("recipient", "stranger")) as results:
            async for event in results.events():
                assert isinstance(event, NothingForUs)
                assert event.unit == "quay-01"
                break

    asyncio.run(main())


def test_what_cannot_be_read_is_a_result_of_its_own(unit: Unit, start: Any) -> None:
    async def main() -> None:
        async with start() as results:
            await connected(results)
            # as an alert like those of `tell`: one of a lower rank might leave the outbox after them
            unit.outbox.put(unit.sender.seal(TOPIC, b"no JSON"), priority=Priority.ALERT)
            unit.tell(1)
            first = await asyncio.wait_for(anext(results), 20)
            assert isinstance(first.body, Unread)
            assert await some(results, 1) == [1]

    asyncio.run(main())


def radio_frames(seconds: int) -> list[bytes]:
    return [frame.payload for _, frame in moving(Radio("quay-01", SETTINGS, now_ns=START), seconds, count=3)]


def test_frames_of_the_radio_profile_come_as_entities_and_a_restart_goes_on_with_the_same_keys(
    unit: Unit, start: Any
) -> None:
    frames = radio_frames(30)

    def tell(payloads: list[bytes]) -> None:
        for payload in payloads:
            unit.outbox.put(unit.sender.seal("edge/v1/quay-01/radio", payload), priority=Priority.ALERT)

    async def take(results: Listening, count: int) -> list[Result]:
        return [await asyncio.wait_for(anext(results), 20) for _ in range(count)]

    async def main() -> None:
        async with start() as results:
            await connected(results)
            tell(frames[:1])
            first = await take(results, 3)
            assert [(r.counter, r.index) for r in first] == [(0, 0), (0, 1), (0, 2)]
            assert all(isinstance(r.body, EntityBody) and r.left_out == LEFT_OUT for r in first)
            assert json.loads(first[0].payload)["schema"] == "edge/entity/1"
        async with start() as results:
            await connected(results)
            tell(frames[1:2])
            second = await take(results, 3)
            assert {r.body.entity_id for r in second} == {r.body.entity_id for r in first}  # type: ignore[union-attr]
            assert all(r.body.identities for r in second), "the keys were those of the reader before"  # type: ignore[union-attr]

    asyncio.run(main())


def test_who_fails_in_the_middle_of_a_radio_frame_gets_the_whole_frame_again(unit: Unit, start: Any) -> None:
    async def fail() -> None:
        async with start() as results:
            await connected(results)
            unit.outbox.put(unit.sender.seal("edge/v1/quay-01/radio", radio_frames(5)[0]), priority=Priority.ALERT)
            unit.outbox.put(unit.sender.seal("edge/v1/quay-01/radio", b"no frame"), priority=Priority.ALERT)
            for _ in range(2):
                await asyncio.wait_for(anext(results), 20)
            raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await fail()
        async with start() as results:
            again = [await asyncio.wait_for(anext(results), 20) for _ in range(4)]
            assert [(r.counter, r.index) for r in again] == [(0, 0), (0, 1), (0, 2), (1, 0)]
            assert isinstance(again[-1].body, Unread)

    asyncio.run(main())


def test_iterating_outside_of_the_block_is_bad_usage(start: Any) -> None:
    async def main() -> None:
        results = start()
        with pytest.raises(UsageError, match="async with"):
            await anext(results)
        async with results:
            with pytest.raises(BusUnavailable, match="another process"):
                start()
        with pytest.raises(UsageError):
            await anext(results)
        with pytest.raises(UsageError, match="once"):
            await results.__aenter__()

    asyncio.run(main())


def test_what_cannot_be_used_is_refused_before_anything_starts(start: Any, device: PrivateIdentity) -> None:
    with pytest.raises(ConfigError):
        start(bus="http://127.0.0.1")
    with pytest.raises(IdentityRefused):
        start(identity=device)


def test_a_result_that_cannot_be_put_away_ends_the_iteration(unit: Unit, start: Any) -> None:
    async def main() -> None:
        async with start() as results:
            await connected(results)
            unit.tell(1, 2)
            assert await some(results, 1) == [1]
            store = results._listener._reader._inbox._store
            store._writer.execute("PRAGMA query_only=ON")
            with pytest.raises(BusUnavailable):
                await asyncio.wait_for(anext(results), 20)
            store._writer.execute("PRAGMA query_only=OFF")
            assert await some(results, 1) == [2]

    asyncio.run(main())


def test_the_manuals_example_runs(
    unit: Unit, broker: EmbeddedBroker, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity,
    repository: Path,
) -> None:  # fmt: skip
    (example,) = re.findall(r"```python\n(.*?)```", (repository / "docs" / "reader.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "ship_watch.py").write_text(example, "utf-8")
    (tmp_path / "ops.json").write_text(recipient.to_json())
    (tmp_path / "quay-01.public.json").write_text(device.public.to_json())
    unit.tell(7)
    files = [tmp_path / name for name in ("ops.json", "quay-01.public.json", "state.sqlite")]
    child = subprocess.Popen(
        [sys.executable, tmp_path / "ship_watch.py", broker.url, *files], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ALERT claim 7 but b\n"
    finally:
        child.kill()
        child.communicate()
