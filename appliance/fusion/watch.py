"""Looks that should have shown a thing and did not, kept for whoever asks why. Off in service: a replay can count them.

Rules: a miss is what the compiled scan took from a state's log-odds beyond their fading with time; so what is counted
here is what was really held against the thing, no estimate beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from appliance.estimation.bank import Index
from appliance.estimation.gaussian import Array
from appliance.fusion.core import Core

_LEAST: Final = 1e-3
"""Nats; below is rounding."""


class Before(NamedTuple):
    """The living before a look: slots, log-odds of existence and their times."""

    slots: Index
    log_odds: Array
    odds_s: Array


@dataclass(slots=True)
class Missed:
    """Looks of one sensor that did not show one thing."""

    looks: int = 0
    log_odds: float = 0.0
    newest_s: float = 0.0


class Watch:
    """Misses by slot and sensor; a slot that closes takes them along."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._missed: dict[int, dict[str, Missed]] = {}

    def before(self) -> Before:
        """To be asked for before a look."""
        slots = self._core.live.copy()
        return Before(slots, self._core.bank.log_odds[slots].copy(), self._core.bank.odds_s[slots].copy())

    def after(self, before: Before, sensor_id: str, t: float, updated: Index) -> None:
        """A look at ``t`` s is done; ``updated`` (J,) are the slots that its plots fell to."""
        faded = _faded(before, self._core.bank.odds_s[before.slots], self._core.moves.survival_s)
        lost = faded - self._core.bank.log_odds[before.slots]
        for k in np.flatnonzero((lost > _LEAST) & ~np.isin(before.slots, updated)).tolist():
            missed = self._missed.setdefault(int(before.slots[k]), {}).setdefault(sensor_id, Missed())
            missed.looks += 1
            missed.log_odds -= float(lost[k])
            missed.newest_s = t

    def missed(self, slot: int) -> dict[str, Missed]:
        """By sensor."""
        return dict(self._missed.get(slot, {}))

    def close(self, slot: int) -> None:
        """The slot is gone."""
        self._missed.pop(slot, None)


def _faded(before: Before, now_s: Array, survival_s: float) -> Array:
    """As ``estimation.gating.fade``, for all at once."""
    stay = np.exp(-np.maximum(now_s - before.odds_s, 0.0) / survival_s)
    odds = np.exp(before.log_odds)
    out: Array = np.log(np.maximum(odds * stay / (1.0 + odds * (1.0 - stay)), 1e-300))
    return out
