"""The tracker in numbers alone: looks in, slots out. Begins, updates, fades and drops states; knows no plot or person.

Rules: slots are handed out and live in the order in which things begin, so the same looks give the same slots. What a
state is *called* and what it rests on is kept by ``fusion.py`` beside it, by slot.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from appliance.estimation import lifecycle
from appliance.estimation.bank import MORE, NEVER, NONE, Bank, Index, Look, Moves, Rules, Sight, grown, make_bank
from appliance.estimation.gating import by_east
from appliance.estimation.gaussian import MANOEUVRE_S, STANDING, Array
from appliance.estimation.intersection import intersect
from appliance.estimation.scan import Outcome, scan, step
from appliance.fusion.settings import FusionSettings, Motion, SensorModel
from appliance.geodesy import LocalFrame

_FIRST_CAPACITY = 64
_FIRST_SENSORS = 4
MAX_SENSORS = 256
_LOST = 1.6
"""A state that nobody believed yet ends when a look has taken so much from its log-odds: one miss at 0.8."""
_NOBODY = np.empty(0, np.int64)
_VELOCITY_KEPT_S = 60.0
"""The doubt about a velocity stops growing after so long."""


class Core:
    """All states, and which slots are in use. Times are seconds from the caller's epoch."""

    def __init__(self, settings: FusionSettings) -> None:
        motion = settings.motion
        sets = motion, _as_many(settings.on_foot, len(motion.stands))
        stands = np.array([ways.stands for ways in sets])
        self.moves = Moves(
            noise=np.array([ways.noise_m2ps3 for ways in sets]),
            most_noise=np.array([max(ways.noise_m2ps3) for ways in sets]),
            turns=np.where(stands, STANDING, [ways.turns_radps for ways in sets]),
            rates=np.array([ways.rates_per_s for ways in sets]),
            gate=settings.gate,
            survival_s=settings.survival_s,
            max_log_odds=settings.max_log_odds,
            conflict=1e4,
            history_step_s=10.0,
            retrodict_s=settings.retrodict_s,
            speed_var=motion.speed_sigma_mps**2,
        )
        self._shaking = np.where(stands, 0.0, self.moves.noise)
        """(W, M) acceleration density of each way of moving; what stands has none."""
        self._rules = Rules(
            weights=np.array([ways.first_weights for ways in sets]),
            speed_var=motion.speed_sigma_mps**2,
            confirm=settings.confirm_log_odds,
            delete=_least_log_odds(settings),
            tentative_s=settings.tentative_hold_s,
            confirmed_s=settings.confirmed_hold_s,
            max_var=settings.max_sigma_m**2,
            room=settings.max_entities,
        )
        self.bank: Bank = make_bank(_FIRST_CAPACITY, len(motion.noise_m2ps3), _FIRST_SENSORS)
        self._sensors: dict[str, int] = {}

    @property
    def live(self) -> Index:
        """Slots in use, oldest first."""
        return self.bank.live[: self.bank.counts[0]]

    @property
    def confirmed(self) -> npt.NDArray[np.bool_]:
        """By slot: whether it was ever believed."""
        return self.bank.confirmed

    def look(self, sensor_id: str, look: Look, sight: Sight, t: float) -> Outcome:
        """Run one look against all living states; nothing begins and nothing ends."""
        sensor = self.sensor(sensor_id)  # may grow the bank
        return self._scan(self.bank, sensor, look, sight, t)

    def look_at(self, slot: int, sensor_id: str, look: Look, sight: Sight, t: float) -> Outcome:
        """Run one look against one living state alone."""
        sensor = self.sensor(sensor_id)
        return self._scan(self.bank._replace(live=np.array([slot]), counts=np.array([1, 0])), sensor, look, sight, t)

    def step(self, sensor_id: str, look: Look, sight: Sight, t: float, birth: float, newest: float) -> Outcome:
        """Run one look; plots that nobody took begin states at odds ``birth`` (log); what has ended goes."""
        plots, sensor = len(look.time_s), self.sensor(sensor_id)
        self._make_room(plots)
        fresh_ones, ended = np.empty(plots, np.int64), np.empty(len(self.live) + plots, np.int64)
        out = Outcome(np.empty((plots, 3), np.int64), np.empty(plots), fresh_ones, ended)
        fresh, gone = step(
            self.bank, look, by_east(look), sight, self.moves, self._rules, t, sensor, birth, newest, out
        )
        return Outcome(out.slots, out.llr, out.fresh[:fresh], out.gone[:gone])

    def begin(self, look: Look, j: int, log_odds: float) -> int:
        """A new state at plot ``j``; its slot, NONE where the room is spent."""
        self._make_room(1)
        return int(lifecycle.begin(self.bank, look, j, self._rules, log_odds))

    def restart(self, slot: int, look: Look, log_odds: float) -> None:
        """Begin a living slot anew at the look's only plot."""
        lifecycle.place(self.bank, slot, look, 0, self._rules, log_odds)

    def walks(self, slot: int, on_foot: bool) -> None:
        """Whether a living slot moves as people do, from here on."""
        if self.bank.ways[slot] != on_foot:
            lifecycle.choose(self.bank, slot, int(on_foot), self._rules)

    def ahead(self, slots: Index, t: float) -> tuple[Array, Array]:
        """Means (S, 4) and covariances (S, 4, 4) of ``slots`` at ``t``, each not before its own time."""
        bank, noise = self.bank, self._shaking[self.bank.ways[slots]]
        mean, cov = bank.mean[slots], self.doubt(slots)
        dt = np.maximum(t - bank.time_s[slots], 0.0)
        q = sum((bank.w[slots, k] * noise[:, k] for k in range(noise.shape[1])), np.zeros(len(slots)))
        step, wide = dt[:, None], dt[:, None, None]
        mean[:, :2] += step * mean[:, 2:]
        cov[:, :2, :2] += wide * (cov[:, :2, 2:] + cov[:, 2:, :2]) + wide * wide * cov[:, 2:, 2:]
        shaken = q * dt * np.minimum(dt, MANOEUVRE_S) ** 2 / 3.0
        slower = q * np.minimum(dt, _VELOCITY_KEPT_S)
        for axis, grow in ((0, shaken), (1, shaken), (2, slower), (3, slower)):
            cov[:, axis, axis] += grow
        return mean, cov

    def doubt(self, slots: Index) -> Array:
        """Covariances (S, 4, 4) of ``slots`` at their own times, with what is wrong in all plots of a sensor alike."""
        bank = self.bank
        cov = bank.cov[slots]
        if (bank.sharers[slots, 0] != NONE).any():
            cov += bank.shares[slots, MORE : MORE + 4]
        return cov

    def end(self, t: float) -> Index:
        """Fade all to ``t`` and free the slots that are not to be kept; their numbers stand until one begins there."""
        gone = np.empty(self.bank.counts[0], np.int64)
        return gone[: lifecycle.end(self.bank, self.moves, self._rules, t, gone)]

    def _scan(self, bank: Bank, sensor: int, look: Look, sight: Sight, t: float) -> Outcome:
        plots = len(look.time_s)
        out = Outcome(np.empty((plots, 3), np.int64), np.empty(plots), _NOBODY, _NOBODY)
        scan(bank, look, by_east(look), sight, self.moves, t, sensor, out)
        return out

    def sensor(self, sensor_id: str) -> int:
        """Its row in ``bank.looked``, and its number in ``bank.numbered``. Asking for a new one may grow the bank."""
        row = self._sensors.get(sensor_id)
        if row is not None:
            return row
        row = len(self._sensors)
        if row >= MAX_SENSORS:  # more than any unit has: forget the first, never grow
            row = self._sensors.pop(next(iter(self._sensors)))
            self.bank.looked[row] = NEVER
            self.bank.sharers[self.bank.sharers == row] = MAX_SENSORS  # nobody's number
        elif row >= len(self.bank.looked):
            self.bank = grown(self.bank, len(self.bank.time_s), 2 * row)
        self._sensors[sensor_id] = row
        return row

    def _make_room(self, count: int) -> None:
        while self.bank.counts[1] < count:
            self.bank = grown(self.bank, 2 * len(self.bank.time_s), len(self.bank.looked))


