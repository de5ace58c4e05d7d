"""``Feed``: one source, one thread, one bounded queue, counters, restart with back-off.

What it is not: it parses nothing and opens nothing; that is the source's.

Rules:

- A live feed never blocks its source: when the queue is full the oldest item goes, and is counted. Reports are the
  exception: a person's words are not dropped, the carrier (TCP, MQTT) holds them back instead.
- A replay (``file:``, ``dir:``) never drops: its source waits for room.
- A source that fails is run again after a pause that doubles from ``backoff_first_s`` to ``backoff_cap_s``; the pause
  starts small again once an item has come through.
- ``stop`` returns within two seconds, whatever the source is waiting for.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from appliance.domain import Estimate, Fix, Frame, Plot, Report
from appliance.errors import Drop, Unavailable
from appliance.feeds.source import Source, Stopped
from appliance.feeds.spec import FeedKind, FeedSpec, FeedState, FeedStatus, Item

STOP_LIMIT_S: Final = 2.0
MAX_ERROR_CHARS: Final = 400
REPLAYED_SCHEMES: Final = frozenset({"file", "dir"})

Taken = Callable[[], None]


class Backoff:
    """How long to pause before the next try: doubling from the first to the cap, anew after progress."""

    def __init__(self, first_s: float, cap_s: float) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._next_s = first_s

    def pause_s(self, *, progress: bool) -> float:
        """The pause after a try that did or did not bring anything."""
        pause_s = self._first_s if progress else self._next_s
        self._next_s = min(pause_s * 2, self._cap_s)
        return pause_s


class Feed:
    """One supervised feed. ``start`` once, ``take`` from one thread, ``stop`` at the end."""

    def __init__(self, spec: FeedSpec, source: Source, *, live: bool) -> None:
        self.name: Final[str] = spec.name
        self.kind: Final[FeedKind] = spec.kind
        self.live: Final[bool] = live
        self._spec = spec
        self._source = source
        self._drops_oldest = live and spec.kind != "reports"
        self._queue: deque[tuple[Item, Taken | None]] = deque()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._in_hand: Taken | None = None
        self._state: FeedState = "starting"
        self._received = 0
        self._dropped = 0
        self._restarts = 0
        self._bad: Counter[str] = Counter()
        self._ignored: Counter[str] = Counter()
        self._last_error: str | None = None
        self._last_item_ns: int | None = None
        self._thread = threading.Thread(target=self._supervise, name=f"feed-{spec.name}", daemon=True)

    # -- the consumer's side ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin reading. Returns at once; what is not there yet is tried again."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; what is queued can still be taken. May be called twice, or without ``start``."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOP_LIMIT_S)

    def take(self, timeout_s: float) -> Item | None:
        """The next item, or None if none comes within ``timeout_s``. Asking says that the last one is done with."""
        self._release_in_hand()
        with self._changed:
            if not self._queue and self._state not in {"ended", "failed"}:
                self._changed.wait_for(lambda: self._queue or self._state in {"ended", "failed"}, timeout_s)
            if not self._queue:
                return None
            item, self._in_hand = self._queue.popleft()
            self._changed.notify_all()
            return item

    @property
    def ended(self) -> bool:
        """Nothing will ever come again: read to the end, failed for good or stopped, and the queue is empty."""
        with self._changed:
            return self._state in {"ended", "failed"} and not self._queue

    def status(self) -> FeedStatus:
        """The counters at this moment."""
        with self._changed:
            return FeedStatus(
                name=self.name,
                kind=self.kind,
                state=self._state,
                received=self._received,
                dropped_oldest=self._dropped,
                bad=dict(self._bad),
                ignored=dict(self._ignored),
                restarts=self._restarts,
                last_error=self._last_error,
                last_item_ns=self._last_item_ns,
            )

    def _release_in_hand(self) -> None:
        taken, self._in_hand = self._in_hand, None
        if taken is not None:
            taken()

    # -- the source's side: implements Tap ----------------------------------------------------------------------

    def opened(self) -> None:
        """See ``Tap``."""
        self._enter("running")

    def put(self, item: Item, taken: Taken | None = None) -> None:
        """See ``Tap``."""
        with self._changed:
            self._make_room()
            self._queue.append((item, taken))
            self._received += 1
            self._last_item_ns = _time_of(item)
            self._state = "running"
            self._changed.notify_all()

    def bad(self, reason: str, count: int = 1) -> None:
        """See ``Tap``."""
        with self._changed:
            self._bad[reason] += count

    def ignored(self, reason: str, count: int = 1) -> None:
        """See ``Tap``."""
        with self._changed:
            self._ignored[reason] += count

    def overrun(self, count: int = 1) -> None:
        """See ``Tap``."""
        with self._changed:
            self._dropped += count

    def wait(self, seconds: float) -> None:
        """See ``Tap``."""
        if self._stopping.wait(max(seconds, 0.0)):
            raise Stopped

    def check(self) -> None:
        """See ``Tap``."""
        if self._stopping.is_set():
            raise Stopped

    def _make_room(self) -> None:
        while len(self._queue) >= self._spec.capacity:
            if self._drops_oldest:
                self._queue.popleft()
                self._dropped += 1
                continue
            self._changed.wait_for(lambda: len(self._queue) < self._spec.capacity or self._stopping.is_set())
            if self._stopping.is_set():
                raise Stopped
        if self._stopping.is_set():
            raise Stopped

    # -- the thread ---------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        backoff = Backoff(self._spec.backoff_first_s, self._spec.backoff_cap_s)
        try:
            while True:
                received_before = self._received
                if self._run_once():
                    return
                self._enter("backing-off")
                self.wait(backoff.pause_s(progress=self._received > received_before))
                with self._changed:
                    self._restarts += 1
        except Stopped:
            self._enter("ended")

    def _run_once(self) -> bool:
        """Run the source until it ends; whether that was for good."""
        try:
            self._source.run(self)
        except Stopped:
            raise
        except Unavailable as e:
            self._note(str(e))
            return False
        except Drop as e:
            self._note(str(e))
            return self._fail()
        except Exception as e:  # noqa: BLE001
            # Boundary "one feed": a mistake of ours or of a library ends or restarts this feed and is shown in its
            # status; the daemon goes on with the others.
            self._note(f"unexpected {type(e).__name__}: {e}")
            return self._fail()
        if self.live:
            self._note("the source closed")
            return False
        self._enter("ended")
        return True

    def _fail(self) -> bool:
        if self.live:
            return False
        self._enter("failed")
        return True

    def _note(self, message: str) -> None:
        with self._changed:
            self._last_error = message[:MAX_ERROR_CHARS]

    def _enter(self, state: FeedState) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()


def _time_of(item: Item) -> int:
    match item:
        case Frame():
            return item.captured_ns
        case Report():
            return item.received_ns
        case Plot() | Fix() | Estimate():
            return item.observed_ns
