"""Reports as lines: a JSONL file replayed by its times, and a small TCP server for field sets.

The server speaks one line per report, JSON or plain text in UTF-8, and answers each with ``ok ID`` or
``refused REASON``. It listens on loopback or a private address only: it knows nobody, so the network in front of it
must. While the queue is full it does not read; the sender's own TCP holds the words back, none are dropped.
"""

from __future__ import annotations

import contextlib
import ipaddress
import selectors
import socket
import time
from collections.abc import Iterator
from typing import Final

from appliance.domain import Report
from appliance.errors import BadReport, FeedUnavailable, UsageError
from appliance.feeds.report_text import MAX_DOCUMENT_BYTES, from_any, from_json, with_id
from appliance.feeds.source import Tap
from appliance.feeds.spec import FeedSpec, ReportOptions
from appliance.feeds.streams import POLL_S, Chunk, LineCutter
from appliance.feeds.uris import FeedUri

MAX_CONNECTIONS: Final = 32
READ_BYTES: Final = 8192


def author_of(spec: FeedSpec) -> str:
    """Who speaks where a report does not say."""
    options = spec.options if isinstance(spec.options, ReportOptions) else ReportOptions()
    return options.default_author or spec.name


class JsonlParser:
    """Lines of a recorded file in, reports out, each due at its own time."""

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec

    def parse(self, line: bytes, number: int, received_ns: int | None, tap: Tap) -> Iterator[tuple[int, Report]]:  # noqa: ARG002 - the shape of streams.Parse
        """See ``streams.Parse``."""
        report = with_id(
            from_json(line, sensor_id=self._spec.name, author=author_of(self._spec), received_ns=received_ns)
        )
        yield report.received_ns, report


def check_listen_address(uri: FeedUri) -> None:
    """Raise ``UsageError`` unless the server would stand on loopback or a private address."""
    if uri.host == "localhost":
        return
    try:
        address = ipaddress.ip_address(uri.host)
    except ValueError as e:
        raise UsageError(f"expected localhost or the IP address to listen on; found {uri.host!r}") from e
    if address.is_unspecified or not (address.is_loopback or address.is_private):
        raise UsageError(f"expected a loopback or private address to listen on; found {uri.host}")


class _Caller:
    """One connection: its unfinished line."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.cutter = LineCutter(MAX_DOCUMENT_BYTES)


class LineServer:
    """The TCP server of one reports feed."""

    def __init__(self, spec: FeedSpec, uri: FeedUri) -> None:
        check_listen_address(uri)
        self._spec = spec
        self._uri = uri

    def run(self, tap: Tap) -> None:
        """See ``Source``."""
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            listener = stack.enter_context(self._listening())
            stack.callback(_close_all, selector)
            selector.register(listener, selectors.EVENT_READ)
            tap.opened()
            while True:
                tap.check()
                for key, _ in selector.select(POLL_S):
                    if key.data is None:
                        self._accept(listener, selector, tap)
                    else:
                        self._serve(key.data, selector, tap)

    def _listening(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._uri.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._uri.host, self._uri.port))
            sock.listen(MAX_CONNECTIONS)
            sock.setblocking(False)
        except OSError as e:
            sock.close()
            raise FeedUnavailable(f"cannot listen at {self._uri.shown}: {e.strerror or e}") from e
        return sock

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector, tap: Tap) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return  # the caller went away while knocking
        if len(selector.get_map()) > MAX_CONNECTIONS:
            tap.bad("too many connections")
            sock.close()
            return
        sock.settimeout(POLL_S)
        selector.register(sock, selectors.EVENT_READ, _Caller(sock))

    def _serve(self, caller: _Caller, selector: selectors.BaseSelector, tap: Tap) -> None:
        try:
            data = caller.sock.recv(READ_BYTES)
        except TimeoutError:
            return
        except OSError:
            data = b""
        chunk = Chunk(data, time.time_ns(), False, not data)
        for line in caller.cutter.cut(chunk):
            answer = self._report(line, time.time_ns(), tap)
            if answer and data:
                with contextlib.suppress(OSError):  # a caller that does not listen is not owed an answer
                    caller.sock.sendall(answer.encode("utf-8") + b"\n")
        if not data:
            selector.unregister(caller.sock)
            caller.sock.close()

    def _report(self, line: bytes | None, received_ns: int, tap: Tap) -> str:
        """What to answer; empty for an empty line."""
        if line is not None and not line.strip():
            return ""
        try:
            report = self._read(line, received_ns)
        except BadReport as e:  # drops this one line
            tap.bad(e.reason)
            return f"refused {e.reason}"
        tap.put(report)
        return f"ok {report.report_id}"

    def _read(self, line: bytes | None, received_ns: int) -> Report:
        if line is None:
            raise BadReport("too long", f"expected at most {MAX_DOCUMENT_BYTES} bytes a line")
        return from_any(line, sensor_id=self._spec.name, author=author_of(self._spec), received_ns=received_ns)


def _close_all(selector: selectors.BaseSelector) -> None:
    for key in list(selector.get_map().values()):
        if key.data is not None:
            key.data.sock.close()
