"""MQTT 5's properties of a publish, against paho's own reading of them, and on a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance.bus import Link, Outbox, Priority
from appliance.bus.link import CONTENT_TYPE
from appliance.bus.properties import Aliases, Packed
from appliance.sealing import Envelope
from tests.support.brokers import Mosquitto


@given(
    expires_s=st.none() | st.integers(0, 2**32 - 1),
    content_type=st.text("abc/.+-", max_size=80),
    alias=st.integers(0, 65535),
)
def test_another_library_reads_what_was_packed(expires_s: int | None, content_type: str, alias: int) -> None:
    packed = Packed(expires_s=expires_s, content_type=content_type, alias=alias).pack()
    read = Properties(PacketTypes.PUBLISH)
    _, length = read.unpack(packed)
    assert length == len(packed)
    assert getattr(read, "MessageExpiryInterval", None) == expires_s
    assert getattr(read, "ContentType", "") == content_type
    assert getattr(read, "TopicAlias", 0) == alias


@given(most=st.integers(0, 5), topics=st.lists(st.sampled_from("abcdefgh"), max_size=60))
def test_a_broker_that_remembers_the_numbers_knows_every_topic(most: int, topics: list[str]) -> None:
    aliases, remembered = Aliases(most), dict[int, str]()
    for topic in topics:
        said, number = aliases.say(topic)
        assert 0 <= number <= most
        assert (number == 0) == (most == 0)
        if said and number:
            remembered[number] = said
        assert (said or remembered[number]) == topic


def test_a_topic_that_is_used_again_is_not_sent_again() -> None:
    aliases = Aliases(2)
    assert [aliases.say(t) for t in "aabac"] == [("a", 1), ("", 1), ("b", 2), ("", 1), ("c", 2)]


def _watch(broker: Mosquitto, heard: list[tuple[str, dict[str, Any]]]) -> paho.Client:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)

    def on_message(_c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        heard.append((message.topic, message.properties.json() if message.properties else {}))

    client.on_message = on_message
    client.connect("127.0.0.1", broker.port)
    client.subscribe("edge/v1/alpha/entity/#", qos=1)
    client.loop_start()
    return client


def test_a_broker_of_mqtt_5_gets_expiry_and_type_and_topics_by_number(
    mosquitto: Mosquitto, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    watcher = _watch(mosquitto, heard)
    outbox = Outbox(tmp_path / "outbox.sqlite", max_age_s=1000.0)
    link = Link(outbox, mosquitto.url, unit="alpha")
    time.sleep(0.2)
    link.start()
    topics = [f"edge/v1/alpha/entity/{n % 14}" for n in range(60)]  # more than the ten numbers that Mosquitto allows
    outbox.put_many(
        [
            (Envelope(topic=t, kind="frame", epoch=1, counter=n, data=b"x%d" % n), Priority.ENTITY)
            for n, t in enumerate(topics)
        ]
    )
    wait_until(lambda: len(heard) >= 60, 15)
    link.stop()
    outbox.close()
    watcher.loop_stop()
    watcher.disconnect()
    assert [topic for topic, _ in heard] == topics
    assert all(said["ContentType"] == CONTENT_TYPE for _, said in heard)
    assert all(900 < said["MessageExpiryInterval"] <= 1000 for _, said in heard)


@pytest.mark.parametrize("receive_maximum", [1, 3])
def test_no_more_is_in_flight_than_the_broker_takes(
    receive_maximum: int, make_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    broker = make_mosquitto(extra=f"max_inflight_messages {receive_maximum}")
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.put_many(
        [
            (Envelope(topic="edge/v1/alpha/picture", kind="frame", epoch=1, counter=n, data=b"x"), Priority.PICTURE)
            for n in range(40)
        ]
    )
    link = Link(outbox, broker.url, unit="alpha")
    link.start()
    most = 0
    deadline = time.monotonic() + 15
    while outbox.status().waiting and time.monotonic() < deadline:
        most = max(most, link.status().in_flight)
    status = link.status()
    link.stop()
    outbox.close()
    assert (status.acknowledged, status.protocol) == (40, "5")
    assert most <= receive_maximum + 1, "one more for the availability byte at the start"
