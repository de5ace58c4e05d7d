"""Unit, broker and listener killed with -9 at random moments, under 50 frames a second: every frame once.

The whole campaign is `make crash`; an ordinary run has 20 moments each. The broker is Mosquitto with the configuration
that `appliance provision` generates, over mutual TLS. "Every frame" is every one that the unit had made durable, read
from its disk after each death; "once" is counted in the listener's own table. A witness on the bus keeps what stands
on the wire, and no pair of key and nonce may ever stand there with two texts.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from appliance.errors import EnvelopeRefused
from appliance.sealing.wire import split_frame
from tests.crash.parts import RATE, UNIT, Books, Place, Program, at_rest, finish, listener, unit
from tests.support.provisioned import ProvisionedBroker, context_of

GAP_S = (0.02, 0.4)
START_UP_SHARE = 0.2
"""Of the moments fall into the start of what was killed before; the others come when all is up and the load runs.
A recipient keeps the last 512 epochs of a unit open (``KEEP_EPOCHS``)."""
UP_S = 600.0
"""A loaded machine is slow, which is no failure."""
STRETCH = 500
"""Kills between two rests. In a rest nobody is killed until the outbox has forgotten all epochs but the running one:
forgetting too early would lose what the next kill takes from the broker, and never forgetting would hide that."""


class Witness:
    """Hears everything on the bus, as it stands there."""

    def __init__(self, broker: ProvisionedBroker) -> None:
        self.texts: dict[tuple[bytes, int, int], set[bytes]] = {}
        files = broker.tls_of("witness")
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        context = context_of(files)
        self._client.tls_set_context(context)
        self._client.on_connect_fail = lambda *_: context.close_last()
        self._client.reconnect_delay_set(0.1, 0.2)
        self._client.on_connect = lambda client, *_: client.subscribe(f"edge/v1/{UNIT}/#", qos=1)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def _hear(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            parts = split_frame(bytes(message.payload))
        except EnvelopeRefused:
            return  # a grant, a close, an availability
        name = (parts.reference, parts.audience, parts.counter)
        self.texts.setdefault(name, set()).add(hashlib.sha384(message.payload).digest())

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_each_killed_at_random_moments_and_every_frame_is_opened_once(
    tmp_path: Path,
    place_in: Callable[..., Place],
    make_provisioned: Callable[..., ProvisionedBroker],
    request: pytest.FixtureRequest,
) -> None:
    moments, seed = request.config.getoption("--moments"), request.config.getoption("--crash-seed")
    chance = random.Random(seed)
    broker = make_provisioned()
    place = place_in(tmp_path, broker)
    witness, books = Witness(broker), Books(place)
    sending, listening = Program(unit, place), Program(listener, place)
    listening.start()
    sending.start()
    assert sending.signals.up.wait(UP_S)  # from here on there is an outbox to read
    kinds = ["unit", "broker", "listener"] * moments
    chance.shuffle(kinds)
    started, lived, forgotten = time.monotonic(), 0, 0
    for number, kind in enumerate(kinds, start=1):
        gap_s, in_start_up = chance.uniform(*GAP_S), chance.random() < START_UP_SHARE
        if not in_start_up:
            assert sending.signals.up.wait(UP_S)
            assert listening.signals.up.wait(UP_S)
        time.sleep(gap_s)
        before = len(books.durable)
        if kind == "unit":
            sending.kill()
        books.read()
        if kind == "unit":
            lived += len(books.durable) > before
            sending.start()
        elif kind == "listener":
            listening.kill()
            listening.start()
        else:
            broker.kill()
            broker.start()
        if number % STRETCH == 0 and number < len(kinds):
            forgotten += rest(sending, listening, books)
    seconds = time.monotonic() - started
    finish(sending, listening, books)
    witness.stop()
    heard = books.heard()
    expected = books.durable - books.shed
    missing, extra = expected - set(heard), set(heard) - expected
    twice = {frame for frame, count in heard.items() if count > 1}
    nonces_reused = [name for name, texts in witness.texts.items() if len(texts) > 1]
    print(  # noqa: T201
        f"\nseed {seed}: {moments} kills each of unit, broker and listener in {seconds:.0f} s under {RATE} frames/s "
        f"({lived} units had sealed when they died)\n"
        f"  {len(books.durable)} frames durable in {len({epoch for epoch, _ in books.durable})} epochs, "
        f"{len(books.shed)} shed; opened {sum(heard.values())}: {len(missing)} missing, {len(twice)} twice, "
        f"{len(extra)} of no unit\n"
        f"  {forgotten} of them forgotten by the outbox before the last kills\n"
        f"  {len(witness.texts)} pairs of key and nonce on the wire, {len(nonces_reused)} with two texts"
    )
    assert (missing, twice, extra, nonces_reused) == (set(), set(), set(), [])
    assert books.shed == set()
    assert lived >= moments * 0.6, "the load ran at most moments"
    assert len(witness.texts) > len(books.durable) // 2, "the witness heard the traffic"


def rest(sending: Program, listening: Program, books: Books) -> int:
    """Wait until the outbox holds the running epoch alone; how many frames it has forgotten meanwhile."""
    assert sending.signals.up.wait(UP_S)
    books.read()
    held = books.held(books.newest)
    while books.held(books.newest):
        sending.assert_alive()
        books.read()
        time.sleep(0.5)
    if not set(books.heard()) >= {frame for frame in books.durable if frame[0] < books.newest}:
        at_rest(listening)
    print(f"\n{held} frames held at the rest after {sending.kills} kills of the unit", end="")  # noqa: T201
    return held