def _as_many(motion: Motion, count: int) -> Motion:
    """The same ways of moving in ``count`` numbers: the last one several times."""
    more = count - len(motion.stands)
    if more == 0:
        return motion
    weights = np.array(motion.first_weights + motion.first_weights[-1:] * more)
    return replace(
        motion,
        noise_m2ps3=motion.noise_m2ps3 + motion.noise_m2ps3[-1:] * more,
        turns_radps=motion.turns_radps + motion.turns_radps[-1:] * more,
        rates_per_s=motion.rates_per_s + motion.rates_per_s[-1:] * more,
        first_weights=tuple((weights / weights.sum()).tolist()),
        stands=motion.stands + motion.stands[-1:] * more,
    )


def _least_log_odds(settings: FusionSettings) -> float:
    """Where a state ends: no higher than leaves room below what any sensor's plot begins it with."""
    rarest = min(model.birth_ratio for model in (settings.default_sensor, *settings.sensors.values()))
    return min(settings.delete_log_odds, math.log(rarest) - _LOST)


def one_look(z: Array, r: Array, t: float, velocity: tuple[float, float] | None, velocity_var: float) -> Look:
    """A look of one place (2,), of covariance (2, 2), that nothing is scored against."""
    return Look(
        kind=np.zeros(1, np.int64),
        z=z[None],
        r=r[None],
        shared=np.zeros((1, 2, 2)),
        origin=np.zeros((1, 2)),
        time_s=np.array([t]),
        velocity=np.array([velocity or (0.0, 0.0)]),
        velocity_var=np.array([velocity_var if velocity is not None else -1.0]),
        rate=np.zeros(1),
        rate_var=np.full(1, -1.0),
        log_density=(0.0, 0.0),
        lock=np.array([NONE]),
        lock_gain=0.0,
        lock_gate=1.0,
        mobile=np.full((1, 2), NONE),
    )


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


def warm(settings: FusionSettings) -> None:
    """Have whatever a core may call compiled, or loaded: the first person, or the first unit beside ours, waits for no
    compiler."""
    core = Core(settings)
    look, sight = one_look(np.zeros(2), np.eye(2), 0.0, (1.0, 0.0), 1.0), blind(0.5)
    slot = core.begin(look, 0, 0.0)
    core.look("", look, sight, 0.0)
    core.look_at(slot, "", look, sight, 0.0)
    core.step("", look, sight, 0.0, -1.0, 0.0)
    core.walks(slot, True)
    core.bank.sharers[slot, 0] = 0
    intersect(
        core.bank, slot, np.zeros(2), 0.01 * np.eye(2), 1.0, core.moves
    )  # one that tells much: else nothing is done
    core.restart(slot, look, 0.0)
    core.end(1.0)
