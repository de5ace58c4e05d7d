"""All sources in, one set of entities out: who updates what, what begins, what is told. The room's door.

Not here: arithmetic (``estimation``), slots (``core.py``), self-reporting things (``selfreports.py``), identities
against sensors (``disputes.py``), people's reports (``reports.py``), how an entity is written down (``telling.py``).

Rules: values in, values out; time is an argument. The same calls give the same entities byte for byte, and the order
of plots within one call changes nothing. Bad plots are dropped and counted in ``refused``; nothing raises for them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from appliance.domain import Claim, Dispute, Entity, Identity, Plot
from appliance.errors import BadRecord
from appliance.estimation.bank import NONE, POSITION, Index
from appliance.fusion import telling
from appliance.fusion.core import sight_of
from appliance.fusion.disputes import Disputes
from appliance.fusion.intake import NO_CODES, Intake, Placed, make_look, sort_key
from appliance.fusion.reports import Reports
from appliance.fusion.selfreports import SelfReports
from appliance.fusion.settings import FusionSettings
from appliance.fusion.state import State

MAX_PLOTS: Final = 20_000
"""In one call; what lies beyond is refused and counted."""


class Fusion:
    """One picture's state. Not safe to share between threads."""

    def __init__(self, settings: FusionSettings) -> None:
        self._state = State(settings)
        self._intake = Intake(self._state.frame, settings.max_range_m)
        self._disputes = Disputes(self._state)
        self._own = SelfReports(self._state, self._disputes)
        self._reports = Reports(self._state)
        self._started = False

    @property
    def refused(self) -> Counter[str]:
        """Plots and claims that were not used, by reason."""
        return self._state.refused

    def observe_plots(self, sensor_id: str, observed_ns: int, plots: Sequence[Plot], now_ns: int) -> None:
        """One look of one sensor at ``observed_ns``. No plots is a look that found nothing, and counts as one.

        Plots in which the thing itself says where it is are taken one by one at their own time and miss nothing.
        """
        self._start(observed_ns)
        own, seen = self._accepted(plots, now_ns)
        for placed in own:
            self._own.hear(placed)
        only_own = bool(plots) and all(plot.cooperative for plot in plots)
        newest = [placed.plot.observed_ns for placed in (*own, *seen)]
        if self._timely(observed_ns, now_ns) and not only_own:
            self._look(sensor_id, observed_ns, seen)
            newest.append(observed_ns)
        self._state.newest_ns = max([self._state.newest_ns, *newest])
        self._prune(self._state.newest_ns)

    def observe_claims(self, claims: Sequence[Claim], now_ns: int) -> None:
        """What people said. Claims add evidence, and existence within bounds; they never move a sensed thing."""
        self._start(now_ns)
        for claim in sorted(claims, key=lambda c: (c.observed_ns, c.report_id, c.index)):
            try:
                self._reports.take(claim, now_ns)
            except BadRecord as e:
                self._state.refused[e.reason] += 1

    def entities(self, now_ns: int) -> tuple[Entity, ...]:
        """Everything that is believed at ``now_ns``, oldest first; the lately deleted once more, as deleted."""
        if not self._started:
            return ()
        self._prune(now_ns)
        found = [*telling.told(self._state, now_ns), *self._reports.entities(now_ns)]
        return tuple(sorted(found, key=lambda entity: entity.entity_id))

    def disputes(self, now_ns: int) -> tuple[Dispute, ...]:
        """What is in dispute at ``now_ns``: claimed against observed."""
        return self._disputes.standing(self._state.seconds(now_ns)) if self._started else ()

    def carrier(self, identity: Identity) -> str | None:
        """The id of the entity that carries this MMSI, ICAO address or tracklet now; None where none does."""
        slot = self._state.book.slot(identity)
        return None if slot == NONE else self._state.dossiers[slot].entity_id

    def _start(self, ns: int) -> None:
        if not self._started:
            self._started = True
            self._state.base_ns = self._state.newest_ns = ns

    def _timely(self, observed_ns: int, now_ns: int) -> bool:
        settings = self._state.settings
        lag_s, ahead_s = (self._state.newest_ns - observed_ns) * 1e-9, (observed_ns - now_ns) * 1e-9
        return lag_s <= settings.max_lag_s and ahead_s <= settings.max_future_s

    def _accepted(self, plots: Sequence[Plot], now_ns: int) -> tuple[list[Placed], list[Placed]]:
        """(from the things themselves, from sensors), each placed, in an order that arrival does not decide."""
        own: list[Placed] = []
        seen: list[Placed] = []
        if len(plots) > MAX_PLOTS:
            self._state.refused["too many"] += len(plots) - MAX_PLOTS
        for plot in plots[:MAX_PLOTS]:
            try:
                placed = self._place(plot, now_ns)
            except BadRecord as e:
                self._state.refused[e.reason] += 1
                continue
            (own if plot.cooperative else seen).append(placed)
        return sorted(own, key=sort_key), sorted(seen, key=sort_key)

    def _place(self, plot: Plot, now_ns: int) -> Placed:
        if not self._timely(plot.observed_ns, now_ns):
            raise BadRecord("time", "older than what is remembered, or in the future")
        return self._intake.place(plot)

    def _look(self, sensor_id: str, observed_ns: int, seen: list[Placed]) -> None:
        """One look of a sensor that sees for itself: update, begin, and tell the reports what is newly believed."""
        state, model = self._state, self._state.model(sensor_id)
        density = model.clutter_density_per_m2 * (1.0 + model.birth_ratio)
        look = make_look(seen, state.base_ns, density, [self._lock(p) for p in seen], [NO_CODES] * len(seen))
        t = state.seconds(observed_ns)
        believed = state.core.confirmed.copy()
        outcome = state.core.look(sensor_id, look, sight_of(model, state.frame, False), t)
        for j, placed in enumerate(seen):
            if outcome.slot[j] != NONE:
                state.note(int(outcome.slot[j]), placed.plot, float(outcome.llr[j]), int(outcome.second[j]))
        fresh = np.flatnonzero((outcome.slot == NONE) & (look.kind == POSITION))
        odds = math.log(model.birth_ratio)
        for begun, which in zip(state.core.begin(look, fresh, odds), fresh, strict=False):
            state.open(int(begun), seen[which].plot, odds)
        taken = outcome.slot[outcome.slot != NONE]
        state.core.confirm(taken)
        self._reports.absorb([int(slot) for slot in taken if state.core.confirmed[slot] and not believed[slot]])

    def _lock(self, placed: Placed) -> tuple[int, float]:
        for identity in placed.plot.identities:
            if identity.kind == "tracklet":
                return self._state.book.slot(identity), self._state.settings.tracklet_gain
        return NONE, 0.0

    def _prune(self, now_ns: int) -> None:
        t = self._state.seconds(now_ns)
        gone: Index = self._state.core.doomed(t)
        for slot in gone:
            for key, heir in self._disputes.forget(int(slot)):
                self._state.carry_mobile(heir, key)
            self._state.close(int(slot), t)
        self._state.core.drop(gone)
