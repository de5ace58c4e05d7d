"""Bytes from a file, a UDP port or a TCP server, and lines out of bytes. Parses nothing.

Rules: every read has a maximum and a time limit, so that a feed can stop; a file's position survives a restart, so
that nothing is read twice; an overlong line is counted once and the next line is read as if nothing had been.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from appliance.errors import Drop, FeedUnavailable
from appliance.feeds.pace import Pacer
from appliance.feeds.source import Tap
from appliance.feeds.spec import Item
from appliance.feeds.uris import FeedUri, is_multicast

POLL_S: Final = 0.2
FILE_BLOCK_BYTES: Final = 1 << 16
DATAGRAM_BYTES: Final = 65_535
UDP_BUFFER_BYTES: Final = 1 << 20
"""One second of a busy radar; the kernel may grant less."""
CONNECT_S: Final = 5.0
MAX_LINE_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes as they came. ``received_ns`` is None for a file; ``fresh``: nothing before belongs to them;
    ``whole``: nothing after does (a datagram, or the end of a file)."""

    data: bytes
    received_ns: int | None
    fresh: bool
    whole: bool


class Bytes(Protocol):
    """Where bytes come from."""

    def chunks(self, tap: Tap) -> Iterator[Chunk]:
        """Open, yield until the end; raises ``FeedUnavailable``, ``Stopped``."""


class Reader(Protocol):
    """What turns bytes into items; it keeps what it learnt between calls."""

    def read(self, chunk: Chunk, tap: Tap) -> Iterable[tuple[int, Item]]:
        """Items with the time at which a replay shall release each."""


class StreamSource:
    """A source made of bytes and a reader; a pacer where it is a replay."""

    def __init__(self, origin: Bytes, reader: Reader, pacer: Pacer | None) -> None:
        self._origin = origin
        self._reader = reader
        self._pacer = pacer

    def run(self, tap: Tap) -> None:
        """See ``Source``."""
        for chunk in self._origin.chunks(tap):
            for due_ns, item in self._reader.read(chunk, tap):
                if self._pacer is not None:
                    self._pacer.wait(tap, due_ns)
                tap.put(item)


Parse = Callable[[bytes, int, int | None, Tap], Iterable[tuple[int, Item]]]
"""(line, its number from 1, when it was received or None, tap) → items; raises ``Drop`` for a line that is no good."""


