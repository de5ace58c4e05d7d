"""A builder's nested phases as one fraction that only rises, with the time that is left.

TensorRT tells phases by name: each has a parent and a number of steps, several phases may run inside one step of their
parent, and some never report their last steps, or are silent for most of the build. This turns them into one number
between 0 and 1. Time is an argument; no clock here.

Rules: the fraction never falls, whatever is told, in whatever order. Between events it creeps towards the end of the
step that is running, at the pace so far, and never reaches it. Time left is a guess from that pace, and None until
there is one. One is reached by ``finish`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_PHASES: Final = 256
"""Phases that are open at once; real builds have about ten."""

#: How much of a phase's time each of its steps takes, where steps are very unlike: the fifth step of the root compiles
#: and times every kernel, the others copy graphs.
_WEIGHTS: Final[Mapping[str, tuple[float, ...]]] = {"Building engine": (1.0, 1.0, 4.0, 1.0, 88.0, 5.0)}
#: How much of what remains of its parent's step a phase takes, where it is known; TensorRT times tactics for most of a
#: build, and TensorRT for RTX, which builds without a GPU, times none and compiles in silence.
_SHARES: Final[Mapping[str, float]] = {
    "Optimizing graph": 0.03,
    "Computing profile costs": 1.0,
    "Timing tactics": 0.9,
    "Timing graph nodes": 0.9,
    "Determining refit engines": 1.0,
}
_SHARES_RTX: Final[Mapping[str, float]] = {**_SHARES, "Timing tactics": 0.05}
_USUAL_SHARE: Final = 0.5
_CEILING: Final = 0.99
_CREEP: Final = 0.9
"""How much of the running step is at most told without an event."""
_MIN_PACE_S: Final = 1.0
_MIN_FRACTION: Final = 0.02
_MIN_ELAPSED_S: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a build is: a fraction in 0…1, the innermost phase, seconds since it began and seconds left."""

    fraction: float
    phase: str
    elapsed_s: float
    left_s: float | None


def paced(fraction: float, phase: str, elapsed_s: float) -> Progress:
    """A progress with its time left, which is None while there is no pace to speak of."""
    known = fraction >= _MIN_FRACTION and elapsed_s >= _MIN_ELAPSED_S
    left = elapsed_s * (1.0 - fraction) / fraction if known else None
    return Progress(fraction=fraction, phase=phase, elapsed_s=elapsed_s, left_s=left)


@dataclass(slots=True, kw_only=True)
class _Phase:
    """``low`` and ``high``: which part of the whole build this phase is; ``step_low``: the same of its running step."""

    parent: str | None
    steps: int
    low: float
    high: float
    weights: tuple[float, ...]
    done: int = 0
    taken: float = 0.0
    """How much of the running step was given to phases inside it."""

    def bounds(self, step: int) -> tuple[float, float]:
        """Which part of the whole build a step is."""
        total = sum(self.weights)
        width = self.high - self.low
        before = sum(self.weights[:step]) / total
        return self.low + width * before, self.low + width * (before + self.weights[min(step, self.steps - 1)] / total)

    def give(self, share: float) -> tuple[float, float]:
        """Part of what remains of the running step, for a phase inside it."""
        low, high = self.bounds(min(self.done, self.steps - 1))
        begin = self.taken
        self.taken += (1.0 - self.taken) * share
        return low + (high - low) * begin, low + (high - low) * self.taken


@dataclass(slots=True)
class ProgressTree:
    """State of one build's progress. ``rtx``: which builder tells its phases."""

    started_s: float
    rtx: bool = False
    _open: dict[str, _Phase] = field(default_factory=dict)
    _fraction: float = 0.0
    _next: float = 0.0
    """Where the running step ends: the fraction creeps towards this."""

    _base: float = 0.0
    _risen_s: float = 0.0
    _phase: str = "starting"

    def start(self, name: str, parent: str | None, steps: int, now_s: float) -> None:
        """A phase of ``steps`` begins inside ``parent``, or is a root."""
        if len(self._open) >= MAX_PHASES or name in self._open:
            return
        steps = max(steps, 1)
        above = self._open.get(parent) if parent is not None else None
        shares = _SHARES_RTX if self.rtx else _SHARES
        low, high = (0.0, _CEILING) if above is None else above.give(shares.get(name, _USUAL_SHARE))
        weights = _WEIGHTS.get(name, ())
        weights = weights if len(weights) == steps else (1.0,) * min(steps, 1_000_000)
        phase = _Phase(parent=parent, steps=len(weights), low=low, high=high, weights=weights)
        self._open[name] = phase
        self._phase = name
        self._rise(*phase.bounds(0), now_s)

    def step(self, name: str, step: int, now_s: float) -> None:
        """Step ``step`` (from 0) of a phase is complete; an unknown phase changes nothing."""
        phase = self._open.get(name)
        if phase is None:
            return
        phase.done = min(max(phase.done, step + 1), phase.steps)
        phase.taken = 0.0
        low, high = phase.bounds(phase.done)
        self._rise(low, min(high, phase.high), now_s)

    def end(self, name: str, now_s: float) -> None:
        """A phase is over, whether or not it reported every step."""
        phase = self._open.pop(name, None)
        if phase is None:
            return
        above = self._open.get(phase.parent) if phase.parent is not None else None
        following = phase.high if above is None else above.bounds(min(above.done, above.steps - 1))[1]
        self._phase = phase.parent if above is not None and phase.parent is not None else self._phase
        self._rise(phase.high, following, now_s)

    def finish(self) -> None:
        """The build is done."""
        self._fraction = self._next = 1.0
        self._phase = "done"

    def at(self, now_s: float) -> Progress:
        """How far the build is at ``now_s``, on the clock that ``started_s`` was read from."""
        self._creep(now_s)
        return paced(self._fraction, self._phase, max(now_s - self.started_s, 0.0))

    def _rise(self, low: float, following: float, now_s: float) -> None:
        """Somebody told something: the creep begins anew from here."""
        self._fraction = max(self._fraction, min(low, _CEILING))
        self._base, self._risen_s = self._fraction, max(now_s, self._risen_s)
        self._next = max(self._fraction, min(following, _CEILING))

    def _creep(self, now_s: float) -> None:
        """Exponential approach to the end of the step, with the time that the pace so far would need for it."""
        gap = self._next - self._base
        waited = now_s - self._risen_s
        if gap <= 0.0 or waited <= 0.0 or self._base <= 0.0:
            return
        expected_s = max((self._risen_s - self.started_s) * gap / self._base, _MIN_PACE_S)
        crept = self._base + gap * _CREEP * (1.0 - math.exp(-waited / expected_s))
        self._fraction = max(self._fraction, crept)
