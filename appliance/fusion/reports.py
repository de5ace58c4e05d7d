"""People's reports as a sensor: a claim joins what was there when it was seen, or stands as a reported thing and fades.

Rules: a claim adds evidence, and existence within bounds. It never moves a sensed thing, never renames what a sensor
has named, and never makes a sensed thing disbelieved. A claim of ``count`` n joins up to n entities. A claim that
names a known identity joins that one. "Nothing there" is a miss: it lowers the existence of what was thought to be
there and has not been seen since. One claim counts once, however often it comes.

Refusals, counted by the caller: ``claim values``, ``time``, ``claim without place``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from appliance.domain import UNKNOWN, Claim, Entity, Identity
from appliance.errors import BadRecord
from appliance.estimation.bank import NONE
from appliance.estimation.gaussian import Array
from appliance.fusion import categories
from appliance.fusion.dossier import Dossier
from appliance.fusion.identity import normalised, well_formed
from appliance.fusion.state import State, squared_distance
from appliance.fusion.telling import Standing, category_weights, written_down

_GATE: Final = 11.8
"""Squared distance in the plane: 99.7 %. People place things less well than they think."""
_DENSITY_PER_M2: Final = 1e-6
"""How thickly things stand that a person might have meant instead."""
MAX_COUNT: Final = 100
MAX_CLAIM_ODDS: Final = 3.0
"""All claims together move existence by no more than this (nats)."""
_ONE_CLAIM_ODDS: Final = 1.5
_WOULD_BE_SEEN: Final = 0.9
"""How often a person who looks at a place sees the thing that is there, and says so."""
_STILL_BELIEVED: Final = 1.0
"""Log-odds, 73 %: below this no denial brings what sensors see at this time."""
_TOLD_CAP: Final = 7.0
"""Nats of category that all claims together can add to a thing that no sensor has named."""
_GONE: Final = 0.05
_MIN_SIGMA_M: Final = 5.0


@dataclass(slots=True)
class Reported:
    """A thing that only people have told of."""

    dossier: Dossier
    place: Array
    cov: Array
    count: int
    existence: float
    observed_s: float


class Reports:
    """Claims and the entities that rest on claims alone."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._reported: list[Reported] = []

    def take(self, claim: Claim, now_ns: int) -> None:
        """Join, keep as reported, or hold against. Raises `BadRecord` with the reason to count."""
        self._check(claim, now_ns)
        t = self._state.seconds(claim.observed_ns)
        if claim.negated:
            self._deny(claim, t)
            return
        joined = self._join_named(claim)
        if joined:
            return
        if claim.position is None or claim.covariance_m2 is None:
            raise BadRecord("claim without place", "a claim that names no known thing needs a place")
        place, cov = self._placed(claim)
        left = min(max(claim.count, 1), MAX_COUNT) - self._join_near(claim, place, cov, t)
        if left > 0:
            self._keep(claim, place, cov, left, t)

    def absorb(self, slots: list[int]) -> None:
        """Things newly believed from sensors: what people told of them before becomes their evidence."""
        for slot in slots if self._reported else []:
            for reported in list(self._reported):
                self._absorb_one(slot, reported)

    def entities(self, now_ns: int) -> list[Entity]:
        """What is merely reported at ``now_ns``."""
        t = self._state.seconds(now_ns)
        self._reported = [r for r in self._reported if self._existence(r, t) > _GONE]
        standing = [Standing(r.dossier, "reported", self._existence(r, t), r.count) for r in self._reported]
        mean, cov = _where(self._reported, t)
        return written_down(self._state, standing, mean, cov)

    def dossier(self, entity_id: str) -> Dossier | None:
        """The record of a merely reported entity."""
        return next((r.dossier for r in self._reported if r.dossier.entity_id == entity_id), None)

    def _check(self, claim: Claim, now_ns: int) -> None:
        if not (math.isfinite(claim.observed_sigma_s) and claim.observed_sigma_s >= 0.0):
            raise BadRecord("claim values", f"expected a time sigma of 0 s or more; found {claim.observed_sigma_s}")
        if not (math.isfinite(claim.confidence) and 0.0 < claim.confidence <= 1.0):
            raise BadRecord("claim values", f"expected a confidence above 0 and up to 1; found {claim.confidence}")
        settings = self._state.settings
        age_s = (max(self._state.newest_ns, now_ns) - claim.observed_ns) * 1e-9
        if age_s > settings.claim_age_s or age_s < -settings.max_future_s:
            raise BadRecord("time", f"a claim of {age_s:.0f} s ago is outside what is remembered")

    def _placed(self, claim: Claim) -> tuple[Array, Array]:
        assert claim.position is not None
        assert claim.covariance_m2 is not None
        (ee, en), (ne, nn) = claim.covariance_m2
        cov = np.array([[ee, 0.5 * (en + ne)], [0.5 * (en + ne), nn]]) + np.eye(2) * _MIN_SIGMA_M**2
        if not (np.isfinite(cov).all() and ee >= 0 and nn >= 0 and cov[0, 0] * cov[1, 1] > cov[0, 1] ** 2):
            raise BadRecord("claim values", f"expected a positive definite covariance; found {claim.covariance_m2}")
        east, north, _ = self._state.frame.local(claim.position)
        if math.hypot(east, north) > self._state.settings.max_range_m:
            raise BadRecord("place", "the claim's place is outside the picture")
        return np.array([east, north]), cov

    def _join_named(self, claim: Claim) -> bool:
        """Join the entity whose identity the text mentions."""
        slots = sorted({slot for identity in claim.identities for slot in self._carriers(identity)})
        for slot in slots:
            self._join(slot, claim, math.log(1.0 + 9.0 * claim.confidence))
        return bool(slots)

    def _carriers(self, identity: Identity) -> list[int]:
        if not well_formed(identity):
            return []
        if identity.kind != "name":
            slot = self._state.book.slot(identity)
            return [] if slot == NONE else [slot]
        wanted = normalised(identity.value)
        carriers = [
            slot
            for slot, dossier in self._state.dossiers.items()
            if wanted and any(normalised(name.value) == wanted for name in dossier.names)
        ]
        return carriers if len(carriers) == 1 else []  # a name that two carry names neither

    def _join_near(self, claim: Claim, place: Array, cov: Array, t: float) -> int:
        """Join the likeliest entities that were there then and can be meant; returns how many."""
        scored: list[tuple[float, int, int]] = []
        for slot in self._state.core.live:
            llr = self._llr(int(slot), claim, place, cov, t)
            if llr is not None and llr > 0.0:
                scored.append((-llr, self._state.dossiers[int(slot)].sequence, int(slot)))
        best = sorted(scored)[: min(max(claim.count, 1), MAX_COUNT)]
        for minus_llr, _, slot in best:
            self._join(slot, claim, -minus_llr)
        return len(best)

    def _llr(self, slot: int, claim: Claim, place: Array, cov: Array, t: float) -> float | None:
        """How much better this entity explains the claim than chance; None where it cannot be meant."""
        state = self._state
        log_odds = float(state.core.bank.log_odds[slot])
        where = state.at(slot, t) if log_odds > -1.0 or state.core.confirmed[slot] else None
        if where is None:
            return None
        cov = cov + self._on_the_way(slot, where[0], claim, t)
        d2, log_density = squared_distance(where[0] - place, where[1] + cov)
        if d2 > _GATE:
            return None
        weights = category_weights(state.dossiers[slot])
        if not categories.compatible(categories.best(weights), claim.category):
            return None
        return log_density - math.log(_DENSITY_PER_M2) + math.log(max(claim.confidence, 1e-3))

    def _on_the_way(self, slot: int, place: Array, claim: Claim, t: float) -> Array:
        """(2, 2) m²: how far the thing moved within the doubt about when it was seen."""
        beside = [self._state.at(slot, t + side * claim.observed_sigma_s) for side in (-1.0, 1.0)]
        ways = [found[0] - place for found in beside if found is not None]
        return sum((np.outer(way, way) for way in ways), np.zeros((2, 2))) / max(len(ways), 1)

    def _join(self, slot: int, claim: Claim, llr: float) -> None:
        dossier, bank = self._state.dossiers[slot], self._state.core.bank
        if not dossier.join(claim, llr):
            return
        step = min(max(llr, 0.0), _ONE_CLAIM_ODDS * claim.confidence, MAX_CLAIM_ODDS - dossier.claim_odds)
        if step > 0.0:
            dossier.claim_odds += step
            bank.log_odds[slot] = min(bank.log_odds[slot] + step, self._state.settings.max_log_odds)
        _tell_category(dossier, claim)

    def _keep(self, claim: Claim, place: Array, cov: Array, count: int, t: float) -> None:
        """A reported entity: one that stands near already, or a new one."""
        for reported in self._reported:
            d2, _ = squared_distance(reported.place - place, reported.cov + cov)
            named = categories.best(category_weights(reported.dossier))
            if d2 <= _GATE and categories.compatible(named, claim.category):
                self._confirm(reported, claim, place, cov, count, t)
                return
        dossier = self._state.dossier(f"{claim.sensor_id}\0{claim.report_id}\0{claim.index}", claim.observed_ns)
        dossier.updated_ns = claim.observed_ns
        dossier.join(claim, math.log(1.0 + 9.0 * claim.confidence))
        _tell_category(dossier, claim)
        for identity in claim.identities:
            if identity.kind == "name" and well_formed(identity):
                dossier.add_name(identity)
        self._reported.append(Reported(dossier, place, cov, count, 0.9 * claim.confidence, t))
        if len(self._reported) > self._state.settings.max_reported:
            self._reported.remove(min(self._reported, key=lambda r: (self._existence(r, t), r.dossier.sequence)))

    def _confirm(self, reported: Reported, claim: Claim, place: Array, cov: Array, count: int, t: float) -> None:
        """A second report of the same: places weighed by their doubt, existence as of independent witnesses."""
        reported.dossier.join(claim, math.log(1.0 + 9.0 * claim.confidence))
        reported.dossier.updated_ns = max(reported.dossier.updated_ns, claim.observed_ns)
        _tell_category(reported.dossier, claim)
        gain = reported.cov @ np.linalg.inv(reported.cov + cov)
        reported.place = reported.place + gain @ (place - reported.place)
        reported.cov = (np.eye(2) - gain) @ reported.cov
        reported.cov = 0.5 * (reported.cov + reported.cov.T)
        old = self._existence(reported, max(t, reported.observed_s))
        reported.existence = min(1.0 - (1.0 - old) * (1.0 - 0.9 * claim.confidence), 0.97)
        reported.count = max(reported.count, count)
        reported.observed_s = max(reported.observed_s, t)

    def _deny(self, claim: Claim, t: float) -> None:
        """Nothing there: lowers what is merely reported or tentative at that place, of that kind."""
        if claim.position is None or claim.covariance_m2 is None:
            raise BadRecord("claim without place", "to say that nothing is there needs a place")
        place, cov = self._placed(claim)
        for reported in self._reported:
            named = categories.best(category_weights(reported.dossier))
            d2, _ = squared_distance(reported.place - place, reported.cov + cov)
            if d2 <= _GATE and reported.observed_s <= t and _meant(named, claim.category):
                left = 1.0 - _WOULD_BE_SEEN * claim.confidence * math.exp(-0.25 * d2)
                reported.existence *= left
                reported.dossier.join(claim, math.log(max(left, 1e-3)))
        for slot in self._state.core.live.tolist():
            self._deny_sensed(slot, claim, place, cov, t)

    def _deny_sensed(self, slot: int, claim: Claim, place: Array, cov: Array, t: float) -> None:
        """A person looked where a thing was thought to be and found nothing: a miss, as good as its author.

        What sensors have seen since then speaks for itself: the denial is kept as evidence and takes nothing. What they
        see now, or what says itself that it is there, is not disbelieved for a person's word.
        """
        state, bank = self._state, self._state.core.bank
        where = state.at(slot, t)
        if where is None:
            return
        d2, _ = squared_distance(where[0] - place, where[1] + cov)
        dossier = state.dossiers[slot]
        if d2 > _GATE or not _meant(categories.best(category_weights(dossier)), claim.category):
            return
        llr = math.log(1.0 - _WOULD_BE_SEEN * claim.confidence * math.exp(-0.25 * d2))
        if not dossier.join(claim, llr) or dossier.updated_ns >= claim.observed_ns:
            return
        step = min(-llr, _ONE_CLAIM_ODDS, MAX_CLAIM_ODDS - dossier.denied_odds)
        dossier.denied_odds += step
        now_s = max(state.seconds(state.newest_ns), t)
        seen = (
            dossier.observed_ns > 0 and now_s - state.seconds(dossier.observed_ns) <= state.settings.observed_within_s
        )
        least = min(float(bank.log_odds[slot]), _STILL_BELIEVED) if seen or now_s < bank.held_s[slot] else -math.inf
        bank.log_odds[slot] = max(float(bank.log_odds[slot]) - step, least)

    def _absorb_one(self, slot: int, reported: Reported) -> None:
        where = self._state.at(slot, reported.observed_s)
        if where is None or slot not in self._state.dossiers:
            return
        dossier = self._state.dossiers[slot]
        d2, _ = squared_distance(where[0] - reported.place, where[1] + reported.cov)
        one, two = categories.best(category_weights(dossier)), categories.best(category_weights(reported.dossier))
        if d2 > _GATE or not categories.compatible(one, two):
            return
        for claim, llr in reported.dossier.claims.values():
            if dossier.join(claim, llr):
                _tell_category(dossier, claim)
        reported.count -= 1
        if reported.count <= 0:
            self._reported.remove(reported)

    def _existence(self, reported: Reported, t: float) -> float:
        age_s = max(t - reported.observed_s, 0.0)
        return float(reported.existence * 0.5 ** (age_s / self._state.settings.reported_half_life_s))


def _where(reported: Sequence[Reported], t: float) -> tuple[Array, Array]:
    """Where each may be by now, (R, 4) and (R, 4, 4): what people told of walks off at a walking pace, any way."""
    mean = np.zeros((len(reported), 4))
    cov = np.tile(np.eye(4) * 4.0, (len(reported), 1, 1))
    for k, one in enumerate(reported):
        age_s = max(t - one.observed_s, 0.0)
        mean[k, :2] = one.place
        cov[k, :2, :2] = one.cov + np.eye(2) * (1.5 * min(age_s, 600.0)) ** 2
    return mean, cov


def _meant(named: str, denied: str) -> bool:
    return denied == UNKNOWN or categories.compatible(named, denied)


def _tell_category(dossier: Dossier, claim: Claim) -> None:
    """What people say of a thing's kind; it shows only where no sensor says anything."""
    dossier.words = None
    evidence = categories.log_evidence({claim.category: claim.confidence}) if claim.category != UNKNOWN else None
    if evidence is not None and not claim.negated:
        if dossier.told is None:
            dossier.told = categories.nothing_known()
        categories.add(dossier.told, evidence, 1.0)
        np.maximum(dossier.told, -_TOLD_CAP, out=dossier.told)
