"""The recipient at the rig: opens what the unit tells, keeps what a verdict needs, and forgets the rest.

It is the product's own reader, so what it shows once, in order and opened is what a user would get.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from appliance.bus import TlsFiles
from appliance.listen import EpochClosed, Listener, PrivateIdentity, PublicIdentity, Result
from hil.demo.score import Latencies, Opened
from hil.rig.record import Name
from hil.scene.mission import CAMERA

_TAKE_S = 0.25


@dataclass(slots=True)
class Heard:
    """All that was opened in one trial. Bodies are kept for ``keep_s``, names and counts for the whole of it."""

    names: set[Name] = field(default_factory=set)
    opened: deque[Opened] = field(default_factory=deque)
    closed: list[EpochClosed] = field(default_factory=list)
    latencies: Latencies = field(default_factory=lambda: Latencies(CAMERA))
    statuses: deque[Opened] = field(default_factory=lambda: deque(maxlen=600))
    first_ns: dict[int, int] = field(default_factory=dict)
    """When the first result of each epoch was opened."""
    said_twice: int = 0
    """Results whose content came under two names: told again as if it were new."""
    arrivals_s: Counter[int] = field(default_factory=Counter)
    """Results opened in each second since 1970."""

    @property
    def newest_epoch(self) -> int:
        """-1 where nothing was heard yet."""
        return max(self.first_ns, default=-1)


class Ear:
    """Listens in a thread of its own. ``keep_s`` bounds how long bodies are held."""

    def __init__(
        self, url: str, identity: PrivateIdentity, unit: PublicIdentity, state: Path, tls: TlsFiles, keep_s: float
    ) -> None:  # fmt: skip
        self._listener = Listener(url, identity, [unit], state=state, tls=tls)
        self._keep_ns = round(keep_s * 1e9)
        self._lock = threading.Lock()
        self._contents: set[bytes] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ear", daemon=True)
        self.heard = Heard()
        self.failure: str | None = None

    def __enter__(self) -> Ear:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._listener.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10.0)
        self._listener.stop()

    def connected(self) -> bool:
        return self._listener.status().state == "connected"

    def refused(self) -> dict[str, int]:
        """What came and was not right, by reason."""
        return dict(self._listener.status().refused)

    def look(self, at: Callable[[Heard], Any]) -> Any:
        """Something of what was heard, read while nothing is added."""
        with self._lock:
            return at(self.heard)

    def newest_status(self) -> Opened | None:
        return self.look(lambda heard: heard.statuses[-1] if heard.statuses else None)  # type: ignore[no-any-return]

    def wait(self, ready: Callable[[Heard], bool], timeout_s: float) -> bool:
        """Whether it became so in time."""
        deadline = time.monotonic() + timeout_s
        while not self.look(ready):
            if time.monotonic() > deadline or self.failure is not None:
                return False
            time.sleep(0.05)
        return True

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                event = self._listener.take(_TAKE_S)
                if event is not None:
                    with self._lock:
                        self._take(event)
        except Exception as e:  # noqa: BLE001 - an ear that fails must be told as the rig's error, not as silence
            self.failure = f"{type(e).__name__}: {e}"

    def _take(self, event: object) -> None:
        match event:
            case EpochClosed() as closed:
                self.heard.closed.append(closed)
            case Result() as result:
                self._keep(result)

    def _keep(self, result: Result) -> None:
        heard, name = self.heard, (result.epoch, result.counter)
        heard.arrivals_s[result.opened_ns // 1_000_000_000] += 1
        digest = hashlib.blake2b(result.topic.encode() + result.payload, digest_size=12).digest()
        heard.said_twice += digest in self._contents or name in heard.names
        self._contents.add(digest)
        heard.names.add(name)
        heard.first_ns.setdefault(result.epoch, result.opened_ns)
        opened = Opened(opened_ns=result.opened_ns, body=msgspec.json.decode(result.payload), name=name)
        if opened.schema.startswith("edge/status/"):
            heard.statuses.append(opened)
        else:
            heard.latencies.add(opened)
        heard.opened.append(opened)
        while heard.opened[0].opened_ns < result.opened_ns - self._keep_ns:
            heard.opened.popleft()
