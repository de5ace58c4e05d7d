"""What the parts of fusion share: the states, the dossiers beside them, the identities, and the clock's zero.

Not here: decisions. A slot that opens gets a dossier; a slot that closes loses it and its identities.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import Final

import numpy as np

from appliance.domain import Identity, Plot
from appliance.estimation.bank import HISTORY, NONE
from appliance.estimation.gaussian import Array
from appliance.fusion.categories import most_probably
from appliance.fusion.core import Core
from appliance.fusion.dossier import Dossier
from appliance.fusion.identity import IdentityBook
from appliance.fusion.settings import FusionSettings, SensorModel
from appliance.geodesy import LocalFrame

MAX_DELETED: Final = 256
DELETED_S: Final = 120.0
"""A thing that late plots bring back within this time has its name again. Every snapshot has a copy of each."""
_BEFORE_S: Final = 120.0
"""A thing first seen now may have been there a little earlier, unseen: so far back its past is guessed."""


class Dossiers(dict[int, Dossier]):
    """Dossier by slot. One that a lone plot began is made when it is first asked for: most are clutter's.

    It does not know the state that it is part of: a copy of it that is dropped must be gone at once, and what refers to
    itself stays until the interpreter looks for such rings, with the arrays of forty copies a minute.
    """

    def __init__(self, settings: FusionSettings) -> None:
        super().__init__()
        self._settings = settings
        self._promised: dict[int, tuple[int, Plot, float]] = {}

    def promise(self, slot: int, sequence: int, plot: Plot, llr: float) -> None:
        """This slot will have a dossier that begins with this plot."""
        self._promised[slot] = (sequence, plot, llr)

    def forget(self, slot: int) -> bool:
        """Drop a dossier that nobody ever asked for; False where there is a real one."""
        return self._promised.pop(slot, None) is not None

    def begun(self, sequence: int, first_observation: str, first_ns: int) -> Dossier:
        """An empty dossier, of no slot yet."""
        return Dossier(
            unit=self._settings.unit,
            sequence=sequence,
            first_observation=first_observation,
            first_ns=first_ns,
            evidence_per_source=self._settings.evidence_per_source,
            claims_kept=self._settings.claims_per_entity,
        )

    def __missing__(self, slot: int) -> Dossier:
        sequence, plot, llr = self._promised.pop(slot)
        dossier = self[slot] = self.begun(sequence, f"{plot.sensor_id}\0{plot.observation_id}", plot.observed_ns)
        dossier.note(plot, llr, "", self._settings.model(plot.sensor_id).category_weight)
        return dossier

    def __contains__(self, slot: object) -> bool:
        return super().__contains__(slot) or slot in self._promised


class State:
    """One picture's state, by slot."""

    def __init__(self, settings: FusionSettings) -> None:
        self.settings = settings
        self.frame = LocalFrame(settings.origin)
        self.core = Core(settings)
        self.dossiers = Dossiers(settings)
        self.book = IdentityBook()
        self.deleted: deque[tuple[float, int, Dossier, Array, Array]] = deque(maxlen=MAX_DELETED)
        """(when in s, when in ns, dossier, mean, covariance) of confirmed things that were dropped lately."""
        self.refused: Counter[str] = Counter()
        self.base_ns = 0
        self.newest_ns = 0
        self._begun = 0

    def seconds(self, ns: int) -> float:
        """Seconds since the first observation."""
        return (ns - self.base_ns) * 1e-9

    def nanoseconds(self, t: float) -> int:
        """The instant ``t`` s after the first observation."""
        return self.base_ns + round(t * 1e9)

    def model(self, sensor_id: str) -> SensorModel:
        """How far this sensor can be believed."""
        return self.settings.model(sensor_id)

    def dossier(self, first_observation: str, first_ns: int) -> Dossier:
        """An empty dossier with the next sequence number."""
        self._begun += 1
        return self.dossiers.begun(self._begun, first_observation, first_ns)

    def open(self, slot: int, plot: Plot, llr: float) -> None:
        """Give a new slot its dossier, with the plot that began it; most are clutter's and are never asked for."""
        self._begun += 1
        self.dossiers.promise(slot, self._begun, plot, llr)
        self._carry_tracklets(slot, plot)

    def next_sequence(self) -> int:
        """A number that no dossier has had."""
        self._begun += 1
        return self._begun

    def is_open(self, slot: int) -> bool:
        """Whether a slot has a dossier that was ever asked for."""
        return dict.__contains__(self.dossiers, slot)

    def note(self, slot: int, plot: Plot, llr: float, runner_up: int) -> None:
        """Take a plot as evidence for the slot's entity, and the tracklet that it may carry."""
        dossier = self.dossiers[slot]
        other = self.dossiers[runner_up].entity_id if runner_up != NONE and runner_up in self.dossiers else ""
        dossier.note(plot, llr, other, self.model(plot.sensor_id).category_weight)
        if plot.categories:
            self.move_by_kind(slot)
        self._carry_tracklets(slot, plot)

    def move_by_kind(self, slot: int) -> None:
        """Let the slot's entity move as its kind does, by what sensors say: people stand, too."""
        sensed = self.dossiers[slot].sensed
        self.core.walks(slot, sensed is not None and most_probably(sensed, "person"))

    def _carry_tracklets(self, slot: int, plot: Plot) -> None:
        for identity in plot.identities:
            if identity.kind == "tracklet":
                self.carry_tracklet(slot, identity)
                self.core.bank.numbered[slot] = self.core.sensor(plot.sensor_id)

    def carry_tracklet(self, slot: int, identity: Identity) -> None:
        """This sensor's running number is this entity now, and no other."""
        before = self.book.bind(identity, slot)
        if before != NONE:
            self.dossiers[before].lose(identity)
        dropped = self.dossiers[slot].add_tracklet(identity)
        if dropped is not None:
            self.book.release(dropped, slot)

    def carry_mobile(self, slot: int, identity: Identity) -> None:
        """This MMSI or ICAO address is this entity now, and no other; what it carried of that kind before goes."""
        column = 0 if identity.kind == "mmsi" else 1
        before = self.book.bind(identity, slot)
        if before != NONE:
            self.dossiers[before].lose(identity)
            self.core.bank.mobile[before, column] = NONE
            self.core.bank.held_s[before] = self.core.bank.kept_s[before] = -1e18  # the reports were another's
        had = self.dossiers[slot].mobile.get(identity.kind)
        if had is not None and had != identity:
            self.book.release(had, slot)
        self.dossiers[slot].carry(identity)
        self.core.bank.mobile[slot, column] = self.book.code(identity)

    def close(self, slot: int, t: float) -> None:
        """The slot is gone: its identities are free, and if it was believed it is told once more as deleted."""
        if self.dossiers.forget(slot):
            return
        dossier = self.dossiers.pop(slot)
        for identity in (*dossier.mobile.values(), *dossier.tracklets):
            self.book.release(identity, slot)
        bank = self.core.bank
        if self.core.confirmed[slot]:
            doubt = self.core.doubt(np.array([slot]))[0]
            self.deleted.append((t, self.nanoseconds(t), dossier, bank.mean[slot].copy(), doubt))
            while t - self.deleted[0][0] > DELETED_S:
                self.deleted.popleft()

    def at(self, slot: int, t: float) -> tuple[Array, Array] | None:
        """Where the thing was or will be at ``t``: (east, north), covariance (2, 2); None long before it was seen."""
        bank = self.core.bank
        if t >= bank.time_s[slot]:
            mean, cov = self.core.ahead(np.array([slot]), t)
            return mean[0, :2], cov[0, :2, :2]
        rows = self._past(slot)
        after = int(np.searchsorted(rows[:, 0], t))
        if after == 0:
            early = float(rows[0, 0]) - t
            return _shifted(rows[0], -early) if early <= _BEFORE_S else None
        later = rows[after] if after < len(rows) else self._now_row(slot)
        return _between(rows[after - 1], later, t)

    def fitted_s(self, slot: int) -> float:
        """When a report of its own last fitted it."""
        return self.seconds(self.dossiers[slot].reported_ns)

    def met(self, one: int, two: int, since_s: float, until_s: float) -> bool:
        """Whether two things were so near each other that sensors may have taken the one for the other.

        A report fits up to `dispute_distance_m` from its entity, and the other may be as far again from the report.
        Where one began later, from then on.
        """
        a, b = (np.vstack((self._past(slot), self._now_row(slot))) for slot in (one, two))
        first = max(a[0, 0], b[0, 0], since_s)
        times = np.concatenate((a[:, 0], b[:, 0])).clip(first, max(first, until_s))
        off = [np.interp(times, a[:, 0], a[:, k]) - np.interp(times, b[:, 0], b[:, k]) for k in (1, 2)]
        return float(np.hypot(*off).min()) <= 2.0 * self.settings.dispute_distance_m

    def _past(self, slot: int) -> Array:
        """The places that are kept of it, oldest first."""
        kept = int(self.core.bank.past_next[slot])
        rows: Array = self.core.bank.past[slot, np.arange(max(kept - HISTORY, 0), kept) % HISTORY]
        return rows

    def _now_row(self, slot: int) -> Array:
        bank = self.core.bank
        c = self.core.doubt(np.array([slot]))[0]
        return np.array([bank.time_s[slot], *bank.mean[slot], c[0, 0], c[0, 1], c[1, 1]])