class LineReader:
    """Cuts lines and gives each to ``parse``; a ``Drop`` from there is counted under its reason."""

    def __init__(self, parse: Parse, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._parse = parse
        self._cutter = LineCutter(max_line_bytes)
        self._number = 0

    def read(self, chunk: Chunk, tap: Tap) -> Iterator[tuple[int, Item]]:
        """See ``Reader``. Lines are numbered from 1 as they come, empty ones included."""
        for line in self._cutter.cut(chunk):
            self._number += 1
            if line is None:
                tap.bad("line too long")
                continue
            if not line.strip():
                continue
            try:
                yield from self._parse(line, self._number, chunk.received_ns, tap)
            except Drop as e:  # drops this one line
                tap.bad(e.reason)


class LineCutter:
    """Bytes in, lines out, without their ends; ``None`` stands for one line that was too long."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._rest = b""
        self._overlong = False

    def cut(self, chunk: Chunk) -> Iterator[bytes | None]:
        """The lines that ``chunk`` completes."""
        if chunk.fresh:
            self._rest, self._overlong = b"", False
        *lines, self._rest = (self._rest + chunk.data).split(b"\n")
        for line in lines:
            yield self._finish(line)
        if len(self._rest) > self._max:
            self._rest, self._overlong = b"", True
        if chunk.whole and (self._rest or self._overlong):
            line, self._rest = self._rest, b""
            yield self._finish(line)

    def _finish(self, line: bytes) -> bytes | None:
        overlong, self._overlong = self._overlong, False
        return None if overlong or len(line) > self._max else line.removesuffix(b"\r")


class FileBytes:
    """A plain file, once from its beginning to its end; a restart goes on where it stopped."""

    def __init__(self, uri: FeedUri) -> None:
        self._path = uri.path
        self._offset = 0

    def chunks(self, tap: Tap) -> Iterator[Chunk]:
        """See ``Bytes``."""
        fd = open_plain_file(self._path)
        try:
            tap.opened()
            while data := self._read(fd):
                fresh = self._offset == 0
                self._offset += len(data)
                yield Chunk(data, None, fresh, False)
                tap.check()
            yield Chunk(b"", None, False, True)
        finally:
            os.close(fd)

    def _read(self, fd: int) -> bytes:
        try:
            return os.pread(fd, FILE_BLOCK_BYTES, self._offset)
        except OSError as e:
            raise FeedUnavailable(f"cannot read {self._path} at byte {self._offset}: {e.strerror}") from e


def open_plain_file(path: str, *, follow: bool = True) -> int:
    """A file descriptor of a plain file, never of a device or pipe that could block. Raises ``FeedUnavailable``."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except (OSError, ValueError) as e:
        raise FeedUnavailable(f"cannot open {path}: {getattr(e, 'strerror', None) or e}") from e
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FeedUnavailable(f"cannot open {path}: expected a plain file")
    return fd


def received(sock: socket.socket, room: memoryview) -> bytes:
    """What has come, at most ``room``.

    ``recv`` allocates all it may take and shrinks that: of each datagram a sliver stays at another place of the heap.
    """
    return bytes(room[: sock.recv_into(room)])


class UdpBytes:
    """Datagrams at one local port; a multicast group is joined."""

    def __init__(self, uri: FeedUri) -> None:
        self._uri = uri

    def chunks(self, tap: Tap) -> Iterator[Chunk]:
        """See ``Bytes``."""
        room = memoryview(bytearray(DATAGRAM_BYTES))
        with self._bound() as sock:
            tap.opened()
            while True:
                tap.check()
                try:
                    data = received(sock, room)
                except TimeoutError:
                    continue
                except OSError as e:
                    raise FeedUnavailable(f"{self._uri.shown}: {e.strerror}") from e
                yield Chunk(data, time.time_ns(), True, True)

    def _bound(self) -> socket.socket:
        host, port = self._uri.host or "0.0.0.0", self._uri.port  # noqa: S104 - an empty host asks for all addresses
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
            if is_multicast(host):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            if is_multicast(host):
                _join(sock, family, host)
        except OSError as e:
            sock.close()
            raise FeedUnavailable(f"cannot listen at {self._uri.shown}: {e.strerror or e}") from e
        sock.settimeout(POLL_S)
        return sock


def _join(sock: socket.socket, family: socket.AddressFamily, group: str) -> None:
    packed = socket.inet_pton(family, group)
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, packed + b"\0\0\0\0")
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + b"\0\0\0\0")


class TcpBytes:
    """A connection to a TCP server; when it closes, the feed backs off and connects again."""

    def __init__(self, uri: FeedUri) -> None:
        self._uri = uri

    def chunks(self, tap: Tap) -> Iterator[Chunk]:
        """See ``Bytes``."""
        room = memoryview(bytearray(FILE_BLOCK_BYTES))
        with connect(self._uri, tap) as sock:
            tap.opened()
            fresh = True
            while True:
                tap.check()
                try:
                    data = received(sock, room)
                except TimeoutError:
                    continue
                except OSError as e:
                    raise FeedUnavailable(f"{self._uri.shown}: {e.strerror or e}") from e
                if not data:
                    raise FeedUnavailable(f"{self._uri.shown}: the other side closed the connection")
                yield Chunk(data, time.time_ns(), fresh, False)
                fresh = False


def connect(uri: FeedUri, tap: Tap) -> socket.socket:
    """A connected TCP socket with a read time-out and keep-alive. Raises ``FeedUnavailable``, ``Stopped``."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(uri.host, uri.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    except OSError as e:
        raise FeedUnavailable(f"cannot find {uri.shown}: {e.strerror or e}") from e
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        _await_connection(sock, sock.connect_ex(address), tap)
        sock.settimeout(POLL_S)
    except OSError as e:
        sock.close()
        raise FeedUnavailable(f"cannot connect to {uri.shown}: {e.strerror or e}") from e
    except BaseException:
        sock.close()
        raise
    return sock


def _await_connection(sock: socket.socket, code: int, tap: Tap) -> None:
    deadline = time.monotonic() + CONNECT_S
    while code == errno.EINPROGRESS:
        tap.check()
        if time.monotonic() > deadline:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        if select.select([], [sock], [], POLL_S)[1]:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
