"""Where a feed comes from: one string, taken apart and checked. Opens nothing.

Forms (``//`` may be left out where the table says so; percent-escapes are decoded in paths)::

    file:PATH                       file:recording.mp4, file:///data/ais.nmea
    rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH
    v4l2:DEVICE                     v4l2:/dev/video0
    udp://[HOST]:PORT               the address to listen on; a multicast group is joined
    tcp://HOST:PORT                 to connect to; a ``reports`` feed listens there instead
    serial:DEVICE[?baud=38400]
    dir:PATH
    mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC     mqtts: the same over TLS

Rules: a fault is a ``UsageError`` that says what was expected; secrets never appear in a message (``FeedUri.shown``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from appliance.errors import UsageError
from appliance.feeds.spec import FeedKind

#: Which schemes each kind accepts.
SCHEMES: Final[Mapping[FeedKind, tuple[str, ...]]] = {
    "video": ("file", "rtsp", "v4l2", "udp", "tcp"),
    "ais": ("file", "udp", "tcp", "serial"),
    "adsb": ("file", "udp", "tcp", "serial"),
    "radar": ("file", "udp", "tcp"),
    "plots": ("file", "udp", "tcp"),
    "gnss": ("file", "serial", "udp", "tcp"),
    "reports": ("dir", "tcp", "mqtt", "mqtts", "file"),
    "pictures": ("file", "tcp"),
}

MAX_URI_CHARS: Final = 2048
BAUD_DEFAULT: Final = 38400
"""IEC 61162-2, the rate of AIS receivers; a GNSS receiver at another rate says so in its URI."""
BAUD_RANGE: Final = (300, 4_000_000)
DEFAULT_PORTS: Final[Mapping[str, int]] = {"rtsp": 554, "mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedUri:
    """A checked URI. ``path`` is a file, device, folder, or the MQTT topic. ``raw`` may hold a password."""

    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    baud: int = BAUD_DEFAULT
    raw: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """For messages and logs: without user and password."""
        if self.scheme in {"file", "dir", "v4l2", "serial"}:
            return f"{self.scheme}:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" + (f"/{self.path}" if self.path else "")


def parse_uri(uri: str, kind: FeedKind | None = None) -> FeedUri:
    """Take ``uri`` apart; with ``kind`` also refuse a scheme that such a feed cannot read.

    Raises ``UsageError`` with what was expected.
    """
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.lower()
    known = SCHEMES[kind] if kind is not None else tuple(_FORMS)
    if not colon or scheme not in known:
        what = f"a {kind} feed" if kind is not None else "a feed"
        raise UsageError(f"expected the URI of {what} to begin with {_either(known)}; found {_clip(scheme)!r}")
    if len(uri) > MAX_URI_CHARS or not uri.isprintable():
        raise UsageError(f"expected a printable URI of at most {MAX_URI_CHARS} characters; found {len(uri)}")
    return _FORMS[scheme](scheme, rest, uri)


def _either(schemes: tuple[str, ...]) -> str:
    return " or ".join(f"{scheme}:" for scheme in schemes)


def _clip(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"


def _path_form(scheme: str, rest: str, raw: str) -> FeedUri:
    path = unquote(rest.removeprefix("//"))
    if not path or "\0" in path:
        raise UsageError(f"expected {scheme}:PATH; found no path")
    return FeedUri(scheme=scheme, path=path, raw=raw)


def _serial_form(scheme: str, rest: str, raw: str) -> FeedUri:
    device, _, query = rest.removeprefix("//").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    baud_text = options.pop("baud", str(BAUD_DEFAULT))
    if not device or options:
        raise UsageError("expected serial:DEVICE or serial:DEVICE?baud=RATE")
    if not (baud_text.isascii() and baud_text.isdigit() and BAUD_RANGE[0] <= int(baud_text[:9]) <= BAUD_RANGE[1]):
        raise UsageError(f"expected a baud rate from {BAUD_RANGE[0]} to {BAUD_RANGE[1]}; found {_clip(baud_text)!r}")
    return FeedUri(scheme=scheme, path=unquote(device), baud=int(baud_text), raw=raw)


def _split(scheme: str, rest: str) -> tuple[SplitResult, str, int]:
    text = rest if rest.startswith("//") else "//" + rest
    try:
        parts = urlsplit(f"{scheme}:{text}")
        port = parts.port
    except ValueError as e:
        raise UsageError(f"expected {scheme}://HOST:PORT with a port from 1 to 65535; found something else") from e
    port = port if port is not None else DEFAULT_PORTS.get(scheme)
    if port is None or port == 0:
        raise UsageError(f"expected a port from 1 to 65535 in {scheme}://HOST:PORT; found none")
    return parts, parts.hostname or "", port


def _socket_form(scheme: str, rest: str, raw: str) -> FeedUri:
    parts, host, port = _split(scheme, rest)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"expected {scheme}://HOST:PORT and nothing after the port")
    if scheme == "tcp" and not host:
        raise UsageError("expected tcp://HOST:PORT; found no host")
    return FeedUri(scheme=scheme, host=host, port=port, raw=raw)


def _rtsp_form(scheme: str, rest: str, raw: str) -> FeedUri:
    parts, host, port = _split(scheme, rest)
    if not host or not rest.startswith("//"):
        raise UsageError("expected rtsp://HOST[:PORT]/PATH; found no host")
    path = parts.path.lstrip("/")
    return FeedUri(scheme=scheme, host=host, port=port, path=path, user=parts.username, raw=raw)


def _mqtt_form(scheme: str, rest: str, raw: str) -> FeedUri:
    # "#" is MQTT's own wildcard here, not the start of a fragment.
    parts, host, port = _split(scheme, rest.replace("#", "%23"))
    topic = unquote(parts.path[1:])
    if not host or not topic or parts.query:
        raise UsageError(f"expected {scheme}://HOST[:PORT]/TOPIC; found no {'host' if not host else 'topic'}")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    _check_topic_filter(topic)
    return FeedUri(scheme=scheme, host=host, port=port, path=topic, user=user, password=password, raw=raw)


def _check_topic_filter(topic: str) -> None:
    """MQTT 3.1.1 §4.7.1: ``#`` stands alone and last, ``+`` stands alone."""
    levels = topic.split("/")
    hashes = [i for i, level in enumerate(levels) if "#" in level]
    if any("+" in level and level != "+" for level in levels) or (
        hashes and (hashes != [len(levels) - 1] or levels[-1] != "#")
    ):
        raise UsageError(f"expected an MQTT topic filter with whole-level wildcards; found {_clip(topic)!r}")


def is_multicast(host: str) -> bool:
    """Whether ``host`` is a multicast group address."""
    try:
        return ipaddress.ip_address(host).is_multicast
    except ValueError:
        return False


_FORMS: Final[Mapping[str, Callable[[str, str, str], FeedUri]]] = {
    "file": _path_form,
    "rtsp": _rtsp_form,
    "v4l2": _path_form,
    "udp": _socket_form,
    "tcp": _socket_form,
    "serial": _serial_form,
    "dir": _path_form,
    "mqtt": _mqtt_form,
    "mqtts": _mqtt_form,
}
