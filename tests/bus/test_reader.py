"""A reader against a broker that is scripted byte by byte: what it asks for, and how long it waits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from appliance.bus import Reader
from appliance.sealing import PrivateIdentity

CONNACK = bytes.fromhex("2003000000")
RECEIVE_MAXIMUM_256 = bytes.fromhex("210100")


def publish(mid: int) -> bytes:
    """QoS 1, MQTT 5 without properties; no envelope, so the reader refuses and acknowledges it."""
    topic = b"edge/v1/alpha/entity/1"
    body = len(topic).to_bytes(2, "big") + topic + mid.to_bytes(2, "big") + b"\0" + b"x"
    return bytes([0x32, len(body)]) + body


@contextmanager
def scripted(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A broker that has ``talk`` with each client."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    talk(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_what_was_queued_may_come_before_the_answer_to_the_subscription_for_longer_than_a_silent_broker_is_given(
    device: PrivateIdentity, recipient: PrivateIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.bus.reader.SUBSCRIBE_TIMEOUT_S", 1.0)
    asked: list[bytes] = []

    def talk(client: socket.socket) -> None:
        asked.append(client.recv(4096))
        client.sendall(CONNACK)
        subscribe = client.recv(4096)
        assert subscribe[0] == 0x82
        for mid in range(1, 11):
            client.sendall(publish(mid))
            time.sleep(0.25)
        client.sendall(bytes([0x90, 4]) + subscribe[2:4] + b"\0\1")
        while client.recv(4096):  # until the reader leaves
            pass

    with scripted(talk) as url, Reader(url, recipient, [device.public]) as reader:
        assert reader.wait_connected(20)
        status = reader.status()
        assert (status.connections, status.received, status.last_error) == (1, 10, None)
    assert len(asked) == 1, "it never gave up and came again"
    assert RECEIVE_MAXIMUM_256 in asked[0], "no broker sends a whole queue at once"


def test_a_broker_that_says_nothing_to_a_subscription_is_left(
    device: PrivateIdentity,
    recipient: PrivateIdentity,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
) -> None:
    monkeypatch.setattr("appliance.bus.reader.SUBSCRIBE_TIMEOUT_S", 0.5)

    def talk(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(CONNACK)
        while client.recv(4096):
            pass

    with scripted(talk) as url, Reader(url, recipient, [device.public]) as reader:
        wait_until(lambda: "does not answer the subscription" in str(reader.status().last_error), 20)
        assert reader.status().connections == 0
