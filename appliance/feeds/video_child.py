"""The decoder process: ``python -m appliance.feeds.video_child FD_OF_CHANNEL FD_OF_RING``.

Untrusted media are decoded here and nowhere else, because a C library may abort, hang or be taken over. What it is
not: clever. It opens one input, decodes, converts to BGR into a free slot of the ring, and says so.

Rules:

- it confines itself before it touches a byte: bounded memory, no core, no file writing, no new privileges, dead when
  its parent is dead (the channel's end of file, and the kernel's parent-death signal should this process hang).
- a file is decoded in order and waits for free slots; a live input skips a frame when no slot is free and says so.
- it exits with 0 after it has said how things ended; any other end is a crash, and the parent treats it as one.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np

from appliance.feeds.video_wire import MAX_ORDER_BYTES, NO_PTS, RELEASE, Kind, Message, Order, pack

PR_SET_PDEATHSIG: Final = 1
PR_SET_NO_NEW_PRIVS: Final = 38
MAX_OPEN_FILES: Final = 64
MAX_CONTAINER_FAULTS: Final = 100
"""In a row; then a file is over and a live input is away."""
REASON_PACKET, REASON_DAMAGED, REASON_SIZE, REASON_CONTAINER = range(4)


class Slots:
    """Free slots of the ring, last used first, so that few pages are ever touched."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = list(range(count - 1, -1, -1))
        self._changed = threading.Condition()

    def release(self, slot: int) -> None:
        """The parent has let go of a slot."""
        with self._changed:
            if 0 <= slot < self._count and slot not in self._free:
                self._free.append(slot)
                self._changed.notify()

    def take(self, *, wait: bool) -> int | None:
        """A free slot; None if there is none and we shall not wait."""
        with self._changed:
            while not self._free:
                if not wait:
                    return None
                self._changed.wait()
            return self._free.pop()


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    channel = socket.socket(fileno=int(arguments[0]))
    order = msgspec.json.decode(channel.recv(MAX_ORDER_BYTES), type=Order)
    confine(order)
    ring = mmap.mmap(int(arguments[1]), order.slots * order.slot_bytes)
    slots = Slots(order.slots)
    threading.Thread(target=_listen, args=(channel, slots), daemon=True).start()
    decoder = Decoder(order, channel, ring, slots)
    decoder.run()
    with contextlib.suppress(OSError):
        channel.shutdown(socket.SHUT_WR)
    os._exit(0)  # no teardown of C libraries: it is where they crash


