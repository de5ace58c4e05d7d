"""The room's door: takes what comes, early or late, and keeps the picture as it would be had all come in order.

What comes in the order in which it was observed goes straight into the present (``fusion.py``). What comes late goes
into a log by its own time; a *second present* is taken from the last checkpoint before it, goes through the log again
in order, and takes the first one's place when it has caught up. So a late plot begins, moves and confirms things where
they *were*, and the outcome is that of in-order processing.

Rules: the work of catching up is bounded: a few events for each that comes, so no call takes long (`settle` does all
of it at once). Nothing asks a clock: the same calls give the same pictures. The log and the checkpoints are bounded;
what is older than both is refused as ``time``. An entity keeps its name through a second reading: names go to those
that rest on the same plots.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

from appliance.domain import Claim, Dispute, Entity, Estimate, Identity, Objection, Plot
from appliance.fusion.fusion import Present
from appliance.fusion.names import keep_names
from appliance.fusion.settings import FusionSettings
from appliance.fusion.snapshots import snapshot
from appliance.fusion.state import State

MAX_PLOTS: Final = 20_000
"""In one call; what lies beyond is refused and counted."""
MAX_TOLD: Final = 4_096
"""Claims that are remembered, so that one which is told again counts once."""
CHECKPOINT_S: Final = 10.0
_WIDEST_NS: Final = 60_000_000_000
"""The log is forgotten by checkpoints: where they lie far apart, it goes in leaps, and holds half as much again."""
_PER_TELLING: Final = 64
"""Events that catch up when entities are asked for, so that a silent unit catches up as well."""
_NS: Final = 1_000_000_000
_AT: Final = attrgetter("at_ns")
_OBSERVED: Final = attrgetter("observed_ns")
_COOPERATIVE: Final = attrgetter("cooperative")
_CLAIM_ORDER: Final = attrgetter("observed_ns", "report_id", "index")


class Event(NamedTuple):
    """One call to the present, at the time at which what it tells was so."""

    at_ns: int
    take: Any
    """The present's own method, unbound."""
    arguments: tuple[Any, ...]
    weight: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The present when it had taken everything up to and including ``at_ns``."""

    at_ns: int
    present: Present


class Fusion:
    """One picture's state. Not safe to share between threads."""

    def __init__(self, settings: FusionSettings, *, watching: bool = False) -> None:
        """``watching`` counts every look that missed something, for `against`; it costs time and changes nothing."""
        self._settings = settings
        self._present = Present(settings, watching=watching)
        self._log: list[Event] = []
        self._weight = 0
        self._checkpoints: list[Checkpoint] = []
        self._newest_ns = 0
        self._untimely: Counter[str] = Counter()
        self._told: dict[tuple[str, int], int] = {}
        self._late_ns: int | None = None
        """The oldest event that no present has in its place."""
        self._second: Present | None = None
        self._second_ns = 0
        """The second present has taken everything up to here."""
        self._rest = 0
        """So many events are to come before the next second reading: what the last one cost, shared out."""

    @property
    def refused(self) -> Counter[str]:
        """Plots and claims that were not used, by reason."""
        return self._present.refused + self._untimely

    def observe_plots(self, sensor_id: str, observed_ns: int, plots: Sequence[Plot], now_ns: int) -> None:
        """One look of one sensor at ``observed_ns``. No plots is a look that found nothing, and counts as one.

        Plots in which the thing itself says where it is are taken one by one at their own time and miss nothing.
        """
        self._start(observed_ns)
        taken = self._timed(plots, now_ns)
        seen: tuple[Plot, ...] = tuple(taken)
        if any(map(_COOPERATIVE, taken)):
            said = [plot for plot in taken if plot.cooperative]
            seen = tuple(plot for plot in taken if not plot.cooperative)
            for at_ns in sorted(set(map(_OBSERVED, said))):
                then = tuple(plot for plot in said if plot.observed_ns == at_ns)
                self._take(Event(at_ns, Present.hear, (at_ns, then), len(then)))
        if (not plots or not all(map(_COOPERATIVE, plots))) and self._timely(observed_ns, now_ns):
            self._take(Event(observed_ns, Present.look, (sensor_id, observed_ns, seen), len(seen) + 1))

    def observe_claims(self, claims: Sequence[Claim], now_ns: int) -> None:
        """What people said. Claims add evidence, and existence within bounds; they never move a sensed thing.

        A claim is taken when it is told, and joins what stood there when it was so.
        """
        self._start(now_ns)
        new = tuple(claim for claim in sorted(claims, key=_CLAIM_ORDER) if self._is_new(claim, now_ns))
        self._take(Event(max(now_ns, self._newest_ns), Present.observe_claims, (new, now_ns), len(new)))

    def observe_estimates(self, estimates: Sequence[Estimate], now_ns: int) -> None:
        """What other units believe; an estimate that rests on our own data counts for nothing twice."""
        for estimate in estimates:
            self._start(estimate.observed_ns)
            if self._timely(estimate.observed_ns, now_ns):
                self._take(Event(estimate.observed_ns, Present.observe_estimates, ((estimate,), now_ns), 1))
            else:
                self._untimely["time"] += 1

    def entities(self, now_ns: int) -> tuple[Entity, ...]:
        """Everything that is believed at ``now_ns``, oldest first; the lately deleted once more, as deleted."""
        self._catch_up(_PER_TELLING)
        return self._present.entities(now_ns)

    def disputes(self, now_ns: int) -> tuple[Dispute, ...]:
        """What is in dispute at ``now_ns``: claimed against observed."""
        return self._present.disputes(now_ns)

    def against(self, entity_id: str, now_ns: int) -> tuple[Objection, ...]:
        """What speaks against an entity that `entities` tells; misses only if this fusion is ``watching``."""
        return self._present.against(entity_id, now_ns)

    def noted(self, entity_id: str) -> dict[str, int]:
        """How many observations of each source an entity ever took."""
        return self._present.noted(entity_id)

    def carrier(self, identity: Identity) -> str | None:
        """The id of the entity that carries this MMSI, ICAO address or tracklet now; None where none does."""
        return self._present.carrier(identity)

    def settle(self) -> None:
        """Bring everything late into its place now, at whatever cost: at the end of a run, or to look back."""
        self._rest = 0
        while self._late_ns is not None or self._second is not None:
            self._catch_up(len(self._log) + 1)

    def history(self, times_ns: Iterable[int]) -> Iterator[tuple[int, tuple[Entity, ...]]]:
        """The picture as it was at each of ``times_ns`` (ascending), by all that is known by now of what went before.

        Reaches back as far as the log. Ids are those of this reading: the same throughout, not always those once told.
        """
        at_ns, present = -1, None
        for time_ns in times_ns:
            if present is None:
                first = self._checkpoint_before(time_ns)
                at_ns, present = first.at_ns, snapshot(first.present)
            for event in self._log[bisect_right(self._log, at_ns, key=_AT) : bisect_right(self._log, time_ns, key=_AT)]:
                event.take(present, *event.arguments)
            at_ns = max(at_ns, time_ns)
            yield time_ns, present.entities(time_ns)

    def _is_new(self, claim: Claim, now_ns: int) -> bool:
        """Whether it was not taken already. A claim is remembered while its time would let it in again, and no longer.

        Here and not in the present, of which there are a dozen copies.
        """
        oldest_ns = now_ns - round(self._settings.claim_age_s * _NS)
        if claim.observed_ns < oldest_ns:
            return True  # and refused for its age
        before_ns = oldest_ns - round(self._settings.max_future_s * _NS)
        while self._told and (self._told[first := next(iter(self._told))] < before_ns or len(self._told) >= MAX_TOLD):
            del self._told[first]
        key = (claim.report_id, claim.index)
        if key in self._told:
            self._untimely["claim again"] += 1
            return False
        self._told[key] = now_ns
        return True

    @property
    def _state(self) -> State:
        return self._present._state

    def _start(self, ns: int) -> None:
        if not self._checkpoints:
            self._newest_ns = ns
            before_ns = ns - round(self._settings.max_lag_s * _NS) - 1
            self._checkpoints.append(Checkpoint(before_ns, snapshot(self._present)))

    def _timely(self, observed_ns: int, now_ns: int) -> bool:
        lag_s, ahead_s = (self._newest_ns - observed_ns) * 1e-9, (observed_ns - now_ns) * 1e-9
        within = lag_s <= self._settings.max_lag_s and ahead_s <= self._settings.max_future_s
        return within and observed_ns > self._checkpoints[0].at_ns

    def _timed(self, plots: Sequence[Plot], now_ns: int) -> Sequence[Plot]:
        """Those that are neither older than what is remembered nor in the future, and not too many."""
        taken = plots[:MAX_PLOTS]
        if len(plots) > MAX_PLOTS:
            self._untimely["too many"] += len(plots) - MAX_PLOTS
        untimely = [at_ns for at_ns in set(map(_OBSERVED, taken)) if not self._timely(at_ns, now_ns)]
        if not untimely:
            return taken
        timely = [plot for plot in taken if plot.observed_ns not in untimely]
        self._untimely["time"] += len(taken) - len(timely)
        return timely

    def _take(self, event: Event) -> None:
        late_s = (self._newest_ns - event.at_ns) * 1e-9
        self._weight += event.weight
        self._rest = max(self._rest - 1, 0)
        if late_s > 0.0:
            self._take_late(event, late_s)
        else:
            self._mark(event.at_ns)
            self._log.append(event)
            self._newest_ns = event.at_ns
            event.take(self._present, *event.arguments)
        self._catch_up(self._settings.catch_up_events)

    def _take_late(self, event: Event, late_s: float) -> None:
        """Into the log at its time. A little late it also corrects the present at once, as well as that can be."""
        insort(self._log, event, key=_AT)
        while self._checkpoints[-1].at_ns >= event.at_ns:
            self._checkpoints.pop()
        if self._second is None or event.at_ns <= self._second_ns:
            self._late_ns = event.at_ns if self._late_ns is None else min(self._late_ns, event.at_ns)
        if late_s <= self._settings.retrodict_s:
            event.take(self._present, *event.arguments)

    def _mark(self, next_ns: int) -> None:
        """A checkpoint of the present, if it is time for one and everything stands in its place."""
        if self._late_ns is None and self._second is None:
            self._checkpoint(self._newest_ns, next_ns, self._present)

    def _checkpoint(self, at_ns: int, next_ns: int, present: Present) -> None:
        if next_ns > at_ns >= self._checkpoints[-1].at_ns + CHECKPOINT_S * _NS:
            self._checkpoints.append(Checkpoint(at_ns, snapshot(present)))
            self._thin()

    def _thin(self) -> None:
        """Fewer checkpoints the older they are; forget what nobody can come late for, and what is too much."""
        kept = self._checkpoints
        oldest_ns = self._newest_ns - round(self._settings.max_lag_s * _NS)
        while len(kept) > 2 and (kept[1].at_ns < oldest_ns or self._weight > self._settings.lag_plots):
            kept.pop(0)
            gone = bisect_right(self._log, kept[0].at_ns, key=_AT)
            self._weight -= sum(event.weight for event in self._log[:gone])
            del self._log[:gone]
        for k in range(len(kept) - 2, 0, -1):
            if kept[k + 1].at_ns - kept[k - 1].at_ns <= min((self._newest_ns - kept[k].at_ns) // 2, _WIDEST_NS):
                del kept[k]

    def _checkpoint_before(self, at_ns: int) -> Checkpoint:
        return next((c for c in reversed(self._checkpoints) if c.at_ns < at_ns), self._checkpoints[0])

    def _catch_up(self, count: int) -> None:
        """Let a second present go through up to ``count`` events; begin one where something is out of place."""
        if self._second is None:
            if self._late_ns is None or self._rest > 0:
                return
            start = self._checkpoint_before(self._late_ns)
            self._second, self._second_ns, self._late_ns = snapshot(start.present), start.at_ns, None
            self._rest = (len(self._log) - bisect_right(self._log, start.at_ns, key=_AT)) // self._settings.rerun_load
        first = bisect_right(self._log, self._second_ns, key=_AT)
        last = self._whole(first + count)
        for event in self._log[first:last]:
            if self._late_ns is None:
                self._checkpoint(self._second_ns, event.at_ns, self._second)
            event.take(self._second, *event.arguments)
            self._second_ns = event.at_ns
        if last >= len(self._log):
            keep_names(self._present._state, self._second._state)
            self._present, self._second = self._second, None

    def _whole(self, last: int) -> int:
        """``last`` moved on until no two events of one time are parted."""
        while 0 < last < len(self._log) and self._log[last].at_ns == self._log[last - 1].at_ns:
            last += 1
        return last
