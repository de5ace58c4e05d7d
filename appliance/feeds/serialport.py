"""Bytes from a serial port, by pyserial. The only file that imports it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import serial

from appliance.errors import FeedUnavailable
from appliance.feeds.source import Tap
from appliance.feeds.streams import POLL_S, Chunk
from appliance.feeds.uris import FeedUri

MAX_READ_BYTES: Final = 4096


class SerialBytes:
    """One port, eight data bits, no parity, one stop bit; opened for us alone."""

    def __init__(self, uri: FeedUri) -> None:
        self._uri = uri

    def chunks(self, tap: Tap) -> Iterator[Chunk]:
        """See ``Bytes``."""
        try:
            port = serial.Serial(self._uri.path, self._uri.baud, timeout=POLL_S, exclusive=True)
        except (OSError, ValueError) as e:  # SerialException is an OSError
            raise FeedUnavailable(f"cannot open {self._uri.shown} at {self._uri.baud} baud: {e}") from e
        with port:
            tap.opened()
            fresh = True
            while True:
                tap.check()
                data = self._read(port)
                if data:
                    yield Chunk(data, time.time_ns(), fresh, False)
                    fresh = False

    def _read(self, port: serial.Serial) -> bytes:
        try:
            # One byte or the time-out; then whatever else has come, so that a line is not cut up byte by byte.
            first = bytes(port.read(1))
            return first + bytes(port.read(min(port.in_waiting, MAX_READ_BYTES))) if first else b""
        except OSError as e:
            raise FeedUnavailable(f"{self._uri.shown}: {e}") from e
