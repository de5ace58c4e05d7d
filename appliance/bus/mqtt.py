"""One MQTT connection, driven by the thread that owns it: what link and reader share, and the only importer of paho.

Not here: what is sent or received, when to connect again.

Rules:

- One ``Connection`` is one TCP connection. Nothing is kept over to the next one; what must outlive it is on the disk.
- MQTT 5 first, 3.1.1 where the broker will not have it. Nothing that matters rests on an MQTT 5 property.
- paho runs without its thread: ``step`` waits on socket and wake-up, reads, writes and keeps alive.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from appliance.bus.endpoint import Endpoint, tls_context
from appliance.bus.properties import Aliases, Packed
from appliance.errors import BusUnavailable

Protocol = Literal["5", "3.1.1"]

CONNECT_TIMEOUT_S: Final = 5.0
KEEPALIVE_S: Final = 15
SESSION_EXPIRY_S: Final = 7 * 24 * 3600
"""How long a broker keeps what it has for a reader that is away; the broker may allow less."""
MAX_PACKET_BYTES: Final = 2 * 1024 * 1024
RECEIVE_AT_MOST: Final = 256
"""Messages that a broker may have on their way to us. Without a bound it sends its whole queue at once, and all of it
again to a reader that comes back."""
_UNLIMITED: Final = 2**32
_MAX_RECEIVE: Final = 65535
_DEFAULT_RECEIVE_311: Final = 20
"""MQTT 3.1.1 cannot say how much it takes; Mosquitto's default window is a safe guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says for us when we are gone without a word."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as it came. ``mid`` and ``qos`` are needed to acknowledge it."""

    topic: str
    payload: bytes
    mid: int
    qos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A broker's answer to a publish; ``refused`` is its reason where it would not take the message."""

    mid: int
    refused: str | None


class Wake:
    """Ends the wait of ``Connection.step`` from another thread."""

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._out.fileno()

    def set(self) -> None:
        """End the wait that is going on, or the next one."""
        try:
            self._in.send(b"\0")
        except (BlockingIOError, OSError):
            return  # it is set already, or closed

    def wait(self, timeout_s: float) -> None:
        """Wait until set or for ``timeout_s``."""
        if select.select([self._out], [], [], timeout_s)[0]:
            self.clear()

    def clear(self) -> None:
        """Forget that it was set."""
        try:
            while self._out.recv(4096):
                pass
        except (BlockingIOError, OSError):
            return

    def close(self) -> None:
        """Give the descriptors back."""
        self._in.close()
        self._out.close()


