"""Harbours by chance: other places, lights, viewpoints and casts than the demo's, to learn from and to be examined on.

A seed gives a place, a lens and a light; a second number gives a cast for that place. Nothing of ``harbour`` is used
but the noun ``Scene``, so that a detector that is examined on the demo has never seen the demo.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from appliance.domain import Geodetic
from hil.scene.lens import Lens, on_ground
from hil.scene.world import Block, Kind, Light, Loop, Scene, Thing

#: Nearest and farthest distance in metres at which a kind is placed, and its smallest and largest length in metres.
_REACH_M: dict[Kind, tuple[float, float]] = {
    "person": (40.0, 110.0),
    "car": (45.0, 190.0),
    "truck": (45.0, 260.0),
    "boat": (60.0, 420.0),
    "ship": (150.0, 1100.0),
}
_LENGTH_M: dict[Kind, tuple[float, float]] = {
    "person": (0.5, 0.5),
    "car": (3.9, 5.0),
    "truck": (6.5, 13.0),
    "boat": (5.5, 19.0),
    "ship": (32.0, 150.0),
}
_ON_QUAY: tuple[Kind, ...] = ("person", "person", "car", "truck", "truck")
_ON_WATER: tuple[Kind, ...] = ("boat", "boat", "boat", "ship", "ship")
_TRIES = 40


def somewhere(seed: int) -> tuple[Scene, Lens]:
    """An empty harbour with its light, and a lens that looks at it. The same seed gives the same place."""
    dice = random.Random(f"somewhere {seed}")
    lens = Lens(
        up_m=dice.uniform(11.0, 32.0),
        heading_rad=dice.uniform(0.0, 2.0 * math.pi),
        pitch_rad=math.radians(dice.uniform(3.5, 11.0)),
        roll_rad=math.radians(dice.gauss(0.0, 0.7)),
        focal_px=dice.uniform(520.0, 950.0),
    )
    scene = Scene(
        seed=seed,
        name=f"somewhere {seed}",
        origin=Geodetic(latitude_deg=0.0, longitude_deg=0.0),
        start_ns=0,
        things=(),
        blocks=_blocks(dice, lens),
        quay=_quay(dice, lens),
        light=_light(dice),
    )
    return scene, lens


def peopled(scene: Scene, lens: Lens, cast: int) -> Scene:
    """The same place with things put down by chance where the lens can see them."""
    dice = random.Random(f"cast {scene.seed} {cast}")
    things: list[Thing] = []
    wanted = [dice.choice(_ON_QUAY) for _ in range(dice.randint(2, 6))] if scene.quay else []
    wanted += [dice.choice(_ON_WATER) for _ in range(dice.randint(2, 6))]
    for kind in wanted:
        thing = _put_down(dice, scene, lens, kind, things)
        if thing is not None:
            things.append(thing)
    return replace(scene, things=tuple(things))


def _light(dice: random.Random) -> Light:
    return Light(
        sun_azimuth_rad=dice.uniform(0.0, 2.0 * math.pi),
        sun_elevation_rad=dice.uniform(0.25, 1.2),
        brightness=dice.uniform(0.6, 1.18),
        warmth=dice.uniform(-0.3, 1.0),
        haze_m=dice.uniform(1500.0, 6000.0),
        chop=dice.uniform(0.4, 1.8),
    )


def _ahead(lens: Lens, right_m: float, ahead_m: float) -> tuple[float, float]:
    sin_h, cos_h = math.sin(lens.heading_rad), math.cos(lens.heading_rad)
    return right_m * cos_h + ahead_m * sin_h, -right_m * sin_h + ahead_m * cos_h


def _quay(dice: random.Random, lens: Lens) -> tuple[tuple[float, float], ...]:
    """Concrete to the left, to the right, or all across below; sometimes none."""
    style = dice.choice(("left", "left", "right", "right", "near", "none"))
    deep = dice.uniform(110.0, 300.0)
    if style == "none":
        return ()
    if style == "near":
        corners = [(-500.0, -50.0), (500.0, -50.0), (500.0, deep * dice.uniform(0.5, 1.0)), (-500.0, deep * 0.7)]
    else:
        edge = dice.uniform(-25.0, 25.0)
        corners = [(-500.0, -50.0), (edge, -50.0), (edge + dice.uniform(-30.0, 30.0), deep), (-500.0, deep)]
        if style == "right":
            corners = [(-right, ahead) for right, ahead in reversed(corners)]
    return tuple(_ahead(lens, right, ahead) for right, ahead in corners)


def _blocks(dice: random.Random, lens: Lens) -> tuple[Block, ...]:
    """Sheds, containers and breakwaters: things that are nobody's target and hide what is behind them."""
    blocks: list[Block] = []
    for _ in range(dice.randint(0, 4)):
        ahead = dice.uniform(70.0, 230.0)
        blocks += _stack(dice, lens, (dice.uniform(-0.5, 0.5) * ahead, ahead))
    for _ in range(dice.choice((0, 1, 1, 2))):
        blocks += _breakwater(dice, lens)
    return tuple(blocks)


