"""Video for real: recordings decoded frame by frame, hostile files, dying decoders, live streams over sockets."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from appliance.domain import Frame
from appliance.errors import FeedUnavailable
from appliance.feeds import Feed, open_feed
from appliance.feeds.spec import VideoOptions
from appliance.feeds.video import DecoderProcess
from appliance.feeds.video_ring import Ring
from appliance.feeds.video_wire import RELEASE, Kind, Message, pack

PEOPLE = Path("videos") / "intel_one-by-one-person-detection.mp4"
DASHCAM = Path("videos") / "udacity_dashcam_test_video.mp4"


def digest(frame: Frame) -> tuple[int, int, tuple[int, ...], int]:
    """What two decodes of one frame must agree on, without holding the frame."""
    return frame.sequence, frame.captured_ns, frame.pixels.shape, int(frame.pixels[::8, ::8].sum())


def decoders() -> list[int]:
    """Process ids of the decoders that this test has running."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"appliance.feeds.video_child" in path.joinpath("cmdline").read_bytes():
                found.append(int(path.name))
        except (OSError, IndexError):
            continue
    return found


@pytest.fixture
def digests() -> Callable[[Feed], list[tuple[int, int, tuple[int, ...], int]]]:
    def collect(
        feed: Feed, after: Callable[[int], None] = lambda n: None
    ) -> list[tuple[int, int, tuple[int, ...], int]]:
        found = []
        deadline = time.monotonic() + 150
        while not feed.ended:
            assert time.monotonic() < deadline, feed.status()
            frame = feed.take(0.2)
            if frame is not None:
                found.append(digest(frame))
                after(len(found))
        return found

    return collect


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Makes a small recording whose frames differ."""

    def make(
        name: str = "clip.mp4", frames: int = 40, size: tuple[int, int] = (160, 120), codec: str = "mpeg4"
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=20)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for n in range(frames):
                picture = np.full((size[1], size[0], 3), (n * 5) % 250, np.uint8)
                picture[:, : n % size[0]] = 255 - n % 200
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            out.mux(stream.encode(None))
        return path

    return make


# -- recordings -----------------------------------------------------------------------------------------------------


def test_a_recording_is_decoded_frame_by_frame_with_the_streams_own_times(started, digests, shared_data) -> None:
    path = shared_data / DASHCAM
    base = 1_700_000_000 * 10**9
    feed = started("video", f"file:{path}", start_ns=base, capacity=4)
    found = digests(feed)
    with av.open(str(path)) as container:
        frames = [(f.pts * f.time_base, f.to_ndarray(format="bgr24")) for f in container.decode(video=0)]
    first = frames[0][0]
    assert found == [
        (n, base + int((t - first) * 10**9), pixels.shape, int(pixels[::8, ::8].sum()))
        for n, (t, pixels) in enumerate(frames)
    ]
    assert feed.status().state == "ended"
    assert feed.status().bad == {}
    assert decoders() == []


def test_a_frame_is_a_read_only_view_that_lasts_as_long_as_it_is_held(started, drain, clip) -> None:
    frames = drain(started("video", f"file:{clip(frames=5)}"))
    feed_gone = [frame.pixels.copy() for frame in frames]
    gc.collect()
    for frame, copy in zip(frames, feed_gone, strict=True):
        assert not frame.pixels.flags.writeable
        assert not frame.pixels.flags.owndata
        assert (frame.pixels == copy).all()


def test_a_slow_consumer_loses_no_frame_of_a_file_and_the_ring_stays_small(started, digests, clip) -> None:
    feed = started("video", f"file:{clip(frames=60)}", capacity=2, options=VideoOptions(frames_in_hand=2))
    found = digests(feed, after=lambda n: time.sleep(0.01))
    assert [sequence for sequence, *_ in found] == list(range(60))
    assert feed.status().dropped_oldest == 0


def test_a_consumer_that_holds_every_frame_stops_the_decoder_and_is_not_taken_for_a_hang(started, clip, take_n) -> None:
    options = VideoOptions(frames_in_hand=1, stall_s=0.3)
    feed = started("video", f"file:{clip(frames=30)}", capacity=2, options=options)
    held = take_n(feed, 3)
    assert feed.take(1.5) is None
    assert feed.status().restarts == 0
    held.clear()
    gc.collect()
    assert take_n(feed, 3)[0].sequence == 3


def test_at_real_time_pace_frames_come_at_their_own_times(started, clip, take_n) -> None:
    path = clip(frames=21)
    begun = time.monotonic()
    frames = take_n(started("video", f"file:{path}", pace="realtime"), 21)
    assert time.monotonic() - begun >= 1.0  # never before their time, however slow this machine is
    assert frames[-1].captured_ns - frames[0].captured_ns == 10**9


# -- decoders that die ----------------------------------------------------------------------------------------------


def test_a_replay_that_begins_now_begins_when_its_decoder_is_ready(spec, clip) -> None:
    feed = open_feed(spec("video", f"file:{clip(frames=3)}", pace="realtime"))
    asked_ns = time.time_ns()
    feed.start()
    try:
        frame = feed.take(60.0)
        assert isinstance(frame, Frame)
        assert frame.captured_ns > asked_ns
    finally:
        feed.stop()


def test_a_decoder_killed_mid_stream_is_replaced_and_no_frame_is_lost_or_doubled(started, digests, shared_data) -> None:
    uri = f"file:{shared_data / PEOPLE}"
    untouched = digests(started("video", uri, capacity=4))

    def kill(n: int) -> None:
        if n in {100, 700}:
            os.kill(decoders()[0], signal.SIGKILL)

    feed = started("video", uri, capacity=4)
    assert digests(feed, after=kill) == untouched
    assert len(untouched) == 1394
    assert feed.status().restarts == 2
    assert "SIGKILL" in feed.status().last_error


def test_the_last_words_of_a_decoder_are_heard_though_it_left_ours_unread() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, contextlib.closing(Ring(1, 4096)) as ring, subprocess.Popen(["true"]) as ended:
        theirs.send(pack(Message(Kind.END)))
        ours.send(RELEASE.pack(0))
        theirs.close()
        process = DecoderProcess(ended, ours, ring)
        assert process.hear("clip") == Message(Kind.END)
        with pytest.raises(FeedUnavailable, match="the decoder ended with status 0"):
            process.hear("clip")


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_what_tells_a_daemon_to_stop_does_not_take_its_decoder_away(started, digests, clip, told: int) -> None:
    """A service manager tells each process of a service; a camera is not sick because its unit ends in order."""

    def tell(n: int) -> None:
        if n == 5:
            os.kill(decoders()[0], told)

    feed = started("video", f"file:{clip(frames=60)}", capacity=2)
    assert [sequence for sequence, *_ in digests(feed, after=tell)] == list(range(60))
    assert feed.status().restarts == 0
    assert feed.status().last_error is None


def test_a_decoder_that_hangs_is_killed_and_replaced(started, digests, clip) -> None:
    def freeze(n: int) -> None:
        if n == 5 and decoders():
            os.kill(decoders()[0], signal.SIGSTOP)

    options = VideoOptions(stall_s=0.5, frames_in_hand=2)
    feed = started("video", f"file:{clip(frames=60)}", capacity=2, options=options)
    assert [sequence for sequence, *_ in digests(feed, after=freeze)] == list(range(60))
    assert feed.status().restarts == 1
    assert "no frame for" in feed.status().last_error


def test_a_file_whose_decoders_all_die_at_once_ends_as_failed(started, clip, eventually) -> None:
    feed = started("video", f"file:{clip(frames=400)}", pace="realtime", capacity=400)
    killed: set[int] = set()

    def dies() -> bool:
        for pid in set(decoders()) - killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return feed.status().state == "failed"

    eventually(dies)
    assert len(killed) >= 3
    assert "killed by SIGKILL" in feed.status().last_error


def test_a_decoder_does_not_outlive_a_parent_that_is_killed(clip, eventually) -> None:
    program = (
        "import sys, time\n"
        "from appliance.feeds import FeedSpec, VideoOptions, open_feed\n"
        "feed = open_feed(FeedSpec(name='c', kind='video', uri=sys.argv[1], pace='realtime', capacity=1))\n"
        "feed.start()\n"
        "feed.take(60)\n"
        "print('running', flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, f"file:{clip(frames=400)}"], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == b"running\n"
        children = Path(f"/proc/{parent.pid}/task").glob("*/children")
        (child,) = [int(pid) for listing in children for pid in listing.read_text().split()]
        parent.kill()
        parent.wait(20)
    eventually(lambda: not Path(f"/proc/{child}").exists() or "Z (" in Path(f"/proc/{child}/status").read_text())


def test_stop_leaves_no_decoder_behind(started, clip, take_n) -> None:
    feed = started("video", f"file:{clip(frames=200)}", pace="realtime")
    take_n(feed, 2)
    assert len(decoders()) == 1
    feed.stop()
    assert not feed._thread.is_alive()
    assert decoders() == []


# -- hostile and damaged files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not a video"),
        (b"this is not a video\n" * 50, "not a video"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n", "not a video"),
    ],
    ids=["empty", "text", "play list", "concat list", "session description"],
)
def test_a_file_that_is_no_video_fails_with_a_clear_reason(started, text_file, eventually, content, expected) -> None:
    feed = started("video", f"file:{text_file(content, 'clip.mp4')}")
    eventually(lambda: feed.ended)
    status = feed.status()
    assert (status.state, status.received, status.restarts) == ("failed", 0, 0)
    assert expected in status.last_error


def test_a_file_without_pictures_fails_with_a_clear_reason(started, tmp_path, eventually) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    feed = started("video", f"file:{path}")
    eventually(lambda: feed.ended)
    assert feed.status().state == "failed"
    assert "no video stream" in feed.status().last_error


@pytest.mark.parametrize(
    "options",
    [VideoOptions(max_width_px=100), VideoOptions(max_height_px=100), VideoOptions(max_pixels=160 * 120 - 1)],
    ids=["width", "height", "pixels"],
)
def test_a_picture_over_a_bound_fails_before_it_is_decoded(started, clip, eventually, options) -> None:
    feed = started("video", f"file:{clip()}", options=options)
    eventually(lambda: feed.ended)
    assert feed.status().state == "failed"
    assert "found 160×120" in feed.status().last_error


def test_a_decoder_that_needs_more_memory_than_allowed_fails_and_takes_nobody_with_it(
    started, clip, eventually
) -> None:
    feed = started("video", f"file:{clip(size=(1280, 720))}", options=VideoOptions(memory_mib=64))
    eventually(lambda: feed.ended)
    assert feed.status().state == "failed"


def test_damage_in_the_middle_is_counted_and_the_rest_is_delivered(started, digests, clip) -> None:
    path = clip("clip.avi", frames=80)
    raw = bytearray(path.read_bytes())
    start = len(raw) // 2
    raw[start : start + 3000] = random.Random(7).randbytes(3000)
    path.write_bytes(raw)
    feed = started("video", f"file:{path}")
    found = digests(feed)
    status = feed.status()
    assert status.state == "ended"
    assert 40 <= len(found) < 80 or sum(status.bad.values()) > 0
    assert [sequence for sequence, *_ in found] == sorted({sequence for sequence, *_ in found})


def test_a_recording_that_was_cut_off_gives_what_it_holds(started, digests, clip) -> None:
    path = clip("clip.ts", frames=80)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 2 // 3])
    found = digests(started("video", f"file:{path}"))
    assert 20 <= len(found) < 80


@pytest.mark.slow
def test_no_file_whatever_breaks_the_feed(started, clip, eventually) -> None:
    """Twelve files, damaged at random places; each ends in a clear state with no decoder left."""
    noise = random.Random(20)
    for name in ("a.mp4", "b.avi", "c.ts", "d.mkv"):
        good = clip(name, frames=30).read_bytes()
        for _ in range(3):
            raw = bytearray(good)
            for _ in range(noise.randint(1, 200)):
                raw[noise.randrange(len(raw))] = noise.randrange(256)
            path = clip(name, frames=1)
            path.write_bytes(raw[: noise.randint(len(raw) // 2, len(raw))])
            feed = started("video", f"file:{path}")
            eventually(lambda feed=feed: feed.take(0.05) is None and feed.ended)
            assert feed.status().state in {"ended", "failed"}
    assert decoders() == []


# -- live -----------------------------------------------------------------------------------------------------------


def test_a_camera_that_is_not_there_is_waited_for(started, eventually, tmp_path, free_port) -> None:
    for uri in (
        f"v4l2:{tmp_path / 'video0'}",
        f"rtsp://127.0.0.1:{free_port()}/live",
        f"tcp://127.0.0.1:{free_port()}",
    ):
        feed = started("video", uri)
        eventually(lambda feed=feed: feed.status().restarts >= 1)
        assert "cannot be opened" in feed.status().last_error
        feed.stop()


def test_a_live_stream_over_udp_goes_on_after_the_sender_pauses(started, clip, free_port, take_n) -> None:
    packets = clip("live.ts", frames=60, codec="libx264").read_bytes()
    port = free_port(socket.SOCK_DGRAM)
    options = VideoOptions(stall_s=1.5, open_s=10)
    feed = started("video", f"udp://127.0.0.1:{port}", capacity=4, options=options)
    stop = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not stop.is_set():
                for i in range(0, len(packets), 1316):
                    if stop.wait(0.01):
                        return
                    sock.sendto(packets[i : i + 1316], ("127.0.0.1", port))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        before = time.time_ns()
        frames = take_n(feed, 10)
        assert all(a.captured_ns < b.captured_ns for a, b in itertools.pairwise(frames))
        assert all(a.sequence < b.sequence for a, b in itertools.pairwise(frames))
        assert before - 10**10 < frames[0].captured_ns <= time.time_ns()
    finally:
        stop.set()
        sender.join()


def test_a_live_camera_that_nobody_reads_drops_frames_and_counts_them(started, clip, listener, eventually) -> None:
    packets = clip("live.ts", frames=100, codec="libx264").read_bytes()
    options = VideoOptions(frames_in_hand=1)
    feed = started("video", f"tcp://127.0.0.1:{listener.getsockname()[1]}", capacity=2, options=options)
    connection, _ = listener.accept()
    with connection:
        connection.sendall(packets)
        eventually(lambda: feed.status().dropped_oldest > 20)
    assert feed.take(0.5) is not None


def test_a_camera_that_goes_away_and_comes_back_is_found_again(started, clip, listener, take_n, eventually) -> None:
    packets = clip("live.ts", frames=60, codec="libx264").read_bytes()
    feed = started("video", f"tcp://127.0.0.1:{listener.getsockname()[1]}", capacity=200)
    last = -1
    for _ in range(2):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(packets)
        frames = take_n(feed, 20)
        assert frames[0].sequence > last
        last = frames[-1].sequence
        frames.clear()
        restarts = feed.status().restarts
        while feed.take(0.2) is not None:
            pass
        eventually(lambda restarts=restarts: feed.status().restarts > restarts or feed.status().state == "backing-off")
    assert "the stream has ended" in (feed.status().last_error or "") or feed.status().restarts >= 1


# -- a camera that speaks RTSP --------------------------------------------------------------------------------------


class RtspCamera:
    """The least that RTSP 1.0 asks of a camera (RFC 2326), MPEG-4 part 2 over RTP in the same connection (RFC 6416)."""

    def __init__(self, clip: Path) -> None:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            self.config = bytes(stream.codec_context.extradata or b"")
            self.packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.hang_up = threading.Event()
        self.silent = threading.Event()
        self.connections = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.listener.close()
        self.hang_up.set()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                try:
                    self._talk(connection)
                except OSError:
                    continue

    def _talk(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        while line := reader.readline():
            method, url, _ = line.decode().split()
            headers = {}
            while header := reader.readline().decode().strip():
                key, _, value = header.partition(":")
                headers[key.lower()] = value.strip()
            connection.sendall(self._answer(method, url, headers))
            if method == "PLAY":
                self._play(connection)
                return

    def _answer(self, method: str, url: str, headers: dict[str, str]) -> bytes:
        body, extra = "", ""
        if method == "OPTIONS":
            extra = "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        if method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\n"
                f"a=fmtp:96 profile-level-id=1;config={self.config.hex()}\r\na=control:track1\r\n"
            )
            extra = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\n"
        if method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\nSession: 1\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        return (head + body).encode()

    def _play(self, connection: socket.socket) -> None:
        sequence, stamp = 0, 0
        while not self.hang_up.is_set():
            for packet in self.packets:
                while self.silent.is_set() and not self.hang_up.wait(0.02):
                    pass
                for i in range(0, len(packet), 1200):
                    part = packet[i : i + 1200]
                    marker = 0x80 if i + 1200 >= len(packet) else 0
                    rtp = bytes([0x80, 96 | marker]) + sequence.to_bytes(2, "big") + stamp.to_bytes(4, "big") + b"CAM1"
                    connection.sendall(b"$\0" + len(rtp + part).to_bytes(2, "big") + rtp + part)
                    sequence = (sequence + 1) % 65_536
                stamp = (stamp + 4500) % 2**32
                if self.hang_up.wait(0.02):
                    return


@pytest.fixture
def camera(clip) -> Iterator[RtspCamera]:
    camera = RtspCamera(clip("camera.mp4", frames=30))
    yield camera
    camera.close()
    camera.thread.join(20)


def test_an_rtsp_camera_is_watched_lost_and_found_again(started, camera, take_n, eventually) -> None:
    feed = started("video", f"rtsp://watch:secret@127.0.0.1:{camera.port}/live", capacity=8)
    frames = take_n(feed, 15)
    assert frames[0].pixels.shape == (120, 160, 3)
    assert all(a.captured_ns < b.captured_ns for a, b in itertools.pairwise(frames))
    frames.clear()
    camera.hang_up.set()
    eventually(lambda: feed.status().state == "backing-off" or feed.status().restarts >= 1)
    camera.hang_up.clear()
    while feed.take(0.05) is not None:
        pass
    assert take_n(feed, 5)
    status = feed.status()
    assert status.restarts >= 1
    assert camera.connections >= 2
    assert "secret" not in str(status)


def test_an_rtsp_camera_that_falls_silent_is_missed_in_time(started, camera, take_n, eventually) -> None:
    options = VideoOptions(stall_s=3.0)
    feed = started("video", f"rtsp://127.0.0.1:{camera.port}/live", capacity=8, options=options)
    take_n(feed, 15).clear()
    camera.silent.set()
    while feed.take(0.5) is not None:
        pass
    silent_s = time.monotonic()
    eventually(lambda: feed.status().state == "backing-off")
    assert time.monotonic() - silent_s < 1.5 * options.stall_s
    assert "no frame for 3 s" in feed.status().last_error
