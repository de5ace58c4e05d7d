"""How states are written down as `Entity` at one moment.

Not here: what is believed. Positions are predicted to the moment of telling; evidence is that of the dossier.

Rules: numbers move with time and are made for all entities at once. Words change with what a dossier takes, so each
dossier's are written once and kept until it takes something: telling costs what changed, not what there is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from appliance.domain import Entity, EntityStatus, Geodetic
from appliance.estimation.bank import Index
from appliance.estimation.gaussian import Array
from appliance.fusion.categories import Weights, as_mapping, best, distribution, nothing_known
from appliance.fusion.dossier import Dossier, Words
from appliance.fusion.state import State

EARTH_DIAMETER_M = 12_742_000.0


@dataclass(frozen=True, slots=True)
class Standing:
    """One entity but for its numbers of motion."""

    dossier: Dossier
    status: EntityStatus
    existence: float
    count: int = 1


def category_weights(dossier: Dossier) -> Weights:
    """What sensors say; what people say only where no sensor says anything."""
    logs = dossier.sensed if dossier.sensed is not None else dossier.told
    return distribution(nothing_known() if logs is None else logs)


def told(state: State, now_ns: int) -> list[Entity]:
    """The living, then the lately deleted."""
    t = state.seconds(now_ns)
    slots, living = _living(state, t)
    late = [entry for entry in state.deleted if 0.0 <= t - entry[0] <= state.settings.deleted_hold_s]
    mean, cov = state.core.ahead(slots, t)
    return [
        *written_down(state, living, mean, cov),
        *written_down(
            state,
            [Standing(dossier, "deleted", 0.0) for _, _, dossier, _, _ in late],
            np.array([mean for *_, mean, _ in late]).reshape(-1, 4),
            np.array([cov for *_, cov in late]).reshape(-1, 4, 4),
        ),
    ]


def _living(state: State, t: float) -> tuple[Index, list[Standing]]:
    """The slots that are believed enough to be told, and how each stands."""
    core, slots, living = state.core, [], []
    live = core.live
    odds, ever, seen_s = (
        core.bank.log_odds[live].tolist(),
        core.confirmed[live].tolist(),
        core.bank.time_s[live].tolist(),
    )
    for slot, log_odds, was_confirmed, at_s in zip(live.tolist(), odds, ever, seen_s, strict=True):
        existence = 1.0 / (1.0 + math.exp(-log_odds))
        confirmed = was_confirmed and existence >= 0.5
        if confirmed or existence >= state.settings.told_existence:
            dossier = state.dossiers[slot]
            status: EntityStatus = _status(state, dossier, t - at_s) if confirmed else "tentative"
            slots.append(slot)
            living.append(Standing(dossier, status, existence))
    return np.array(slots, np.int64), living


def _status(state: State, dossier: Dossier, unseen_s: float) -> EntityStatus:
    patience_s = state.settings.coast_after_s
    if dossier.reported_ns:
        usual_s = dossier.interval_s or state.settings.default_sensor.reporting_interval_s
        patience_s = max(patience_s, 3.0 * min(max(usual_s, 10.0), 360.0))
    return "coasting" if unseen_s > patience_s else "confirmed"


def written_down(state: State, standing: Sequence[Standing], mean: Array, cov: Array) -> list[Entity]:
    """Entities from how each stands and its numbers, (S, 4) and (S, 4, 4)."""
    if not standing:
        return []
    places = _places(state, [one.dossier.altitude_m for one in standing], mean)
    cross = 0.5 * (cov[:, (0, 2), (1, 3)] + cov[:, (1, 3), (0, 2)])
    spreads = np.stack((cov[:, 0, 0], cross[:, 0], cov[:, 1, 1], cov[:, 2, 2], cross[:, 1], cov[:, 3, 3]), axis=1)
    entities = []
    for one, place, moving, spread in zip(standing, places, mean[:, 2:].tolist(), spreads.tolist(), strict=True):
        words = one.dossier.words or _put_in_words(one.dossier)
        ee, en, nn, ee_v, en_v, nn_v = spread
        entities.append(
            Entity(
                entity_id=one.dossier.entity_id,
                status=one.status,
                category=words.category,
                categories=words.categories,
                existence=one.existence,
                count=one.count,
                position=place,
                covariance_m2=((ee, en), (en, nn)),
                velocity_mps=(*moving, 0.0),
                velocity_covariance_m2ps2=((ee_v, en_v), (en_v, nn_v)),
                identities=words.identities,
                updated_ns=one.dossier.updated_ns,
                evidence=words.evidence,
                provenance=words.provenance,
            )
        )
    return entities


def _places(state: State, altitudes_m: Sequence[float | None], mean: Array) -> list[Geodetic]:
    """Local metres → places; without a known height, that of the unit's ground."""
    ground_m = state.settings.origin.altitude_m
    above_m = [ground_m if altitude_m is None else altitude_m for altitude_m in altitudes_m]
    east, north = mean[:, 0], mean[:, 1]
    up = np.array(above_m) - ground_m - (east * east + north * north) / EARTH_DIAMETER_M
    lats, lons, _ = state.frame.to_geodetic(east, north, up)
    where = zip(lats.tolist(), lons.tolist(), above_m, strict=True)
    return [Geodetic(latitude_deg=lat, longitude_deg=lon, altitude_m=above) for lat, lon, above in where]


def _put_in_words(dossier: Dossier) -> Words:
    weights = category_weights(dossier)
    dossier.words = Words(
        category=best(weights),
        categories=as_mapping(weights),
        identities=dossier.identities(),
        evidence=dossier.evidence(),
        provenance=dossier.provenance(),
    )
    return dossier.words