def confine(order: Order) -> None:
    """Give up what decoding does not need. See the rules above."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    limit = order.memory_bytes + order.slots * order.slot_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    # A terminal sends the one, a service manager the other, to all processes; what they mean is the parent's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _listen(channel: socket.socket, slots: Slots) -> None:
    """Slots coming back; an end of file means that the parent is gone."""
    while True:
        try:
            raw = channel.recv(RELEASE.size)
        except OSError:
            raw = b""
        if len(raw) < RELEASE.size:
            os._exit(0)
        slots.release(RELEASE.unpack(raw)[0])


class _Finished(Exception):
    """Decoding has ended with a message that says how."""

    def __init__(self, kind: Kind, text: str) -> None:
        self.kind = kind
        super().__init__(text)


class Decoder:
    """One input, decoded from its beginning."""

    def __init__(self, order: Order, channel: socket.socket, ring: mmap.mmap, slots: Slots) -> None:
        import av  # noqa: PLC0415 - only after confine(): its C libraries are what we confine
        from av.video.reformatter import VideoReformatter  # noqa: PLC0415

        self._av = av
        self._reformatter = VideoReformatter()
        self._order = order
        self._channel = channel
        self._ring = ring
        self._slots = slots
        self._index = 0
        self._faults = 0

    def run(self) -> None:
        """Decode to the end and say how it ended."""
        try:
            self._decode()
            end = Message(Kind.END)
        except _Finished as e:
            end = Message(e.kind, text=str(e))
        except MemoryError:
            end = Message(Kind.UNUSABLE, text=f"needs more than {self._order.memory_bytes >> 20} MiB to decode")
        with contextlib.suppress(OSError):
            self._channel.sendall(pack(end))

    def _decode(self) -> None:
        container = self._open()
        stream = self._video_stream(container)
        rate = stream.average_rate
        self._say(Message(Kind.OPENED, pts_ns=round(1_000_000_000 / rate) if rate else 0))
        for packet in self._packets(container, stream):
            for frame in self._frames(packet):
                self._deliver(frame, stream)
        if self._index == 0 and not self._order.live:
            raise _Finished(Kind.UNUSABLE, "not one frame of it can be decoded")

    def _open(self) -> Any:
        order = self._order
        try:
            return self._av.open(
                order.url,
                format=order.input_format,
                options=order.input_options,
                timeout=(order.open_s, order.read_s),
            )
        except (self._av.error.FFmpegError, OSError, ValueError) as e:
            if order.live or isinstance(e, OSError):
                raise _Finished(Kind.AWAY, f"cannot be opened: {_why(e)}") from e
            raise _Finished(Kind.UNUSABLE, f"not a video that can be read: {_why(e)}") from e

    def _video_stream(self, container: Any) -> Any:
        order = self._order
        if not container.streams.video:
            raise _Finished(Kind.UNUSABLE, "holds no video stream")
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if not self._fits(max(width, 1), max(height, 1)):
            bounds = f"{order.max_width_px}×{order.max_height_px}, {order.max_pixels} pixels"
            raise _Finished(Kind.UNUSABLE, f"expected at most {bounds}; found {width}×{height}")
        stream.codec_context.thread_count = order.decode_threads
        stream.codec_context.thread_type = "SLICE" if order.live else "AUTO"  # frame threads add latency
        stream.codec_context.options = {"max_pixels": str(order.max_pixels)}
        return stream

    def _fits(self, width: int, height: int) -> bool:
        order = self._order
        small = 0 < width <= order.max_width_px and 0 < height <= order.max_height_px
        return small and width * height <= order.max_pixels and width * height * 3 <= order.slot_bytes

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Packets up to the end; a damaged stretch of a container is counted and read over."""
        why = "the stream has ended"
        going_on = True
        while going_on:
            going_on = False
            try:
                for packet in container.demux(stream):
                    self._faults = 0
                    yield packet
            except (self._av.error.FFmpegError, OSError) as e:
                self._bad(REASON_CONTAINER)
                self._faults += 1
                why = f"gone: {_why(e)}"
                damaged = isinstance(e, self._av.error.InvalidDataError)
                going_on = damaged and self._faults < MAX_CONTAINER_FAULTS
        if self._order.live:
            raise _Finished(Kind.AWAY, why)

    def _frames(self, packet: Any) -> list[Any]:
        try:
            return list(packet.decode())
        except (self._av.error.FFmpegError, ValueError):
            self._bad(REASON_PACKET)
            return []

    def _deliver(self, frame: Any, stream: Any) -> None:
        index, self._index = self._index, self._index + 1
        if index < self._order.skip_frames:
            return
        if frame.is_corrupt:
            self._bad(REASON_DAMAGED)
            return
        if not self._fits(frame.width, frame.height):
            self._bad(REASON_SIZE)
            return
        wall_ns = time.time_ns()
        slot = self._slots.take(wait=not self._order.live)
        if slot is None:
            self._say(Message(Kind.OVERRUN))
            return
        try:
            self._convert(frame, slot)
        except (self._av.error.FFmpegError, ValueError):
            self._slots.release(slot)
            self._bad(REASON_DAMAGED)
            return
        pts_ns = NO_PTS
        if frame.pts is not None and (base := frame.time_base or stream.time_base):
            pts_ns = frame.pts * base.numerator * 1_000_000_000 // base.denominator
        self._say(Message(Kind.FRAME, slot, frame.width, frame.height, index, pts_ns, wall_ns))

    def _convert(self, frame: Any, slot: int) -> None:
        """BGR, packed without padding, into the slot."""
        plane = self._reformatter.reformat(frame, format="bgr24", threads=1).planes[0]
        height, row = frame.height, frame.width * 3
        pixels = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * height).reshape(height, plane.line_size)
        room = np.frombuffer(self._ring, np.uint8, height * row, slot * self._order.slot_bytes)
        np.copyto(room.reshape(height, row), pixels[:, :row])

    def _bad(self, reason: int) -> None:
        self._say(Message(Kind.BAD, reason))

    def _say(self, message: Message) -> None:
        try:
            self._channel.sendall(pack(message))
        except OSError:
            os._exit(0)  # the parent is gone


def _why(e: Exception) -> str:
    """Never ``str(e)``: it may hold the address with its password."""
    return getattr(e, "strerror", None) or type(e).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
