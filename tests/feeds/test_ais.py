"""AIS: real recordings, every message type that is used, and everything that must be refused."""

from __future__ import annotations

import os
import socket
from collections import Counter

import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Identity, Plot
from appliance.feeds.ais import AisParser
from appliance.feeds.spec import FeedSpec, SensorSigma
from appliance.feeds.streams import Chunk, LineReader

SOLENT = "SolentAIS_20160112_130211.csv"
CSV_HEADER = b"Time,MMSI,Latitude_degrees,Longitude_degrees,COG_degrees,SOG_knots\n"
VESSEL = {"type": 1, "mmsi": 235070762, "lat": 50.77, "lon": -1.09, "speed": 10.0, "course": 90.0, "accuracy": 1}


@pytest.fixture
def parsed(spec, tap):
    """Feeds bytes to one AIS parser, as a file or as received at a time."""
    readers: dict[object, LineReader] = {}

    def parse(data: bytes, *, received_ns: int | None = None, parser: object = None, **changes) -> list[Plot]:
        reader = readers.setdefault(parser, LineReader(AisParser(spec(**changes)).parse))
        return [plot for _, plot in reader.read(Chunk(data, received_ns, False, True), tap)]

    return parse


# -- the real recordings --------------------------------------------------------------------------------------------


def test_of_the_solent_recording_exactly_the_one_impossible_row_is_refused(started, drain, shared_data) -> None:
    feed = started("ais", f"file:{shared_data / 'feeds' / 'ais' / SOLENT}")
    plots = drain(feed)
    status = feed.status()
    assert (status.state, status.received, dict(status.bad)) == ("ended", 18_622, {"jump": 1})
    # Line 8209: vessel 245188000, moored at Portsmouth (1.09° W), says 54.83° E once, and 1.09° W again ten seconds
    # later. A position in range, a valid number, the right columns: only where it was before gives it away.
    lines = {int(plot.observation_id.partition(":")[2]) for plot in plots}
    assert set(range(2, 18_625)) - lines == {8209}
    assert len({plot.identities[0].value for plot in plots}) == 91


def test_a_solent_row_becomes_the_plot_that_it_describes(parsed) -> None:
    (plot,) = parsed(CSV_HEADER + b"2016-01-12 13:02:11.218,235070762,50.7730133333333,-1.092935,90,10\n")
    assert plot.observed_ns == 1_452_603_731_218_000_000
    assert plot.values == (50.7730133333333, -1.092935)
    assert plot.identities == (Identity(kind="mmsi", value="235070762"),)
    assert plot.velocity_mps == pytest.approx((5.14444, 0.0), abs=1e-4)
    assert (plot.kind, plot.cooperative, plot.categories, plot.observation_id) == (
        "position",
        True,
        {"vessel": 1.0},
        "sensor:2",
    )


def test_two_replays_of_one_recording_are_equal(started, drain, shared_data) -> None:
    uri = f"file:{shared_data / 'feeds' / 'ais' / 'nmea_data_sample.txt'}"
    assert drain(started("ais", uri)) == drain(started("ais", uri))


def test_the_sentence_log_gives_its_positions_and_counts_what_is_damaged(started, drain, shared_data) -> None:
    feed = started("ais", f"file:{shared_data / 'feeds' / 'ais' / 'nmea_data_sample.txt'}")
    plots = drain(feed)
    status = feed.status()
    assert len(plots) == 758
    assert status.bad == {"empty payload": 100, "incomplete message": 8}
    assert status.ignored["position not available"] == 4
    assert len({plot.observation_id for plot in plots}) == 758
    assert all(abs(plot.values[0]) <= 90 and abs(plot.values[1]) <= 180 for plot in plots)


def test_mixed_sentences_comments_and_garbage_leave_the_good_ones(started, drain, shared_data) -> None:
    feed = started("ais", f"file:{shared_data / 'feeds' / 'ais' / 'mixed.txt'}")
    assert len(drain(feed)) == 10
    assert feed.status().bad == {"not AIS": 6, "checksum": 1}


