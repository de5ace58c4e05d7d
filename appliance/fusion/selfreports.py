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
from appliance.estimation.bank import NONE, POSITION, Look
from appliance.estimation.scan import SECOND, UPDATED, Outcome
from appliance.fusion.core import blind
from appliance.fusion.disputes import Disputes
from appliance.fusion.identity import MOBILE_KINDS, well_formed
from appliance.fusion.intake import LOCK_GATE, Laid, make_look
from appliance.fusion.settings import SensorModel
from appliance.fusion.state import State, squared_distance
from appliance.fusion.swaps import HULL_SIGMA_M, Swaps

_LEAST_INTERVAL_S = 10.0
"""A fast class A vessel reports every two seconds, and a receiver loses many of them."""


class SelfReports:
    """Takes reports one by one."""

    def __init__(self, state: State, disputes: Disputes) -> None:
        self._state = state
        self._disputes = disputes
        self._swaps = Swaps(state)

    def hear(self, laid: Laid) -> None:
        """Update, begin, or put aside; in the end the report is evidence somewhere or counted as refused."""
        state, plot = self._state, laid.plots[0]
        model = state.model(plot.sensor_id)
        identities = tuple(identity for identity in plot.identities if well_formed(identity))
        key = next((identity for identity in identities if identity.kind in MOBILE_KINDS), None)
        slot = NONE if key is None else state.book.slot(key)
        density, gain = state.settings.cooperative_density_per_m2, state.settings.lock_gain
        codes = np.array([state.book.codes(identities)], np.int64)
        t = state.seconds(laid.plots[0].observed_ns)
        seen = slot != NONE and self._disputes.observed(slot, t)
        reach = 1.0 if seen else LOCK_GATE  # a claim off what sensors see must not drag it off its echo
        look = make_look(laid, state.base_ns, density, gain, np.array([slot], np.int64), codes, reach)
        outcome = state.core.look(plot.sensor_id, look, blind(model.detection_probability), t)
        found = self._settle(laid, look, outcome, key, slot, t)
        if found != NONE:
            self._carry(found, identities, t, model)

    def _settle(self, laid: Laid, look: Look, outcome: Outcome, key: Identity | None, slot: int, t: float) -> int:
        """Which slot the report is evidence for; NONE where it was put aside."""
        found = int(outcome.slots[0, UPDATED])
        if found != NONE:
            self._state.note(found, laid.plots[0], float(outcome.llr[0]), int(outcome.slots[0, SECOND]))
            if key is not None and slot != NONE:
                self._whose(key, slot, found, _place(laid), t)
            return found
        if key is None or slot == NONE:
            near = NONE if key is None else self._neighbour(laid, look, key, t)
            return near if near != NONE else self._begin(laid, look)
        if self._state.core.bank.time_s[slot] > t + self._state.settings.retrodict_s:
            return self._late(laid, slot, t)
        if self._swaps.put_right(laid, key, slot, t):
            slot = self._state.book.slot(key)
        if self._aboard(laid, look, slot, t):
            self._disputes.good(key, t)
            return slot
        rival = self._disputes.rival(key)
        if rival != NONE and self._aboard(laid, look, rival, t):
            self._whose(key, slot, rival, _place(laid), t)
            return rival
        return self._astray(laid, look, key, slot, t)

    def _aboard(self, laid: Laid, look: Look, slot: int, t: float) -> bool:
        """Whether the report, too far off for its own accuracy, is of this hull; then it updates with that doubt."""
        if self._disputes.far_apart(slot, _place(laid), t):
            return False
        sensor_id = laid.plots[0].sensor_id
        wide = look._replace(r=look.r + np.eye(2) * HULL_SIGMA_M**2, lock=np.array([slot]), lock_gate=LOCK_GATE)
        sight = blind(self._state.model(sensor_id).detection_probability)
        outcome = self._state.core.look_at(slot, sensor_id, wide, sight, t)
        if outcome.slots[0, UPDATED] == NONE:
            return False
        self._state.note(slot, laid.plots[0], float(outcome.llr[0]), NONE)
        return True

    def _whose(self, key: Identity, slot: int, found: int, place: tuple[float, float], t: float) -> None:
        """The report fell to ``found``; ``slot`` carries the identity."""
        if found == slot:
            self._disputes.good(key, t)
        elif found == self._disputes.rival(key):
            if self._disputes.at_rival(key, t):
                self._state.carry_mobile(found, key)
        elif self._disputes.far_apart(slot, place, t):
            self._disputes.part(key, slot, found, t)

    def _begin(self, laid: Laid, look: Look) -> int:
        if look.kind[0] != POSITION:
            return NONE
        slot = self._state.core.begin(look, 0, self._state.settings.cooperative_log_odds)
        if slot == NONE:
            self._state.refused["room"] += 1
            return NONE
        self._state.open(slot, laid.plots[0], self._state.settings.cooperative_log_odds)
        return slot

    def _late(self, laid: Laid, slot: int, t: float) -> int:
        """Too late to correct the state; evidence all the same, if the thing was there then."""
        where = self._state.at(slot, t)
        if where is not None:
            d2, log_density = squared_distance(where[0] - laid.z[0], where[1] + laid.r[0])
            if d2 <= 2.0 * self._state.settings.gate:
                llr = log_density - math.log(self._state.settings.cooperative_density_per_m2)
                self._state.note(slot, laid.plots[0], llr, NONE)
                return NONE
        self._state.refused["late"] += 1
        return NONE

    def _astray(self, laid: Laid, look: Look, key: Identity, slot: int, t: float) -> int:
        verdict = self._disputes.stray(key, slot, _place(laid), t)
        if verdict == "wait":
            self._state.refused["stray"] += 1
            return NONE
        if verdict == "move":
            self._state.core.restart(slot, look, self._state.settings.cooperative_log_odds)
            self._state.note(slot, laid.plots[0], 0.0, NONE)
            return slot
        rival = self._neighbour(laid, look, key, t)
        if rival == NONE:
            rival = self._begin(laid, look)
            if rival == NONE:
                return NONE
            self._state.core.bank.mobile[rival] = NONE
        self._disputes.part(key, slot, rival, t)
        return rival

    def _neighbour(self, laid: Laid, look: Look, key: Identity, t: float) -> int:
        """The nearest thing that sensors see and nobody has claimed, if the report may be of its hull; updated then."""
        bank, live = self._state.core.bank, self._state.core.live
        free = live[bank.mobile[live, MOBILE_KINDS.index(key.kind)] == NONE]
        off = bank.mean[free, :2] + (t - bank.time_s[free, None]) * bank.mean[free, 2:] - laid.z[0]
        away = np.hypot(off[:, 0], off[:, 1])
        in_reach = int((away <= 4.0 * HULL_SIGMA_M).sum())
        nearest: list[int] = free[np.argsort(away, kind="stable")][:in_reach].tolist()
        for near in nearest:
            believed = self._state.core.confirmed[near] and self._state.dossiers[near].observed_ns > 0
            if believed and self._aboard(laid, look, near, t):
                return near
        return NONE

    def _carry(self, slot: int, identities: tuple[Identity, ...], t: float, model: SensorModel) -> None:
        """Hand over identity and names, and hold the thing in belief until it should have reported again."""
        state = self._state
        dossier = state.dossiers[slot]
        for identity in identities:
            if identity.kind == "name":
                dossier.add_name(identity)
            elif identity.kind in MOBILE_KINDS and slot != self._disputes.rival(identity):
                state.carry_mobile(slot, identity)
        bank = state.core.bank
        usual_s = min(max(dossier.interval_s, _LEAST_INTERVAL_S), model.reporting_interval_s)
        believed_s = state.settings.cooperative_belief_intervals * (
            usual_s if dossier.interval_s else _LEAST_INTERVAL_S
        )
        kept_s = state.settings.cooperative_hold_intervals * model.reporting_interval_s
        bank.held_s[slot] = max(bank.held_s[slot], t + believed_s)
        bank.kept_s[slot] = max(bank.kept_s[slot], t + kept_s)
        bank.log_odds[slot] = max(bank.log_odds[slot], state.settings.cooperative_log_odds)
        state.core.confirmed[slot] = True


def _place(laid: Laid) -> tuple[float, float]:
    return float(laid.z[0, 0]), float(laid.z[0, 1])
