"""A camera that speaks RTSP 1.0 (RFC 2326) and sends H.264 over RTP in the same connection (RFC 6184, §5.6 and §5.8).

It shows a film lap after lap, each frame at its own moment, from the next key frame on for who comes in between. It is
what a device under test watches when it may lose power or the camera: a file would begin anew, a camera goes on.
Loopback only.
"""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av

from hil.scene.film import FRAMES_PER_S
from hil.scene.players import LOOPBACK, callers

TICKS_PER_S = 90_000
PAYLOAD_TYPE = 96
MAX_PAYLOAD_BYTES = 1400
_FU_A, _FU_START, _FU_END = 28, 0x80, 0x40
_START_CODE = b"\0\0\0\1"
_SEND_LIMIT_S = 2.0
_MAX_REQUEST_BYTES = 8192

Mood = Literal["well", "frozen", "silent", "garbage", "away", "ending"]
"""Frozen: the same picture again and again. Silent: connected, and no frame. Away: hangs up and takes no caller.
Ending: one more frame that does not count, then silent: a decoder knows a frame's end by the next one's beginning."""


@dataclass(frozen=True, slots=True)
class Coded:
    """One frame of the film as its NAL units, without start codes."""

    nals: tuple[bytes, ...]
    key: bool


def coded_frames(film: Path) -> tuple[tuple[bytes, ...], list[Coded]]:
    """(parameter sets, frames) of an H.264 film."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        to_annex_b = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        frames = []
        for packet in container.demux(stream):
            if not packet.size:
                continue
            key = packet.is_keyframe
            nals = tuple(nal for out in to_annex_b.filter(packet) for nal in _nals(bytes(out)))
            frames.append(Coded(nals, key))
    sets = tuple(nal for nal in frames[0].nals if nal[0] & 0x1F in (7, 8))
    return sets, frames


def _nals(annex_b: bytes) -> list[bytes]:
    """Cut at start codes of three or four bytes."""
    parts = annex_b.replace(_START_CODE, _START_CODE[1:]).split(_START_CODE[1:])
    return [part for part in parts if part]


class RtspCamera:
    """One camera. ``mood`` may be set at any time; ``pts_jump_s`` moves its stamps from then on."""

    def __init__(self, film: Path, at: tuple[str, int] = (LOOPBACK, 0)) -> None:
        self._sets, self._frames = coded_frames(film)
        self._listener = socket.create_server(at)
        self._listener.settimeout(0.2)
        self.address: tuple[str, int] = self._listener.getsockname()
        """Where it listens: ``rtsp://HOST:PORT/live``."""
        self._closed = threading.Event()
        self._start_ns: int | None = None
        self._talks: list[threading.Thread] = []
        self.mood: Mood = "well"
        self.pts_jump_s = 0.0
        self.sent = 0
        """Frames sent to whoever watched."""
        self.connections = 0
        self._dice = random.Random("camera garbage")
        self._thread = threading.Thread(target=self._welcome, name="rtsp-camera", daemon=True)
        self._thread.start()

    def begin(self, start_ns: int) -> None:
        """The moment of the film's first frame; callers before it wait."""
        self._start_ns = start_ns

    def close(self) -> None:
        self._closed.set()
        self._thread.join(2.0)
        for talk in self._talks:
            talk.join(3.0)
        self._listener.close()

    # -- one caller ------------------------------------------------------------------------------------------------

    def _welcome(self) -> None:
        for caller in callers(self._listener, self._closed):
            if self.mood == "away":
                caller.close()
                continue
            talk = threading.Thread(target=self._talk, args=(caller,), name="rtsp-caller", daemon=True)
            self._talks = [*(t for t in self._talks if t.is_alive()), talk]
            talk.start()

    def _talk(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError, ValueError, KeyError):  # it hung up, or speaks no RTSP
            caller.settimeout(_SEND_LIMIT_S * 5)
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = caller.makefile("rb")
            while line := reader.readline(_MAX_REQUEST_BYTES):
                method, url, _ = line.decode().split()
                headers = dict(_headers(reader))
                caller.sendall(self._answer(method, url, headers["cseq"]))
                if method == "PLAY":
                    self.connections += 1
                    caller.settimeout(_SEND_LIMIT_S)
                    self._play(caller)
                    return

    def _answer(self, method: str, url: str, cseq: str) -> bytes:
        body, extra = "", "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        if method == "DESCRIBE":
            body = self._description()
            extra = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\n"
        if method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        return (head + body).encode()

    def _description(self) -> str:
        sets = ",".join(base64.b64encode(one).decode() for one in self._sets)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} H264/{TICKS_PER_S}\r\n"
            f"a=framerate:{FRAMES_PER_S}\r\n"
            f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;sprop-parameter-sets={sets}\r\na=control:track1\r\n"
        )

    def _play(self, caller: socket.socket) -> None:
        rtp = _Rtp(caller)
        seen_key, stuck = False, None
        for number, coded in self._in_time():
            if self.mood == "away":
                return
            if self.mood == "silent":
                continue
            stuck = (stuck or self._key_before(number)) if self.mood == "frozen" else None
            shown = stuck or coded
            seen_key = seen_key or shown.key
            if not seen_key:
                continue
            stamp = round((number / FRAMES_PER_S + self.pts_jump_s) * TICKS_PER_S) % 2**32
            rtp.send(self._worn(shown).nals, stamp)
            if self.mood == "ending":
                self.mood = "silent"
                continue
            self.sent += 1

    def _key_before(self, number: int) -> Coded:
        """What a sensor that is stuck from now on shows, behind a live encoder."""
        at = number % len(self._frames)
        return next(self._frames[k] for k in range(at, -1, -1) if self._frames[k].key)

    def _worn(self, coded: Coded) -> Coded:
        if self.mood != "garbage":
            return coded
        return Coded(tuple(nal[:1] + self._dice.randbytes(len(nal) - 1) for nal in coded.nals), coded.key)

    def _in_time(self) -> Iterator[tuple[int, Coded]]:
        """Every frame at its moment, from the one that is due next; number counts from the beginning."""
        while self._start_ns is None:
            if self._closed.wait(0.02):
                return
        number = max(0, -((self._start_ns - time.time_ns()) * FRAMES_PER_S // 1_000_000_000))
        while True:
            due_ns = self._start_ns + number * 1_000_000_000 // FRAMES_PER_S
            if self._closed.wait(max(0.0, (due_ns - time.time_ns()) / 1e9)):
                return
            yield number, self._frames[number % len(self._frames)]
            number += 1


def _headers(reader: object) -> Iterator[tuple[str, str]]:
    while line := reader.readline(_MAX_REQUEST_BYTES).decode().strip():  # type: ignore[attr-defined]
        key, _, value = line.partition(":")
        yield key.lower(), value.strip()


class _Rtp:
    """RTP packets of one stream, interleaved into the RTSP connection (RFC 2326 §10.12)."""

    def __init__(self, caller: socket.socket) -> None:
        self._caller = caller
        self._sequence = 0

    def send(self, nals: tuple[bytes, ...], stamp: int) -> None:
        """One frame: each NAL unit whole, or in fragments (FU-A); the last packet is marked."""
        payloads = [payload for nal in nals for payload in _payloads(nal)]
        packets = [self._packet(one, stamp, last=k == len(payloads) - 1) for k, one in enumerate(payloads)]
        self._caller.sendall(b"".join(packets))

    def _packet(self, payload: bytes, stamp: int, *, last: bool) -> bytes:
        marked = PAYLOAD_TYPE | (0x80 if last else 0)
        head = bytes([0x80, marked]) + self._sequence.to_bytes(2, "big") + stamp.to_bytes(4, "big") + b"CAM1"
        self._sequence = (self._sequence + 1) % 65_536
        return b"$\0" + (len(head) + len(payload)).to_bytes(2, "big") + head + payload


def _payloads(nal: bytes) -> Iterator[bytes]:
    if len(nal) <= MAX_PAYLOAD_BYTES:
        yield nal
        return
    indicator, kind = (nal[0] & 0xE0) | _FU_A, nal[0] & 0x1F
    room = MAX_PAYLOAD_BYTES - 2
    for at in range(1, len(nal), room):
        first, last = at == 1, at + room >= len(nal)
        yield bytes([indicator, kind | (_FU_START if first else 0) | (_FU_END if last else 0)]) + nal[at : at + room]
