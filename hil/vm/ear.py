"""The recipient on the rig: opens everything over mutual TLS from the device's own broker, and keeps the numbers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from appliance.bus import TlsFiles
from appliance.listen import EpochClosed, Listener, Result
from appliance.listen.results import StatusBody
from appliance.sealing.identity import PrivateIdentity, PublicIdentity

Name = tuple[int, int]
"""Epoch and counter: what names a sealed frame for ever."""
_TAKE_S = 0.25


class Ear:
    """Listens for the length of a block, whatever becomes of the broker."""

    def __init__(self, bus: str, reader: PrivateIdentity, unit: PublicIdentity, state: Path, tls: TlsFiles) -> None:
        self._listener = Listener(bus, reader, [unit], state=state, tls=tls)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._hear, name="ear", daemon=True)
        self._times: Counter[tuple[int, int, int]] = Counter()
        self._first_ns: dict[int, int] = {}
        self._kinds: Counter[str] = Counter()
        self.status: StatusBody | None = None
        self.closed: list[EpochClosed] = []

    def __enter__(self) -> Self:
        self._listener.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(5.0)
        self._listener.stop()

    def opened(self) -> frozenset[Name]:
        """Every frame that was opened."""
        with self._lock:
            return frozenset((epoch, counter) for epoch, counter, _ in self._times)

    def doubled(self) -> int:
        """How many results came more than once."""
        with self._lock:
            return sum(count - 1 for count in self._times.values())

    def kinds(self) -> dict[str, int]:
        with self._lock:
            return dict(self._kinds)

    def first_ns(self, after_epoch: int) -> tuple[int, int] | None:
        """(epoch, when its first result was opened) of the first epoch after this one."""
        with self._lock:
            later = {epoch: at for epoch, at in self._first_ns.items() if epoch > after_epoch}
        return min(later.items()) if later else None

    def newest_epoch(self) -> int:
        with self._lock:
            return max(self._first_ns, default=-1)

    def wait_epoch(self, after_epoch: int, limit_s: float) -> tuple[int, int] | None:
        """As ``first_ns``, waited for; None where none came in time."""
        deadline = time.monotonic() + limit_s
        while (found := self.first_ns(after_epoch)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _hear(self) -> None:
        while not self._stopped.is_set():
            match self._listener.take(_TAKE_S):
                case Result() as result:
                    self._keep(result)
                case EpochClosed() as closed:
                    with self._lock:
                        self.closed.append(closed)

    def _keep(self, result: Result) -> None:
        with self._lock:
            self._times[result.epoch, result.counter, result.index] += 1
            self._first_ns.setdefault(result.epoch, result.opened_ns)
            self._kinds[type(result.body).__name__] += 1
            if isinstance(result.body, StatusBody):
                self.status = result.body