def _stack(dice: random.Random, lens: Lens, at: tuple[float, float]) -> list[Block]:
    """One shed or pole, or up to three containers side by side in their own colours."""
    axis = lens.heading_rad + dice.uniform(-1.6, 1.6)
    if dice.random() < 0.4:
        size = dice.choice(((30.0, 14.0, 8.0), (0.6, 0.6, 9.0), (44.0, 18.0, 9.0)))
        return [_block(dice, _ahead(lens, *at), size, axis)]
    length = dice.choice((6.1, 12.2))
    stack = []
    for index in range(dice.randint(1, 3)):
        shifted = (at[0] + dice.uniform(-2.0, 2.0), at[1] + 3.4 * index)
        size = (length, 2.5, dice.choice((2.6, 2.6, 5.2)))
        stack.append(_block(dice, _ahead(lens, *shifted), size, axis))
    return stack


def _breakwater(dice: random.Random, lens: Lens) -> list[Block]:
    """A long low wall across the view, most often with a light tower on its head."""
    middle, ahead, length = dice.uniform(-300.0, 300.0), dice.uniform(350.0, 900.0), dice.uniform(100.0, 600.0)
    across = lens.heading_rad + math.pi / 2.0
    wall = _block(dice, _ahead(lens, middle, ahead), (length, 9.0, dice.uniform(2.5, 6.0)), across)
    if dice.random() < 0.25:
        return [wall]
    head = middle + dice.choice((-0.5, 0.5)) * length
    size = dice.uniform(3.5, 7.0)
    return [wall, _block(dice, _ahead(lens, head, ahead), (size, size, dice.uniform(7.0, 18.0)), across)]


def _block(dice: random.Random, at: tuple[float, float], size: tuple[float, float, float], axis_rad: float) -> Block:
    grey = dice.randint(70, 150)
    colour = dice.choice(
        ((grey, grey + 8, grey + 14), (dice.randint(40, 180), dice.randint(40, 180), dice.randint(40, 180)))
    )
    return Block(
        east_m=at[0], north_m=at[1], length_m=size[0], width_m=size[1], height_m=size[2], axis_rad=axis_rad,
        colour=colour,
    )  # fmt: skip


def _put_down(dice: random.Random, scene: Scene, lens: Lens, kind: Kind, others: list[Thing]) -> Thing | None:
    """A thing of a kind on its own ground, clear of the others; None where no such place was found by chance."""
    length_m = dice.uniform(*_LENGTH_M[kind])
    for _ in range(_TRIES):
        horizon = lens.height_px / 2.0 - lens.focal_px * math.tan(lens.pitch_rad)
        # Evenly over the rows of the picture would crowd the foreground with everything; the square favours far rows.
        row = horizon + (lens.height_px - horizon) * dice.random() ** 1.6
        ground = on_ground(lens, dice.uniform(-10.0, lens.width_px + 10.0), row)
        if ground is None or not _REACH_M[kind][0] <= math.hypot(*ground) <= _REACH_M[kind][1]:
            continue
        if inside(scene.quay, ground) != (kind in _ON_QUAY):
            continue
        if any(_too_near(ground, length_m, other) for other in others):
            continue
        return _thing(dice, kind, ground, length_m)
    return None


def _thing(dice: random.Random, kind: Kind, ground: tuple[float, float], length_m: float) -> Thing:
    beam = {"person": 0.6, "car": 1.85, "truck": 2.6}.get(kind, length_m * dice.uniform(0.14, 0.3))
    height = {
        "person": dice.uniform(1.6, 1.95),
        "car": dice.uniform(1.4, 1.9),
        "truck": dice.uniform(3.0, 4.0),
        "boat": min(7.0, length_m * dice.uniform(0.3, 0.5)),
        "ship": length_m * dice.uniform(0.17, 0.28),
    }[kind]
    return Thing(
        name=f"{kind} {dice.randint(0, 10**9)}", kind=kind, length_m=length_m, beam_m=beam, height_m=height,
        loop=_through(dice, ground, dice.choice((0.0, dice.uniform(0.8, 7.0)))), look=dice.randint(0, 10**6),
    )  # fmt: skip


def _through(dice: random.Random, ground: tuple[float, float], speed_mps: float) -> Loop:
    """A wide circle that passes the place at time zero; a parked thing has no circle."""
    axis = dice.uniform(0.0, 2.0 * math.pi)
    if speed_mps == 0.0:
        return Loop(east_m=ground[0], north_m=ground[1], axis_rad=axis)
    radius_m = 80.0
    return Loop(
        east_m=ground[0] - radius_m * math.sin(axis), north_m=ground[1] - radius_m * math.cos(axis),
        along_m=radius_m, across_m=radius_m, axis_rad=axis, speed_mps=speed_mps, turn=dice.choice((-1, 1)),
    )  # fmt: skip


def _too_near(ground: tuple[float, float], length_m: float, other: Thing) -> bool:
    east, north = other.loop.east_m, other.loop.north_m
    if other.loop.along_m > 0.0:
        east += other.loop.along_m * math.sin(other.loop.axis_rad)
        north += other.loop.along_m * math.cos(other.loop.axis_rad)
    return math.hypot(ground[0] - east, ground[1] - north) < 0.6 * (length_m + other.length_m) + 1.0


def inside(polygon: tuple[tuple[float, float], ...], point: tuple[float, float]) -> bool:
    """Whether a point lies in a polygon, by counting crossings to the east."""
    east, north = point
    crossings = False
    for i, (e1, n1) in enumerate(polygon):
        e2, n2 = polygon[i - 1]
        if (n1 > north) != (n2 > north) and east < e1 + (north - n1) / (n2 - n1) * (e2 - e1):
            crossings = not crossings
    return crossings
