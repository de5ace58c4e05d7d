"""What the scene's transponders send: real AIVDM sentences (ITU-R M.1371-5), encoded by pyais.

Positions are message 1 for class A and 18 for class B; names are message 5 and 24. Positions carry the noise of a
receiver. The sentences of a scene are a function of the scene alone.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from pyais import encode_dict

from appliance.domain import Geodetic
from hil.scene.world import Ground, Motion, Scene, Thing, Transponder, motion

POSITION_SIGMA_M = 3.0
KNOT_MPS = 1852.0 / 3600.0
STATIC_EVERY_S = 8.0
"""M.1371 says six minutes; a short demo would not hear a name."""
_UNDER_WAY, _MOORED = 0, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Transmission:
    """One message at its time: one sentence, or the two of a long message. ``of`` names the thing that sent it."""

    time_s: float
    of: str
    mmsi: int
    sentences: tuple[str, ...]
    position: bool


def transmissions(scene: Scene, duration_s: float) -> list[Transmission]:
    """Everything that is sent while the scene lasts, in order of time."""
    ground = Ground(scene.origin)
    sent: list[Transmission] = []
    for thing in scene.things:
        if thing.transponder is not None:
            sent += _of_one(scene, ground, thing, thing.transponder, duration_s)
    return sorted(sent, key=lambda one: (one.time_s, one.mmsi))


def _of_one(
    scene: Scene, ground: Ground, thing: Thing, transponder: Transponder, duration_s: float
) -> list[Transmission]:
    dice = random.Random(f"ais {scene.seed} {transponder.mmsi}")
    sent: list[Transmission] = []
    first_s = dice.uniform(0.2, min(1.5, transponder.interval_s))
    for index in range(math.ceil((duration_s - first_s) / transponder.interval_s)):
        time_s = first_s + index * transponder.interval_s
        noise = (dice.gauss(0.0, POSITION_SIGMA_M), dice.gauss(0.0, POSITION_SIGMA_M))
        now = motion(thing.loop, time_s)
        fix = ground.to_geodetic(now.east_m + noise[0], now.north_m + noise[1])
        message = _position(transponder, now, fix, scene.time_ns(time_s))
        sent.append(_transmission(thing, transponder, time_s, (message,)))
    for index in range(math.ceil(duration_s / STATIC_EVERY_S)):
        time_s = first_s + 0.4 + index * STATIC_EVERY_S
        if time_s < duration_s:
            sent.append(_transmission(thing, transponder, time_s, _static(thing, transponder)))
    return sent


def _transmission(
    thing: Thing, transponder: Transponder, time_s: float, messages: tuple[dict[str, Any], ...]
) -> Transmission:
    sentences = [
        sentence for message in messages for sentence in encode_dict(message, talker_id="AI", sentence_type="VDM")
    ]
    return Transmission(
        time_s=time_s,
        of=thing.name,
        mmsi=transponder.mmsi,
        sentences=tuple(sentences),
        position=messages[0]["type"] in (1, 18),
    )


def _position(transponder: Transponder, now: Motion, place: Geodetic, time_ns: int) -> dict[str, Any]:
    course_deg = math.degrees(math.atan2(now.east_mps, now.north_mps)) % 360.0
    moving = now.speed_mps > 0.05
    message: dict[str, Any] = {
        "type": 1 if transponder.class_a else 18,
        "mmsi": transponder.mmsi,
        "lat": round(place.latitude_deg, 6),
        "lon": round(place.longitude_deg, 6),
        "speed": round(now.speed_mps / KNOT_MPS, 1),
        "course": round(course_deg, 1) if moving else 360.0,
        "heading": round(math.degrees(now.heading_rad)) % 360,
        "accuracy": 1,
        "second": time_ns // 1_000_000_000 % 60,
    }
    if transponder.class_a:
        message["status"] = _UNDER_WAY if moving else _MOORED
    return message


def _static(thing: Thing, transponder: Transponder) -> tuple[dict[str, Any], ...]:
    bow, side = round(thing.length_m / 2.0), max(1, round(thing.beam_m / 2.0))
    size = {"to_bow": bow, "to_stern": bow, "to_port": side, "to_starboard": side}
    about = {"mmsi": transponder.mmsi, "callsign": transponder.callsign, "ship_type": transponder.ship_type, **size}
    if transponder.class_a:
        return ({"type": 5, "shipname": transponder.name, "destination": "HAVRE-NEUF", "draught": 4.0, **about},)
    named = {"type": 24, "partno": 0, "mmsi": transponder.mmsi, "shipname": transponder.name}
    return (named, {"type": 24, "partno": 1, "vendorid": "SIM", **about})
