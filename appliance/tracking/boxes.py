"""Arithmetic of boxes: overlap, pairing, and a constant-velocity Kalman filter over many boxes at once.

A box's state is four independent coordinates (centre x, centre y, width, height), each with position, velocity and its
own 2×2 covariance: an array (N, 5, 4) whose second axis is position, speed, their two variances' entries ``pp``, ``pv``
and ``vv``. Independence makes every step a closed form; compiled, a frame costs microseconds.

Not here: which pairing is tried when and what follows from it (``tracker.py``), and anything in metres.

Rules: noise is measured in box sizes and seconds, so one setting fits near and far things and every frame rate;
compiled functions work in place on arrays that the tracker owns.

Sources: Bewley 2016 (SORT) for the model; Wojke 2017 (DeepSORT) for noise in proportion to the box; Bar-Shalom 2001
§6.2.2 for white-noise acceleration in continuous time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from appliance.estimation.assignment import assign
from appliance.estimation.compiled import compiled

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PLACE: Final = 0
SPEED: Final = 1
PP: Final = 2
PV: Final = 3
VV: Final = 4
ANY_FAMILY: Final = 0
"""The code of a thing whose family is not known: it may be paired with any."""
MIN_SIDE_PX: Final = 1.0
"""A filter may shrink a box, but not turn it inside out."""


class BoxNoise(NamedTuple):
    """Standard deviations in box sizes, where a size is the mean of width and height."""

    measured: float = 0.07
    """A detector's box against the truth, each coordinate."""
    acceleration: float = 0.8
    """White acceleration of the centre: what the speed may gain in one second, sizes per second."""
    growth: float = 0.3
    """Likewise for width and height."""
    first_speed: float = 0.8
    """How fast a new thing may move, sizes per second."""


def nothing() -> Array:
    """The state of no boxes."""
    return np.zeros((0, 5, 4))


def initiate(corners: Array, noise: BoxNoise) -> Array:
    """The state of new boxes (N, 4 corners) at rest, as uncertain as one look leaves them."""
    state = np.zeros((len(corners), 5, 4))
    state[:, PLACE, :2] = (corners[:, :2] + corners[:, 2:]) * 0.5
    state[:, PLACE, 2:] = corners[:, 2:] - corners[:, :2]
    size = (state[:, PLACE, 2:3] + state[:, PLACE, 3:4]) * 0.5
    state[:, PP] = (noise.measured * size) ** 2
    state[:, VV, :2] = (noise.first_speed * size) ** 2
    state[:, VV, 2:] = (noise.growth * size) ** 2
    return state


def to_corners(state: Array) -> Array:
    """(N, 4) of x1, y1, x2, y2."""
    corners = np.empty((len(state), 4))
    _to_corners(state, corners)
    return corners


@compiled
def _to_corners(state: Array, corners: Array) -> None:
    for row in range(state.shape[0]):
        for k in range(2):
            half = 0.5 * state[row, PLACE, k + 2]
            corners[row, k] = state[row, PLACE, k] - half
            corners[row, k + 2] = state[row, PLACE, k] + half


@compiled
def predict(state: Array, dt_s: float, noise: BoxNoise, growing: Mask) -> None:
    """Move the boxes ``dt_s`` on. Only rows marked ``growing`` change size: an unseen thing keeps the size it had."""
    for row in range(state.shape[0]):
        size = 0.5 * (state[row, PLACE, 2] + state[row, PLACE, 3])
        for k in range(4):
            rate = (noise.acceleration if k < 2 else noise.growth) * size
            spread = rate * rate
            if k >= 2 and not growing[row]:
                state[row, SPEED, k] = 0.0
            state[row, PLACE, k] += dt_s * state[row, SPEED, k]
            state[row, PP, k] += dt_s * (2.0 * state[row, PV, k] + dt_s * state[row, VV, k]) + spread * dt_s**3 / 3.0
            state[row, PV, k] += dt_s * state[row, VV, k] + spread * dt_s**2 / 2.0
            state[row, VV, k] += spread * dt_s
        for k in range(2, 4):
            state[row, PLACE, k] = max(state[row, PLACE, k], MIN_SIDE_PX)


@compiled
def update(state: Array, corners: Array, column_of: Index, noise: BoxNoise, trust: Array) -> None:
    """Take in look ``column_of[row]`` (−1: none) of ``corners`` (M, 4); ``trust`` (M,) in (0, 1] widens its noise."""
    for row in range(state.shape[0]):
        column = column_of[row]
        if column < 0:
            continue
        size = 0.5 * (state[row, PLACE, 2] + state[row, PLACE, 3])
        variance = (noise.measured * size / trust[column]) ** 2
        for k in range(4):
            low, high = corners[column, k % 2], corners[column, k % 2 + 2]
            surprise = (0.5 * (low + high) if k < 2 else high - low) - state[row, PLACE, k]
            total = state[row, PP, k] + variance
            gain_p, gain_v = state[row, PP, k] / total, state[row, PV, k] / total
            state[row, PLACE, k] += gain_p * surprise
            state[row, SPEED, k] += gain_v * surprise
            state[row, VV, k] -= gain_v * state[row, PV, k]
            state[row, PV, k] *= variance / total
            state[row, PP, k] = gain_p * variance
        for k in range(2, 4):
            state[row, PLACE, k] = max(state[row, PLACE, k], MIN_SIDE_PX)


@compiled
def overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes (4 corners)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    common = width * height
    share: float = common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
    return share


@compiled
def pair(
    members: Array, looks: Array, member_family: Index, look_family: Index,
    column_of: Index, taken: Mask, rows: Mask, columns: Mask, gate: float,
) -> None:  # fmt: skip
    """Pair free members of ``rows`` with free looks of ``columns`` for the greatest total overlap at or above ``gate``.

    ``members`` (N, 4) and ``looks`` (M, 4) are corners; families must agree or be `ANY_FAMILY`. ``column_of`` (N,) and
    ``taken`` (M,) say what is taken already and take up what is paired now.
    """
    starts = np.zeros(members.shape[0] + 1, np.int64)
    found = np.empty(members.shape[0] * looks.shape[0], np.int64)
    gains = np.empty(members.shape[0] * looks.shape[0], np.float64)
    count = 0
    for i in range(members.shape[0]):
        if rows[i] and column_of[i] < 0:
            for j in range(looks.shape[0]):
                alike = member_family[i] == look_family[j] or member_family[i] * look_family[j] == ANY_FAMILY
                if columns[j] and not taken[j] and alike:
                    shared = overlap(members[i], looks[j])
                    if shared >= gate:
                        found[count] = j
                        # One more pair beats any overlap: nobody stays alone so that another fits a little better.
                        gains[count] = shared + 1.0
                        count += 1
        starts[i + 1] = count
    if count == 0:
        return
    chosen = np.empty(members.shape[0], np.int64)
    assign(starts, found[:count], gains[:count], looks.shape[0], chosen)
    for i in range(members.shape[0]):
        if chosen[i] >= 0:
            column_of[i] = chosen[i]
            taken[chosen[i]] = True


@compiled
def is_twin(column: int, looks: Array, families: Index, explained: Mask, gate: float) -> bool:
    """Whether look ``column`` overlaps an explained look of its own family by ``gate`` or more."""
    for j in range(looks.shape[0]):
        if explained[j] and families[j] == families[column] and overlap(looks[j], looks[column]) >= gate:
            return True
    return False
