"""What a feed URI may look like, and what is said about one that may not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import UsageError
from appliance.feeds import KINDS, SCHEMES, parse_uri
from appliance.feeds.table import TABLE


def test_the_table_of_sources_and_the_accepted_schemes_are_the_same() -> None:
    assert {(kind, scheme) for kind, schemes in SCHEMES.items() for scheme in schemes} == set(TABLE)
    assert set(SCHEMES) == set(KINDS)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:clip.mp4", "clip.mp4"),
        ("file:../data/a clip.mp4", "../data/a clip.mp4"),
        ("file:///data/ais%20log.nmea", "/data/ais log.nmea"),
        ("FILE:/x", "/x"),
        ("dir:/var/inbox", "/var/inbox"),
        ("v4l2:/dev/video0", "/dev/video0"),
    ],
)
def test_a_path_is_taken_from_behind_the_scheme(uri: str, path: str) -> None:
    assert parse_uri(uri).path == path


def test_an_rtsp_uri_keeps_its_password_out_of_what_is_shown() -> None:
    uri = parse_uri("rtsp://user:secret@10.0.0.5/stream1?x=1", "video")
    assert (uri.host, uri.port, uri.path) == ("10.0.0.5", 554, "stream1")
    assert "secret" in uri.raw
    assert "secret" not in uri.shown
    assert "secret" not in repr(uri)


def test_an_mqtt_uri_names_host_port_topic_and_user() -> None:
    uri = parse_uri("mqtt://unit:pw@broker.lan/reports/+/#", "reports")
    assert (uri.host, uri.port, uri.path, uri.user, uri.password) == ("broker.lan", 1883, "reports/+/#", "unit", "pw")
    assert "pw" not in uri.shown
    assert parse_uri("mqtts://broker.lan/reports").port == 8883


def test_sockets_and_serial_ports_name_their_numbers() -> None:
    assert parse_uri("udp://:4001").port == 4001
    assert parse_uri("udp:239.192.0.1:60001").host == "239.192.0.1"
    assert parse_uri("tcp://[::1]:5000").host == "::1"
    assert parse_uri("serial:/dev/ttyUSB0?baud=4800").baud == 4800
    assert parse_uri("serial:/dev/ttyUSB0").baud == 38400


@pytest.mark.parametrize(
    ("uri", "kind", "expected"),
    [
        ("", None, "begin with"),
        ("clip.mp4", "video", "file:"),
        ("http://camera/stream", "video", "rtsp:"),
        ("serial:/dev/ttyS0", "video", "begin with"),
        ("mqtt://host/topic", "ais", "udp: or tcp:"),
        ("file:", "ais", "no path"),
        ("file:a\0b", "ais", "printable"),
        ("file:" + "x" * 3000, "ais", "2048"),
        ("udp://host", "ais", "port"),
        ("udp://host:0", "ais", "port"),
        ("udp://host:99999", "ais", "port"),
        ("udp://host:port", "ais", "port"),
        ("tcp://:5000", "ais", "no host"),
        ("tcp://host:5000/path", "ais", "nothing after the port"),
        ("rtsp:///stream", "video", "host"),
        ("serial:", "gnss", "DEVICE"),
        ("serial:/dev/ttyS0?baud=fast", "gnss", "baud rate"),
        ("serial:/dev/ttyS0?baud=1", "gnss", "baud rate"),
        ("serial:/dev/ttyS0?parity=even", "gnss", "baud"),
        ("mqtt://host", "reports", "no topic"),
        ("mqtt:///topic", "reports", "no host"),
        ("mqtt://host/a+/b", "reports", "wildcards"),
        ("mqtt://host/#/b", "reports", "wildcards"),
    ],
)
def test_a_wrong_uri_is_refused_with_what_was_expected(uri: str, kind: str | None, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        parse_uri(uri, kind)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted({s for schemes in SCHEMES.values() for s in schemes})), st.text(max_size=40))
def test_no_text_whatever_raises_anything_but_a_usage_error(scheme: str, rest: str) -> None:
    try:
        uri = parse_uri(f"{scheme}:{rest}")
    except UsageError:
        return
    assert uri.scheme == scheme
    assert isinstance(uri.shown, str)