def _shifted(row: Array, dt: float) -> tuple[Array, Array]:
    """A kept place moved by its own velocity, the doubt growing by a metre and a half each second."""
    cov = np.array([[row[5], row[6]], [row[6], row[7]]]) + np.eye(2) * (1.5 * dt) ** 2
    return row[1:3] + dt * row[3:5], cov


def _between(one: Array, two: Array, t: float) -> tuple[Array, Array]:
    """Cubic through two kept places with their velocities; the covariance is the straight mean of theirs."""
    gap = float(two[0] - one[0])
    if gap <= 1e-6:
        return _shifted(one, 0.0)
    s = (t - float(one[0])) / gap
    h = (1 + 2 * s) * (1 - s) ** 2, s * (1 - s) ** 2 * gap, s * s * (3 - 2 * s), s * s * (s - 1) * gap
    place = h[0] * one[1:3] + h[1] * one[3:5] + h[2] * two[1:3] + h[3] * two[3:5]
    ee, en, nn = (1 - s) * one[5:8] + s * two[5:8]
    return place, np.array([[ee, en], [en, nn]])


def squared_distance(difference: Array, cov: Array) -> tuple[float, float]:
    """(squared Mahalanobis distance, log-density) of a difference in the plane."""
    det = float(cov[0, 0] * cov[1, 1] - cov[0, 1] * cov[1, 0])
    a, b = float(difference[0]), float(difference[1])
    d2 = (float(cov[1, 1]) * a * a - 2.0 * float(cov[0, 1]) * a * b + float(cov[0, 0]) * b * b) / det
    return d2, -0.5 * d2 - math.log(2.0 * math.pi) - 0.5 * math.log(det)