def test_gatehouse_lines_give_the_sentences_behind_them_their_time(started, drain, shared_data) -> None:
    feed = started("ais", f"file:{shared_data / 'feeds' / 'ais' / 'gatehouse.nmea'}")
    assert drain(feed)[0].observed_ns == 1_210_291_200_010_000_000  # 2008-05-09 00:00:00.010


# -- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [1, 2, 3, 18, 19])
def test_vessels_of_both_classes_become_plots(parsed, ais_line, kind) -> None:
    (plot,) = parsed(ais_line(**{**VESSEL, "type": kind}), received_ns=10**18)
    assert plot.values == pytest.approx((50.77, -1.09), abs=1e-6)
    assert plot.velocity_mps == pytest.approx((5.1444, 0.0), abs=1e-3)
    assert plot.observed_ns == 10**18
    assert plot.covariance == ((25.0, 0.0), (0.0, 25.0))


def test_a_long_range_report_is_coarse(parsed, ais_line) -> None:
    (plot,) = parsed(ais_line(type=27, mmsi=235070762, lat=50.8, lon=-1.1, speed=12, course=0), received_ns=10**18)
    assert plot.covariance[0][0] == 3600.0
    assert plot.velocity_mps == pytest.approx((0.0, 6.17333), abs=1e-4)


def test_a_search_and_rescue_aircraft_is_an_aircraft_with_a_height(parsed, ais_line) -> None:
    line = ais_line(type=9, mmsi=111232501, lat=50.8, lon=-1.1, speed=120, course=180, alt=300)
    (plot,) = parsed(line, received_ns=10**18)
    assert (plot.categories, plot.altitude_m) == ({"aircraft": 1.0}, 300.0)
    assert plot.velocity_mps == pytest.approx((0.0, -61.7333), abs=1e-3)


def test_a_buoy_is_known_by_its_name_and_is_no_vessel(parsed, ais_line) -> None:
    (plot,) = parsed(ais_line(type=21, mmsi=992351000, lat=50.8, lon=-1.1, name="OUTER SPIT"), received_ns=10**18)
    assert plot.categories == {"unknown": 1.0}
    assert Identity(kind="name", value="OUTER SPIT") in plot.identities
    assert plot.velocity_mps == (0.0, 0.0)


def test_an_aid_that_is_only_on_charts_is_ignored(parsed, ais_line, tap) -> None:
    assert parsed(ais_line(type=21, mmsi=992351000, lat=50.8, lon=-1.1, virtual_aid=1), received_ns=1) == []
    assert tap.ignoreds == {"virtual aid": 1}


def test_a_name_and_type_once_heard_stay_with_the_vessel(parsed, ais_line, tap) -> None:
    static = ais_line(type=5, mmsi=235070762, shipname="RED FALCON@@@", ship_type=60)
    assert static.count(b"\n") == 2  # two parts
    assert parsed(static, received_ns=1, parser="p") == []
    (plot,) = parsed(ais_line(**VESSEL), received_ns=2, parser="p")
    assert plot.identities == (Identity(kind="mmsi", value="235070762"), Identity(kind="name", value="RED FALCON"))
    assert plot.categories == {"vessel/ship": 0.9, "vessel/boat": 0.1}
    assert tap.ignoreds == {"static message": 1}


def test_class_b_tells_its_name_and_type_in_two_messages(parsed, ais_line) -> None:
    parsed(ais_line(type=24, mmsi=235070762, partno=0, shipname="GULL"), received_ns=1, parser="p")
    parsed(ais_line(type=24, mmsi=235070762, partno=1, ship_type=36), received_ns=2, parser="p")
    (plot,) = parsed(ais_line(**{**VESSEL, "type": 18}), received_ns=3, parser="p")
    assert plot.identities[1].value == "GULL"
    assert plot.categories["vessel/boat"] == 0.9


def test_a_man_overboard_device_is_a_person(parsed, ais_line) -> None:
    (plot,) = parsed(ais_line(**{**VESSEL, "mmsi": 972123456}), received_ns=1)
    assert plot.categories == {"person": 1.0}


