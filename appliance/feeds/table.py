"""Which source serves which kind over which scheme: one table, and ``open_feed`` that looks into it.

A source's module is imported when the first feed of its kind opens: libraries for AIS, ADS-B, ASTERIX or MQTT cost
memory and seconds that a mission without them should not pay.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast

from appliance.errors import UsageError
from appliance.feeds.pace import Pacer
from appliance.feeds.source import Source
from appliance.feeds.spec import KINDS, FeedSpec, PictureOptions, ReportOptions, VideoOptions
from appliance.feeds.streams import Bytes, FileBytes, LineReader, Reader, StreamSource, TcpBytes, UdpBytes
from appliance.feeds.supervisor import REPLAYED_SCHEMES, Feed
from appliance.feeds.uris import FeedUri, parse_uri

MAX_CAPACITY: Final = 100_000
MAX_NAME_CHARS: Final = 100

#: How a part is built from its module: it takes (spec, uri), it reads bytes, or it parses lines.
Make = Literal["source", "reader", "parser"]

#: kind × scheme → (how, module, class). Kinds made of bytes share their transports, below.
TABLE: Final[Mapping[tuple[str, str], tuple[Make, str, str]]] = {
    **{("video", scheme): ("source", "video", "Video") for scheme in ("file", "rtsp", "v4l2", "udp", "tcp")},
    **{("ais", scheme): ("parser", "ais", "AisParser") for scheme in ("file", "udp", "tcp", "serial")},
    **{("adsb", scheme): ("reader", "adsb", "AdsbReader") for scheme in ("file", "udp", "tcp", "serial")},
    **{("radar", scheme): ("reader", "radar", "RadarReader") for scheme in ("file", "udp", "tcp")},
    **{("plots", scheme): ("parser", "plots", "PlotParser") for scheme in ("file", "udp", "tcp")},
    **{("gnss", scheme): ("reader", "gnss", "GnssReader") for scheme in ("file", "serial", "udp", "tcp")},
    **{("pictures", scheme): ("parser", "pictures", "PictureParser") for scheme in ("file", "tcp")},
    ("reports", "dir"): ("source", "report_inbox", "Inbox"),
    ("reports", "tcp"): ("source", "report_lines", "LineServer"),
    ("reports", "mqtt"): ("source", "report_mqtt", "MqttTopic"),
    ("reports", "mqtts"): ("source", "report_mqtt", "MqttTopic"),
    ("reports", "file"): ("parser", "report_lines", "JsonlParser"),
}


def _serial_bytes(uri: FeedUri) -> Bytes:
    return cast("Bytes", _part("serialport", "SerialBytes")(uri))


TRANSPORTS: Final[Mapping[str, Callable[[FeedUri], Bytes]]] = {
    "file": FileBytes,
    "udp": UdpBytes,
    "tcp": TcpBytes,
    "serial": _serial_bytes,
}

_OPTIONS: Final[Mapping[str, type]] = {
    "video": VideoOptions,
    "reports": ReportOptions,
    "pictures": PictureOptions,
}


def open_feed(spec: FeedSpec) -> Feed:
    """Build the feed; nothing is opened before ``start``. Raises ``UsageError`` for a spec without a meaning."""
    _check(spec)
    uri = parse_uri(spec.uri, spec.kind)
    return Feed(spec, _source(spec, uri), live=uri.scheme not in REPLAYED_SCHEMES)


def _source(spec: FeedSpec, uri: FeedUri) -> Source:
    make, module, name = TABLE[spec.kind, uri.scheme]
    build = _part(module, name)
    if make == "source":
        return cast("Source", build(spec, uri))
    part = build(spec)
    reader: Reader = part if make == "reader" else LineReader(part.parse)
    pacer = Pacer(spec) if uri.scheme == "file" else None
    return StreamSource(TRANSPORTS[uri.scheme](uri), reader, pacer)


def _part(module: str, name: str) -> Callable[..., Any]:
    return cast("Callable[..., Any]", getattr(importlib.import_module(f"appliance.feeds.{module}"), name))


def _check(spec: FeedSpec) -> None:
    if spec.kind not in KINDS:
        raise UsageError(f"expected a feed kind of {', '.join(KINDS)}; found {spec.kind!r}")
    if not spec.name or len(spec.name) > MAX_NAME_CHARS or not spec.name.isprintable():
        raise UsageError(f"expected a feed name of 1 to {MAX_NAME_CHARS} printable characters; found {spec.name!r}")
    if not 1 <= spec.capacity <= MAX_CAPACITY:
        raise UsageError(f"expected a capacity of 1 to {MAX_CAPACITY} items; found {spec.capacity}")
    if not 0 < spec.backoff_first_s <= spec.backoff_cap_s:
        raise UsageError("expected 0 < backoff_first_s <= backoff_cap_s")
    if spec.options is not None and type(spec.options) is not _OPTIONS.get(spec.kind):
        raise UsageError(f"expected no {type(spec.options).__name__} for a {spec.kind} feed")
