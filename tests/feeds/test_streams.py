"""Bytes and lines: cutting, bounds, restarts, and real sockets."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Report
from appliance.errors import FeedUnavailable
from appliance.feeds.pace import MAX_WAIT_NS, Pacer
from appliance.feeds.source import Stopped
from appliance.feeds.streams import Chunk, FileBytes, LineCutter, TcpBytes, UdpBytes
from appliance.feeds.uris import parse_uri


def cut(cutter: LineCutter, *parts: bytes, whole: bool = True) -> list[bytes | None]:
    lines: list[bytes | None] = []
    for i, part in enumerate(parts):
        lines += cutter.cut(Chunk(part, None, False, whole and i == len(parts) - 1))
    return lines


def test_lines_are_put_together_from_any_pieces() -> None:
    assert cut(LineCutter(100), b"on", b"e\r\ntw", b"o\n", b"three") == [b"one", b"two", b"three"]


def test_an_overlong_line_is_one_fault_and_the_next_line_is_whole() -> None:
    assert cut(LineCutter(5), b"123456789", b"123456789\nok\n") == [None, b"ok"]
    assert cut(LineCutter(5), b"1234567\nok") == [None, b"ok"]
    assert cut(LineCutter(5), b"12345678") == [None]


def test_a_fresh_connection_forgets_half_a_line() -> None:
    cutter = LineCutter(100)
    assert list(cutter.cut(Chunk(b"half", 1, True, False))) == []
    assert list(cutter.cut(Chunk(b"whole\n", 1, True, False))) == [b"whole"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=8))
def test_cutting_does_not_depend_on_where_the_pieces_end(parts: list[bytes]) -> None:
    assert cut(LineCutter(1000), *parts, b"") == cut(LineCutter(1000), b"".join(parts))


def test_a_file_goes_on_where_it_stopped(tap, text_file) -> None:
    path = text_file(b"x" * 100_000 + b"y" * 100_000)
    origin = FileBytes(parse_uri(f"file:{path}"))
    first = next(origin.chunks(tap)).data
    rest = b"".join(chunk.data for chunk in origin.chunks(tap))
    assert first + rest == path.read_bytes()


@pytest.mark.parametrize("make", ["missing", "folder", "pipe"])
def test_what_is_no_plain_file_is_unavailable_and_never_blocks(tap, tmp_path, make) -> None:
    path = tmp_path / "thing"
    if make == "folder":
        path.mkdir()
    if make == "pipe":
        os.mkfifo(path)
    with pytest.raises(FeedUnavailable, match="cannot open"):
        next(FileBytes(parse_uri(f"file:{path}")).chunks(tap))


def test_datagrams_arrive_whole_and_stamped(tap, free_port) -> None:
    port = free_port(socket.SOCK_DGRAM)
    chunks = UdpBytes(parse_uri(f"udp://127.0.0.1:{port}")).chunks(tap)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        tap.opened = lambda: sender.sendto(b"one", ("127.0.0.1", port))
        chunk = next(chunks)
        assert (chunk.data, chunk.fresh, chunk.whole) == (b"one", True, True)
        assert chunk.received_ns is not None
    tap.stopping = True
    with pytest.raises(Stopped):
        next(chunks)


def test_a_port_that_is_taken_is_unavailable(tap, free_port) -> None:
    port = free_port(socket.SOCK_DGRAM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        with pytest.raises(FeedUnavailable, match="cannot listen"):
            next(UdpBytes(parse_uri(f"udp://127.0.0.1:{port}")).chunks(tap))


def test_a_multicast_group_is_joined(tap, free_port) -> None:
    port = free_port(socket.SOCK_DGRAM)
    try:
        chunks = UdpBytes(parse_uri(f"udp://239.255.41.7:{port}")).chunks(tap)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            tap.opened = lambda: sender.sendto(b"one", ("239.255.41.7", port))
            assert next(chunks).data == b"one"
    except (FeedUnavailable, OSError) as e:
        pytest.skip(f"this machine has no route for multicast: {e}")
    finally:
        chunks.close()


def test_a_server_that_refuses_or_closes_is_unavailable(tap, free_port, listener) -> None:
    with pytest.raises(FeedUnavailable, match="cannot connect"):
        next(TcpBytes(parse_uri(f"tcp://127.0.0.1:{free_port()}")).chunks(tap))
    chunks = TcpBytes(parse_uri(f"tcp://127.0.0.1:{listener.getsockname()[1]}")).chunks(tap)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"half a li")

    tap.opened = serve
    assert next(chunks).data == b"half a li"
    with pytest.raises(FeedUnavailable, match="closed"):
        next(chunks)


def test_a_name_that_nobody_knows_is_unavailable(tap) -> None:
    with pytest.raises(FeedUnavailable, match="cannot find"):
        next(TcpBytes(parse_uri("tcp://no-such-host.invalid:9")).chunks(tap))


def a_report(ns: int) -> Report:
    return Report(sensor_id="s", report_id="r", author="a", received_ns=ns, text="t")


def test_a_fast_replay_never_waits(tap, spec) -> None:
    pacer = Pacer(spec(pace="fast"))
    for stamp in (0, 10**18, 5):
        pacer.wait(tap, stamp)
    assert tap.waited_s == []


def test_a_real_time_replay_waits_for_each_stamp(tap, spec) -> None:
    pacer = Pacer(spec(pace="realtime"))
    pacer.wait(tap, 5_000 * 10**9)
    pacer.wait(tap, 5_010 * 10**9)
    assert tap.waited_s[0] <= 0
    assert 9 < tap.waited_s[1] <= 10


def test_replays_with_a_start_time_keep_step_with_each_other(tap, spec) -> None:
    pacer = Pacer(spec(pace="realtime", start_ns=1000 * 10**9))
    pacer.wait(tap, 1030 * 10**9)
    assert 29 < tap.waited_s[0] <= 30


def test_a_wild_stamp_does_not_stop_a_replay(tap, spec) -> None:
    pacer = Pacer(spec(pace="realtime"))
    pacer.wait(tap, 0)
    pacer.wait(tap, MAX_WAIT_NS * 1000)
    pacer.wait(tap, 10**9)
    pacer.wait(tap, 2 * 10**9)
    assert all(wait <= 1.0 for wait in tap.waited_s)
