"""``kill -9`` at random moments under load: what the outbox held is opened, once."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import until

KILLS = 20
UNITS = 2
FEEDS = """
[[feeds]]
name = "beacons"
kind = "plots"
uri = "file:plots.jsonl"
"""


def held(path: Path) -> set[tuple[int, int]]:
    """Epoch and counter of every frame that the outbox ever made durable (its window outlasts the test)."""
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT epoch, counter FROM envelope WHERE kind = 'frame'").fetchall()
    return set(rows)


def killed_and_heard(house: Any, broker: Any, seed: int) -> tuple[set[tuple[int, int]], Counter[tuple[int, int]]]:
    """Kill a unit again and again: what its outbox ever made durable, and how often each was shown."""
    house.write_mission(broker.url, FEEDS)
    reader = house.listen(broker.url)
    chance = random.Random(seed)
    for _ in range(KILLS // UNITS):
        daemon = house.run_daemon()
        assert "is up" in house.log_of(daemon), house.log_of(daemon)
        time.sleep(chance.uniform(0.0, 1.5))
        daemon.kill()
        daemon.wait(30)
    last = house.run_daemon()
    time.sleep(2)
    house.end(last)
    assert last.returncode == 0
    durable = held(house.folder / "state" / "outbox.sqlite")
    until(lambda: len(house.results(reader)) >= len(durable), 120)
    time.sleep(2)  # time for a second showing, were there one
    return durable, Counter((body["epoch"], body["counter"]) for body in house.results(reader))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_lose_nothing_that_was_durable_and_show_nothing_twice(
    make_house: Any, make_mosquitto: Any, plots: Any
) -> None:
    """A start takes one core some seconds, so two units are killed side by side."""
    houses = [make_house(f"unit-{number}") for number in range(UNITS)]
    for house in houses:
        plots(house.folder, 20_000, 100.0)
    brokers = [make_mosquitto() for _ in houses]
    with ThreadPoolExecutor(UNITS) as pool:
        told = list(pool.map(killed_and_heard, houses, brokers, range(20, 20 + UNITS)))
    for durable, shown in told:
        assert max(shown.values()) == 1, "no result twice"
        assert set(shown) == durable, "every frame that the outbox held, and no other"
        epochs = {epoch for epoch, _ in shown}
        assert len(epochs) > KILLS // UNITS // 2, "the load ran between most of the kills"
        print(f"{len(durable)} frames of {len(epochs)} epochs durable, opened once each")  # noqa: T201
