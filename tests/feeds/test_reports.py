"""Reports: the text that is carried, the inbox, the line server, the recording, and a real broker."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from appliance.domain import Geodetic, Report
from appliance.errors import BadReport
from appliance.feeds.report_lines import JsonlParser
from appliance.feeds.report_text import MAX_TEXT_BYTES, clean, from_any
from appliance.feeds.spec import ReportOptions
from appliance.feeds.streams import Chunk, LineReader

# -- text -----------------------------------------------------------------------------------------------------------


def carry(raw: bytes | str, received_ns: int = 1) -> Report:
    data = raw if isinstance(raw, bytes) else raw.encode()
    return from_any(data, sensor_id="s", author="post", received_ns=received_ns)


def test_a_document_says_what_it_says() -> None:
    report = carry(
        '{"text": "Zwou Booter", "author": "Patrull 2", "time": "2026-03-01T12:00:00Z", "grade": "b2",'
        ' "id": "r-7", "latitude_deg": 49.6, "longitude_deg": 6.1}'
    )
    assert report == Report(
        sensor_id="s",
        report_id="r-7",
        author="Patrull 2",
        received_ns=1_772_366_400 * 10**9,
        text="Zwou Booter",
        grade="B2",
        position=Geodetic(latitude_deg=49.6, longitude_deg=6.1),
    )


def test_plain_text_has_the_feeds_author_and_the_time_it_came() -> None:
    report = carry("  deux bateaux\r\nprès du phare \n", received_ns=99)
    assert (report.text, report.author, report.received_ns) == ("deux bateaux\nprès du phare", "post", 99)


def test_the_id_of_a_report_follows_from_content_author_and_time() -> None:
    a = carry('{"text": "x", "author": "a", "time": 5}')
    assert a.report_id == carry('{"time": 5, "author": "a", "text": "x"}').report_id
    others = [
        '{"text": "y", "author": "a", "time": 5}',
        '{"text": "x", "author": "b", "time": 5}',
        '{"text": "x", "author": "a", "time": 6}',
    ]
    assert a.report_id not in {carry(other).report_id for other in others}


def test_what_deceives_the_eye_is_taken_out_and_what_disturbs_a_screen_becomes_a_space() -> None:
    assert clean("friend\u202eenemy\u2066!\u200f\ufeff") == "friendenemy!"
    assert clean("a\x1b[31mb\x07\x85c") == "a [31mb  c"
    assert clean("e\u0301te\u0301") == "été"
    assert clean("tab\tand\nline") == "tab\tand\nline"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"\xe2\x80\xae", "empty"),
        (b"a\0b", "NUL"),
        (b"caf\xe9", "not UTF-8"),
        (b"\xed\xa0\x80", "not UTF-8"),
        (b"x" * (MAX_TEXT_BYTES + 1), "too long"),
        (("é" * (MAX_TEXT_BYTES // 2 + 1)).encode(), "too long"),
        (b'{"text": "' + b"x" * 40_000 + b'"}', "too long"),
        (b'{"text": "' + b"x" * 9_000 + b'"}', "too long"),
        (b'{"text": "a\\u0000b"}', "NUL"),
        (b'{"text": "\\ud800"}', "document"),
        (b'{"text": 5}', "document"),
        (b'{"author": "a"}', "document"),
        (b'{"text": "a", "colour": "red"}', "document"),
        (b'{"text": "a", "grade": "G7"}', "document"),
        (b'{"text": "a", "grade": "A12"}', "document"),
        (b'{"text": "a", "time": "yesterday"}', "time"),
        (b'{"text": "a", "time": 1e12}', "time"),
        (b'{"text": "a", "latitude_deg": 5}', "document"),
        (b'{"text": "a", "latitude_deg": 95, "longitude_deg": 5}', "document"),
        (b'{"text": "a", "author": ""}', "document"),
        (b'{"text": "a", "author": "\\u0000"}', "NUL"),
        (b'{"text": "a", "id": "' + b"x" * 101 + b'"}', "document"),
        (b"{" * 20_000, "document"),
        (b"[1]{", None),
    ],
)
def test_a_text_that_cannot_be_carried_is_refused_with_its_reason(raw: bytes, reason: str | None) -> None:
    if reason is None:
        assert carry(raw).text == "[1]{"
        return
    with pytest.raises(BadReport) as refused:
        carry(raw)
    assert refused.value.reason == reason


def test_the_longest_text_that_is_allowed_is_carried_whole() -> None:
    assert len(carry(b"x" * MAX_TEXT_BYTES).text) == MAX_TEXT_BYTES


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(str.encode),
        st.dictionaries(
            st.sampled_from(["text", "author", "time", "grade", "id"]),
            st.one_of(st.text(max_size=20), st.floats(), st.none()),
        ).map(lambda d: json.dumps(d).encode()),
    )
)
def test_no_bytes_whatever_break_the_carrier(raw: bytes) -> None:
    try:
        report = carry(raw)
    except BadReport:
        return
    assert report.text == report.text.strip() != ""
    assert len(report.text.encode()) <= MAX_TEXT_BYTES
    assert all(c in "\n\t" or c.isprintable() or not c.isascii() for c in report.text)


# -- inbox ----------------------------------------------------------------------------------------------------------


def drop(folder: Path, name: str, content: bytes | str, mtime_ns: int | None = None) -> None:
    """As a sender should: written under a hidden name, then renamed."""
    part = folder / f".{name}.part"
    part.write_bytes(content if isinstance(content, bytes) else content.encode())
    if mtime_ns is not None:
        os.utime(part, ns=(mtime_ns, mtime_ns))
    part.rename(folder / name)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def test_files_are_read_oldest_first_and_move_to_done_when_the_consumer_is_done(started, inbox, take_n) -> None:
    drop(inbox, "b.txt", "first", 1_000_000_000)
    drop(inbox, "a.json", '{"text": "second", "author": "p2"}', 2_000_000_000)
    feed = started("reports", f"dir:{inbox}")
    one, two = take_n(feed, 2)
    assert (one.text, one.received_ns, one.author) == ("first", 1_000_000_000, "sensor")
    assert (two.text, two.received_ns, two.author) == ("second", 2_000_000_000, "p2")
    assert names(inbox) == {"a.json", "done", "bad"}  # the second is still in hand
    assert feed.take(0.01) is None
    assert names(inbox / "done") == {"a.json", "b.txt"}
    assert not feed.ended


def test_what_cannot_be_read_moves_to_bad_and_is_counted(started, inbox, take_n, eventually, tmp_path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the inbox")
    (inbox / "link.txt").symlink_to(secret)
    os.mkfifo(inbox / "pipe.txt")
    drop(inbox, "empty.txt", "")
    drop(inbox, "latin.txt", b"caf\xe9")
    drop(inbox, "huge.json", b"x" * 200_000)
    drop(inbox, "good.txt", "good")
    feed = started("reports", f"dir:{inbox}")
    assert [report.text for report in take_n(feed, 1)] == ["good"]
    eventually(lambda: sum(feed.status().bad.values()) == 5)
    assert feed.status().bad == {"not a plain file": 2, "empty": 1, "not UTF-8": 1, "too long": 1}
    assert names(inbox / "bad") == {"link.txt", "pipe.txt", "empty.txt", "latin.txt", "huge.json"}
    assert secret.read_text() == "not for the inbox"


def test_hidden_other_and_unfinished_files_are_left_alone(started, inbox, take_n) -> None:
    for name in (".draft.txt", "notes.md", "report.txt.part"):
        (inbox / name).write_text("not yet")
    (inbox / "folder.txt").mkdir()
    drop(inbox, "z.TXT", "good")
    feed = started("reports", f"dir:{inbox}")
    assert take_n(feed, 1)[0].text == "good"
    assert feed.take(0.7) is None
    assert names(inbox) == {".draft.txt", "notes.md", "report.txt.part", "folder.txt", "done", "bad"}
    assert feed.status().bad == {}


def test_after_a_crash_nothing_is_lost_and_what_comes_again_has_the_same_id(started, inbox, take_n) -> None:
    drop(inbox, "a.txt", "two boats", 5_000_000_000)
    crashed = started("reports", f"dir:{inbox}")
    (before,) = take_n(crashed, 1)
    crashed.stop()  # without asking for the next: the report was never dealt with
    (again,) = take_n(started("reports", f"dir:{inbox}"), 1)
    assert again == before


def test_a_name_that_comes_twice_is_kept_twice(started, inbox, take_n) -> None:
    feed = started("reports", f"dir:{inbox}")
    for text in ("one", "two", "three"):
        drop(inbox, "report.txt", text)
        assert take_n(feed, 1)[0].text == text
        assert feed.take(0.01) is None
    assert names(inbox / "done") == {"report.txt", "report.1.txt", "report.2.txt"}


def test_an_inbox_that_is_not_there_is_waited_for(started, tmp_path, eventually, take_n) -> None:
    folder = tmp_path / "later"
    feed = started("reports", f"dir:{folder}")
    eventually(lambda: feed.status().restarts >= 1)
    assert "expected a folder" in feed.status().last_error
    folder.mkdir()
    drop(folder, "a.txt", "there")
    assert take_n(feed, 1)[0].text == "there"


# -- recording ------------------------------------------------------------------------------------------------------


def test_a_recording_is_replayed_with_its_own_times(started, drain, text_file) -> None:
    lines = [
        '{"time": 1000, "text": "one", "author": "a", "grade": "A1", "id": "x"}',
        "",
        "not json",
        '{"text": "no time"}',
        '{"time": 1010.5, "text": "two"}',
    ]
    feed = started("reports", f"file:{text_file(chr(10).join(lines))}", options=ReportOptions(default_author="net 3"))
    one, two = drain(feed)
    assert (one.report_id, one.received_ns, one.grade) == ("x", 1000 * 10**9, "A1")
    assert (two.author, two.received_ns) == ("net 3", 1_010_500_000_000)
    assert feed.status().bad == {"document": 1, "time": 1}


# -- line server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def call(free_port, started, eventually):
    port = free_port()
    feed = started("reports", f"tcp://127.0.0.1:{port}")
    eventually(lambda: feed.status().state == "running")
    callers: list[socket.socket] = []

    def connect() -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        callers.append(sock)
        return sock

    connect.feed = feed
    yield connect
    for sock in callers:
        sock.close()


def test_each_line_is_a_report_and_gets_an_answer(call, take_n) -> None:
    sock = call()
    sock.sendall("deux bateaux près du phare\n".encode() + b'{"text": "three", "author": "p3"}\r\n\n\xff\n')
    answers = sock.makefile("rb")
    one, two = take_n(call.feed, 2)
    assert [one.text, two.text] == ["deux bateaux près du phare", "three"]
    assert [answers.readline() for _ in range(3)] == [
        f"ok {one.report_id}\n".encode(),
        f"ok {two.report_id}\n".encode(),
        b"refused not UTF-8\n",
    ]
    assert call.feed.status().bad == {"not UTF-8": 1}


def test_callers_do_not_disturb_each_other_and_a_last_line_needs_no_end(call, take_n) -> None:
    a, b = call(), call()
    a.sendall(b"half of ")
    b.sendall(b"whole\n")
    assert take_n(call.feed, 1)[0].text == "whole"
    a.sendall(b"a line")
    a.close()
    assert take_n(call.feed, 1)[0].text == "half of a line"


def test_an_endless_line_is_refused_once_and_the_connection_goes_on(call, take_n) -> None:
    sock = call()
    sock.sendall(b"x" * 100_000 + b"\nshort\n")
    assert take_n(call.feed, 1)[0].text == "short"
    assert call.feed.status().bad == {"too long": 1}


def test_more_callers_than_allowed_are_turned_away(call, eventually) -> None:
    socks = [call() for _ in range(40)]
    eventually(lambda: call.feed.status().bad.get("too many connections", 0) >= 8)
    socks[0].sendall(b"still here\n")
    assert socks[0].makefile("rb").readline().startswith(b"ok ")


# -- a real broker --------------------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path, free_port) -> Iterator[Callable[[], int]]:
    """Starts (again) a real Mosquitto on one port of loopback that keeps its sessions."""
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    store = tmp_path / "broker"
    store.mkdir(mode=0o777)
    store.chmod(0o777)
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {store}/\nuser root\n"
    )
    running: list[subprocess.Popen[bytes]] = []

    def start() -> int:
        for process in running:
            process.terminate()
            process.wait(20)
        running[:] = [
            subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.05)
        raise AssertionError("mosquitto did not start")

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


def publish(port: int, topic: str, *payloads: bytes) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for payload in payloads:
        client.publish(topic, payload, qos=1).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


def test_reports_come_from_a_topic_and_bad_ones_are_counted(broker, started, take_n, eventually) -> None:
    port = broker()
    feed = started("reports", f"mqtt://127.0.0.1:{port}/reports/#")
    eventually(lambda: feed.status().state == "running")
    publish(port, "reports/p1", b"two boats", b"\xff\xfe", b'{"text": "three", "author": "p1"}')
    publish(port, "other", b"not for us")
    assert [report.text for report in take_n(feed, 2)] == ["two boats", "three"]
    assert feed.status().bad == {"not UTF-8": 1}


def test_what_was_sent_while_we_were_away_and_what_we_had_not_dealt_with_comes(
    broker, started, take_n, eventually
) -> None:
    port = broker()
    first = started("reports", f"mqtt://127.0.0.1:{port}/reports")
    eventually(lambda: first.status().state == "running")
    publish(port, "reports", b"in hand")
    assert [report.text for report in take_n(first, 1)] == ["in hand"]
    first.stop()  # a crash: it never asked for the next
    publish(port, "reports", b"while away")
    again = started("reports", f"mqtt://127.0.0.1:{port}/reports")
    assert [report.text for report in take_n(again, 2)] == ["in hand", "while away"]
    assert again.take(0.2) is None
    again.stop()
    third = started("reports", f"mqtt://127.0.0.1:{port}/reports")
    eventually(lambda: third.status().state == "running")
    assert third.take(0.5) is None


def test_a_broker_that_dies_is_waited_for(broker, started, take_n, eventually) -> None:
    port = broker()
    feed = started("reports", f"mqtt://127.0.0.1:{port}/reports")
    eventually(lambda: feed.status().state == "running")
    broker()
    eventually(lambda: feed.status().restarts >= 1 and feed.status().state == "running")
    publish(port, "reports", b"back again")
    assert [report.text for report in take_n(feed, 1)] == ["back again"]


def test_a_broker_that_is_not_there_is_waited_for(started, free_port, eventually) -> None:
    feed = started("reports", f"mqtt://127.0.0.1:{free_port()}/reports")
    eventually(lambda: feed.status().restarts >= 1)
    assert "cannot reach" in feed.status().last_error


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=50), max_size=6))
def test_no_lines_whatever_break_the_recording(spec, tap, lines) -> None:
    reader = LineReader(JsonlParser(spec(kind="reports")).parse)
    list(reader.read(Chunk(b"\n".join(lines), None, True, True), tap))
