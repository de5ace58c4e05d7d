"""Another unit's estimates: they join what is the same thing here, and nothing is counted twice.

Rules: places are joined by covariance intersection, so that common errors, known or not, make no entity surer than it
may be. Existence is raised to what the other unit believes, as far as it is trusted, never added to. An estimate that
rests on this unit's own data moves a place only so far as the intersection finds anything new, and raises neither
existence nor category; one that rests on nothing else is refused (``own data``). Provenance travels on: what an entity
here rests on names the other unit's sources, so that the other unit will know its own data again.

Which entity: the one that this estimate joined before, the one that carries its MMSI or ICAO address, else the nearest
that can be meant; else a new one. Refusals: ``own data``, ``late``, ``room``, and those of plots.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from appliance.domain import Estimate, Identity, Plot
from appliance.estimation.bank import NONE
from appliance.estimation.gaussian import Array
from appliance.estimation.intersection import intersect
from appliance.fusion import categories
from appliance.fusion.core import one_look
from appliance.fusion.dossier import Dossier
from appliance.fusion.identity import MOBILE_KINDS, well_formed
from appliance.fusion.intake import Intake
from appliance.fusion.state import State, squared_distance
from appliance.fusion.telling import category_weights

MAX_LINKS: Final = 20_000
_HOLD_S: Final = 30.0
"""So long after an estimate a thing that only another unit sees is kept."""
_SPEED_VARIANCE: Final = 36.0
"""(m/s)² of each axis of the velocity that an estimate tells: it comes without a covariance."""
_MAX_LATE_S: Final = 8.0
_ENDED: Final = -20.0
"""Log-odds of an entity whose estimates have gone over to another."""

Link = tuple[str, str]


class Foreign:
    """Takes estimates one by one. Remembers which entity each joined."""

    def __init__(self, state: State, intake: Intake) -> None:
        self._state = state
        self._intake = intake
        self._links: dict[Link, tuple[int, int]] = {}

    def take(self, estimate: Estimate) -> None:
        """Join, begin, or refuse and count."""
        state, own = self._state, f"{self._state.settings.unit}/"
        ours = [source for source in estimate.provenance if source.startswith(own)]
        if len(ours) == len(estimate.provenance):
            state.refused["own data"] += 1
            return
        plot = _as_plot(estimate)
        laid = self._intake.lay([plot])
        if not laid.plots:
            return
        t = state.seconds(estimate.observed_ns)
        slot = self._slot(estimate, laid.z[0], laid.r[0], t)
        if slot == NONE:
            slot = self._begin(estimate, plot, laid.z[0], laid.r[0])
            if slot == NONE:
                return
        elif not self._join(slot, laid.z[0], laid.r[0], t):
            return
        self._note(slot, estimate, t, shares_ours=bool(ours))

    def _slot(self, estimate: Estimate, z: Array, r: Array, t: float) -> int:
        link = self._links.get((estimate.unit, estimate.entity_id))
        if link is not None and link[0] in self._state.dossiers:
            slot, sequence = link
            if self._state.dossiers[slot].sequence == sequence and self._distance(slot, z, r, t) <= 4.0 * self._gate:
                return self._home(slot, estimate, z, r, t)
        for identity in estimate.identities:
            slot = self._state.book.slot(identity) if identity.kind in MOBILE_KINDS else NONE
            if slot != NONE and self._distance(slot, z, r, t) <= 4.0 * self._gate:
                return slot
        return self._nearest(estimate, z, r, t)

    def _home(self, slot: int, estimate: Estimate, z: Array, r: Array, t: float) -> int:
        """``slot``, unless that rests on the other unit alone and the thing has since been seen here as well."""
        if self._state.dossiers[slot].plots:
            return slot
        own = self._nearest(estimate, z, r, t)
        if own in {NONE, slot} or not self._state.dossiers[own].plots:
            return slot
        bank = self._state.core.bank
        bank.log_odds[slot], bank.held_s[slot], bank.kept_s[slot] = _ENDED, -1e18, -1e18
        return own

    @property
    def _gate(self) -> float:
        return self._state.settings.gate

    def _distance(self, slot: int, z: Array, r: Array, t: float) -> float:
        where = self._state.at(slot, t)
        return math.inf if where is None else squared_distance(where[0] - z, where[1] + r)[0]

    def _nearest(self, estimate: Estimate, z: Array, r: Array, t: float) -> int:
        """The nearest thing that can be meant, believed or begun: no other identity, no other kind."""
        state, bank, live = self._state, self._state.core.bank, self._state.core.live
        off = bank.mean[live, :2] - z
        reach_m = 500.0 + 8.0 * math.sqrt(float(np.trace(r)))
        best, found = self._gate, NONE
        said = categories.best(_weights(estimate))
        for slot in live[np.hypot(off[:, 0], off[:, 1]) <= reach_m].tolist():
            dossier = state.dossiers[slot]
            d2 = self._distance(slot, z, r, t)
            alike = categories.compatible(categories.best(category_weights(dossier)), said)
            if d2 < best and alike and not _other(dossier, estimate) and self._free(dossier, estimate):
                best, found = d2, slot
        return found

    def _free(self, dossier: Dossier, estimate: Estimate) -> bool:
        """No other estimate of the same unit stands on it: a unit tells each thing once."""
        return all(unit != estimate.unit or name == estimate.entity_id for unit, name in dossier.estimates)

    def _join(self, slot: int, z: Array, r: Array, t: float) -> bool:
        if self._state.core.bank.time_s[slot] - t > _MAX_LATE_S:
            self._state.refused["late"] += 1
            return False
        intersect(self._state.core.bank, slot, z, r, t, self._state.core.moves)
        return True

    def _begin(self, estimate: Estimate, plot: Plot, z: Array, r: Array) -> int:
        state = self._state
        look = one_look(z, r, state.seconds(plot.observed_ns), plot.velocity_mps, _SPEED_VARIANCE)
        slot = state.core.begin(look, 0, _log_odds(estimate))
        if slot == NONE:
            state.refused["room"] += 1
            return NONE
        state.dossiers[slot] = state.dossier(f"{estimate.unit}\0{estimate.entity_id}", estimate.observed_ns)
        return slot

    def _note(self, slot: int, estimate: Estimate, t: float, *, shares_ours: bool) -> None:
        state, bank = self._state, self._state.core.bank
        dossier = state.dossiers[slot]
        if len(self._links) >= MAX_LINKS:
            del self._links[next(iter(self._links))]
        self._links[estimate.unit, estimate.entity_id] = (slot, dossier.sequence)
        first = dossier.take_estimate(estimate)
        bank.kept_s[slot] = max(bank.kept_s[slot], t + _HOLD_S)
        if not shares_ours:
            bank.log_odds[slot] = max(float(bank.log_odds[slot]), _log_odds(estimate))
            evidence = categories.log_evidence(estimate.categories)
            if first and evidence is not None:
                dossier.weigh(estimate.sensor_id, evidence)
                state.move_by_kind(slot)
        if bank.log_odds[slot] >= 0.0:  # the other unit has confirmed it; half is what is told as confirmed here
            state.core.confirmed[slot] = True
        for identity in estimate.identities:
            self._name(slot, dossier, identity)

    def _name(self, slot: int, dossier: Dossier, identity: Identity) -> None:
        """An identity that nobody here carries; one that is carried here is decided by what is heard here."""
        if not well_formed(identity):
            return
        if identity.kind == "name":
            dossier.add_name(identity)
        elif identity.kind not in MOBILE_KINDS or identity.kind in dossier.mobile:
            return
        elif self._state.book.slot(identity) == NONE:
            self._state.carry_mobile(slot, identity)


def _other(dossier: Dossier, estimate: Estimate) -> bool:
    """Whether the entity is known to be another: both carry an identity of one kind, and they differ."""
    return any(
        identity.kind in MOBILE_KINDS and dossier.mobile.get(identity.kind, identity) != identity
        for identity in estimate.identities
    )


def _weights(estimate: Estimate) -> categories.Weights:
    evidence = categories.log_evidence(estimate.categories)
    return categories.distribution(categories.nothing_known() if evidence is None else evidence)


def _log_odds(estimate: Estimate) -> float:
    """What the other unit believes, as far as it is trusted."""
    existence = min(max(estimate.existence * estimate.trust, 1e-3), 0.999)
    return math.log(existence / (1.0 - existence))


def _as_plot(estimate: Estimate) -> Plot:
    """What the intake checks: a place with its covariance."""
    return Plot(
        sensor_id=estimate.sensor_id,
        observation_id=f"{estimate.unit}/{estimate.entity_id}",
        observed_ns=estimate.observed_ns,
        kind="position",
        values=(estimate.position.latitude_deg, estimate.position.longitude_deg),
        covariance=estimate.covariance_m2,
        velocity_mps=estimate.velocity_mps,
        velocity_variance_m2ps2=_SPEED_VARIANCE,
        altitude_m=estimate.position.altitude_m,
    )
