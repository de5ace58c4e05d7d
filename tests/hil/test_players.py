"""The players: at the right time, in the right order, whole, and only on loopback."""

from __future__ import annotations

import json
import socket
import time
from datetime import datetime
from pathlib import Path

import pytest

from hil.scene.harbour import harbour
from hil.scene.players import LOOPBACK, LineServer, Player, Players, free_udp_port, into, written_report
from hil.scene.wires import Bend, garbage, off_by, silent, twice
from hil.scene.words import spoken
from hil.scene.world import Scene


def test_a_player_plays_in_order_of_time_and_says_why_it_stopped() -> None:
    said: list[str] = []
    now_ns = time.time_ns()

    def fails() -> None:
        raise ConnectionRefusedError("nobody there")

    player = Player(
        "x", [(now_ns, lambda: said.append("a")), (now_ns + 20, lambda: said.append("b")), (now_ns + 30, fails)]
    )
    player.start()
    player.join(5.0)
    assert said == ["a", "b"]
    assert player.played == 2
    assert player.failed == "nobody there"


def test_a_stopped_player_says_nothing_more() -> None:
    said: list[str] = []
    player = Player("x", [(time.time_ns() + 3600 * 10**9, lambda: said.append("late"))])
    player.start()
    player.stop()
    assert said == []


def test_lines_before_the_first_caller_wait_for_it() -> None:
    lines = LineServer()
    try:
        lines.send("!early")
        with socket.create_connection(lines.address, timeout=5.0) as caller:
            received = caller.makefile("r", newline="")
            assert received.readline() == "!early\r\n"
            lines.send("!later")
            assert received.readline() == "!later\r\n"
            received.close()
    finally:
        lines.close()


def test_a_caller_that_hangs_up_does_not_stop_the_others() -> None:
    lines = LineServer()
    try:
        with socket.create_connection(lines.address, timeout=5.0) as stays:
            received = stays.makefile("r", newline="")
            lines.send("!one")
            assert received.readline() == "!one\r\n"
            socket.create_connection(lines.address, timeout=5.0).close()
            for _ in range(5):
                lines.send("!more")
                assert received.readline() == "!more\r\n"
            received.close()
    finally:
        lines.close()


def test_a_report_appears_whole_under_its_own_name(scene: Scene, tmp_path: Path) -> None:
    one = spoken(scene, 30.0)[1]
    name = f"{one.report_id}.json"
    into(tmp_path)(name, written_report(one, scene.time_ns(one.time_s)))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    document = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    assert document["text"] == one.text
    assert document["grade"] == one.grade
    assert document["time"].startswith("2025-11-23T14:00:")


def test_a_whole_second_of_harbour_goes_out_on_every_wire(tmp_path: Path) -> None:
    port, other = free_udp_port(), free_udp_port()
    lines = LineServer()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as radar,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gnss,
    ):
        radar.bind((LOOPBACK, port))
        gnss.bind((LOOPBACK, other))
        radar.settimeout(5.0)
        gnss.settimeout(5.0)
        with Players(2.6, into(tmp_path), lines, (LOOPBACK, port), (LOOPBACK, other)) as players:
            players.start(harbour(7, time.time_ns() + 50_000_000))
            players.wait(10.0)
            assert players.faults() == []
            sent = players.sent
        assert radar.recv(2000)[0] == 48
        assert gnss.recv(2000).startswith(b"$GPGGA")
    lines.close()
    assert sent.radar_plots >= sent.radar_datagrams >= 2
    assert sent.gnss_sentences == 6
    assert sum(sent.ais_positions.values()) >= 3
    assert len(sent.reports) == len(list(tmp_path.glob("*.json"))) == 7


@pytest.mark.parametrize(("bend", "files"), [(twice, 2), (garbage(7), 4), (off_by(600 * 10**9), 1), (silent, 0)])
def test_what_a_bend_makes_of_one_report_lies_in_as_many_files(tmp_path: Path, bend: Bend, files: int) -> None:
    lines = LineServer()
    with Players(1.0, into(tmp_path), lines, (LOOPBACK, free_udp_port()), (LOOPBACK, free_udp_port())) as players:
        players.wires["reports"].bend = bend
        players.start(harbour(7, time.time_ns() + 50_000_000))
        while not players.sent.reports:
            time.sleep(0.01)
        players.stop()
    lines.close()
    found = sorted(tmp_path.iterdir())
    assert len(found) == files * len(players.sent.reports)
    if bend is twice:
        assert found[0].read_bytes() == found[1].read_bytes()
    if files == 1:
        ahead = datetime.fromisoformat(json.loads(found[0].read_bytes())["time"]).timestamp() - time.time()
        assert 590.0 < ahead < 600.0


def test_what_came_before_the_start_is_left_out(tmp_path: Path) -> None:
    lines = LineServer()
    with Players(2.0, into(tmp_path), lines, (LOOPBACK, free_udp_port()), (LOOPBACK, free_udp_port())) as players:
        players.start(harbour(7, time.time_ns() - 3_000_000_000))
        players.wait(5.0)
        assert players.sent.reports == []
        assert players.sent.radar_plots == 0
    lines.close()
