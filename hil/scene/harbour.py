"""Havre-Neuf: a harbour that does not exist, laid where the chart shows nothing but open Channel.

Everything is placed in harbour axes (ahead and to the right of the mast, in metres) and turned to the harbour's
bearing, so that the layout can be read like the picture. The seed moves phases, speeds and light a little; the cast
stays the same.
"""

from __future__ import annotations

import math
import random

from appliance.domain import Geodetic
from hil.scene.lens import Lens
from hil.scene.world import Block, Light, Loop, Scene, Thing, Transponder

ORIGIN = Geodetic(latitude_deg=49.8612, longitude_deg=0.3231)
BEARING_RAD = math.radians(22.0)
MAST_HEIGHT_M = 20.0

LENS = Lens(up_m=MAST_HEIGHT_M, heading_rad=BEARING_RAD, pitch_rad=math.radians(6.5))

# Maritime identification digits 200 are allotted to no country (ITU table of MIDs starts at 201), so that none of
# these numbers can belong to a real ship.
AURELIA = Transponder(mmsi=200000017, name="AURELIA", callsign="2AUR7", ship_type=70, class_a=True, interval_s=3.3)
LYS = Transponder(mmsi=200000024, name="LYS DE MER", callsign="2LYS4", ship_type=79, class_a=True, interval_s=6.0)
PETREL = Transponder(mmsi=200000031, name="PETREL", callsign="2PET1", ship_type=50, class_a=False, interval_s=5.0)

FAR_SHIP = "far ship"
FISHER = "fishing boat"
DINGHY = "dinghy"


def place(right_m: float, ahead_m: float) -> tuple[float, float]:
    """Harbour axes → (east_m, north_m)."""
    sin_b, cos_b = math.sin(BEARING_RAD), math.cos(BEARING_RAD)
    return right_m * cos_b + ahead_m * sin_b, -right_m * sin_b + ahead_m * cos_b


def _loop(right_m: float, ahead_m: float, across_m: float, deep_m: float, speed_mps: float, **more: float) -> Loop:
    """An ellipse ``across_m`` wide and ``deep_m`` deep (half-axes) as the camera sees it."""
    east_m, north_m = place(right_m, ahead_m)
    return Loop(
        east_m=east_m,
        north_m=north_m,
        along_m=across_m,
        across_m=deep_m,
        axis_rad=BEARING_RAD + math.pi / 2.0,
        speed_mps=speed_mps,
        phase_rad=more.get("phase", 0.0),
        turn=int(more.get("turn", 1)),
    )


def _parked(right_m: float, ahead_m: float, turned_deg: float) -> Loop:
    east_m, north_m = place(right_m, ahead_m)
    return Loop(east_m=east_m, north_m=north_m, axis_rad=BEARING_RAD + math.radians(turned_deg))


def _block(right_m: float, ahead_m: float, size: tuple[float, float, float], colour: tuple[int, int, int]) -> Block:
    east_m, north_m = place(right_m, ahead_m)
    return Block(
        east_m=east_m, north_m=north_m, length_m=size[0], width_m=size[1], height_m=size[2],
        axis_rad=BEARING_RAD + math.pi / 2.0, colour=colour,
    )  # fmt: skip


def harbour(seed: int, start_ns: int = 0) -> Scene:
    """The demo's scene. The same seed gives the same scene."""
    # A string seed is hashed by SHA-512 and so is the same on every machine.
    dice = random.Random(f"harbour {seed}")
    return Scene(
        seed=seed,
        name="Havre-Neuf",
        origin=ORIGIN,
        start_ns=start_ns,
        things=_vessels(dice) + _on_the_quay(dice),
        blocks=_blocks(),
        quay=tuple(place(r, a) for r, a in ((-400.0, -60.0), (-4.0, -60.0), (-4.0, 172.0), (-400.0, 172.0))),
        light=Light(sun_azimuth_rad=BEARING_RAD + dice.uniform(1.9, 2.6), brightness=dice.uniform(0.95, 1.05)),
    )


