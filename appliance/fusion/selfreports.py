"""AIS and ADS-B: a thing says who and where it is. Believed by default, followed by identity, doubted where sensors
see otherwise (``disputes.py``).

Rules: each report is its own look at its own time. Its identity pulls it to the entity that carries it, as far as that
is kinematically possible; a first report may join what sensors already see. Silence is not a miss: such a thing is
held until it should have reported again several times.
"""

from __future__ import annotations

import math

import numpy as np

from appliance.domain import Identity
from appliance.estimation.bank import NONE, Look
from appliance.estimation.scan import Outcome
from appliance.fusion.core import sight_of
from appliance.fusion.disputes import Disputes
from appliance.fusion.identity import MOBILE_KINDS, well_formed
from appliance.fusion.intake import Placed, make_look
from appliance.fusion.settings import SensorModel
from appliance.fusion.state import State, squared_distance

_ONE = np.zeros(1, np.int64)


class SelfReports:
    """Takes reports one by one."""

    def __init__(self, state: State, disputes: Disputes) -> None:
        self._state = state
        self._disputes = disputes

    def hear(self, placed: Placed) -> None:
        """Update, begin, or put aside; in the end the report is evidence somewhere or counted as refused."""
        state, plot = self._state, placed.plot
        model = state.model(plot.sensor_id)
        identities = tuple(identity for identity in plot.identities if well_formed(identity))
        key = next((identity for identity in identities if identity.kind in MOBILE_KINDS), None)
        slot = NONE if key is None else state.book.slot(key)
        look = make_look(
            [placed],
            state.base_ns,
            state.settings.cooperative_density_per_m2,
            [(slot, state.settings.lock_gain)],
            [state.book.codes(identities)],
        )
        t = float(look.time_s[0])
        outcome = state.core.look(plot.sensor_id, look, sight_of(model, state.frame, True), t)
        found = self._settle(placed, look, outcome, key, slot, t)
        if found != NONE:
            self._carry(found, identities, t, model)

    def _settle(self, placed: Placed, look: Look, outcome: Outcome, key: Identity | None, slot: int, t: float) -> int:
        """Which slot the report is evidence for; NONE where it was put aside."""
        found = int(outcome.slot[0])
        if found != NONE:
            self._state.note(found, placed.plot, float(outcome.llr[0]), int(outcome.second[0]))
            if key is not None and slot != NONE:
                self._whose(key, slot, found, placed.z, t)
            return found
        if key is None or slot == NONE:
            return self._begin(placed, look)
        if self._state.core.bank.time_s[slot] > t + self._state.settings.retrodict_s:
            return self._late(placed, slot, t)
        return self._astray(placed, look, key, slot, t)

    def _whose(self, key: Identity, slot: int, found: int, place: tuple[float, float], t: float) -> None:
        """The report fell to ``found``; ``slot`` carries the identity."""
        if found == slot:
            self._disputes.good(key, t)
        elif found == self._disputes.rival(key):
            if self._disputes.at_rival(key, t):
                self._state.carry_mobile(found, key)
        elif self._disputes.far_apart(slot, place, t):
            self._disputes.part(key, slot, found, t)

    def _begin(self, placed: Placed, look: Look) -> int:
        slots = self._state.core.begin(look, _ONE, self._state.settings.cooperative_log_odds)
        if not len(slots):
            self._state.refused["room"] += 1
            return NONE
        self._state.open(int(slots[0]), placed.plot, self._state.settings.cooperative_log_odds)
        return int(slots[0])

    def _late(self, placed: Placed, slot: int, t: float) -> int:
        """Too late to correct the state; evidence all the same, if the thing was there then."""
        where = self._state.at(slot, t)
        if where is not None:
            ee, en, nn = placed.cov
            d2, log_density = squared_distance(where[0] - np.array(placed.z), where[1] + np.array([[ee, en], [en, nn]]))
            if d2 <= 2.0 * self._state.settings.gate:
                llr = log_density - math.log(self._state.settings.cooperative_density_per_m2)
                self._state.note(slot, placed.plot, llr, NONE)
                return NONE
        self._state.refused["late"] += 1
        return NONE

    def _astray(self, placed: Placed, look: Look, key: Identity, slot: int, t: float) -> int:
        verdict = self._disputes.stray(key, slot, placed.z, t)
        if verdict == "wait":
            self._state.refused["stray"] += 1
            return NONE
        if verdict == "move":
            self._state.core.restart(slot, look, self._state.settings.cooperative_log_odds)
            self._state.note(slot, placed.plot, 0.0, NONE)
            return slot
        rival = self._begin(placed, look)
        if rival != NONE:
            self._state.core.bank.mobile[rival] = NONE
            self._disputes.part(key, slot, rival, t)
        return rival

    def _carry(self, slot: int, identities: tuple[Identity, ...], t: float, model: SensorModel) -> None:
        """Hand over identity and names, and hold the thing in belief until it should have reported again."""
        state = self._state
        dossier = state.dossiers[slot]
        for identity in identities:
            if identity.kind == "name":
                dossier.add_name(identity)
            elif identity.kind in MOBILE_KINDS and slot != self._disputes.rival(identity):
                state.carry_mobile(slot, identity)
        interval_s = max(model.reporting_interval_s, min(dossier.interval_s, 2.0 * model.reporting_interval_s))
        bank = state.core.bank
        bank.held_s[slot] = max(bank.held_s[slot], t + state.settings.cooperative_hold_intervals * interval_s)
        bank.log_odds[slot] = max(bank.log_odds[slot], state.settings.cooperative_log_odds)
        state.core.confirmed[slot] = True
