"""Video: a decoder process for each feed, watched, and its frames handed on without a copy.

What it is not: a decoder. PyAV is imported by ``video_child`` alone, in its own process.

Rules:

- the decoder is not believed: what it says is checked, and a decoder that lies, dies, hangs or says nothing for
  ``stall_s`` is killed. A live feed then backs off and opens again; a file goes on after the last frame delivered,
  and fails for good when the decoder dies three times at the same frame.
- a file has local access only, a network input only the protocol that was asked for.
- frames are numbered as decoded for a file, as delivered for a live input.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from appliance.domain import Frame
from appliance.errors import BadRecord, FeedUnavailable
from appliance.feeds.pace import Pacer, base_ns
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec, VideoOptions
from appliance.feeds.streams import POLL_S, open_plain_file
from appliance.feeds.uris import FeedUri, is_multicast
from appliance.feeds.video_clock import StreamClock
from appliance.feeds.video_ring import Ring
from appliance.feeds.video_wire import MAX_MESSAGE_BYTES, NO_PTS, REASONS, Kind, Message, Order, unpack

START_S: Final = 10.0
"""For a process to start on a loaded box, before it opens anything."""
LAST_WORDS_S: Final = 1.0
MAX_DEATHS: Final = 3
"""Of the decoder at one frame of a file: that frame kills it."""

#: What a file may be. A play list or session description could name other files and addresses: they are not here.
FILE_FORMATS: Final = (
    "mov,matroska,avi,mpegts,mpeg,h264,hevc,mjpeg,m4v,mpegvideo,ogg,flv,asf,mxf,ivf,obu,av1,gif,webp_pipe"
)
PACKAGE_ROOT: Final = str(Path(__file__).resolve().parents[2])

RTSP_PROBING: Final = {"fpsprobesize": "0", "analyzeduration": "200000"}
"""A camera describes its stream in SDP. Left alone, libavformat also counts twenty frames to learn the rate, seconds in
which they pile up; then they come at once, and most give way to newer ones."""


def input_of(uri: FeedUri, options: VideoOptions) -> tuple[str, str | None, dict[str, str]]:
    """(what to open, which demuxer, its options) for libavformat."""
    match uri.scheme:
        case "file":
            return "file:" + uri.path, None, {"protocol_whitelist": "file", "format_whitelist": FILE_FORMATS}
        case "rtsp":
            allowed = {"protocol_whitelist": "rtsp,rtp,udp,tcp", "rtsp_transport": options.rtsp_transport}
            return uri.raw, "rtsp", {**allowed, **RTSP_PROBING}
        case "v4l2":
            return uri.path, "v4l2", {}
        case _:
            return _mpegts_address(uri), "mpegts", {"protocol_whitelist": uri.scheme}


def _mpegts_address(uri: FeedUri) -> str:
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    if uri.scheme == "tcp":
        return f"tcp://{host}:{uri.port}"
    local = "" if not host or is_multicast(uri.host) else f"&localaddr={host}"
    return f"udp://{host or '0.0.0.0'}:{uri.port}?overrun_nonfatal=1{local}"  # noqa: S104 - no host asks for all


class Video:
    """One camera or recording."""

    def __init__(self, spec: FeedSpec, uri: FeedUri) -> None:
        self._spec = spec
        self._uri = uri
        self._options = spec.options if isinstance(spec.options, VideoOptions) else VideoOptions()
        self._live = uri.scheme != "file"
        self._pacer = None if self._live else Pacer(spec)
        self._clock = StreamClock(None if self._live else base_ns(spec))
        self._next = 0
        self._deaths = 0

    def run(self, tap: Tap) -> None:
        """See ``Source``."""
        if self._live:
            self._clock = StreamClock(None)
        else:
            os.close(open_plain_file(self._uri.path))
        begun_at = self._next
        try:
            with decoder(self._order()) as process:
                self._follow(process, tap)
        except FeedUnavailable as e:
            self._note_death(begun_at, e)
            raise

    def _note_death(self, begun_at: int, cause: FeedUnavailable) -> None:
        """A file whose decoder makes no headway is not tried for ever. Raises ``BadRecord``."""
        self._deaths = 1 if self._next > begun_at else self._deaths + 1
        if not self._live and self._deaths >= MAX_DEATHS:
            raise BadRecord("decoder", f"{self._uri.shown}, frame {self._next}: {cause}") from cause

    def _order(self) -> Order:
        options = self._options
        url, input_format, input_options = input_of(self._uri, options)
        return Order(
            url=url,
            input_format=input_format,
            input_options=input_options,
            live=self._live,
            skip_frames=0 if self._live else self._next,
            slots=self._spec.capacity + options.frames_in_hand,
            slot_bytes=options.max_pixels * 3,
            max_width_px=options.max_width_px,
            max_height_px=options.max_height_px,
            max_pixels=options.max_pixels,
            decode_threads=options.decode_threads,
            memory_bytes=options.memory_mib << 20,
            open_s=options.open_s,
            read_s=2.0 * options.stall_s,  # we look first: a read that times out hands on a last frame and begins anew
        )

    def _follow(self, process: DecoderProcess, tap: Tap) -> None:
        """Take what the decoder says until it has said how things ended."""
        allowed_s = START_S + self._options.open_s
        heard = time.monotonic()
        while True:
            tap.check()
            message = process.hear(self._uri.shown)
            if message is None:
                if process.ring.exhausted:
                    heard = time.monotonic()  # waiting for us, not we for it
                elif time.monotonic() - heard > allowed_s:
                    raise FeedUnavailable(f"{self._uri.shown}: no frame for {allowed_s:.0f} s")
                continue
            if self._take(message, process, tap):
                return
            allowed_s = self._options.stall_s
            heard = time.monotonic()

    def _take(self, message: Message, process: DecoderProcess, tap: Tap) -> bool:
        """Act on one message; whether it was the last."""
        match message.kind:
            case Kind.FRAME:
                self._hand_on(message, process, tap)
            case Kind.OPENED:
                self._begin()
                if 0 < message.pts_ns < 3600 * 10**9:
                    self._clock.nominal_ns = message.pts_ns
                tap.opened()
            case Kind.BAD:
                tap.bad(REASONS[min(message.slot, len(REASONS) - 1)])
            case Kind.OVERRUN:
                tap.overrun()
            case Kind.END:
                return True
            case Kind.AWAY:
                raise FeedUnavailable(f"{self._uri.shown}: {message.text}")
            case Kind.UNUSABLE:
                raise BadRecord("video", f"{self._uri.shown}: {message.text}")
        return False

    def _begin(self) -> None:
        """A replay that begins now begins when its decoder is ready, not when it was asked for seconds ago."""
        if not self._live and self._next == 0:
            self._clock = StreamClock(base_ns(self._spec))

    def _hand_on(self, message: Message, process: DecoderProcess, tap: Tap) -> None:
        try:
            pixels = process.ring.lend(message.slot, message.width_px, message.height_px, process.channel)
        except ValueError as e:
            raise FeedUnavailable(f"{self._uri.shown}: the decoder offers {e}") from e
        sane = -(2**62) < message.pts_ns < 2**62
        captured_ns = self._clock.captured_ns(message.pts_ns if sane else NO_PTS, message.wall_ns)
        sequence = self._next if self._live else max(message.index, self._next)
        self._next = sequence + 1
        frame = Frame(sensor_id=self._spec.name, sequence=sequence, captured_ns=captured_ns, pixels=pixels)
        if self._pacer is not None:
            self._pacer.wait(tap, captured_ns)
        tap.put(frame)


class DecoderProcess:
    """A running decoder: its channel, its ring, its process."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, ring: Ring) -> None:
        self.process = process
        self.channel = channel
        self.ring = ring

    def hear(self, shown: str) -> Message | None:
        """The next message, or None when there is none for a while. Raises ``FeedUnavailable`` when it is dead."""
        try:
            raw = self._received()
        except TimeoutError:
            return None
        except OSError:
            raw = b""
        if not raw:
            raise FeedUnavailable(f"{shown}: {self._obituary()}")
        try:
            return unpack(raw)
        except ValueError as e:
            raise FeedUnavailable(f"{shown}: the decoder talks nonsense: {e}") from e

    def _received(self) -> bytes:
        """One that ended with words of ours unread has reset its channel, and Linux tells that before its last words
        (``unix_release_sock``); they lie behind it.
        """
        try:
            return self.channel.recv(MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            return self.channel.recv(MAX_MESSAGE_BYTES)

    def _obituary(self) -> str:
        try:
            status = self.process.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            return "the decoder closed its channel"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"the decoder was killed by {signal.Signals(-status).name}"
        return f"the decoder ended with status {status}"


@contextlib.contextmanager
def decoder(order: Order) -> Iterator[DecoderProcess]:
    """Start a decoder for ``order``; it is dead when the block is left. Raises ``FeedUnavailable``."""
    with contextlib.ExitStack() as stack:
        try:
            ring = Ring(order.slots, order.slot_bytes)
            stack.callback(ring.close)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            stack.callback(ours.close)
            with theirs:
                process = _spawn(theirs.fileno(), ring.fd)
        except OSError as e:
            raise FeedUnavailable(f"cannot start a decoder: {e}") from e
        stack.callback(_end, process)
        ours.settimeout(POLL_S)
        with contextlib.suppress(OSError):  # died at once: the first hear() says so
            ours.sendall(msgspec.json.encode(msgspec.structs.replace(order, slot_bytes=ring.slot_bytes)))
        yield DecoderProcess(process, ours, ring)


def _spawn(channel_fd: int, ring_fd: int) -> subprocess.Popen[bytes]:
    """-P: the working folder is not searched for modules; the one path that is, is where this package lies."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "appliance.feeds.video_child", str(channel_fd), str(ring_fd)],
        pass_fds=(channel_fd, ring_fd),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    """Ours, less what is not the decoder's business, plus one thread for numpy's BLAS: each reserves memory."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH"}}
    return {**kept, "PYTHONPATH": PACKAGE_ROOT, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
