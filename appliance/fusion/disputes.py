"""Claimed against observed: when what a thing says of itself and what sensors see of it part company.

A report far from the entity that carries its identity is a *stray*. Strays that go on, while sensors still see the
entity where it was, make a second state where the claims lie (the *rival*), and after a while a dispute. The identity
stays with what is observed; nothing is merged in silence and nothing is thrown away. Where no sensor sees the entity,
the thing simply turned up elsewhere, and the entity follows it.

Rules: at most one quarrel for each identity; a quarrel ends when the claims come back or either side is gone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from appliance.domain import Dispute, Identity
from appliance.estimation.bank import NONE
from appliance.estimation.gaussian import Array
from appliance.fusion.state import State

Verdict = Literal["wait", "split", "move"]

_REMEMBER_S: Final = 600.0
_ALTERNATING: Final = 6
"""So many strays in ten minutes, with good reports between them: two things share one identity."""
_TOGETHER_MPS: Final = 60.0
"""Two strays that lie farther apart than this speed allows are noise, not a place."""
_BACK: Final = 2
_CUSTODY_S: Final = 60.0
"""After so long without a report, a sensor may have gone on with another thing under the same identity."""
_WALKED_M: Final = 1_000.0
"""Claims that stray no farther than this at first may have walked off; beyond, they have jumped."""
_SEEN_TOO: Final = 3
"""So many plots of other sensors at the place of the claims are no clutter: that place is seen as well."""


@dataclass(slots=True)
class Quarrel:
    """One identity in two places."""

    slot: int
    rival: int
    since_s: float
    fitted_s: float
    """When a report last fitted the entity."""
    unwatched: bool
    """Whether the claims first strayed near by, or after a silence: the thing may have walked off unseen."""
    raised_s: float | None = None
    back: int = 0


@dataclass(slots=True)
class _Strays:
    places: list[tuple[float, float, float]] = field(default_factory=list)
    last_good_s: float = -math.inf


class Disputes:
    """Strays and quarrels by identity; both die with their entities."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._strays: dict[Identity, _Strays] = {}
        self._quarrels: dict[Identity, Quarrel] = {}

    def rival(self, key: Identity) -> int:
        """The slot where the claims of ``key`` lie, if that is not the one that carries it; NONE otherwise."""
        quarrel = self._quarrels.get(key)
        return quarrel.rival if quarrel is not None else NONE

    def good(self, key: Identity, t: float) -> None:
        """A report that fitted its entity."""
        strays = self._strays.get(key)
        if strays is not None:
            strays.last_good_s = t
        quarrel = self._quarrels.get(key)
        if quarrel is not None:
            quarrel.back += 1
            if quarrel.back >= _BACK:
                del self._quarrels[key]

    def stray(self, key: Identity, slot: int, place: tuple[float, float], t: float) -> Verdict:
        """A report that no state could take; says what to do with it."""
        strays = self._strays.setdefault(key, _Strays())
        strays.places = [p for p in strays.places if t - p[0] <= _REMEMBER_S][-4 * _ALTERNATING :]
        strays.places.append((t, *place))
        row = [p for p in strays.places if p[0] > strays.last_good_s]
        together = len(row) >= self._state.settings.stray_reports and _near(row[-2], row[-1])
        if not together and len(strays.places) < _ALTERNATING:
            return "wait"
        if self.observed(slot, t) or not together:
            return "split"
        del self._strays[key]
        return "move"

    def part(self, key: Identity, slot: int, rival: int, t: float) -> None:
        """The claims of ``key`` lie at ``rival`` now, while ``slot`` carries it."""
        strays = self._strays.get(key)
        since = min((p[0] for p in strays.places if p[0] > strays.last_good_s), default=t) if strays else t
        entity, other = self._state.dossiers[slot], self._state.dossiers[rival]
        other.interval_s = other.interval_s or entity.interval_s  # it is the same thing that reports
        fitted = self._state.fitted_s(slot)
        unwatched = since - fitted > _CUSTODY_S or self._distance_m(slot, rival, t) <= _WALKED_M
        self._quarrels[key] = Quarrel(slot=slot, rival=rival, since_s=since, fitted_s=fitted, unwatched=unwatched)

    def at_rival(self, key: Identity, t: float) -> bool:
        """Another report at the rival. True where the identity should go there.

        It should where nothing sees the entity any more, and where sensors see a thing at the rival's place that they
        may have confused with the entity: two met, and the sensors went on with the wrong one under this identity.
        """
        quarrel = self._quarrels[key]
        quarrel.back = 0
        mistaken = quarrel.raised_s is None and self._mistakable(quarrel, quarrel.rival, t)
        if mistaken or not self.observed(quarrel.slot, t):
            del self._quarrels[key]
            return True
        return False

    def ripen(self, t: float) -> None:
        """Raise what has gone on for long enough, is farther apart than a ship is long, and has no excuse."""
        for quarrel in self._quarrels.values():
            waited = t - quarrel.since_s >= self._state.settings.dispute_after_s
            if quarrel.raised_s is not None or not waited or quarrel.back or not self.observed(quarrel.slot, t):
                continue
            if not self._excused(quarrel, t) and self._apart(quarrel.slot, quarrel.rival, t):
                quarrel.raised_s = t

    def _apart(self, slot: int, rival: int, t: float) -> bool:
        """Whether the two lie farther apart than a ship is long."""
        there = self._state.at(rival, t)
        return there is not None and self.far_apart(slot, (float(there[0][0]), float(there[0][1])), t)

    def _distance_m(self, slot: int, rival: int, t: float) -> float:
        here, there = self._state.at(slot, t), self._state.at(rival, t)
        return math.inf if here is None or there is None else math.hypot(*(here[0] - there[0]))

    def _mistakable(self, quarrel: Quarrel, slot: int, t: float) -> bool:
        """Whether sensors see this one, and may have taken it for the entity since a report last fitted that.

        What was begun since then, or has no name of its own, may have been handed on from echo to echo, if the claims
        left step by step or in a silence. What has a name must have met the entity.
        """
        dossier = self._state.dossiers[slot]
        if not self.observed(slot, t) or dossier.observed_count < _SEEN_TOO:
            return False
        if not dossier.mobile or self._state.seconds(dossier.first_ns) > quarrel.fitted_s:
            return quarrel.unwatched
        return self._state.met(quarrel.slot, slot, quarrel.fitted_s, quarrel.since_s)

    def _excused(self, quarrel: Quarrel, t: float) -> bool:
        """Whether something mistakable, whatever it is called, lies where the claims do: then nobody need be lying."""
        where = self._state.at(quarrel.rival, t)
        if where is None:
            return False
        bank, slots = self._state.core.bank, self._state.core.live
        off = bank.mean[slots, :2] + (t - bank.time_s[slots, None]) * bank.mean[slots, 2:] - where[0]
        near = slots[np.hypot(off[:, 0], off[:, 1]) <= self._reach_m(where[1])]
        return any(self._mistakable(quarrel, slot, t) for slot in near.tolist())

    def _reach_m(self, cov: Array) -> float:
        """How far from a place that is known so well things are still one, an aerial at its far end and all."""
        return self._state.settings.dispute_distance_m + 3.0 * math.sqrt(max(cov[0, 0], cov[1, 1]))

    def observed(self, slot: int, t: float) -> bool:
        """Whether a sensor has seen it lately, whatever it says of itself."""
        dossier = self._state.dossiers[slot]
        return dossier.observed_ns > 0 and t - self._state.seconds(dossier.observed_ns) <= (
            self._state.settings.observed_within_s
        )

    def far_apart(self, slot: int, place: tuple[float, float], t: float) -> bool:
        """Whether ``place`` is too far from an entity that sensors see, for its identity just to be corrected."""
        where = self._state.at(slot, t)
        if where is None or not self.observed(slot, t):
            return False
        mean, cov = where
        return math.hypot(place[0] - mean[0], place[1] - mean[1]) > self._reach_m(cov)

    def forget(self, slot: int) -> list[tuple[Identity, int]]:
        """A slot is gone; returns the identities that its rivals inherit."""
        heirs = [(key, q.rival) for key, q in self._quarrels.items() if q.slot == slot]
        for key in [key for key, q in self._quarrels.items() if slot in (q.slot, q.rival)]:
            del self._quarrels[key]
        for identity in self._state.dossiers[slot].mobile.values():
            self._strays.pop(identity, None)
        return [(key, rival) for key, rival in heirs if rival in self._state.dossiers and rival != slot]

    def standing(self, t: float) -> tuple[Dispute, ...]:
        """The disputes at ``t``, in a fixed order."""
        raised = [(key, q) for key, q in self._quarrels.items() if q.raised_s is not None]
        told = [self._told(key, quarrel, t) for key, quarrel in sorted(raised, key=lambda item: item[0])]
        return tuple(dispute for dispute in told if dispute is not None)

    def _told(self, key: Identity, quarrel: Quarrel, t: float) -> Dispute | None:
        state = self._state
        here, there = state.at(quarrel.slot, t), state.at(quarrel.rival, t)
        if here is None or there is None:
            return None
        entity, rival = state.dossiers[quarrel.slot], state.dossiers[quarrel.rival]
        away = math.hypot(*(here[0] - there[0]))
        seeing = [name for name, ring in entity.plots.items() if ring and not ring[-1][0].cooperative]
        saying = [name for name, ring in rival.plots.items() if ring and ring[-1][0].cooperative]
        return Dispute(
            entity_id=entity.entity_id,
            raised_ns=state.nanoseconds(quarrel.raised_s or 0.0),
            claimed=f"{key.kind} {key.value} says it is at {self._place(there[0])} (entity {rival.entity_id})",
            observed=f"{', '.join(sorted(seeing))} sees it at {self._place(here[0])}, {away:.0f} m away",
            sources=tuple(sorted({*seeing, *saying})),
        )

    def _place(self, at: Array) -> str:
        lat, lon, _ = self._state.frame.to_geodetic(float(at[0]), float(at[1]), 0.0)
        return f"{lat:.5f}, {lon:.5f}"


def _near(one: tuple[float, float, float], two: tuple[float, float, float]) -> bool:
    return math.hypot(two[1] - one[1], two[2] - one[2]) <= 200.0 + _TOGETHER_MPS * abs(two[0] - one[0])
