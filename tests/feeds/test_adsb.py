"""ADS-B: published messages, flights by an encoder of our own, both framings, and everything that must be refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Geodetic, Identity, Plot
from appliance.feeds.adsb import AdsbReader
from appliance.feeds.modes_wire import Heard, ModeSSplitter
from appliance.feeds.spec import FeedSpec, SensorSigma
from appliance.feeds.streams import Chunk
from tests.support import adsb

SECOND = 1_000_000_000
ICAO = 0x4B1805
#: J. Sun, "The 1090 Megahertz Riddle", 2nd ed., chapters 4, 5 and 6: an identification, the two frames of a position.
KLM1023 = bytes.fromhex("8D4840D6202CC371C32CE0576098")
EVEN, ODD = bytes.fromhex("8D40621D58C382D690C8AC2863A7"), bytes.fromhex("8D40621D58C386435CC412692AD6")


class Receiver:
    """One reader that hears frames at given seconds."""

    def __init__(self, reader: AdsbReader, tap) -> None:
        self._reader, self._tap = reader, tap

    def hear(self, *frames: bytes, at_s: float = 0.0) -> list[Plot]:
        data = b"".join(map(adsb.avr, frames))
        return [plot for _, plot in self._reader.read(Chunk(data, round(at_s * SECOND), False, True), self._tap)]

    def flight(self, latitude: float, longitude: float, altitude: int = 30_000, at_s: float = 0.0, kind: int = 11):
        """Both frames of one position."""
        return self.hear(
            *(adsb.squitter(adsb.airborne(latitude, longitude, altitude, odd, kind), ICAO) for odd in (0, 1)),
            at_s=at_s,
        )


@pytest.fixture
def receiver(spec, tap) -> Receiver:
    return Receiver(AdsbReader(spec(kind="adsb")), tap)


# -- published messages ---------------------------------------------------------------------------------------------


def test_the_published_pair_is_where_the_book_says(receiver, tap) -> None:
    assert receiver.hear(ODD) == []
    assert tap.ignoreds == {"half a position": 1}
    (plot,) = receiver.hear(EVEN, at_s=2.0)
    assert plot.values == pytest.approx((52.25720, 3.91937), abs=1e-5)
    assert (plot.kind, plot.cooperative, plot.observed_ns) == ("position", True, 2 * SECOND)
    assert plot.identities == (Identity(kind="icao", value="40621D"),)
    assert plot.categories == {"aircraft": 1.0}
    assert plot.altitude_m is None  # 38,000 ft of pressure are no height
    assert plot.velocity_mps is None


def test_the_published_callsign_becomes_a_name(receiver, tap) -> None:
    assert receiver.hear(KLM1023) == []
    assert tap.ignoreds == {"no position": 1}
    known = receiver._reader._known["4840d6"]
    assert known.callsign == "KLM1023"


# -- flights --------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.floats(-86.5, 86.5), st.floats(-179.9, 179.9), st.integers(-1000, 50_000))
def test_what_a_transponder_encodes_is_found_again(latitude, longitude, altitude) -> None:
    receiver = Receiver(AdsbReader(FeedSpec(name="roof", kind="adsb", uri="tcp://127.0.0.1:1")), _NoTap())
    plots = receiver.flight(latitude, longitude, altitude)
    if not plots:  # the two frames may fall into zones of different widths; a later pair does not
        plots = receiver.flight(latitude + 0.02, longitude, altitude, at_s=20.0)
        latitude += 0.02
    found = plots[-1].values
    assert found[0] == pytest.approx(latitude, abs=1e-4)
    east = (found[1] - longitude + 180.0) % 360.0 - 180.0
    assert east * math.cos(math.radians(latitude)) == pytest.approx(0.0, abs=1e-4)


def test_velocity_height_name_category_and_accuracy_come_together(receiver) -> None:
    said = (
        adsb.identification("SWR123", 4, 3),
        adsb.velocity(east=300, north=-200, geometric_over_pressure=550),
        adsb.operational_status(nacp=9),
    )
    receiver.hear(*(adsb.squitter(message, ICAO) for message in said))
    plot = receiver.flight(47.0, 8.0, 30_000, at_s=1.0)[-1]
    assert plot.identities == (Identity(kind="icao", value="4B1805"), Identity(kind="name", value="SWR123"))
    assert plot.categories == {"aircraft/aeroplane": 0.9, "aircraft": 0.1}
    assert plot.velocity_mps == pytest.approx((154.33, -102.89), abs=0.01)
    assert plot.altitude_m == pytest.approx(30_550 * 0.3048)
    sigma = 30.0 / 2.4477
    east, north = 154.33 * 0.3, -102.89 * 0.3
    assert plot.covariance[0] == pytest.approx((sigma**2 + east**2, east * north), rel=1e-3)
    assert plot.covariance[1] == pytest.approx((east * north, sigma**2 + north**2), rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "category", "expected"),
    [
        (4, 7, {"aircraft/helicopter": 0.9, "aircraft": 0.1}),
        (3, 6, {"aircraft/drone": 0.9, "aircraft": 0.1}),
        (3, 1, {"aircraft/aeroplane": 0.9, "aircraft": 0.1}),
        (2, 3, {"vehicle": 1.0}),
        (4, 0, {"aircraft": 1.0}),
        (2, 5, {"aircraft": 1.0}),
    ],
)
def test_emitter_categories(receiver, kind, category, expected) -> None:
    receiver.hear(adsb.squitter(adsb.identification("D", kind, category), ICAO))
    assert receiver.flight(47.0, 8.0)[-1].categories == expected


def test_between_pairs_the_last_place_says_which_cell(receiver) -> None:
    receiver.flight(47.0, 8.0)
    (plot,) = receiver.hear(adsb.squitter(adsb.airborne(47.02, 8.03, 30_000, 0), ICAO), at_s=30.0)
    assert plot.values == pytest.approx((47.02, 8.03), abs=1e-4)
    assert receiver.hear(adsb.squitter(adsb.airborne(47.0, 8.0, 30_000, 0), ICAO), at_s=200.0) == []


def test_a_heading_with_an_airspeed_is_no_velocity_and_an_old_one_is_forgotten(receiver) -> None:
    receiver.hear(adsb.squitter(adsb.velocity(300, 0), ICAO))
    assert receiver.flight(47.0, 8.0, at_s=1.0)[-1].velocity_mps is not None
    assert receiver.flight(47.0, 8.0, at_s=7.0)[-1].velocity_mps is None
    receiver.hear(adsb.squitter(adsb.velocity(300, 0), ICAO), adsb.squitter(adsb.airspeed(90.0, 300), ICAO), at_s=8.0)
    assert receiver.flight(47.0, 8.0, at_s=8.5)[-1].velocity_mps is None


def test_a_gnss_height_is_one(receiver) -> None:
    assert receiver.flight(47.0, 8.0, 10_000, kind=20)[-1].altitude_m == pytest.approx(3048.0)


def test_on_the_ground_the_receivers_place_says_which_cell(spec, tap) -> None:
    frame = adsb.squitter(adsb.surface(47.4502, 8.5618, 0), ICAO)
    assert Receiver(AdsbReader(spec(kind="adsb", origin=None)), tap).hear(frame) == []
    site = Geodetic(latitude_deg=47.5, longitude_deg=8.5)
    (plot,) = Receiver(AdsbReader(spec(kind="adsb", origin=site)), tap).hear(frame)
    assert plot.values == pytest.approx((47.4502, 8.5618), abs=1e-5)


def test_the_missions_sigmas_take_precedence(spec, tap) -> None:
    receiver = Receiver(AdsbReader(spec(kind="adsb", sigma=SensorSigma(position_m=40.0))), tap)
    assert receiver.flight(47.0, 8.0)[-1].covariance == ((1600.0, 0.0), (0.0, 1600.0))


# -- what must be refused -------------------------------------------------------------------------------------------


def test_a_jump_is_refused_once_and_believed_when_it_is_said_again(receiver, tap) -> None:
    receiver.flight(47.0, 8.0)
    even, odd = (adsb.squitter(adsb.airborne(49.0, 8.0, 30_000, odd), ICAO) for odd in (0, 1))
    assert receiver.hear(even, at_s=100.0) == []
    assert receiver.hear(odd, at_s=101.0) == []
    assert tap.bads == {"jump": 1}
    assert receiver.hear(even, at_s=102.0)[-1].values == pytest.approx((49.0, 8.0), abs=1e-4)


def test_a_wrong_bit_anywhere_is_refused(receiver, tap) -> None:
    for bit in range(8 * 14):
        damaged = (int.from_bytes(EVEN, "big") ^ 1 << bit).to_bytes(14, "big")
        assert receiver.hear(damaged) == []
    assert tap.bads["parity"] + tap.ignoreds["not ADS-B"] == 112
    assert tap.bads["parity"] >= 100


@pytest.mark.parametrize("first", [18 << 3 | 2, 18 << 3 | 1, 18 << 3 | 5, 11 << 3, 20 << 3, 0])
def test_what_no_aircraft_said_of_itself_is_ignored(receiver, tap, first) -> None:
    frame = adsb.squitter(adsb.airborne(47.0, 8.0, 30_000, 0), ICAO, first)
    assert receiver.hear(frame, frame[:7]) == []
    assert tap.ignoreds == {"not ADS-B": 2}


def test_a_rebroadcast_of_an_aircrafts_own_words_counts(receiver) -> None:
    frames = [adsb.squitter(adsb.airborne(47.0, 8.0, 30_000, odd), ICAO, 18 << 3 | 6) for odd in (0, 1)]
    assert len(receiver.hear(*frames)) == 1


def test_a_position_that_its_aircraft_does_not_vouch_for_is_ignored(receiver, tap) -> None:
    receiver.hear(adsb.squitter(adsb.operational_status(nacp=0), ICAO))
    assert receiver.flight(47.0, 8.0) == []
    assert tap.ignoreds["position without accuracy"] == 1


def test_callsigns_that_are_none_are_not_names(receiver) -> None:
    for callsign in ("        ", "A?B"):
        receiver.hear(adsb.squitter(adsb.identification(callsign), ICAO))
        assert receiver.flight(47.0, 8.0)[-1].identities == (Identity(kind="icao", value="4B1805"),)


def test_many_aircraft_do_not_grow_memory(receiver, monkeypatch) -> None:
    monkeypatch.setattr("appliance.feeds.adsb.MAX_AIRCRAFT", 10)
    for icao in range(1, 40):
        receiver.hear(adsb.squitter(adsb.identification("A"), icao))
    assert list(receiver._reader._known) == [f"{icao:06x}" for icao in range(30, 40)]


# -- time -----------------------------------------------------------------------------------------------------------


def test_a_recording_is_timed_by_the_receivers_counter(spec, tap) -> None:
    reader = AdsbReader(spec(kind="adsb", start_ns=100 * SECOND))
    first, second = 5 * adsb.COUNTER_HZ, 7 * adsb.COUNTER_HZ
    frames = [adsb.squitter(adsb.airborne(47.0, 8.0, 30_000, odd), ICAO) for odd in (0, 1)]
    data = adsb.beast(frames[0], first) + adsb.beast(frames[1], second) + adsb.beast(frames[0], 1)
    plots = [plot for _, plot in reader.read(Chunk(data, None, True, True), tap)]
    assert [plot.observed_ns for plot in plots] == [102 * SECOND, 102 * SECOND]  # a counter that went back stands
    assert list(reader.read(Chunk(adsb.avr(frames[0]), None, False, True), tap)) == []
    assert tap.bads == {"no time": 1}


# -- framing --------------------------------------------------------------------------------------------------------


def split(data: bytes, *, cut: int | None = None) -> list[object]:
    splitter = ModeSSplitter()
    parts = [data] if cut is None else [data[:cut], data[cut:]]
    return [p for i, part in enumerate(parts) for p in splitter.split(Chunk(part, 0, i == 0, i + 1 == len(parts)))]


STREAM = (
    adsb.beast(EVEN, 0x1A1A1A1A1A1A)
    + adsb.beast(b"\x12\x34", 7, "1")
    + b"@00000000000A" + ODD.hex().encode() + b";\r\n"
    + adsb.beast(EVEN[:7], 9, "2")
    + adsb.avr(b"\x1a" * 14)
)  # fmt: skip
PIECES = [Heard(EVEN, 0x1A1A1A1A1A1A), "other", Heard(ODD, 10), Heard(EVEN[:7], 9), Heard(b"\x1a" * 14, None)]


@pytest.mark.parametrize("cut", [None, *range(1, len(STREAM))])
def test_frames_are_found_wherever_a_chunk_ends(cut) -> None:
    assert split(STREAM, cut=cut) == PIECES


@pytest.mark.parametrize(
    ("noise", "told"),
    [
        (b"\x00\r\n ", []),
        (b"\x55" * 300, ["garbage"]),
        (b"\x1a9" + b"x" * 20, ["garbage"]),
        (b"*8D40;", ["other"]),
        (b"*8D40G2;", ["garbage"]),
        (b"*" + b"8" * 200, ["garbage"]),
        (adsb.beast(EVEN, 1)[:-4], ["garbage"]),
        (b"@" + EVEN.hex().encode() + b";", ["garbage"]),
    ],
)
def test_noise_is_one_garbage_and_the_next_frame_is_heard(noise, told) -> None:
    assert split(noise + adsb.beast(ODD, 5) + adsb.avr(EVEN)) == [*told, Heard(ODD, 5), Heard(EVEN, None)]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_break_the_reader(data, cut) -> None:
    reader = AdsbReader(FeedSpec(name="roof", kind="adsb", uri="tcp://127.0.0.1:1"))
    for index, part in enumerate((data[:cut], data[cut:], adsb.avr(ODD) + adsb.avr(EVEN))):
        list(reader.read(Chunk(part, SECOND, index == 0, False), _NoTap()))
    assert len(reader._splitter._buffer) < 64


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([17, 18]), st.integers(0, 7), st.integers(0, 2**56 - 1)), max_size=20))
def test_no_message_breaks_the_reader_and_no_plot_is_absurd(messages) -> None:
    reader = AdsbReader(FeedSpec(name="roof", kind="adsb", uri="tcp://127.0.0.1:1", origin=Geodetic(
        latitude_deg=50.0, longitude_deg=5.0)))  # fmt: skip
    for index, (form, low, message) in enumerate(messages):
        frame = adsb.squitter(message, ICAO, form << 3 | low)
        for _, plot in reader.read(Chunk(adsb.avr(frame), index * SECOND, False, True), _NoTap()):
            assert abs(plot.values[0]) <= 90.0
            assert abs(plot.values[1]) <= 180.0
            assert plot.covariance[0][0] * plot.covariance[1][1] > plot.covariance[0][1] ** 2


# -- as a feed ------------------------------------------------------------------------------------------------------


def test_a_receiver_on_tcp_is_a_feed(started, take_n, listener) -> None:
    feed = started("adsb", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    caller, _ = listener.accept()
    with caller:
        caller.sendall(b"\x33\x33" + adsb.beast(ODD, 1) + adsb.beast(EVEN, 2))
        (plot,) = take_n(feed, 1)
    assert plot.values == pytest.approx((52.25720, 3.91937), abs=1e-5)
    assert dict(feed.status().bad) == {"garbage": 1}


class _NoTap:
    """Counts nothing."""

    def bad(self, reason: str, count: int = 1) -> None:
        pass

    def ignored(self, reason: str, count: int = 1) -> None:
        pass