class Connection:
    """One connection to a broker. All methods belong to one thread."""

    def __init__(
        self,
        where: Endpoint,
        client_id: str,
        protocol: Protocol,
        *,
        will: Will | None = None,
        persistent: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """``persistent`` asks the broker to keep subscriptions and messages while we are away."""
        self.protocol: Protocol = protocol
        self.reached = False
        """Whether the broker's socket was open: what fails afterwards is about protocol or permission."""
        self.most_in_flight = _DEFAULT_RECEIVE_311
        self.max_packet_bytes = _UNLIMITED
        self._where = where
        self._persistent = persistent
        self._lost: str | None = None
        self._connected = False
        self._answers: list[Acknowledgement] = []
        self._messages: list[Message] = []
        self._wanted: tuple[str, ...] = ()
        self._granted: list[ReasonCode] | None = None
        self._aliases = Aliases(0)
        self._client = self._make_client(client_id, context)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)

    def connect(self, wake: Wake, stopped: Callable[[], bool]) -> None:
        """Connect and wait for the broker's word. Raises BusUnavailable."""
        try:
            self._client.connect(self._where.host, self._where.port, KEEPALIVE_S, **self._connect_options())
        except (OSError, ValueError, paho.WebsocketConnectionError) as e:
            raise BusUnavailable(f"{self._where.host}:{self._where.port}: {e}") from e
        self.reached = True
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._connected:
            self._step_until(deadline, wake, stopped, "the broker does not answer")

    def subscribe(self, topics: tuple[str, ...]) -> None:
        """Ask for ``topics`` with QoS 1; ``subscribed`` tells when. Raises BusUnavailable."""
        options = SubscribeOptions(qos=1) if self.protocol == "5" else None
        wanted: list[Any] = [(topic, options if options is not None else 1) for topic in topics]
        self._wanted = topics
        self._check(self._client.subscribe(wanted)[0])

    def subscribed(self) -> bool:
        """Whether the broker has granted what was asked for. Raises BusUnavailable where it does not.

        Messages may come before: a broker that keeps some for us may want them acknowledged first.
        """
        if self._granted is None:
            return False
        for topic, code in zip(self._wanted, self._granted, strict=False):
            if code.is_failure:
                raise BusUnavailable(f"the broker does not grant a subscription to {topic}: {code}")
        return True

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, expires_s: int | None = None, content_type: str = ""
    ) -> int:
        """Send with QoS 1; the answer comes from ``answers`` under the number returned. Raises BusUnavailable.

        ``expires_s`` and ``content_type`` reach brokers of MQTT 5 and are dropped for others.
        """
        properties: Any = None
        if self.protocol == "5":
            said, alias = (topic, 0) if retain else self._aliases.say(topic)
            topic, properties = said, Packed(expires_s=expires_s, content_type=content_type, alias=alias)
        try:
            info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        except (OSError, ValueError) as e:
            raise BusUnavailable(f"publish failed: {e}") from e
        self._check(info.rc)
        return info.mid

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that ``message`` is safe with us. Raises BusUnavailable."""
        self._check(self._client.ack(message.mid, message.qos))

    def answers(self) -> list[Acknowledgement]:
        """The broker's answers since the last call."""
        answers, self._answers = self._answers, []
        return answers

    def messages(self) -> list[Message]:
        """Messages since the last call."""
        messages, self._messages = self._messages, []
        return messages

    def step(self, timeout_s: float, wake: Wake, *, most: int = 256) -> None:
        """Wait for something to do and do it: reads at most ``most`` packets. Raises BusUnavailable when lost."""
        for count in range(most):
            if not self._ready_to_read(0.0 if count else timeout_s, wake):
                break
            self._check(self._client.loop_read())
        if self._client.want_write():
            self._check(self._client.loop_write())
        self._check(self._client.loop_misc())

    def close(self, *, farewell: bool) -> None:
        """End the connection; with a farewell the broker does not speak our will."""
        if farewell and self._lost is None:
            self._client.disconnect()
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._client._reset_sockets()  # paho gives no public way to let go of its sockets without its loop

    def _make_client(self, client_id: str, context: ssl.SSLContext | None) -> paho.Client:
        five = self.protocol == "5"
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            clean_session=None if five else not self._persistent,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(_MAX_RECEIVE)  # the window is ours to keep
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        if context is not None:
            client.tls_set_context(context)
        return client

    def _connect_options(self) -> dict[str, Any]:
        if self.protocol != "5":
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        if self._persistent:
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = RECEIVE_AT_MOST
        return {"clean_start": not self._persistent, "properties": properties}

    def _step_until(self, deadline: float, wake: Wake, stopped: Callable[[], bool], late: str) -> None:
        if stopped() or time.monotonic() > deadline:
            raise BusUnavailable(f"{self._where.host}:{self._where.port}: {late}")
        self.step(0.2, wake)

    def _ready_to_read(self, timeout_s: float, wake: Wake) -> bool:
        sock = self._client.socket()
        if sock is None:
            raise BusUnavailable(self._lost or "the connection is lost")
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        waiting = select.poll()
        waiting.register(sock.fileno(), select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        waiting.register(wake.fileno(), select.POLLIN)
        ready = dict(waiting.poll(timeout_s * 1000))
        if wake.fileno() in ready:
            wake.clear()
        return bool(ready.get(sock.fileno(), 0) & ~select.POLLOUT)

    def _check(self, code: MQTTErrorCode) -> None:
        if self._lost is not None or code not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
            raise BusUnavailable(self._lost or f"the connection is lost: {paho.error_string(code)}")

    def _on_connect(self, _c: Any, _u: Any, _flags: Any, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:
            self._lost = f"the broker refused the connection: {code}"
            return
        self._connected = True
        if self.protocol == "5":
            self.most_in_flight = int(getattr(properties, "ReceiveMaximum", _MAX_RECEIVE))
            self.max_packet_bytes = int(getattr(properties, "MaximumPacketSize", _UNLIMITED))
            self._aliases = Aliases(int(getattr(properties, "TopicAliasMaximum", 0)))

    def _on_disconnect(self, _c: Any, _u: Any, _flags: Any, code: ReasonCode, _p: Properties | None) -> None:
        if self._lost is None:
            self._lost = f"the connection is lost: {code}"

    def _on_publish(self, _c: Any, _u: Any, mid: int, code: ReasonCode, _p: Properties | None) -> None:
        self._answers.append(Acknowledgement(mid=mid, refused=str(code) if code.is_failure else None))

    def _on_message(self, _c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # no envelope stands there: it is refused by its topic
        self._messages.append(Message(topic=topic, payload=bytes(message.payload), mid=message.mid, qos=message.qos))

    def _on_subscribe(self, _c: Any, _u: Any, _mid: int, codes: list[ReasonCode], _p: Properties | None) -> None:
        self._granted = codes


class Dialer:
    """Connects again and again to one broker, and remembers which protocol it speaks."""

    def __init__(self, where: Endpoint, client_id: str, *, will: Will | None = None, persistent: bool = False) -> None:
        """Raises ConfigError where the certificates of ``where`` cannot be used."""
        self.protocol: Protocol = "5"
        self._where = where
        self._client_id = client_id
        self._will = will
        self._persistent = persistent
        self._context = tls_context(where.tls) if where.tls is not None else None

    def dial(self, wake: Wake, stopped: Callable[[], bool]) -> Connection:
        """One attempt. Raises BusUnavailable."""
        connection = Connection(
            self._where,
            self._client_id,
            self.protocol,
            will=self._will,
            persistent=self._persistent,
            context=self._context,
        )
        try:
            connection.connect(wake, stopped)
        except BusUnavailable:
            connection.close(farewell=False)
            if self._context is not None:
                self._context.close_last()
            if connection.reached:  # an old broker drops a v5 client without a word
                self.protocol = "3.1.1" if self.protocol == "5" else "5"
            raise
        return connection
