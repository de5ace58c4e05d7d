"""From outbox to user over each kind of broker: everything once, in order, and nothing for strangers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from appliance.bus import Link, Outbox, Priority, Reader
from appliance.bus.embedded import EmbeddedBroker
from appliance.errors import BusUnavailable
from appliance.sealing import Closed, NotForUs, Opened, PrivateIdentity, Sender

TOPIC = "edge/v1/alpha/entity/01J"


class Unit:
    """The sending side of one process: outbox, sender, link."""

    def __init__(self, folder: Path, broker: Any, device: PrivateIdentity, recipients: list[PrivateIdentity]) -> None:
        self.outbox = Outbox(folder / "outbox.sqlite")
        self.sender = Sender(
            "alpha", self.outbox.next_epoch(0), device, [recipient.public for recipient in recipients], 1
        )
        self.outbox.put(self.sender.grant())
        self.link = Link(self.outbox, broker.url, unit="alpha", tls=broker.tls)

    def send(self, *payloads: bytes, topic: str = TOPIC) -> None:
        self.outbox.put_many([(self.sender.seal(topic, payload), Priority.ENTITY) for payload in payloads])

    def stop(self) -> None:
        self.link.stop()
        self.outbox.close()


@contextmanager
def unit(*args: Any) -> Iterator[Unit]:
    made = Unit(*args)
    made.link.start()
    try:
        yield made
    finally:
        made.stop()


def take_all(reader: Reader, count: int) -> list[Opened]:
    """The next ``count`` opened results, and a moment more in which nothing else may come."""
    results: list[Opened] = []
    while len(results) < count:
        result = reader.take(20)
        assert result is not None, f"only {len(results)} of {count} came: {reader.status()}"
        if isinstance(result, Opened):
            results.append(result)
    assert reader.take(0.2) is None
    return results


def numbers(results: list[Opened]) -> list[int]:
    return [int(result.payload.split()[0]) for result in results]


def test_everything_that_is_put_is_opened_once_and_in_order(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    with Reader(broker.url, recipient, [device.public], tmp_path / "inbox", tls=broker.tls) as reader:
        assert reader.wait_connected(20)
        with unit(tmp_path, broker, device, [recipient]) as alpha:
            for start in range(0, 200, 10):
                alpha.send(*(b"%d" % n for n in range(start, start + 10)))
            assert numbers(take_all(reader, 200)) == list(range(200))
            assert alpha.outbox.wait_acknowledged(20)
            assert alpha.link.status().refused == {}
            alpha.outbox.put(alpha.sender.close())
            closed = reader.take(20)
            assert isinstance(closed, Closed)
            assert (closed.missing, closed.root, closed.count) == ((), "matches", 200)
            assert reader.status().available == {"alpha": True}
            assert reader.status().refused == {}


def test_a_stranger_is_told_that_nothing_is_for_it_also_the_second_time(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, stranger: PrivateIdentity
) -> None:
    with unit(tmp_path, broker, device, [recipient]) as alpha:
        alpha.send(b"0")
        for _ in range(2):
            with Reader(broker.url, stranger, [device.public], tmp_path / "strange", tls=broker.tls) as reader:
                assert reader.take(20) == NotForUs(unit="alpha", epoch=alpha.sender.epoch, kind="grant")
                assert reader.take(0.2) is None


def test_who_comes_late_finds_the_grant_and_opens_what_follows(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    with unit(tmp_path, broker, device, [recipient]) as alpha:
        alpha.send(b"0", b"1")
        assert alpha.outbox.wait_acknowledged(20)
        with Reader(broker.url, recipient, [device.public], tls=broker.tls) as reader:
            assert reader.wait_connected(20)
            alpha.send(b"2", b"3")
            assert numbers(take_all(reader, 2)) == [2, 3]


def test_a_large_picture_passes(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    with Reader(broker.url, recipient, [device.public], tls=broker.tls) as reader:
        assert reader.wait_connected(20)
        with unit(tmp_path, broker, device, [recipient]) as alpha:
            payload = b"7 " + bytes(900_000)
            alpha.send(payload, topic="edge/v1/alpha/picture")
            assert [result.payload for result in take_all(reader, 1)] == [payload]


def test_no_plaintext_of_a_result_is_in_any_file_of_outbox_or_reader(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    with Reader(broker.url, recipient, [device.public], tmp_path / "inbox", tls=broker.tls) as reader:
        assert reader.wait_connected(20)
        with unit(tmp_path, broker, device, [recipient]) as alpha:
            alpha.send(b"0 the ship lies north of the pier")
            assert reader.take(20) is not None  # taken and not done, so it still lies in the store
            files = [path for path in tmp_path.iterdir() if path.is_file()]
            assert {"inbox", "outbox.sqlite"} <= {path.name for path in files}
            assert not [path for path in files if b"north of the pier" in path.read_bytes()]


def test_a_reader_that_restarts_gets_what_it_missed_and_nothing_twice(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    state = tmp_path / "inbox"
    with Reader(broker.url, recipient, [device.public], state, tls=broker.tls) as reader:
        assert reader.wait_connected(20)
        with unit(tmp_path, broker, device, [recipient]) as alpha:
            alpha.send(*(b"%d" % n for n in range(10)))
            got = numbers(take_all(reader, 10))
            reader.stop()
            alpha.send(*(b"%d" % n for n in range(10, 20)))
            assert alpha.outbox.wait_acknowledged(20)
            with Reader(broker.url, recipient, [device.public], state, tls=broker.tls) as again:
                got += numbers(take_all(again, 10))
    assert got == list(range(20))


def test_a_result_that_was_not_finished_comes_again_and_one_that_was_does_not(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    state = tmp_path / "inbox"
    with unit(tmp_path, broker, device, [recipient]) as alpha:
        with Reader(broker.url, recipient, [device.public], state, tls=broker.tls) as reader:
            assert reader.wait_connected(20)
            alpha.send(b"0", b"1", b"2")
            taken = [reader.take(20) for _ in range(2)]
        with Reader(broker.url, recipient, [device.public], state, tls=broker.tls) as reader:
            assert reader.take(20) == taken[1]
            reader.done()
        with Reader(broker.url, recipient, [device.public], state, tls=broker.tls) as reader:
            assert numbers(take_all(reader, 1)) == [2]


def test_a_restarted_unit_delivers_both_epochs_and_clears_the_old_grant(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    with Reader(broker.url, recipient, [device.public], tls=broker.tls) as reader:
        assert reader.wait_connected(20)
        first = Unit(tmp_path, broker, device, [recipient])
        first.send(b"0", b"1")
        first.stop()  # never connected: everything is still in the outbox
        with unit(tmp_path, broker, device, [recipient]) as second:
            second.send(b"2")
            results = take_all(reader, 3)
            assert sorted(numbers(results)) == [0, 1, 2]
            assert len({result.epoch for result in results}) == 2


def test_foreign_bytes_on_the_bus_are_dropped_and_counted(
    mosquitto: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    with Reader(mosquitto.url, recipient, [device.public]) as reader:
        assert reader.wait_connected(20)
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", mosquitto.port)
        client.loop_start()
        for topic, data in [
            ("edge/v1/alpha/entity/1", b"{}"),
            ("edge/v1/alpha/grant/1", bytes(5000)),
            ("edge/v1/alpha/grant/x", bytes(5000)),
            ("edge/v1/alpha/enti ty/1", bytes(300)),
            ("edge/v1/alpha/status", b""),
        ]:
            client.publish(topic, data, qos=1).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()
        with unit(tmp_path, mosquitto, device, [recipient]) as alpha:
            alpha.send(b"0")
            assert numbers(take_all(reader, 1)) == [0]
        assert reader.status().refused == {"size": 1, "signature": 1, "topic": 2}


def test_the_link_says_when_the_unit_is_gone(
    broker: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, wait_until: Callable[..., None]
) -> None:
    with Reader(broker.url, recipient, [device.public], tls=broker.tls) as reader:
        assert reader.wait_connected(20)
        with unit(tmp_path, broker, device, [recipient]):
            wait_until(lambda: reader.status().available == {"alpha": True}, 20)
        wait_until(lambda: reader.status().available == {"alpha": False}, 20)


def test_a_broker_without_mqtt_5_is_spoken_to_in_the_older_tongue(
    tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, wait_until: Callable[..., None]
) -> None:
    with EmbeddedBroker() as embedded:
        embedded.tls = None  # type: ignore[attr-defined]
        with unit(tmp_path, embedded, device, [recipient]) as alpha:
            wait_until(lambda: alpha.link.status().protocol == "3.1.1", 10)


def test_mosquitto_is_spoken_to_in_mqtt_5(
    mosquitto: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, wait_until: Callable[..., None]
) -> None:
    with unit(tmp_path, mosquitto, device, [recipient]) as alpha:
        wait_until(lambda: alpha.link.status().protocol == "5", 10)


def test_an_embedded_broker_whose_port_is_taken_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BusUnavailable, match="did not start"):
            EmbeddedBroker(taken.getsockname()[1]).start()


def test_the_embedded_broker_listens_on_loopback_only() -> None:
    with EmbeddedBroker() as embedded:
        assert embedded.url.startswith("mqtt://127.0.0.1:")
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex(("127.0.0.2", embedded.port)) != 0


# ---- certificates


@pytest.fixture
def mtls(make_mosquitto: Callable[..., Any], make_ca: Any, tmp_path: Path) -> Any:
    return make_mosquitto(make_ca(tmp_path / "ca"))


def test_a_broker_of_another_ca_is_not_spoken_to(
    mtls: Any,
    make_ca: Any,
    tmp_path: Path,
    device: PrivateIdentity,
    recipient: PrivateIdentity,
    wait_until: Callable[..., None],
) -> None:
    other = make_ca(tmp_path / "other").issue("client")
    outbox = Outbox(tmp_path / "outbox.sqlite")
    link = Link(outbox, mtls.url, unit="alpha", tls=other)
    link.start()
    wait_until(lambda: link.status().last_error is not None, 20)
    assert "CERTIFICATE_VERIFY_FAILED" in str(link.status().last_error)
    assert link.status().connections == 0
    link.stop()
    outbox.close()


def test_a_client_certificate_of_another_ca_is_refused_by_the_broker(
    mtls: Any, make_ca: Any, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    stranger = make_ca(tmp_path / "other").issue("client")
    files = type(stranger)(ca=mtls.ca.certificate, certificate=stranger.certificate, key=stranger.key)
    outbox = Outbox(tmp_path / "outbox.sqlite")
    link = Link(outbox, mtls.url, unit="alpha", tls=files)
    link.start()
    wait_until(lambda: link.status().last_error is not None, 20)
    assert link.status().connections == 0
    link.stop()
    outbox.close()


def test_a_broker_that_speaks_tls_1_2_only_is_not_spoken_to(
    make_ca: Any, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    ca = make_ca(tmp_path / "ca")
    server = ca.issue("broker", server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        outbox = Outbox(tmp_path / "outbox.sqlite")
        url = f"mqtts://127.0.0.1:{listener.getsockname()[1]}"
        link = Link(outbox, url, unit="alpha", tls=ca.issue("client"))
        link.start()
        connection, _ = listener.accept()
        with connection, pytest.raises(ssl.SSLError), context.wrap_socket(connection, server_side=True):
            pass
        wait_until(lambda: link.status().last_error is not None, 20)
        assert link.status().connections == 0
        link.stop()
        outbox.close()
