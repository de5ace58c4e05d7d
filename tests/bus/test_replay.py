"""Who records the bus can send all of it again: a listener shows it once, also after ``kill -9``."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from appliance.bus import Link, Outbox, Priority
from appliance.bus.inbox import Inbox, Raw
from appliance.bus.intake import Intake
from appliance.sealing import PrivateIdentity, Sender
from appliance.sealing.opener import KEEP_EPOCHS
from tests.support.programs import Programs

FRAMES = 150


class Recorder:
    """Somebody on the bus who keeps what goes by and sends it again."""

    def __init__(self, port: int) -> None:
        self.kept: list[tuple[str, bytes]] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _u, message: self.kept.append((message.topic, message.payload))
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("edge/v1/#", qos=1)
        assert self._subscribed.wait(10)

    def replay(self) -> None:
        """Everything that went by so far, once more."""
        sent = [self._client.publish(topic, payload, qos=1) for topic, payload in dict.fromkeys(self.kept)]
        for each in sent:
            each.wait_for_publish(10)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def recorder(mosquitto: Any) -> Iterator[Recorder]:
    made = Recorder(mosquitto.port)
    yield made
    made.stop()


@pytest.fixture
def programs(
    tmp_path: Path, repository: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> Iterator[Programs]:
    (tmp_path / "heard").touch()
    (tmp_path / "device.json").write_text(device.to_json())
    (tmp_path / "device-public.json").write_text(device.public.to_json())
    (tmp_path / "recipient.json").write_text(recipient.public.to_json())
    (tmp_path / "recipient-private.json").write_text(recipient.to_json())
    made = Programs(tmp_path, repository)
    yield made
    made.stop()


def test_a_recorded_bus_sent_again_to_a_listener_that_was_killed_shows_nothing_twice(
    mosquitto: Any, tmp_path: Path, programs: Programs, recorder: Recorder, wait_until: Callable[..., None]
) -> None:
    listener = programs.start("listener", mosquitto.url, str(tmp_path))
    time.sleep(1.5)
    unit = programs.start("unit", mosquitto.url, str(tmp_path), "200", "0", str(FRAMES))
    wait_until(lambda: len(programs.heard()) > FRAMES // 3, 30)
    programs.kill(listener)
    recorder.replay()
    listener = programs.start("listener", mosquitto.url, str(tmp_path))
    assert unit.wait(60) == 0
    wait_until(lambda: len(set(programs.heard())) == FRAMES, 60)
    programs.kill(listener)
    recorder.replay()
    programs.start("listener", mosquitto.url, str(tmp_path))
    recorder.replay()
    time.sleep(2)
    counts = Counter(programs.heard())
    assert set(counts) == set(range(FRAMES))
    assert sum(counts.values()) - FRAMES <= 2, "at most the one result that each kill caught unfinished"


def test_what_a_recipient_remembers_of_months_is_bounded(
    tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    """Epochs come and go, each with losses: what is kept is 64 of them, on the disk as in memory."""
    inbox = Inbox(tmp_path / "inbox.sqlite")
    intake = Intake(inbox, [recipient], [device.public])
    sent: list[list[Raw]] = []
    for epoch in range(1, KEEP_EPOCHS + 20):
        sender = Sender("alpha", epoch, device, [recipient.public], 1)
        frames = [sender.seal("edge/v1/alpha/picture", b"x") for _ in range(6)][::2]
        sent.append([Raw(topic=e.topic, data=e.data) for e in (sender.grant(), *frames, sender.close())])
    deliveries = intake.take([raw for envelopes in sent for raw in envelopes])
    inbox.handed_over([delivery.seq for delivery in deliveries if delivery.seq])
    assert len(inbox.state().epochs) == KEEP_EPOCHS
    assert inbox.state().floors == {"alpha": 19}
    assert inbox.stored_bytes == 0
    again = Intake(inbox, [recipient], [device.public])
    assert again.take(sent[0]) == []
    assert again.refused == {"stale": 2}, "its grant and its close; its frames wait in vain, bounded"
    inbox.close()


def test_an_outbox_on_a_months_long_run_forgets_the_epochs_that_are_over(
    mosquitto: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, wait_until: Callable[..., None]
) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", resend_s=0.1)
    link = Link(outbox, mosquitto.url, unit="alpha")
    link.start()
    for _ in range(12):
        sender = Sender("alpha", outbox.next_epoch(time.time_ns()), device, [recipient.public], 1)
        frames = [(sender.seal("edge/v1/alpha/picture", b"x"), Priority.PICTURE) for _ in range(3)]
        outbox.put_many([(sender.grant(), Priority.GRANT), *frames, (sender.close(), Priority.CLOSE)])
    wait_until(lambda: outbox.status().bytes < 2 * len(sender.grant().data), 30)
    link.stop()
    outbox.close()
