"""From results to envelopes on disk: sealed, then durable, then gone to the link.

Nothing is told before it is sealed, and nothing counts as told before it is durable. While the disk refuses, sealed
envelopes wait in memory, bounded; what is given up is counted, and the close names it, so that an honest gap can be
told from a suppressed one. A close and a grant are never given up.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from appliance.bus import Outbox
from appliance.bus import Priority as OutboxPriority
from appliance.errors import BusUnavailable, EnvelopeRefused
from appliance.pipeline.results import Priority, Result
from appliance.pipeline.views import View, seen_by
from appliance.sealing import Envelope, Sender
from appliance.sealing.control import MAX_SHED_RUNS

ORDER: Final[dict[Priority, OutboxPriority]] = {
    "alert": OutboxPriority.ALERT,
    "entity": OutboxPriority.ENTITY,
    "picture": OutboxPriority.PICTURE,
    "status": OutboxPriority.STATUS,
    "radio": OutboxPriority.ALERT,  # it has been weighed already, and none of its frames supersedes another
}
#: Envelopes that wait for a disk that refuses: some minutes at ordinary rates, a few megabytes.
MAX_WAITING: Final = 4_096

#: Refusals of a sender that cost the one result: it is counted under this name and the next one goes.
_UNSEALED: Final = {"size": "results_too_large", "exhausted": "results_beyond_the_epoch"}

Run = tuple[int, int]


class Publisher:
    """Seals for one epoch after the other, in front of the outbox."""

    def __init__(self, sender: Sender, outbox: Outbox, *, views: Sequence[View] = ("full",)) -> None:
        """``views`` by number of their audience, as ``sender`` has them."""
        self._sender = sender
        self._views = tuple(views)
        self._outbox = outbox
        self._control: list[tuple[Envelope, OutboxPriority]] = []
        self._waiting: deque[tuple[Envelope, OutboxPriority]] = deque()
        self._given_up: list[Run] = []
        self._sealed_before = 0
        self.counts: Counter[str] = Counter()

    @property
    def sealed(self) -> int:
        """Frames sealed in this run."""
        return self._sealed_before + self._sender.sealed

    @property
    def sealed_in_epoch(self) -> int:
        """Frames sealed in this epoch."""
        return self._sender.sealed

    @property
    def settled(self) -> bool:
        """Whether everything sealed is durable."""
        return not self._waiting and not self._control

    def open(self) -> None:
        """Make the grant durable, so that recipients can open what follows. Raises BusUnavailable."""
        self._outbox.put_many([(self._sender.grant(), OutboxPriority.GRANT)])

    def publish(self, results: Sequence[Result]) -> None:
        """Seal results for each view and make them durable, in order; where the disk refuses, they wait.

        A result that no envelope holds is left out and counted.
        """
        for result in results:
            for audience, view in enumerate(self._views):
                seen = seen_by(view, result)
                if seen is not None:
                    self._seal(seen, audience)
        self._flush()

    def turn(self, sender: Sender, *, views: Sequence[View], checkpoint: bytes, shed: Sequence[Run]) -> None:
        """Put out the close of this epoch and the grant of ``sender``'s, in one; go on with it. Only when settled."""
        assert self.settled
        close = self._sender.close(checkpoint, shed[:MAX_SHED_RUNS])
        self._control = [(close, OutboxPriority.CLOSE), (sender.grant(), OutboxPriority.GRANT)]
        self._sealed_before += self._sender.sealed
        self._sender, self._views, self._given_up = sender, tuple(views), []
        self._flush()

    def close(self, checkpoint: bytes = b"") -> None:
        """Put the close out: how many frames there were, so that a missing one shows, and the audit checkpoint."""
        self._flush()
        shed = self.shed_runs()
        self._waiting.clear()
        self._control.append((self._sender.close(checkpoint, shed[:MAX_SHED_RUNS]), OutboxPriority.CLOSE))
        self._flush()

    def shed_runs(self) -> tuple[Run, ...]:
        """Numbers of this epoch that no broker will have: given up here or by the outbox, or waiting for a disk."""
        waiting = _runs(envelope.counter for envelope, _ in self._waiting)
        return merged([*self._shed_by_outbox(), *self._given_up, *waiting])

    def _seal(self, result: Result, audience: int) -> None:
        try:
            envelope = self._sender.seal(result.topic, result.payload, audience=audience)
        except EnvelopeRefused as e:
            if e.reason not in _UNSEALED:
                raise
            self.counts[_UNSEALED[e.reason]] += 1
            return
        self._waiting.append((envelope, ORDER[result.priority]))

    def _shed_by_outbox(self) -> tuple[Run, ...]:
        try:
            return self._outbox.shed_runs(self._sender.epoch)
        except BusUnavailable:  # the close is worth more than its list of gaps
            self.counts["disk_refusals"] += 1
            return ()

    def _give_up(self, counter: int) -> None:
        """Remember a gap as a run: a disk may refuse for months."""
        if self._given_up and self._given_up[-1][1] == counter - 1:
            self._given_up[-1] = (self._given_up[-1][0], counter)
        else:
            self._given_up.append((counter, counter))
        self.counts["results_given_up"] += 1

    def _flush(self) -> None:
        if self.settled:
            return
        try:
            self._outbox.put_many([*self._control, *self._waiting])
        except BusUnavailable:
            self.counts["disk_refusals"] += 1
            while len(self._waiting) > MAX_WAITING:
                self._give_up(self._waiting.popleft()[0].counter)
            return
        self._control.clear()
        self._waiting.clear()


def _runs(counters: Iterable[int]) -> list[Run]:
    grouped = groupby(enumerate(sorted(counters)), key=lambda pair: pair[1] - pair[0])
    spans = [[counter for _, counter in group] for _, group in grouped]
    return [(span[0], span[-1]) for span in spans]


def merged(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Ascending runs without overlap or touching neighbours."""
    out: list[Run] = []
    for first, last in sorted(runs):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(last, out[-1][1]))
        else:
            out.append((first, last))
    return tuple(out)
