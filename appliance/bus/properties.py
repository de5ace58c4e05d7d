"""What MQTT 5 lets a publish say beside its topic and payload: expiry, content type, and a short name for the topic.

Not here: the connection. Comforts only: a broker of 3.1.1 gets none of them and everything still holds.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final

_EXPIRY: Final = 0x02
_CONTENT_TYPE: Final = 0x03
_TOPIC_ALIAS: Final = 0x23
"""MQTT 5 §2.2.2.2."""
_MOST_ALIASES: Final = 64
"""Entities that change together; a broker may allow fewer (Mosquitto: 10)."""
_MOST_LENGTH: Final = 127


class Packed:
    """The properties of one publish, as bytes.

    It stands where paho takes its own ``Properties``, of which it uses ``pack`` alone: that class builds its tables of
    all properties anew for every message, which costs more than the rest of the publish.
    """

    __slots__ = ("_bytes",)

    def __init__(self, *, expires_s: int | None = None, content_type: str = "", alias: int = 0) -> None:
        body = b"" if expires_s is None else struct.pack("!BI", _EXPIRY, expires_s)
        if content_type:
            text = content_type.encode()
            body += struct.pack("!BH", _CONTENT_TYPE, len(text)) + text
        if alias:
            body += struct.pack("!BH", _TOPIC_ALIAS, alias)
        assert len(body) <= _MOST_LENGTH  # one byte of length
        self._bytes = bytes([len(body)]) + body

    def pack(self) -> bytes:
        """The property length and the properties (MQTT 5 §2.2.2)."""
        return self._bytes


class Aliases:
    """Short names for topics on one connection (MQTT 5 §3.3.2.3.4), as many as the broker allows.

    The topic that was used longest ago gives its number to a new one.
    """

    def __init__(self, most: int) -> None:
        self._most = min(most, _MOST_ALIASES)
        self._numbers: OrderedDict[str, int] = OrderedDict()

    def say(self, topic: str) -> tuple[str, int]:
        """What to send for ``topic``: the topic and a number to remember it by, or nothing and the number; 0: none."""
        if not self._most:
            return topic, 0
        if topic in self._numbers:
            self._numbers.move_to_end(topic)
            return "", self._numbers[topic]
        fresh = len(self._numbers) + 1
        number = fresh if fresh <= self._most else self._numbers.popitem(last=False)[1]
        self._numbers[topic] = number
        return topic, number
