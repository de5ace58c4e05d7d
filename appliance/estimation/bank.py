"""Every state that lives, side by side in arrays, and the small value sets that the compiled scan reads.

Not here: arithmetic. A slot is an index into each array of `Bank`; ``fusion`` decides which slots are in use.

Shapes: C slots, M motion models, J plots in a look. Seconds count from an epoch that ``fusion`` chose.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from appliance.estimation.gaussian import Array

Index = npt.NDArray[np.int64]
NONE = -1

POSITION, BEARING = 0, 1
"""Kinds of a plot in `Look`: range-bearing has become a position before it comes here."""

HISTORY = 96
"""Places kept for each slot; with one every ten seconds, sixteen minutes."""


class Bank(NamedTuple):
    """States by slot. ``mean`` and ``cov`` merge the models; ``time_s`` is the time that they describe."""

    x: Array  #: (C, M, 4)
    p: Array  #: (C, M, 4, 4)
    w: Array  #: (C, M)
    mean: Array  #: (C, 4)
    cov: Array  #: (C, 4, 4)
    time_s: Array  #: (C,)
    log_odds: Array  #: (C,) of existence, at ``odds_s``
    odds_s: Array  #: (C,)
    held_s: Array  #: (C,) until then a self-reporting thing is not disbelieved for want of other sensors
    kept_s: Array  #: (C,) until then it is not dropped merely for being silent
    mobile: Index  #: (C, 2) codes of MMSI and ICAO, NONE where there is none
    past: Array  #: (C, HISTORY, 8): time, mean (4), position covariance (ee, en, nn)
    past_next: Index  #: (C,) how many places were ever kept


class Look(NamedTuple):
    """The plots of one look. ``z`` is (east, north), or (bearing, 0) from ``origin``."""

    kind: Index  #: (J,)
    z: Array  #: (J, 2)
    r: Array  #: (J, 2, 2)
    origin: Array  #: (J, 2)
    time_s: Array  #: (J,)
    velocity: Array  #: (J, 2)
    velocity_var: Array  #: (J,) negative where the plot says none
    log_density: tuple[float, float]  #: of false and new plots, per m² and per rad
    lock: Index  #: (J,) slot that the plot's identity points to, or NONE
    lock_gain: float  #: how strongly
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

    noise: Array  #: (M,) m²/s³
    turns: Array  #: (M,) rad/s
    rates: Array  #: (M,) per s
    gate: float  #: squared Mahalanobis distance
    survival_s: float  #: mean time until a thing leaves for good
    max_log_odds: float
    conflict: float  #: gain lost where both carry a mobile identity and they differ
    history_step_s: float
    retrodict_s: float  #: how far back a plot may correct a later state


def make_bank(capacity: int, models: int) -> Bank:
    """An empty bank; memory is touched only as slots come into use."""
    c, m = capacity, models
    return Bank(
        x=np.zeros((c, m, 4)),
        p=np.zeros((c, m, 4, 4)),
        w=np.zeros((c, m)),
        mean=np.zeros((c, 4)),
        cov=np.zeros((c, 4, 4)),
        time_s=np.zeros(c),
        log_odds=np.zeros(c),
        odds_s=np.zeros(c),
        held_s=np.zeros(c),
        kept_s=np.zeros(c),
        mobile=np.full((c, 2), NONE, np.int64),
        past=np.zeros((c, HISTORY, 8)),
        past_next=np.zeros(c, np.int64),
    )


def grown(bank: Bank, capacity: int) -> Bank:
    """A bank with room for ``capacity`` slots that holds what ``bank`` held."""
    larger = make_bank(capacity, bank.x.shape[1])
    for old, new in zip(bank, larger, strict=True):
        target: Any = new
        target[: len(old)] = old
    return larger
