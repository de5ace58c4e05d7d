"""The parts of a video feed that need no video: its clock, its ring, its wire, what a decoder may open."""

from __future__ import annotations

import gc
import itertools
import os
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.feeds.spec import VideoOptions
from appliance.feeds.uris import parse_uri
from appliance.feeds.video import input_of
from appliance.feeds.video_child import Slots
from appliance.feeds.video_clock import MAX_STEP_NS, NOMINAL_NS, StreamClock
from appliance.feeds.video_ring import Ring
from appliance.feeds.video_wire import HEADER, NO_PTS, RELEASE, Kind, Message, pack, unpack

# -- clock ----------------------------------------------------------------------------------------------------------


def test_the_first_frame_of_a_file_is_at_the_base_time_and_the_others_keep_their_distance() -> None:
    clock = StreamClock(base_ns=1000)
    assert [clock.captured_ns(pts, 0) for pts in (500, 540, 600)] == [1000, 1040, 1100]


def test_a_missing_stamp_is_one_nominal_frame_after_the_last() -> None:
    clock = StreamClock(base_ns=0)
    assert [clock.captured_ns(NO_PTS, 0) for _ in range(3)] == [0, NOMINAL_NS, 2 * NOMINAL_NS]


def test_stamps_that_begin_anew_go_on_after_the_last_frame() -> None:
    clock = StreamClock(base_ns=0)
    times = [clock.captured_ns(pts, 0) for pts in (0, 100, 200, 0, 100, 100 + 2 * MAX_STEP_NS, 200 + 2 * MAX_STEP_NS)]
    assert times == [0, 100, 200, 200 + NOMINAL_NS, 300 + NOMINAL_NS, 300 + 2 * NOMINAL_NS, 400 + 2 * NOMINAL_NS]


def test_a_live_frame_is_never_later_than_its_arrival_and_the_least_delay_anchors() -> None:
    clock = StreamClock(None)
    arrivals = [(0, 1000), (100, 1050), (200, 1190), (300, 1260)]
    assert [clock.captured_ns(pts, wall) for pts, wall in arrivals] == [1000, 1050, 1150, 1250]


def test_a_live_stream_that_paused_is_anchored_again() -> None:
    clock = StreamClock(None)
    second = 10**9
    assert clock.captured_ns(0, 100 * second) == 100 * second
    assert clock.captured_ns(second, 110 * second) == 110 * second
    assert clock.captured_ns(2 * second, 111 * second) == 111 * second


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.none(), st.integers(0, 2**61)),
    st.lists(st.tuples(st.one_of(st.just(NO_PTS), st.integers(-(2**61), 2**61)), st.integers(0, 2**62)), max_size=20),
)
def test_time_always_increases(base: int | None, frames: list[tuple[int, int]]) -> None:
    clock = StreamClock(base)
    times = [clock.captured_ns(pts, wall) for pts, wall in frames]
    assert all(a < b for a, b in itertools.pairwise(times))


# -- ring -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(5)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring(3, 4 * 2 * 3)
    yield ring
    ring.close()


def test_a_frame_is_a_read_only_view_of_what_the_decoder_wrote(ring: Ring, pair) -> None:
    os.pwrite(ring.fd, bytes(range(24)), ring.slot_bytes)
    pixels = ring.lend(1, 4, 2, pair[0])
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((2, 4, 3), np.uint8, True)
    assert pixels.tobytes() == bytes(range(24))
    assert not pixels.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        pixels.flags.writeable = True


def test_a_slot_goes_back_when_the_last_view_is_gone_and_not_before(ring: Ring, pair) -> None:
    pixels = ring.lend(2, 4, 2, pair[0])
    crop = pixels[:1].reshape(-1)
    del pixels
    gc.collect()
    assert ring._lent == {2}
    del crop
    gc.collect()
    assert RELEASE.unpack(pair[1].recv(2)) == (2,)
    assert ring._lent == set()


