"""What is kept between two tellings changes nothing that is told."""

from __future__ import annotations

import dataclasses
from typing import Any

from appliance.domain import Entity, Identity
from appliance.fusion import Fusion
from appliance.fusion.snapshots import snapshot

SECOND = 1_000_000_000


def _written_anew(fusion: Fusion, now_ns: int) -> tuple[Entity, ...]:
    """What a copy tells that has kept no words."""
    copy = snapshot(fusion)
    for dossier in (*copy._state.dossiers.values(), *(row[2] for row in copy._state.deleted)):
        dossier.words = None
    for reported in copy._present._reports._reported:
        reported.dossier.words = None
    return copy.entities(now_ns)


def test_words_that_are_kept_are_those_that_would_be_written_anew(world: Any) -> None:
    fusion, named = world.fusion(), 0
    for k in range(1, 81):
        now = k * SECOND
        fusion.observe_plots("radar", now, [world.radar(-600 + 14 * k, 900, now, "a"), *world.clutter(now, 3)], now)
        ship = world.position(2000, 9 * k, now + 1, "m", sensor="ais", mmsi=f"23500000{k // 30}")
        name = Identity(kind="name", value=f"WHITE HERON {k // 20}")
        said = dataclasses.replace(ship, identities=(*ship.identities, name))
        fusion.observe_plots("ais", now + 1, [said], now + 1)
        if k % 9 == 0:
            there, nowhere = (2000, 9 * k), (-2500, -1500)
            claims = [
                world.claim(*at, now - SECOND, "vehicle/truck", report_id=f"{k}-{at[0]}") for at in (there, nowhere)
            ]
            fusion.observe_claims(claims, now + 2)
        told = fusion.entities(now + 2)
        assert told == _written_anew(fusion, now + 2)
        named = max(named, sum(bool(entity.identities) for entity in told))
    assert named >= 1
