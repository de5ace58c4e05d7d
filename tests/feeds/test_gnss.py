"""The own receiver: real logs, mixed protocols, and what a fix may claim."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.domain import Fix
from appliance.feeds.gnss import FrameSplitter, GnssReader
from appliance.feeds.streams import Chunk


def sentence(body: str) -> bytes:
    check = 0
    for byte in body.encode():
        check ^= byte
    return f"${body}*{check:02X}\r\n".encode()


def gga(time: str = "120000.00", quality: int = 1, hdop: str = "1.5", place: str = "4936.000,N,00606.000,E") -> bytes:
    return sentence(f"GNGGA,{time},{place},{quality},08,{hdop},300.0,M,47.0,M,,")


RMC = sentence("GNRMC,115959.00,A,4936.000,N,00606.000,E,0.1,,010326,,,A")
NOON_NS = 1_772_366_400 * 10**9  # 2026-03-01


def ubx(payload: bytes) -> bytes:
    body = b"\x01\x02" + len(payload).to_bytes(2, "little") + payload
    a = b = 0
    for byte in body:
        a = (a + byte) & 0xFF
        b = (b + a) & 0xFF
    return b"\xb5\x62" + body + bytes((a, b))


@pytest.fixture
def read(spec, tap):
    def fixes(*parts: bytes, received_ns: int | None = None, **changes) -> list[Fix]:
        reader = GnssReader(spec(**{"kind": "gnss", **changes}))
        found: list[Fix] = []
        for i, part in enumerate(parts):
            found += [fix for _, fix in reader.read(Chunk(part, received_ns, i == 0, i == len(parts) - 1), tap)]
        return found

    return fixes


def test_a_fix_has_place_time_quality_and_an_honest_sigma(read) -> None:
    (fix,) = read(gga(), start_ns=NOON_NS - 5 * 10**9)
    assert fix.observed_ns == NOON_NS
    assert fix.position.latitude_deg == pytest.approx(49.6)
    assert fix.position.longitude_deg == pytest.approx(6.1)
    assert fix.position.altitude_m == pytest.approx(347.0)  # above the ellipsoid
    assert (fix.quality, fix.satellites, fix.horizontal_sigma_m) == ("autonomous", 8, pytest.approx(4.5))


def test_the_date_comes_from_rmc_and_carries_over_midnight(read) -> None:
    late = sentence("GNRMC,235959.00,A,4936.000,N,00606.000,E,0.1,,010326,,,A")
    fixes = read(late + gga("235959.00") + gga("000001.00"))
    assert [fix.observed_ns - NOON_NS for fix in fixes] == [43_199 * 10**9, 43_201 * 10**9]


@pytest.mark.parametrize(
    ("quality", "name"),
    [(1, "autonomous"), (2, "differential"), (4, "rtk"), (5, "differential"), (6, "estimated")],
)
def test_the_quality_of_a_fix_is_named(read, quality, name) -> None:
    assert read(gga(quality=quality))[0].quality == name


@pytest.mark.parametrize("quality", [0, 7, 8])
def test_no_fix_and_made_up_fixes_give_nothing(read, tap, quality) -> None:
    assert read(gga(quality=quality)) == []
    assert tap.ignoreds == {"no fix": 1}


def test_gns_speaks_for_itself(read) -> None:
    (fix,) = read(sentence("GNGNS,120000.00,4936.000,N,00606.000,E,RDNN,18,0.5,300.0,47.0,,"), start_ns=NOON_NS)
    assert (fix.quality, fix.satellites) == ("rtk", 18)


def test_one_moment_gives_one_fix(read, tap) -> None:
    fixes = read(RMC + gga("115959.00") + gga() + sentence("GNGNS,120000.00,4936.0,N,00606.0,E,AN,18,0.5,3,4,,"))
    assert len(fixes) == 2
    assert tap.ignoreds["same moment"] == 2


def test_rmc_speaks_where_nothing_better_does(read) -> None:
    lines = [sentence(f"GPRMC,1200{s:02},A,4936.0,N,00606.0,E,0.1,,010326,,,A") for s in range(3)]
    fixes = read(b"".join(lines))
    assert [fix.observed_ns - NOON_NS for fix in fixes] == [0, 10**9, 2 * 10**9]
    assert fixes[0].horizontal_sigma_m == 6.0
    assert read(sentence("GPRMC,120000,V,4936.0,N,00606.0,E,0.1,,010326,,,N")) == []


def test_a_wrong_checksum_is_refused_and_a_missing_one_too(read, tap) -> None:
    wrong = gga()[:-4] + b"00\r\n"
    bare = gga()[:-5] + b"\r\n"
    assert len(read(wrong + bare + gga())) == 1
    assert tap.bads == {"checksum": 2}


def test_other_protocols_are_skipped_whole_even_with_a_dollar_inside(read, tap) -> None:
    noisy = ubx(b"$GNGGA,\n" * 3)
    rtcm = b"\xd3\x00\x13>\xd0\x00\x03\x8a\x0e\xde\xef4\xb4\xbd_\xac\x8e\x9f8\x15\xb3\x19"
    fixes = read(noisy + gga() + b"\x01\x02\x03$GPG" + gga("120001.00") + rtcm[:3], start_ns=NOON_NS)
    assert len(fixes) == 2
    assert tap.ignoreds == {"ubx": 1}
    assert tap.bads["garbage"] >= 1


def test_frames_that_come_in_pieces_are_put_together(read) -> None:
    data = ubx(b"x" * 100) + RMC + gga() + ubx(b"") + gga("120001.00")
    whole = read(data)
    assert read(*[data[i : i + 3] for i in range(0, len(data), 3)], b"") == whole
    assert len(whole) == 3


def test_the_real_logs_are_read_with_their_foreign_frames_recognised(started, drain, shared_data) -> None:
    folder = shared_data / "feeds" / "nmea"
    expected = {
        "pynmeagps_pygpsdata-mixed.log": (2, {}, {"ubx": 4}),
        "pyubx2_pygpsdata-MIXED.log": (0, {}, {"ubx": 300}),
        "pyubx2_pygpsdata-MIXED-RTCM3.log": (1, {}, {"rtcm": 7, "ubx": 1}),
        "pynmeagps_pygpsdata-nmeabadck.log": (1, {"checksum": 2}, {}),
    }
    for name, (fixes, bad, ignored) in expected.items():
        feed = started("gnss", f"file:{folder / name}")
        assert len(drain(feed)) == fixes, name
        status = feed.status()
        assert status.bad == bad, name
        assert {kind: status.ignored[kind] for kind in ignored} == ignored, name


def test_gnss_over_a_serial_line(started, take_n, eventually) -> None:
    ours, theirs = os.openpty()
    try:
        feed = started("gnss", f"serial:{os.ttyname(theirs)}?baud=9600")
        eventually(lambda: feed.status().state == "running")
        os.write(ours, b"\xff\x00garbage" + RMC + gga())
        assert take_n(feed, 2)[1].position.latitude_deg == pytest.approx(49.6)
    finally:
        feed.stop()
        os.close(ours)
        os.close(theirs)


def test_gnss_over_tcp(started, take_n, listener) -> None:
    feed = started("gnss", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    connection, _ = listener.accept()
    with connection:
        connection.sendall(gga()[:20])
        connection.sendall(gga()[20:])
        assert len(take_n(feed, 1)) == 1


PIECES = st.sampled_from([b"$", b"\xb5\x62", b"\xd3\x00", b"\r\n", b"*", gga(), RMC, ubx(b"$$"), b"\xd3\x03\xff"])


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=12))
def test_no_bytes_whatever_break_the_splitter_and_none_are_lost(parts: list[bytes]) -> None:
    splitter = FrameSplitter()
    kinds: Counter[str] = Counter()
    for i, part in enumerate(parts):
        for kind, frame in splitter.split(Chunk(part, None, i == 0, i == len(parts) - 1)):
            kinds[kind] += 1
            assert kind == "garbage" or frame
    if parts:
        assert splitter._buffer == b""


FIELDS = st.lists(
    st.sampled_from(["", "A", "1", "99", "4936.0", "N", "120000", "-5", "x", "1e9", "010326"]), max_size=14
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["GNGGA", "GPRMC", "GNGNS", "GPZDA", "GPXXX", "P"]), FIELDS)
def test_no_sentence_whatever_breaks_the_reader(read, kind, fields) -> None:
    for fix in read(sentence(",".join([kind, *fields]))):
        assert abs(fix.position.latitude_deg) <= 90
