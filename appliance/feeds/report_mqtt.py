"""Reports from an MQTT topic, by paho-mqtt. One payload is one report: a JSON document or plain text in UTF-8.

What it is not: the bus on which results leave (the room ``bus``), though it may be the same broker.

Rules: MQTT 3.1.1, QoS 1, a session that the broker keeps while we are away. A message is acknowledged when the consumer
is done with it, so that a crash brings it again; a report that states neither id nor time then comes under a new id,
because nothing in it says that it is the same.
"""

from __future__ import annotations

import platform
import queue
import time
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from appliance.domain import Report
from appliance.errors import BadReport, FeedUnavailable
from appliance.feeds.report_lines import author_of
from appliance.feeds.report_text import MAX_DOCUMENT_BYTES, from_any
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec, ReportOptions
from appliance.feeds.streams import POLL_S
from appliance.feeds.uris import FeedUri

CONNECT_S: Final = 1.5
"""A broker in the same box or room answers at once, and a feed must stop within two seconds."""
KEEPALIVE_S: Final = 30
MAX_WAITING: Final = 1000
"""Messages not yet looked at. A broker has 20 in flight at QoS 1; only a flood at QoS 0 gets here. What is over is
counted and not acknowledged: at QoS 1 the broker sends it again when we come back."""
QOS: Final = 1

_LOST: Final = "lost"
_SUBSCRIBED: Final = "subscribed"


class MqttTopic:
    """One subscription."""

    def __init__(self, spec: FeedSpec, uri: FeedUri) -> None:
        self._spec = spec
        self._uri = uri

    def run(self, tap: Tap) -> None:
        """See ``Source``."""
        events: queue.Queue[Any] = queue.Queue()
        client = self._client(events, tap)
        self._connect(client)
        client.loop_start()
        try:
            while True:
                tap.check()
                try:
                    event = events.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                self._handle(event, client, tap)
        finally:
            client.disconnect()
            client.loop_stop()

    def _client(self, events: queue.Queue[Any], tap: Tap) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{platform.node()[:40]}-feed-{self._spec.name}",  # two boxes on one broker must differ
            clean_session=False,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,  # the feed's own back-off reconnects
            manual_ack=True,
        )
        if self._uri.user is not None:
            client.username_pw_set(self._uri.user, self._uri.password)
        if self._uri.scheme == "mqtts":
            self._secure(client)
        self._listen(client, events, tap)
        return client

    def _listen(self, client: mqtt.Client, events: queue.Queue[Any], tap: Tap) -> None:
        """Callbacks run on paho's thread and only hand over; ``run`` acts."""

        def on_connect(client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            if code.is_failure:
                events.put((_LOST, str(code)))
            else:
                client.subscribe(self._uri.path, QOS)

        def on_subscribe(_client: Any, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
            refused = [str(code) for code in codes if code.is_failure]
            events.put((_LOST, f"subscription refused: {refused[0]}") if refused else (_SUBSCRIBED, ""))

        def on_disconnect(_client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            events.put((_LOST, str(code)))

        def on_message(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
            if events.qsize() >= MAX_WAITING:
                tap.overrun()
            else:
                events.put(message)

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_disconnect = on_disconnect
        client.on_message = on_message

    def _secure(self, client: mqtt.Client) -> None:
        options = self._spec.options if isinstance(self._spec.options, ReportOptions) else ReportOptions()
        try:
            client.tls_set(options.tls_ca_file, options.tls_certificate_file, options.tls_key_file)
        except (OSError, ValueError) as e:
            raise FeedUnavailable(f"cannot use the TLS files of {self._uri.shown}: {e}") from e

    def _connect(self, client: mqtt.Client) -> None:
        client.connect_timeout = CONNECT_S
        try:
            client.connect(self._uri.host, self._uri.port, KEEPALIVE_S)
        except (OSError, ValueError) as e:
            raise FeedUnavailable(f"cannot reach {self._uri.shown}: {e}") from e

    def _handle(self, event: Any, client: mqtt.Client, tap: Tap) -> None:
        if isinstance(event, mqtt.MQTTMessage):
            self._take(event, client, tap)
        elif event[0] == _SUBSCRIBED:
            tap.opened()
        else:
            raise FeedUnavailable(f"{self._uri.shown}: {event[1]}")

    def _take(self, message: mqtt.MQTTMessage, client: mqtt.Client, tap: Tap) -> None:
        def acknowledge() -> None:
            client.ack(message.mid, message.qos)

        try:
            report = self._read(bytes(message.payload))
        except BadReport as e:  # drops this one message; acknowledged, or it would come for ever
            tap.bad(e.reason)
            acknowledge()
            return
        tap.put(report, taken=acknowledge)

    def _read(self, payload: bytes) -> Report:
        if len(payload) > MAX_DOCUMENT_BYTES:
            raise BadReport("too long", f"expected at most {MAX_DOCUMENT_BYTES} bytes")
        return from_any(payload, sensor_id=self._spec.name, author=author_of(self._spec), received_ns=time.time_ns())