def test_not_available_is_left_out_and_is_no_fault(parsed, ais_line, tap) -> None:
    (plot,) = parsed(ais_line(**{**VESSEL, "speed": 102.3, "course": 360.0}), received_ns=1)
    assert plot.velocity_mps is None
    assert plot.velocity_variance_m2ps2 is None
    (plot,) = parsed(ais_line(**{**VESSEL, "speed": 0.1, "course": 360.0}), received_ns=1)
    assert plot.velocity_mps == (0.0, 0.0)
    (plot,) = parsed(ais_line(**{**VESSEL, "speed": 5.0, "course": 360.0}), received_ns=1)
    assert plot.velocity_mps is None
    assert tap.bads == {}
    assert parsed(ais_line(**{**VESSEL, "lat": 91.0, "lon": 181.0}), received_ns=1) == []
    assert tap.ignoreds == {"position not available": 1}


def test_the_mission_may_say_how_good_the_positions_are(parsed, ais_line) -> None:
    (plot,) = parsed(ais_line(**VESSEL), received_ns=1, sigma=SensorSigma(position_m=30.0))
    assert plot.covariance[0][0] == 900.0


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"2016-01-12 13:02:11.218,235070762,50.7,-1.1,90", "columns"),
        (b"2016-01-12 13:02:11.218,235070762,50.7,-1.1,90,5,7", "columns"),
        (b"2016-13-12 13:02:11.218,235070762,50.7,-1.1,90,5", "time"),
        (b"1816-01-12 13:02:11.218,235070762,50.7,-1.1,90,5", "time"),
        (b",235070762,50.7,-1.1,90,5", "time"),
        (b"2016-01-12 13:02:11.218,23507076,50.7,-1.1,90,5", "mmsi"),
        (b"2016-01-12 13:02:11.218,000000000,50.7,-1.1,90,5", "mmsi"),
        ("2016-01-12 13:02:11.218,２３５０７０７６２,50.7,-1.1,90,5".encode(), "mmsi"),
        (b"2016-01-12 13:02:11.218,235070762,north,-1.1,90,5", "number"),
        (b"2016-01-12 13:02:11.218,235070762,nan,-1.1,90,5", "number"),
        (b"2016-01-12 13:02:11.218,235070762,90.1,-1.1,90,5", "position out of range"),
        (b"2016-01-12 13:02:11.218,235070762,50.7,180.1,90,5", "position out of range"),
        (b"2016-01-12 13:02:11.218,235070762,50.7,-1.1,360.1,5", "course out of range"),
        (b"2016-01-12 13:02:11.218,235070762,50.7,-1.1,-1,5", "course out of range"),
        (b"2016-01-12 13:02:11.218,235070762,50.7,-1.1,90,102.4", "speed out of range"),
        (b"2016-01-12 13:02:11.218,235070762,50.7,-1.1,90,-1", "speed out of range"),
        (b'2016-01-12 13:02:11.218,"235070762,50.7,-1.1,90,5', "columns"),
        (b"\xff\xfe,235070762,50.7,-1.1,90,5", "columns"),
    ],
)
def test_a_row_that_cannot_be_true_is_refused_and_the_next_is_read(parsed, tap, row, reason) -> None:
    good = b"2016-01-12 13:02:12,235070763,50.7,-1.1,90,5\n"
    plots = parsed(CSV_HEADER + row + b"\n" + good)
    assert [plot.identities[0].value for plot in plots] == ["235070763"]
    assert tap.bads == {reason: 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"!AIVDM,1,1,,A,16:=?;0P00`SstvFnFbeGH6L088h,0*45", "checksum"),
        (b"!AIVDM,1,1,,A,16:=?;0P00`SstvFnFbeGH6L088h,0", "checksum"),
        (b"!AIVDM,1,1,,B,,0*25", "empty payload"),
        (b"hello", "not AIS"),
        (b"$GPGGA,184353.07,1929.045,S,02410.506,E,1,04,2.6,100.00,M,-33.9,M,,0000*6D", "not AIS"),
        (b"!" * 2000, "line too long"),
    ],
)
def test_a_sentence_that_is_damaged_is_refused(parsed, tap, line, reason) -> None:
    assert parsed(line + b"\n", received_ns=1) == []
    assert tap.bads == {reason: 1}


