"""What fusion must be told: where it is, what each sensor can see, how things move, when a thing is believed.

Every number has a unit in its name or a reason beside it. Defaults are for ground and sea at up to some 50 km.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.domain import Geodetic
from appliance.estimation import FieldOfView

_NEW_IN_A_LOOK: Final = 0.4
_MOST_NEW: Final = 0.1
_LEAST_NEW: Final = 0.01
"""A second plot must outweigh the odds against the first, or nothing ever begins among clutter."""


def birth_ratio(false_plots: float) -> float:
    """`SensorModel.birth_ratio` of a sensor with so many false plots in a look: more clutter brings no more things."""
    return max(min(_MOST_NEW, _NEW_IN_A_LOOK / false_plots), _LEAST_NEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorModel:
    """How far a sensor can be believed. ``coverage`` None means not known: then no miss is ever held against a thing.

    ``clutter_density_per_m2`` counts false plots in one look; for each of them ``birth_ratio`` true things appear.
    """

    detection_probability: float = 0.9
    clutter_density_per_m2: float = 4e-7
    birth_ratio: float = 0.1
    coverage: FieldOfView | None = None
    miss_correlation_s: float = 0.5
    """Misses closer together than this share one cause (an occlusion, a wave), and count as one."""
    category_weight: float = 0.3
    """How much of each look's category counts as news: the same model looks at the same thing again and again."""
    reporting_interval_s: float = 180.0
    """Longest regular interval of a self-reporting thing: ITU-R M.1371-5 table 1, at anchor."""

    def __post_init__(self) -> None:
        if not 0.0 < self.detection_probability < 1.0:
            raise ValueError(f"detection_probability: expected between 0 and 1; found {self.detection_probability}")
        for name in ("clutter_density_per_m2", "birth_ratio", "reporting_interval_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise ValueError(f"{name}: expected a finite number above 0; found {getattr(self, name)}")
        if self.birth_ratio < _LEAST_NEW:
            raise ValueError(f"birth_ratio: expected {_LEAST_NEW} or more; found {self.birth_ratio}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Ways of moving, side by side: straight, in any way at all, turning left, turning right.

    Each has a white-acceleration density in m²/s³, a turn rate in rad/s (anticlockwise positive), how often it is left
    per second, and its weight when a thing is first seen. One that ``stands`` has no velocity; its noise is the
    variance of that in m²/s², and of its place in m² for each second. All tuples have one length.
    """

    noise_m2ps3: tuple[float, ...] = (0.01, 6.0, 0.3, 0.3)
    turns_radps: tuple[float, ...] = (0.0, 0.0, math.radians(3.0), -math.radians(3.0))
    rates_per_s: tuple[float, ...] = (0.02, 0.3, 0.05, 0.05)
    first_weights: tuple[float, ...] = (0.6, 0.1, 0.15, 0.15)
    stands: tuple[bool, ...] = (False, False, False, False)
    speed_sigma_mps: float = 12.0
    """Each axis, of a thing seen for the first time."""

    def __post_init__(self) -> None:
        ways = (self.noise_m2ps3, self.turns_radps, self.rates_per_s, self.first_weights, self.stands)
        sizes = set(map(len, ways))
        if len(sizes) != 1 or not self.noise_m2ps3:
            raise ValueError(f"expected one value of each kind for each way of moving; found {sorted(sizes)}")


MOORINGS: Final = Motion(
    noise_m2ps3=(0.02, 6.0, 0.2, 0.2, 0.02),
    turns_radps=(0.0, 0.0, math.radians(3.0), -math.radians(3.0), 0.0),
    rates_per_s=(0.02, 0.3, 0.05, 0.05, 0.003),
    first_weights=(0.5, 0.1, 0.1, 0.1, 0.2),
    stands=(False, False, False, False, True),
)
"""Where vessels lie at berths and at anchor: they stand, too, and their neighbours at the next berth are others.

Not the default: where people come and go through one door, the next one in is taken for the last one, who "stood" there
out of sight."""


ON_FOOT: Final = Motion(
    noise_m2ps3=(0.05, 1.0, 0.02, 0.02),
    turns_radps=(0.0, 0.0, 0.0, 0.0),
    rates_per_s=(0.03, 0.3, 0.05, 0.05),
    first_weights=(0.5, 0.2, 0.15, 0.15),
    stands=(False, False, True, True),
)
"""People walk straight on, in any way at all, or stand: where others turn left or right, twice the same.

Whoever stands is held to walk off sooner than people do: held to stay for minutes, one who sets off is told behind
himself, and too surely, for seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSettings:
    """Everything that `Fusion` is told. ``sensors`` is by sensor_id; others get ``default_sensor``."""

    origin: Geodetic
    unit: str = "unit"
    sensors: Mapping[str, SensorModel] = field(default_factory=dict)
    default_sensor: SensorModel = field(default_factory=SensorModel)
    motion: Motion = field(default_factory=Motion)
    on_foot: Motion = ON_FOOT
    """How those move who are most probably people; in no more ways than ``motion``."""
    gate: float = 16.0
    """Squared Mahalanobis distance in two dimensions: one true plot in 3,000 falls outside."""
    confirm_log_odds: float = 3.0
    delete_log_odds: float = -4.0
    max_log_odds: float = 10.0
    survival_s: float = 600.0
    tentative_hold_s: float = 10.0
    confirmed_hold_s: float = 60.0
    """Without any look at its place, an unseen thing is kept so long."""
    cooperative_density_per_m2: float = 1e-7
    """How thickly self-reporting things stand that are not in the picture yet: forty in a harbour 20 km across."""
    cooperative_log_odds: float = 5.0
    """Existence of a thing that says itself where it is. Whether it tells the truth is what disputes are for."""
    cooperative_belief_intervals: float = 1.5
    """For so many of its usual intervals a self-reporting thing is believed though other sensors miss it."""
    cooperative_hold_intervals: float = 10.0
    """For so many of the longest intervals a silent one is kept where no sensor looks."""
    coast_after_s: float = 5.0
    retrodict_s: float = 8.0
    """Plots up to so much older than a state still correct it; older ones are joined to where the thing was."""
    max_lag_s: float = 900.0
    lag_plots: int = 200_000
    """So many plots are remembered for what comes late, some 240 MB; a busier unit remembers a shorter time."""
    catch_up_events: int = 4
    """When something came late, so many old events are read again for each new one, until all are in their place."""
    rerun_load: int = 4
    """All reading again costs no more than so many times the reading itself."""
    max_future_s: float = 5.0
    max_range_m: float = 500_000.0
    """Beyond, the flat local frame is no longer a good map; such a plot is refused."""
    max_sigma_m: float = 20_000.0
    max_entities: int = 20_000
    evidence_per_source: int = 8
    claims_per_entity: int = 32
    reported_half_life_s: float = 900.0
    max_reported: int = 512
    deleted_hold_s: float = 10.0
    """A deleted entity is still told, as deleted, for so long."""
    lock_gain: float = 8.0
    """What a mobile identity adds (nats) for the entity that carries it."""
    tracklet_gain: float = 3.0
    told_existence: float = 0.2
    """Below this a thing is not told at all: what clutter begins and the next look ends."""
    stray_reports: int = 2
    """So many reports in a row far from their entity begin a second one, where the claims lie."""
    dispute_after_s: float = 15.0
    dispute_distance_m: float = 300.0
    """An identity that moves farther than this between two things that are both seen is a dispute, not a correction."""
    observed_within_s: float = 30.0

    def __post_init__(self) -> None:
        ways, most = len(self.on_foot.stands), len(self.motion.stands)
        if ways > most:
            raise ValueError(f"on_foot: expected no more ways of moving than motion has, {most}; found {ways}")

    def model(self, sensor_id: str) -> SensorModel:
        """How far this sensor can be believed."""
        return self.sensors.get(sensor_id, self.default_sensor)

    @property
    def claim_age_s(self) -> float:
        """How old what people tell may be: four half-lives of it beyond what may come late."""
        return self.max_lag_s + 4.0 * self.reported_half_life_s
