"""Two that met and parted with each other's identity: the sensors took the one for the other, and AIS puts it right.

Where two identified things pass close by, a radar may go on with the wrong one. Then the reports of each fit not its
own entity but the other, which carries another identity. Once is chance or the length of a ship; twice in a row the
two entities exchange their identities.

Rules: only between entities that were near each other since a report last fitted: what claims to be elsewhere
altogether is a matter for ``disputes.py``. Nothing but identities and what was told with them changes hands.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from appliance.domain import Identity
from appliance.estimation.bank import NONE
from appliance.estimation.gaussian import Array
from appliance.fusion.identity import MOBILE_KINDS
from appliance.fusion.intake import Laid
from appliance.fusion.state import State, squared_distance

_TWICE: Final = 2
_MAX_NOTICED: Final = 1_024
HULL_SIGMA_M: Final = 75.0
"""An aerial stands anywhere on a ship of up to 400 m, a sensor sees her middle or her nearest end: told and seen part
company by so much and both are right."""
_REACH_M: Final = 400.0
"""A report farther than this from a state is not worth the exact distance: no gate is as wide."""


class Swaps:
    """What was noticed lately, by identity: which two entities, and how often in a row."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._noticed: dict[Identity, tuple[int, int, int]] = {}

    def put_right(self, laid: Laid, key: Identity, slot: int, t: float) -> bool:
        """A report of ``key`` did not fit ``slot``, which carries it. True where it now stands where the report is."""
        other = self._other(laid, key, slot, t)
        if other == NONE:
            self._noticed.pop(key, None)
            return False
        one, two = self._state.dossiers[slot].sequence, self._state.dossiers[other].sequence
        was = self._noticed.get(key)
        times = was[2] + 1 if was is not None and was[:2] == (one, two) else 1
        if times < _TWICE:
            if len(self._noticed) >= _MAX_NOTICED:
                del self._noticed[next(iter(self._noticed))]
            self._noticed[key] = (one, two, times)
            return False
        self._noticed.pop(key, None)
        self._exchange(key, slot, other)
        return True

    def _other(self, laid: Laid, key: Identity, slot: int, t: float) -> int:
        """The entity of another identity that the report fits best; NONE without one."""
        state, bank, column = self._state, self._state.core.bank, MOBILE_KINDS.index(key.kind)
        live = state.core.live
        named = live[(bank.mobile[live, column] != NONE) & (live != slot)]
        off = bank.mean[named, :2] + (t - bank.time_s[named, None]) * bank.mean[named, 2:] - laid.z[0]
        best, found = state.settings.gate, NONE
        for near in named[np.hypot(off[:, 0], off[:, 1]) <= _REACH_M].tolist():
            where = state.at(near, t)
            if where is not None:
                d2, _ = squared_distance(where[0] - laid.z[0], where[1] + laid.r[0] + self._doubt(slot, near, laid, t))
                if d2 < best and state.met(slot, near, state.fitted_s(slot), t):
                    best, found = d2, near
        return found

    def _doubt(self, slot: int, other: int, laid: Laid, t: float) -> Array:
        """A hull's length, where the report cannot be of ``slot`` and the other has not said lately that it is there.

        Alongside each other the reports of two fit either hull.
        """
        state, here = self._state, self._state.at(slot, t)
        away = math.inf if here is None else math.hypot(*(here[0] - laid.z[0]))
        silent = state.fitted_s(other) <= state.fitted_s(slot) + state.settings.dispute_after_s
        apart = away > state.settings.dispute_distance_m
        return np.eye(2) * (HULL_SIGMA_M**2 if apart and silent else 0.0)

    def _exchange(self, key: Identity, slot: int, other: int) -> None:
        state = self._state
        one, two = state.dossiers[slot], state.dossiers[other]
        its = two.mobile.get(key.kind)
        held, kept = state.core.bank.held_s[[slot, other]], state.core.bank.kept_s[[slot, other]]
        state.carry_mobile(other, key)
        if its is not None:
            state.carry_mobile(slot, its)
        state.core.bank.held_s[[other, slot]], state.core.bank.kept_s[[other, slot]] = held, kept
        one.names, two.names = two.names, one.names
        one.words = two.words = None
        one.interval_s, two.interval_s = two.interval_s, one.interval_s
        one.reported_ns, two.reported_ns = two.reported_ns, one.reported_ns
