"""Interacting multiple models: one thing that may move in several ways, each a Gaussian with a weight.

Models here go straight or turn at a fixed rate, each with its process noise, so they share one state space. Weights
follow a Markov chain in continuous time, so one long step equals many short ones (to the method's approximation).
Source: Blom & Bar-Shalom, IEEE T-AC 33(8) 1988.

Rules: ``x`` (M, 4), ``p`` (M, 4, 4), ``w`` (M,) sums to one. Of W sets of models a thing moves by one: ``noise`` (W, M)
in m²/s³; ``turns`` (W, M) in rad/s; ``rates`` (W, M) are departures per second from each model, shared equally among
the others of its set.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from appliance.estimation.compiled import compiled, leaf
from appliance.estimation.gaussian import Array, move, steps

MIN_WEIGHT = 1e-6
"""A model never dies: at the next manoeuvre it must be able to come back."""


@leaf
def _switching(dt: float, rates: Array, k: int, i: int, j: int) -> float:
    """The probability of model ``j`` of set ``k`` after ``dt`` from model ``i``. Exact for two, else to first order."""
    count = rates.shape[1]
    if count == 1:
        return 1.0
    if count == 2:
        total = rates[k, 0] + rates[k, 1]
        away = rates[k, i] / total * (1.0 - math.exp(-total * dt))
    else:
        away = 1.0 - math.exp(-rates[k, i] * dt)
    return float(1.0 - away if i == j else away / (count - 1))


@leaf
def _mix_into(x: Array, p: Array, part: Array, x_out: Array, p_out: Array) -> None:
    """The Gaussian with the first two moments of the mixture of (x, p) weighted by ``part``."""
    for a in range(4):
        value = 0.0
        for i in range(part.shape[0]):
            value += part[i] * x[i, a]
        x_out[a] = value
    for a in range(4):
        for b in range(a + 1):
            value = 0.0
            for i in range(part.shape[0]):
                value += part[i] * (p[i, a, b] + (x[i, a] - x_out[a]) * (x[i, b] - x_out[b]))
            p_out[a, b] = value
            p_out[b, a] = value


class Steps(NamedTuple):
    """All that a prediction over one time step needs beside the state; made once for all states of one age."""

    dt: Array  #: (W,) the step that each set of models was made for; negative for none yet
    chances: Array  #: (W, M, M) of changing from model i to model j
    motions: Array  #: (W, M, 7) what `gaussian.steps` writes


@compiled
def no_steps(sets: int, count: int) -> Steps:
    """Room for so many sets of ``count`` models each."""
    return Steps(np.full(sets, -1.0), np.empty((sets, count, count)), np.empty((sets, count, 7)))


@leaf
def prepare(dt: float, noise: Array, turns: Array, rates: Array, steps_: Steps, k: int) -> None:
    """Fill set ``k`` of ``steps_`` for ``dt`` ≥ 0 s, unless it is so already; the rest is (W, M)."""
    if steps_.dt[k] == dt:
        return
    steps_.dt[k] = dt
    for i in range(noise.shape[1]):
        for j in range(noise.shape[1]):
            steps_.chances[k, i, j] = _switching(dt, rates, k, i, j)
        steps(dt, noise[k, i], turns[k, i], steps_.motions[k, i])


@leaf
def advance(
    x: Array, p: Array, w: Array, steps_: Steps, k: int, x_out: Array, p_out: Array, w_out: Array, part: Array
) -> None:
    """Mix and predict by set ``k`` into the ``_out`` arrays; the inputs stay. ``part`` (M,) is scratch."""
    count = w.shape[0]
    for j in range(count):
        total = 0.0
        for i in range(count):
            part[i] = w[i] * steps_.chances[k, i, j]
            total += part[i]
        w_out[j] = total
        for i in range(count):
            part[i] /= total
        _mix_into(x, p, part, x_out[j], p_out[j])
        move(x_out[j], p_out[j], steps_.motions[k, j])


@compiled
def predict(
    x: Array, p: Array, w: Array, dt: float, noise: Array, turns: Array, rates: Array,
    x_out: Array, p_out: Array, w_out: Array, k: int = 0,
) -> None:  # fmt: skip
    """Mix and predict for ``dt`` ≥ 0 s by set ``k`` into the ``_out`` arrays; the inputs stay."""
    ahead = no_steps(noise.shape[0], noise.shape[1])
    prepare(dt, noise, turns, rates, ahead, k)
    advance(x, p, w, ahead, k, x_out, p_out, w_out, np.empty(w.shape[0]))


@leaf
def merge(x: Array, p: Array, w: Array, x_out: Array, p_out: Array) -> None:
    """The one Gaussian that stands for all models: (M, 4), (M, 4, 4), (M,) → (4,), (4, 4)."""
    _mix_into(x, p, w, x_out, p_out)


@leaf
def reweigh(w: Array, log_likelihood: Array) -> float:
    """Weights after a measurement, in place; returns the log-likelihood of the mixture."""
    best, total = -math.inf, 0.0
    for j in range(w.shape[0]):
        best = max(best, log_likelihood[j])
    for j in range(w.shape[0]):
        w[j] *= math.exp(log_likelihood[j] - best)
        total += w[j]
    kept = 0.0
    for j in range(w.shape[0]):
        w[j] = max(w[j] / total, MIN_WEIGHT)
        kept += w[j]
    for j in range(w.shape[0]):
        w[j] /= kept
    return float(best + math.log(total))