def test_a_frame_outlives_its_decoder_and_its_ring(pair) -> None:
    ring = Ring(1, 24)
    os.pwrite(ring.fd, b"\x07" * 24, 0)
    pixels = ring.lend(0, 4, 2, pair[0])
    ring.close()
    pair[0].close()
    del ring
    gc.collect()
    assert int(pixels.sum()) == 7 * 24
    del pixels  # nobody to tell, and no fault


@pytest.mark.parametrize(("slot", "width", "height"), [(3, 4, 2), (0, 0, 2), (0, 4, 0), (0, 65_536, 65_536)])
def test_what_an_honest_decoder_never_offers_is_refused(ring: Ring, pair, slot, width, height) -> None:
    with pytest.raises(ValueError, match="slot"):
        ring.lend(slot, width, height, pair[0])


def test_a_slot_that_is_lent_cannot_be_offered_again(ring: Ring, pair) -> None:
    held = ring.lend(0, 4, 2, pair[0])
    with pytest.raises(ValueError, match="slot 0"):
        ring.lend(0, 4, 2, pair[0])
    assert held.shape == (2, 4, 3)


def test_nobody_can_shrink_the_ring_under_us(ring: Ring) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(ring.fd, 0)


def test_a_ring_of_unused_slots_costs_no_memory() -> None:
    ring = Ring(64, 3840 * 2160 * 3)
    assert os.fstat(ring.fd).st_blocks == 0
    ring.close()


def test_the_slot_used_last_is_used_next_and_nonsense_is_not_given_back() -> None:
    slots = Slots(2)
    assert [slots.take(wait=False) for _ in range(3)] == [0, 1, None]
    for slot in (1, 1, 7, 1):
        slots.release(slot)
    assert [slots.take(wait=False) for _ in range(2)] == [1, None]


# -- wire -----------------------------------------------------------------------------------------------------------


def test_a_message_travels_unchanged_and_a_long_text_is_cut() -> None:
    message = Message(Kind.FRAME, 3, 1920, 1080, 7, -5, 99, "text")
    assert unpack(pack(message)) == message
    assert len(unpack(pack(Message(Kind.AWAY, text="é" * 1000))).text) <= 151


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2 * HEADER.size))
def test_no_bytes_whatever_break_the_wire(raw: bytes) -> None:
    try:
        message = unpack(raw)
    except ValueError:
        return
    assert message.kind in Kind


# -- what may be opened ---------------------------------------------------------------------------------------------


def test_each_scheme_may_open_its_own_protocol_and_no_other() -> None:
    options = VideoOptions(rtsp_transport="udp")
    url, demuxer, opened = input_of(parse_uri("file:http://example.org/x.m3u8"), options)
    assert (url, demuxer, opened["protocol_whitelist"]) == ("file:http://example.org/x.m3u8", None, "file")
    assert {"hls", "concat", "sdp", "image2"}.isdisjoint(opened["format_whitelist"].split(","))
    url, demuxer, opened = input_of(parse_uri("rtsp://u:p@10.0.0.5/live"), options)
    assert (url, demuxer) == ("rtsp://u:p@10.0.0.5/live", "rtsp")
    assert opened["rtsp_transport"] == "udp"
    assert "file" not in opened["protocol_whitelist"].split(",")
    assert input_of(parse_uri("v4l2:/dev/video0"), options)[:2] == ("/dev/video0", "v4l2")
    url, demuxer, opened = input_of(parse_uri("udp://10.0.0.5:5004"), options)
    assert (url, demuxer, opened["protocol_whitelist"]) == (
        "udp://10.0.0.5:5004?overrun_nonfatal=1&localaddr=10.0.0.5",
        "mpegts",
        "udp",
    )
    assert "localaddr" not in input_of(parse_uri("udp://239.1.2.3:5004"), options)[0]
    assert input_of(parse_uri("tcp://[::1]:5004"), options)[0] == "tcp://[::1]:5004"
