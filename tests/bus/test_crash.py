"""Unit, listener and broker killed with -9 at random moments under load: everything once.

A listener that is killed between its own writing and ``done`` gets that one result again; no code on this side can know
that it was written. So a repeat is allowed for each kill of the listener, of the result that came last, and no other.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.bus import Reader
from appliance.sealing import Closed, Opened, PrivateIdentity

PROGRAMS = Path(__file__).parent / "programs"
RATE = 100


class Programs:
    """Starts the programs of this test, and kills what is left of them."""

    def __init__(self, home: Path, repository: Path) -> None:
        self.home = home
        self._environment = {**os.environ, "PYTHONPATH": str(repository)}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.out").open("ab") as out:
            command = [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments]
            self._running.append(subprocess.Popen(command, stdout=out, env=self._environment))
        return self._running[-1]

    def kill(self, program: subprocess.Popen[bytes]) -> None:
        program.send_signal(signal.SIGKILL)
        assert program.wait(10) == -signal.SIGKILL

    def stop(self) -> None:
        for program in self._running:
            program.kill()
            program.wait(10)

    def stored(self) -> list[int]:
        """Numbers that the unit had in its outbox; a line that was cut short is not one."""
        text = (self.home / "unit.out").read_text()
        return [int(line) for line in text[: text.rfind("\n") + 1].split()]

    def heard(self) -> list[int]:
        return [int(line) for line in (self.home / "heard").read_bytes().split()]


@pytest.fixture
def programs(
    tmp_path: Path, repository: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> Iterator[Programs]:
    (tmp_path / "device.json").write_text(device.to_json())
    (tmp_path / "device-public.json").write_text(device.public.to_json())
    (tmp_path / "recipient.json").write_text(recipient.public.to_json())
    (tmp_path / "recipient-private.json").write_text(recipient.to_json())
    made = Programs(tmp_path, repository)
    yield made
    made.stop()


@pytest.mark.slow
def test_a_unit_killed_at_random_moments_delivers_every_stored_frame_once(
    mosquitto: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, programs: Programs
) -> None:
    chance = random.Random(20)
    with Reader(mosquitto.url, recipient, [device.public], tmp_path / "reader.sqlite") as reader:
        assert reader.wait_connected(20)
        for kill in range(6):
            unit = programs.start("unit", mosquitto.url, str(tmp_path), str(RATE), str(kill * 100_000))
            time.sleep(1.0 + chance.random() * 1.5)
            programs.kill(unit)
        last = programs.start("unit", mosquitto.url, str(tmp_path), str(RATE), "900000", "50")
        results: list[Opened] = []
        closed = None
        while closed is None or len({r.payload for r in results}) < len(programs.stored()):
            result = reader.take(30)
            assert result is not None, (len(results), len(programs.stored()), reader.status())
            if isinstance(result, Closed):
                closed = result
            elif isinstance(result, Opened):
                results.append(result)
        assert last.wait(60) == 0
        while (result := reader.take(1.0)) is not None:
            assert isinstance(result, Opened)  # stored, and killed before it could say so
            results.append(result)
        counts = Counter(int(r.payload) for r in results)
        assert set(programs.stored()) <= set(counts)
        assert set(counts.values()) == {1}
        assert len({r.epoch for r in results}) >= 5
        assert reader.status().refused == {}


@pytest.mark.slow
def test_a_listener_and_a_broker_killed_at_random_moments_lose_nothing(
    mosquitto: Any, tmp_path: Path, programs: Programs, wait_until: Callable[..., None]
) -> None:
    chance = random.Random(21)
    listener = programs.start("listener", mosquitto.url, str(tmp_path))
    time.sleep(1.5)
    unit = programs.start("unit", mosquitto.url, str(tmp_path), str(RATE), "0", "900")
    kills = 0
    for _ in range(4):
        time.sleep(1.0 + chance.random())
        if chance.random() < 0.5:
            mosquitto.kill()
            mosquitto.start()
        programs.kill(listener)
        kills += 1
        listener = programs.start("listener", mosquitto.url, str(tmp_path))
    assert unit.wait(90) == 0
    wait_until(lambda: len(set(programs.heard())) == 900, 60)
    time.sleep(0.5)
    counts = Counter(programs.heard())
    repeated = [number for number, count in counts.items() if count > 1]
    assert set(counts) == set(range(900))
    assert len(repeated) <= kills
    assert set(counts.values()) <= {1, 2}
