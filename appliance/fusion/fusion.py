"""All sources in, one set of entities out: who updates what, what begins, what is told.

Not here: arithmetic (``estimation``), slots (``core.py``), self-reporting things (``selfreports.py``), identities
against sensors (``disputes.py``), people's reports (``reports.py``), how an entity is written down (``telling.py``),
what comes late (``timeline.py``).

Rules: values in, values out; time is an argument. The same calls give the same entities byte for byte, and the order
of plots within one call changes nothing. Bad plots are dropped and counted in ``refused``; nothing raises for them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import numpy as np

from appliance.domain import Claim, Dispute, Entity, Estimate, Identity, Objection, Plot
from appliance.errors import BadRecord
from appliance.estimation.bank import NEW, NONE, Index, Sight
from appliance.estimation.scan import UPDATED
from appliance.fusion import telling
from appliance.fusion.against import objections
from appliance.fusion.core import MAX_SENSORS, sight_of
from appliance.fusion.disputes import Disputes
from appliance.fusion.foreign import Foreign
from appliance.fusion.intake import Intake, Laid, make_look
from appliance.fusion.reports import Reports
from appliance.fusion.selfreports import SelfReports
from appliance.fusion.settings import FusionSettings
from appliance.fusion.state import State
from appliance.fusion.watch import Watch

_IDENTITIES: Final = attrgetter("identities")


class Present:
    """One picture's state, from events in the order in which they were observed, or nearly so."""

    def __init__(self, settings: FusionSettings, *, watching: bool = False) -> None:
        """``watching`` counts every look that missed something, for `against`; it costs time and changes nothing."""
        self._state = State(settings)
        self._watch = Watch(self._state.core) if watching else None
        self._intake = Intake(self._state.frame, settings.max_range_m, self._state.refused)
        self._sights: dict[str, Sight] = {}
        self._disputes = Disputes(self._state)
        self._own = SelfReports(self._state, self._disputes)
        self._reports = Reports(self._state)
        self._foreign = Foreign(self._state, self._intake)
        self._started = False

    @property
    def refused(self) -> Counter[str]:
        """Plots and claims that were not used, by reason."""
        return self._state.refused

    def hear(self, observed_ns: int, plots: Sequence[Plot]) -> None:
        """What things say themselves of where they are at ``observed_ns``, one by one; none of it misses anything."""
        self._start(observed_ns)
        own = self._intake.lay(plots)
        for j in range(len(own.plots)):
            self._own.hear(own.only([j]) if len(own.plots) > 1 else own)
            self._state.newest_ns = max(self._state.newest_ns, observed_ns)
        self._prune(self._state.newest_ns)
        self._disputes.ripen(self._state.seconds(self._state.newest_ns))

    def look(self, sensor_id: str, observed_ns: int, plots: Sequence[Plot]) -> None:
        """One look of a sensor that sees for itself. No plots is a look that found nothing, and counts as one."""
        self._start(observed_ns)
        self._look(sensor_id, observed_ns, self._intake.lay(plots))
        self._disputes.ripen(self._state.seconds(self._state.newest_ns))

    def observe_claims(self, claims: Sequence[Claim], now_ns: int) -> None:
        """What people said. Claims add evidence, and existence within bounds; they never move a sensed thing."""
        self._start(now_ns)
        for claim in claims:
            try:
                self._reports.take(claim, now_ns)
            except BadRecord as e:
                self._state.refused[e.reason] += 1

    def observe_estimates(self, estimates: Sequence[Estimate], now_ns: int) -> None:
        """What other units believe; an estimate that rests on our own data counts for nothing twice."""
        if not estimates:
            return
        self._start(min(estimate.observed_ns for estimate in estimates))
        for estimate in sorted(estimates, key=lambda e: (e.observed_ns, e.unit, e.entity_id)):
            if self._timely(estimate.observed_ns, now_ns):
                self._foreign.take(estimate)
                self._state.newest_ns = max(self._state.newest_ns, estimate.observed_ns)
            else:
                self._state.refused["time"] += 1
        self._prune(self._state.newest_ns)

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

    def against(self, entity_id: str, now_ns: int) -> tuple[Objection, ...]:
        """What speaks against an entity that `entities` tells; misses only if this fusion is ``watching``."""
        for slot in self._state.core.live.tolist():
            dossier = self._state.dossiers[slot]
            if dossier.entity_id == entity_id:
                return objections(self._state, dossier, slot, self._watch, self.disputes(now_ns))
        told = self._reports.dossier(entity_id)
        return () if told is None else objections(self._state, told, None, None, ())

    def noted(self, entity_id: str) -> dict[str, int]:
        """How many observations of each source an entity ever took."""
        for slot in self._state.core.live.tolist():
            if self._state.dossiers[slot].entity_id == entity_id:
                return dict(self._state.dossiers[slot].noted)
        return {}

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

    def _look(self, sensor_id: str, observed_ns: int, seen: Laid) -> None:
        """One look of a sensor that sees for itself: update, begin, and tell the reports what is newly believed."""
        state, model = self._state, self._state.model(sensor_id)
        state.newest_ns = max(state.newest_ns, observed_ns)
        density = model.clutter_density_per_m2 * (1.0 + model.birth_ratio)
        look = make_look(seen, state.base_ns, density, state.settings.tracklet_gain, self._locks(seen.plots))
        odds = math.log(model.birth_ratio)
        t, newest = state.seconds(observed_ns), state.seconds(state.newest_ns)
        before = self._watch.before() if self._watch is not None else None
        outcome = state.core.step(sensor_id, look, self._sight(sensor_id), t, odds, newest)
        if self._watch is not None and before is not None:
            self._watch.after(before, sensor_id, t, outcome.slots[:, UPDATED])
        for plot, (slot, second, begun), llr in zip(
            seen.plots, outcome.slots.tolist(), outcome.llr.tolist(), strict=True
        ):
            if slot != NONE:
                state.note(slot, plot, llr, second)
            elif begun != NONE:
                state.open(begun, plot, odds)
        if len(outcome.fresh):
            self._reports.absorb(outcome.fresh.tolist())
        self._close(outcome.gone, newest)

    def _sight(self, sensor_id: str) -> Sight:
        sight = self._sights.get(sensor_id)
        if sight is None:
            if len(self._sights) >= MAX_SENSORS:  # more than any unit has: forget, never grow
                self._sights.clear()
            sight = self._sights[sensor_id] = sight_of(self._state.model(sensor_id), self._state.frame)
        return sight

    def _locks(self, plots: Sequence[Plot]) -> Index | None:
        """(J,) the slots that tracklets point to, NEW for new ones; None where no plot has any identity."""
        if not any(map(_IDENTITIES, plots)):
            return None
        locks = np.full(len(plots), NONE)
        for j, plot in enumerate(plots):
            tracklet = next((identity for identity in plot.identities if identity.kind == "tracklet"), None)
            if tracklet is not None:
                slot = self._state.book.slot(tracklet)
                locks[j] = slot if slot != NONE else NEW
        return locks

    def _prune(self, now_ns: int) -> None:
        t = self._state.seconds(now_ns)
        self._close(self._state.core.end(t), t)

    def _close(self, gone: Index, t: float) -> None:
        for slot in gone.tolist():
            for key, heir in self._disputes.forget(slot) if self._state.is_open(slot) else ():
                self._state.carry_mobile(heir, key)
            self._state.close(slot, t)
            if self._watch is not None:
                self._watch.close(slot)
