"""The tracker in numbers alone: looks in, slots out. Begins, updates, fades and drops states; knows no plot or person.

Rules: slots are handed out and live in the order in which things begin, so the same looks give the same slots. What a
state is *called* and what it rests on is kept by ``fusion.py`` beside it, by slot.
"""

from __future__ import annotations

import math

import numpy as np

from appliance.estimation import lifecycle
from appliance.estimation.bank import NONE, Index, Look, Moves, Sight, grown, make_bank
from appliance.estimation.gaussian import Array
from appliance.estimation.scan import Outcome, scan
from appliance.fusion.settings import FusionSettings, SensorModel
from appliance.geodesy import LocalFrame

_FIRST_CAPACITY = 64
MAX_SENSORS = 256


class Core:
    """All states, and which slots are in use. Times are seconds from the caller's epoch."""

    def __init__(self, settings: FusionSettings) -> None:
        motion = settings.motion
        self.moves = Moves(
            noise=np.array(motion.noise_m2ps3),
            turns=np.array(motion.turns_radps),
            rates=np.array(motion.rates_per_s),
            gate=settings.gate,
            survival_s=settings.survival_s,
            max_log_odds=settings.max_log_odds,
            conflict=1e4,
            history_step_s=10.0,
            retrodict_s=settings.retrodict_s,
        )
        self.bank = make_bank(_FIRST_CAPACITY, len(motion.noise_m2ps3))
        self.confirmed = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.live: Index = np.empty(0, np.int64)
        self._free: list[int] = list(range(_FIRST_CAPACITY - 1, -1, -1))
        self._looked: dict[str, Array] = {}
        self._weights = np.array(motion.first_weights)
        self._speed_var = motion.speed_sigma_mps**2
        self._settings = settings
        self._limits = np.array(
            [
                settings.delete_log_odds,
                settings.tentative_hold_s,
                settings.confirmed_hold_s,
                settings.max_sigma_m**2,
                settings.survival_s,
                settings.confirm_log_odds,
            ]
        )

    def look(self, sensor_id: str, look: Look, sight: Sight, t: float) -> Outcome:
        """Run one look against all living states."""
        return scan(self.live, self.bank, look, sight, self.moves, t, self._last_looks(sensor_id))

    def begin(self, look: Look, which: Index, log_odds: float) -> Index:
        """New states at the plots ``which``; returns their slots, fewer where the room is spent."""
        room = self._settings.max_entities - len(self.live)
        which = which[: max(room, 0)]
        while len(self._free) < len(which):
            self._grow()
        slots = np.array([self._free.pop() for _ in range(len(which))], np.int64)
        if len(slots):
            lifecycle.begin(self.bank, slots, look, which, self._weights, self._speed_var, log_odds)
            self.confirmed[slots] = log_odds >= self._settings.confirm_log_odds
            for looks in self._looked.values():
                looks[slots] = -1e18
            self.live = np.concatenate((self.live, slots))
        return slots

    def restart(self, slot: int, look: Look, log_odds: float) -> None:
        """Begin a living slot anew at the look's only plot."""
        lifecycle.begin(
            self.bank, np.array([slot]), look, np.zeros(1, np.int64), self._weights, self._speed_var, log_odds
        )

    def confirm(self, slots: Index) -> Index:
        """Mark those of ``slots`` that are believed by now; returns the newly marked."""
        fresh = slots[(self.bank.log_odds[slots] >= self._settings.confirm_log_odds) & ~self.confirmed[slots]]
        self.confirmed[fresh] = True
        return fresh

    def doomed(self, t: float) -> Index:
        """Fade all to ``t``; the slots that are not to be kept. They live on until `drop`."""
        return lifecycle.doomed(self.live, self.bank, self.confirmed, t, self._limits)

    def drop(self, slots: Index) -> None:
        """Free these slots."""
        if not len(slots):
            return
        self.live = lifecycle.without(self.live, slots)
        self.bank.mobile[slots] = NONE
        self._free.extend(slots.tolist())

    def _last_looks(self, sensor_id: str) -> Array:
        looks = self._looked.get(sensor_id)
        if looks is None:
            if len(self._looked) >= MAX_SENSORS:  # more than any unit has: forget the first, never grow
                del self._looked[next(iter(self._looked))]
            looks = self._looked[sensor_id] = np.full(len(self.confirmed), -1e18)
        return looks

    def _grow(self) -> None:
        old = len(self.confirmed)
        self.bank = grown(self.bank, 2 * old)
        self.confirmed = np.concatenate((self.confirmed, np.zeros(old, np.bool_)))
        for name, looks in self._looked.items():
            self._looked[name] = np.concatenate((looks, np.full(old, -1e18)))
        self._free.extend(range(old, 2 * old))


def blind(detection_probability: float) -> Sight:
    """A look that says nothing of what it did not see: an unknown field of view, or a thing's report of itself."""
    return Sight(detection_probability, False, True, 0.0, 0.0, 0.0, math.pi, 0.0, math.inf, 0.0)


def sight_of(model: SensorModel, frame: LocalFrame) -> Sight:
    """A sensor's model → what the compiled scan reads."""
    view = model.coverage
    if view is None:
        return blind(model.detection_probability)
    east, north, _ = frame.local(view.origin)
    everywhere = view.half_angle_rad >= math.pi and view.near_m == 0.0 and math.isinf(view.far_m)
    return Sight(
        model.detection_probability,
        True,
        everywhere,
        east,
        north,
        view.heading_rad,
        view.half_angle_rad,
        view.near_m,
        view.far_m,
        model.miss_correlation_s,
    )
