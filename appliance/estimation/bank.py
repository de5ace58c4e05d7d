"""Every state that lives, side by side in arrays, and the small value sets that the compiled scan reads.

Not here: arithmetic. A slot is an index into each array of `Bank`; which are in use stands in ``live``, in the order in
which they began.

Shapes: C slots, W sets of ways of moving with M motion models each, S sensors, J plots in a look. Seconds count from
an epoch that ``fusion`` chose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from appliance.estimation.gaussian import Array

Index = npt.NDArray[np.int64]
NONE = -1
NEVER = -1e18
NEW = -2
"""In `Look.lock`: a sensor's running number that nothing carries yet."""

POSITION, BEARING = 0, 1
"""Kinds of a plot in `Look`: range-bearing has become a position before it comes here."""

SHARERS = 4
"""Sensors whose shared errors a state keeps apart."""
MORE, TWICE, LOST, SHIFTS = 0, 4, 8, 12
"""Rows of `Bank.shares`, see ``shared.py``: three (4, 4) matrices, then two shifts (4,) of each sharer."""

HISTORY = 96
"""Places kept for each slot; with one every ten seconds, sixteen minutes."""


class Bank(NamedTuple):
    """States by slot. ``mean`` and ``cov`` merge the models; ``time_s`` is the time that they describe."""

    x: Array  #: (C, M, 4)
    p: Array  #: (C, M, 4, 4)
    w: Array  #: (C, M)
    ways: Index  #: (C,) by which set of motion models it moves, 0 at first
    mean: Array  #: (C, 4)
    cov: Array  #: (C, 4, 4)
    time_s: Array  #: (C,)
    log_odds: Array  #: (C,) of existence, at ``odds_s``
    odds_s: Array  #: (C,)
    held_s: Array  #: (C,) until then a self-reporting thing is not disbelieved for want of other sensors
    kept_s: Array  #: (C,) until then it is not dropped merely for being silent
    mobile: Index  #: (C, 2) codes of MMSI and ICAO, NONE where there is none
    numbered: Index  #: (C,) the sensor whose running number it carries, NONE where it carries none
    past: Array  #: (C, HISTORY, 8): time, mean (4), position covariance as it is told (ee, en, nn)
    past_next: Index  #: (C,) how many places were ever kept
    confirmed: npt.NDArray[np.bool_]  #: (C,) whether it was ever believed
    shares: Array  #: (C, SHIFTS + 2 · SHARERS, 4) what its sensors' shared errors do to it, by the rows above
    sharers: Index  #: (C, SHARERS) whose; NONE where there is none, and none after it
    looked: Array  #: (S, C) when each sensor last looked at it
    live: Index  #: (C,) the first ``counts[0]``: slots in use, oldest first
    free: Index  #: (C,) the first ``counts[1]``: slots not in use, next one last
    counts: Index  #: (2,)


class Look(NamedTuple):
    """The plots of one look. ``z`` is (east, north), or (bearing, 0) from ``origin``."""

    kind: Index  #: (J,)
    z: Array  #: (J, 2)
    r: Array  #: (J, 2, 2)
    shared: Array  #: (J, 2, 2) L of the shared part L·Lᵀ of ``r``, a column for each error; zeros where there is none
    origin: Array  #: (J, 2)
    time_s: Array  #: (J,)
    velocity: Array  #: (J, 2)
    velocity_var: Array  #: (J,) negative where the plot says none
    rate: Array  #: (J,) m/s away from ``origin``
    rate_var: Array  #: (J,) negative where the plot says none
    log_density: tuple[float, float]  #: of false and new plots, per m² and per rad
    lock: Index  #: (J,) slot that the plot's identity points to, NEW, or NONE where it has none
    lock_gain: float  #: how strongly
    lock_gate: float  #: so many times the gate away its slot may lie
    mobile: Index  #: (J, 2)


class Sight(NamedTuple):
    """What a sensor's look can say of things that it did not see."""

    detection: float
    misses: bool  #: whether a miss means anything
    everywhere: bool
    east: float
    north: float
    heading: float
    half: float
    near: float
    far: float
    correlation_s: float


class Moves(NamedTuple):
    """How things move and how far a plot may lie."""

    noise: Array  #: (W, M) m²/s³
    most_noise: Array  #: (W,) the greatest of each set
    turns: Array  #: (W, M) rad/s
    rates: Array  #: (W, M) per s
    gate: float  #: squared Mahalanobis distance
    survival_s: float  #: mean time until a thing leaves for good
    max_log_odds: float
    conflict: float  #: gain lost where both carry a mobile identity and they differ
    history_step_s: float
    retrodict_s: float  #: how far back a plot may correct a later state
    speed_var: float  #: m²/s² each axis, of things that nobody follows yet


class Rules(NamedTuple):
    """How states begin, when they are believed and when they end."""

    weights: Array  #: (W, M) of the motion models, at first
    speed_var: float  #: m²/s² each axis, of a thing seen for the first time
    confirm: float  #: log-odds
    delete: float  #: log-odds
    tentative_s: float  #: how long one that was never believed is kept unseen
    confirmed_s: float  #: the same for one that was
    max_var: float  #: m², beyond which a state says nothing
    room: int  #: greatest number of states


def make_bank(capacity: int, models: int, sensors: int = 1) -> Bank:
    """An empty bank; memory is touched only as slots come into use."""
    c, m = capacity, models
    return Bank(
        x=np.zeros((c, m, 4)),
        p=np.zeros((c, m, 4, 4)),
        w=np.zeros((c, m)),
        ways=np.zeros(c, np.int64),
        mean=np.zeros((c, 4)),
        cov=np.zeros((c, 4, 4)),
        time_s=np.zeros(c),
        log_odds=np.zeros(c),
        odds_s=np.zeros(c),
        held_s=np.zeros(c),
        kept_s=np.zeros(c),
        mobile=np.full((c, 2), NONE, np.int64),
        numbered=np.full(c, NONE, np.int64),
        past=np.zeros((c, HISTORY, 8)),
        past_next=np.zeros(c, np.int64),
        confirmed=np.zeros(c, np.bool_),
        shares=np.zeros((c, SHIFTS + 2 * SHARERS, 4)),
        sharers=np.full((c, SHARERS), NONE, np.int64),
        looked=np.full((sensors, c), NEVER),
        live=np.zeros(c, np.int64),
        free=np.arange(c - 1, -1, -1),
        counts=np.array([0, c]),
    )


def grown(bank: Bank, capacity: int, sensors: int) -> Bank:
    """A bank with room for ``capacity`` slots and ``sensors`` that holds what ``bank`` held."""
    old = len(bank.time_s)
    larger = make_bank(capacity, bank.x.shape[1], sensors)
    for name in Bank._fields:
        if name not in ("looked", "free", "counts"):
            getattr(larger, name)[:old] = getattr(bank, name)
    larger.looked[: len(bank.looked), :old] = bank.looked
    more, spare = capacity - old, int(bank.counts[1])
    larger.free[:more] = np.arange(capacity - 1, old - 1, -1)
    larger.free[more : more + spare] = bank.free[:spare]
    larger.counts[:] = bank.counts[0], more + spare
    return larger