def _vessels(dice: random.Random) -> tuple[Thing, ...]:
    return (
        Thing(
            name="Aurelia", kind="ship", length_m=82.0, beam_m=13.0, height_m=17.0, look=3, transponder=AURELIA,
            radar_section=0.97,
            loop=_loop(30.0, 380.0, 260.0, 25.0, 3.2, phase=dice.uniform(-1.95, -1.85), turn=-1),
        ),
        Thing(
            name="Lys de Mer", kind="ship", length_m=48.0, beam_m=9.0, height_m=12.0, look=5, transponder=LYS,
            radar_section=0.95, loop=_parked(-125.0, 452.0, 78.0),
        ),
        Thing(
            name="Petrel", kind="boat", length_m=14.0, beam_m=4.2, height_m=5.0, look=2, transponder=PETREL,
            radar_section=0.93, loop=_loop(48.0, 190.0, 34.0, 22.0, 3.6, phase=dice.uniform(2.2, 2.8)),
        ),
        Thing(
            name=FISHER, kind="boat", length_m=11.5, beam_m=3.8, height_m=4.6, look=8, radar_section=0.9,
            loop=_loop(80.0, 262.0, 28.0, 22.0, 2.4, phase=dice.uniform(-0.4, 0.4), turn=-1),
        ),
        Thing(
            name=DINGHY, kind="boat", length_m=7.5, beam_m=2.6, height_m=2.6, look=4, radar_section=0.85,
            loop=_loop(24.0, 126.0, 20.0, 13.0, 3.2, phase=dice.uniform(0.4, 0.8)),
        ),
        Thing(
            name=FAR_SHIP, kind="ship", length_m=140.0, beam_m=20.0, height_m=26.0, look=6, radar_section=0.95,
            loop=_loop(920.0, 1250.0, 300.0, 120.0, 5.0, phase=dice.uniform(-0.3, 0.3), turn=-1),
        ),
    )  # fmt: skip


def _on_the_quay(dice: random.Random) -> tuple[Thing, ...]:
    return (
        Thing(
            name="person on the quay", kind="person", length_m=0.5, beam_m=0.6, height_m=1.8, look=1,
            loop=_loop(-10.5, 67.0, 4.5, 2.6, 1.2, phase=dice.uniform(0.0, 6.0)),
        ),
        Thing(
            name="car", kind="car", length_m=4.5, beam_m=1.85, height_m=1.5, look=7,
            loop=_loop(-23.0, 84.0, 8.0, 5.5, 2.6, phase=dice.uniform(0.0, 6.0)),
        ),
        Thing(
            name="first truck", kind="truck", length_m=9.5, beam_m=2.6, height_m=3.7, look=2,
            loop=_parked(-17.0, 112.0, 70.0),
        ),
        Thing(
            name="second truck", kind="truck", length_m=9.5, beam_m=2.6, height_m=3.7, look=9,
            loop=_parked(-36.0, 118.0, 112.0),
        ),
    )  # fmt: skip


def _blocks() -> tuple[Block, ...]:
    stone, light_stone = (96, 104, 110), (120, 128, 134)
    return (
        _block(-92.0, 150.0, (44.0, 18.0, 9.0), (110, 122, 140)),
        _block(-56.0, 146.0, (12.2, 2.5, 2.6), (60, 90, 170)),
        _block(-56.0, 149.5, (12.2, 2.5, 5.2), (140, 110, 50)),
        _block(-40.0, 152.0, (6.1, 2.5, 2.6), (70, 140, 80)),
        _block(-110.0, 520.0, (420.0, 9.0, 4.0), stone),
        _block(98.0, 520.0, (5.0, 5.0, 14.0), light_stone),
        _block(385.0, 560.0, (230.0, 9.0, 4.0), stone),
        _block(270.0, 560.0, (5.0, 5.0, 13.0), (70, 70, 170)),
    )