def test_a_reserved_course_and_an_impossible_number_are_refused(parsed, ais_line, tap) -> None:
    assert parsed(ais_line(**{**VESSEL, "course": 400.0}), received_ns=1) == []
    assert parsed(ais_line(**{**VESSEL, "mmsi": 0}), received_ns=1) == []
    assert tap.bads == {"course out of range": 1, "mmsi": 1}


def test_one_jump_is_refused_and_the_vessel_is_not_shut_out(parsed, tap) -> None:
    rows = [(0, 50.0), (10, 50.001), (20, 40.0), (30, 50.002), (40, 50.003)]
    text = "".join(f"2016-01-12 13:02:{s:02},235070762,{lat},-1.1,0,10\n" for s, lat in rows)
    assert [plot.values[0] for plot in parsed(CSV_HEADER + text.encode())] == [50.0, 50.001, 50.002, 50.003]
    assert tap.bads == {"jump": 1}


def test_a_vessel_whose_first_position_was_wrong_comes_back_with_its_second_good_one(parsed, tap) -> None:
    rows = [(0, 10.0), (10, 50.001), (20, 50.002), (30, 50.003)]
    text = "".join(f"2016-01-12 13:02:{s:02},235070762,{lat},-1.1,0,10\n" for s, lat in rows)
    assert [plot.values[0] for plot in parsed(CSV_HEADER + text.encode())] == [10.0, 50.002, 50.003]
    assert tap.bads == {"jump": 1}


def test_a_second_station_under_the_same_number_does_not_take_it_over(parsed, tap) -> None:
    rows = [(s, 50.0 if s % 2 == 0 else 40.0) for s in range(10)]
    text = "".join(f"2016-01-12 13:02:{s:02},235070762,{lat},-1.1,0,10\n" for s, lat in rows)
    assert {plot.values[0] for plot in parsed(CSV_HEADER + text.encode())} == {50.0}
    assert tap.bads == {"jump": 5}


def test_parts_that_never_become_whole_are_forgotten_and_counted(parsed, ais_line, tap) -> None:
    first = ais_line(type=5, mmsi=235070762, shipname="X").splitlines()[0] + b"\r\n"
    parsed(first * 3, received_ns=1)
    assert tap.bads == {"incomplete message": 2}


# -- time -----------------------------------------------------------------------------------------------------------


def tagged(line: bytes, fields: bytes) -> bytes:
    check = 0
    for byte in fields:
        check ^= byte
    return b"\\" + fields + b"*%02X\\" % check + line


def test_a_tag_block_gives_the_time_in_seconds_or_milliseconds(parsed, ais_line) -> None:
    line = ais_line(**VESSEL)
    assert parsed(tagged(line, b"s:rx,c:1428621738"))[0].observed_ns == 1_428_621_738 * 10**9
    assert parsed(tagged(line, b"c:1428621738500"))[0].observed_ns == 1_428_621_738_500_000_000


def test_a_tag_block_with_a_wrong_checksum_gives_no_time_and_spoils_nothing(parsed, ais_line) -> None:
    line = b"\\c:1428621738*00\\" + ais_line(**VESSEL)
    assert parsed(line, received_ns=77)[0].observed_ns == 77


def test_a_live_tag_block_far_from_our_clock_is_not_believed(parsed, ais_line, tap) -> None:
    line = tagged(ais_line(**VESSEL), b"c:1428621738")
    assert parsed(line, received_ns=1_700_000_000 * 10**9)[0].observed_ns == 1_700_000_000 * 10**9
    assert tap.ignoreds == {"tag block time": 1}


