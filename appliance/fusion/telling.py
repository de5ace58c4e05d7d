"""How a state is written down as an `Entity` at one moment.

Not here: what is believed. Positions are predicted to the moment of telling; evidence is that of the dossier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from appliance.domain import Entity, EntityStatus, Geodetic
from appliance.estimation.gaussian import Array
from appliance.fusion.categories import Weights, as_mapping, best, distribution, nothing_known
from appliance.fusion.dossier import Dossier
from appliance.fusion.state import State

EARTH_DIAMETER_M = 12_742_000.0
Matrix2 = tuple[tuple[float, float], tuple[float, float]]


def matrix(cov: Array) -> Matrix2:
    """A symmetric 2×2 as the nouns want it."""
    ee, en, nn = float(cov[0, 0]), 0.5 * float(cov[0, 1] + cov[1, 0]), float(cov[1, 1])
    return (ee, en), (en, nn)


def geodetic(state: State, east: float, north: float, altitude_m: float | None) -> Geodetic:
    """Local metres → a place; without a known height, that of the unit's ground."""
    above = state.settings.origin.altitude_m if altitude_m is None else altitude_m
    up = above - state.settings.origin.altitude_m - (east * east + north * north) / EARTH_DIAMETER_M
    lat, lon, _ = state.frame.to_geodetic(east, north, up)
    return Geodetic(latitude_deg=lat, longitude_deg=lon, altitude_m=above)


def category_weights(dossier: Dossier) -> Weights:
    """What sensors say; what people say only where no sensor says anything."""
    logs = dossier.sensed if dossier.sensed is not None else dossier.told
    return distribution(nothing_known() if logs is None else logs)


def told(state: State, now_ns: int) -> list[Entity]:
    """The living, then the lately deleted."""
    t = state.seconds(now_ns)
    living = [_living(state, int(slot), t) for slot in state.core.live]
    late = [
        entity_of(state, dossier, "deleted", 0.0, mean, cov)
        for when, _, dossier, mean, cov in state.deleted
        if 0.0 <= t - when <= state.settings.deleted_hold_s
    ]
    return [entity for entity in living if entity is not None] + late


def _living(state: State, slot: int, t: float) -> Entity | None:
    bank = state.core.bank
    existence = 1.0 / (1.0 + math.exp(-float(bank.log_odds[slot])))
    confirmed = bool(state.core.confirmed[slot]) and existence >= 0.5
    if not confirmed and existence < state.settings.told_existence:
        return None
    mean, cov = ahead(state, slot, t)
    dossier = state.dossiers[slot]
    return entity_of(state, dossier, _status(state, slot, dossier, t, confirmed), existence, mean, cov)


def ahead(state: State, slot: int, t: float) -> tuple[Array, Array]:
    """Mean (4,) and covariance (4, 4) of a slot at ``t``, not before its own time."""
    bank = state.core.bank
    dt = max(t - float(bank.time_s[slot]), 0.0)
    place, spread = state.at(slot, t) if dt > 0.0 else (bank.mean[slot, :2], bank.cov[slot, :2, :2])  # type: ignore[misc]
    mean, cov = bank.mean[slot].copy(), bank.cov[slot].copy()
    mean[:2], cov[:2, :2] = place, spread
    q = float(bank.w[slot] @ state.core.moves.noise)
    cov[2:, 2:] += np.eye(2) * q * min(dt, 60.0)
    return mean, cov


def _status(state: State, slot: int, dossier: Dossier, t: float, confirmed: bool) -> EntityStatus:
    if not confirmed:
        return "tentative"
    patience_s = state.settings.coast_after_s
    if dossier.reported_ns:
        usual_s = dossier.interval_s or state.settings.default_sensor.reporting_interval_s
        patience_s = max(patience_s, 3.0 * min(max(usual_s, 10.0), 360.0))
    return "coasting" if t - float(state.core.bank.time_s[slot]) > patience_s else "confirmed"


def entity_of(
    state: State, dossier: Dossier, status: EntityStatus, existence: float, mean: Array, cov: Array, count: int = 1
) -> Entity:
    """One entity, from its numbers and its dossier."""
    weights = category_weights(dossier)
    categories: Mapping[str, float] = as_mapping(weights)
    return Entity(
        entity_id=dossier.entity_id,
        status=status,
        category=best(weights),
        categories=categories,
        existence=existence,
        count=count,
        position=geodetic(state, float(mean[0]), float(mean[1]), dossier.altitude_m),
        covariance_m2=matrix(cov[:2, :2]),
        velocity_mps=(float(mean[2]), float(mean[3]), 0.0),
        velocity_covariance_m2ps2=matrix(cov[2:, 2:]),
        identities=dossier.identities(),
        updated_ns=dossier.updated_ns,
        evidence=dossier.evidence(),
        provenance=dossier.provenance(),
    )
