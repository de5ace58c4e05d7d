"""Whether an entity differs enough from what recipients were last told of it to be worth its bytes.

What this is: a pure comparison of two states of one entity. What it is not: it keeps no memory and knows no interval
but the refresh (``telling`` does).

A reader carries an entity on by the velocity that it was told (dead reckoning; IEEE 1278.1 calls the same rule a
position threshold). So a thing that goes on as told needs no words; what counts is how far it is from where a reader
now believes it, measured in the uncertainty that the reader was told.

Told at once: a new or lost status, category, count, identity or dispute; a source that speaks of the entity for the
first time; one more or one fewer claim of a person. By threshold: place, existence, uncertainty. And all of it again
at the refresh, so that whoever came late knows it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from appliance.domain import Entity

_NS_PER_S: Final = 1_000_000_000
#: Metres in a degree of latitude on a sphere of the Earth's mean radius; thresholds need no ellipsoid.
_METRES_PER_DEGREE: Final = 6_371_008.8 * math.pi / 180.0
#: The standard deviation has grown or shrunk by this factor: the reader's circle is drawn wrong by then.
SIGMA_FACTOR: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Significance:
    """The thresholds. Left at their defaults every new observation is told, as releases up to 0.1.0 did."""

    deviation_sigmas: float = 0.0
    """How far from where a reader believes it, in the standard deviation that it was told (the larger axis)."""
    deviation_m: float = 0.0
    """The least such distance that is told, however certain the position is."""
    move_m: float = 1e9
    """How far from the place that was last told, whatever the velocity: for readers that carry nothing on."""
    existence_step: float = 1.0
    """How much the probability of existence may change untold."""
    refresh_ns: int = 0
    """What did not change is told again after so long; 0 for never."""

    @property
    def every_observation(self) -> bool:
        """Whether there are no thresholds."""
        return self.deviation_sigmas == 0.0 and self.deviation_m == 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What recipients were last told of an entity, when, and whether it was disputed then."""

    entity: Entity
    at_ns: int
    disputed: bool


def is_news(before: Told, after: Entity, *, now_ns: int, disputed: bool, limits: Significance) -> bool:
    """Whether ``after`` is worth telling to those who were told ``before``."""
    if _is_other(before.entity, after) or before.disputed != disputed or _is_old(before, now_ns, limits):
        return True
    if limits.every_observation:
        return before.entity.updated_ns != after.updated_ns or len(before.entity.evidence) != len(after.evidence)
    return (
        abs(after.existence - before.entity.existence) >= limits.existence_step
        or _is_elsewhere(before, after, now_ns, limits)
        or _is_surer(before.entity, after)
    )


def _is_other(before: Entity, after: Entity) -> bool:
    return (
        before.status != after.status
        or before.category != after.category
        or before.count != after.count
        or before.identities != after.identities
        or (before.evidence is not after.evidence and _voices(before) != _voices(after))
    )


def _voices(entity: Entity) -> tuple[frozenset[str], int]:
    """Who speaks of it, and how many claims there are: one more frame of the same camera is no news, a claim is."""
    claims = sum(evidence.kind == "claim" for evidence in entity.evidence)
    return frozenset(evidence.source_id for evidence in entity.evidence), claims


def _is_old(before: Told, now_ns: int, limits: Significance) -> bool:
    """A clock that was set back makes everything old, or nothing would be told until it has caught up."""
    return limits.refresh_ns > 0 and not 0 <= now_ns - before.at_ns < limits.refresh_ns


def _is_elsewhere(before: Told, after: Entity, now_ns: int, limits: Significance) -> bool:
    east_m, north_m = _offset_m(before.entity, after)
    if math.hypot(east_m, north_m) >= limits.move_m:
        return True
    carried_s = (now_ns - before.at_ns) / _NS_PER_S
    east_mps, north_mps, _ = before.entity.velocity_mps
    off_m = math.hypot(east_m - east_mps * carried_s, north_m - north_mps * carried_s)
    return off_m >= max(limits.deviation_sigmas * sigma_m(before.entity), limits.deviation_m)


def _offset_m(before: Entity, after: Entity) -> tuple[float, float]:
    """East and north metres from one place to the other, flat: the distances are short."""
    north_deg = after.position.latitude_deg - before.position.latitude_deg
    east_deg = (after.position.longitude_deg - before.position.longitude_deg + 180.0) % 360.0 - 180.0
    shrink = math.cos(math.radians(before.position.latitude_deg))
    return east_deg * _METRES_PER_DEGREE * shrink, north_deg * _METRES_PER_DEGREE


def _is_surer(before: Entity, after: Entity) -> bool:
    """Whether the uncertainty that was told is wrong by a factor, either way."""
    was_m, is_m = sigma_m(before), sigma_m(after)
    return is_m > SIGMA_FACTOR * was_m or was_m > SIGMA_FACTOR * is_m


def sigma_m(entity: Entity) -> float:
    """The standard deviation along the larger axis of the position's ellipse."""
    (ee, en), (_, nn) = entity.covariance_m2
    return math.sqrt(max(0.5 * (ee + nn) + math.hypot(0.5 * (ee - nn), en), 0.0))
