"""Reading ahead: the next pieces of a file are read while the ones before are hashed.

A stick is slow and a digest is one long sum; one after the other they would add up. A thread reads, at most ``DEPTH``
pieces ahead, so memory stays the same whatever the size of the file.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Final

DEPTH: Final = 4
#: Below this a thread costs more than it gains.
WORTH_BYTES: Final = 8 * 1024 * 1024

_Item = bytes | BaseException | None
"""A piece, what went wrong, or the end."""


def ahead(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces in the same order; whatever reading raises is raised here. Close it, or read it to its end."""
    ready: queue.Queue[_Item] = queue.Queue(DEPTH)
    stop = threading.Event()
    reader = threading.Thread(target=_read, args=(chunks, ready, stop), name="stick-reader", daemon=True)
    reader.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        while reader.is_alive():
            _take_one(ready)
        reader.join()


def _read(chunks: Iterator[bytes], ready: queue.Queue[_Item], stop: threading.Event) -> None:
    try:
        for chunk in chunks:
            if stop.is_set():
                return
            ready.put(chunk)
        ready.put(None)
    except BaseException as e:  # noqa: BLE001 - the boundary of the thread: whatever it was, the other side raises it
        ready.put(e)


def _take_one(ready: queue.Queue[_Item]) -> None:
    """Makes room for a reader that waits for some."""
    try:
        ready.get(timeout=0.01)
    except queue.Empty:
        return