def test_a_log_without_times_moves_on_by_the_seconds_that_reports_carry(parsed, ais_line) -> None:
    lines = b"".join(ais_line(**{**VESSEL, "second": second}) for second in (50, 0, 58, 20, 45, 60))
    plots = parsed(lines, start_ns=1_000_000_000 * 10**9)  # which is 40 s past a minute
    assert [plot.observed_ns // 10**9 - 1_000_000_000 for plot in plots] == [10, 20, 18, 40, 65, 65]


# -- carriers -------------------------------------------------------------------------------------------------------


def test_ais_over_udp(started, ais_line, free_port, take_n, eventually) -> None:
    port = free_port(socket.SOCK_DGRAM)
    feed = started("ais", f"udp://127.0.0.1:{port}")
    eventually(lambda: feed.status().state == "running")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"\x00\xffnoise", ("127.0.0.1", port))
        sender.sendto(ais_line(type=5, mmsi=235070762, shipname="RED FALCON") + ais_line(**VESSEL), ("127.0.0.1", port))
        (plot,) = take_n(feed, 1)
    assert [identity.value for identity in plot.identities] == ["235070762", "RED FALCON"]
    assert feed.status().bad == {"not AIS": 1}


def test_ais_over_tcp_survives_a_server_that_comes_and_goes(started, ais_line, listener, take_n) -> None:
    feed = started("ais", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    ids = []
    for _ in range(2):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(ais_line(**VESSEL) + b"!AIVDM,1,1,,A,half")
            ids += [plot.observation_id for plot in take_n(feed, 1)]
    assert len(set(ids)) == 2
    assert feed.status().state in {"running", "backing-off"}


def test_ais_over_a_serial_line(started, ais_line, take_n, eventually) -> None:
    ours, theirs = os.openpty()
    try:
        feed = started("ais", f"serial:{os.ttyname(theirs)}?baud=38400")
        eventually(lambda: feed.status().state == "running")
        os.write(ours, ais_line(**VESSEL))
        (plot,) = take_n(feed, 1)
        assert plot.identities[0].value == "235070762"
    finally:
        feed.stop()
        os.close(ours)
        os.close(theirs)


def test_a_serial_port_that_is_not_there_is_waited_for(started, tmp_path, eventually) -> None:
    feed = started("ais", f"serial:{tmp_path / 'ttyUSB0'}")
    eventually(lambda: feed.status().restarts >= 1)
    assert "cannot open" in feed.status().last_error
    assert issubclass(serial.SerialException, OSError)  # what the feed counts on


# -- noise ----------------------------------------------------------------------------------------------------------

ALPHABET = st.sampled_from(
    [b"!AIVDM,", b"1,", b"2,", b",", b"A", b"\\", b"*", b"$PGHP,", b"\n", b"g:1-2-3", b"c:", b"55"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), ALPHABET), max_size=12).map(b"".join), st.booleans())
def test_no_bytes_whatever_break_the_parser(data: bytes, csv: bool) -> None:
    bads: Counter[str] = Counter()

    class Tap:
        def bad(self, reason: str, count: int = 1) -> None:
            bads[reason] += count

        ignored = bad

    reader = LineReader(AisParser(FeedSpec(name="s", kind="ais", uri="file:x", pace="fast")).parse)
    text = (CSV_HEADER if csv else b"") + data
    for _, plot in reader.read(Chunk(text, None, True, True), Tap()):
        assert abs(plot.values[0]) <= 90


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_no_payload_whatever_breaks_the_decoder(payload: bytes) -> None:
    armoured = bytes(48 + b % 40 if b % 40 < 40 else 48 for b in payload)
    body = b"AIVDM,1,1,,A," + armoured + b",0"
    check = 0
    for byte in body:
        check ^= byte
    reader = LineReader(AisParser(FeedSpec(name="s", kind="ais", uri="file:x", pace="fast")).parse)

    class Tap:
        def bad(self, reason: str, count: int = 1) -> None:
            assert reason != "checksum"

        def ignored(self, reason: str, count: int = 1) -> None:
            pass

    list(reader.read(Chunk(b"!" + body + b"*%02X\n" % check, 1, True, True), Tap()))
