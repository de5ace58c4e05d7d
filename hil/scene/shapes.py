"""What things look like: small sets of flat faces per kind. Shapes only; light and perspective are ``paint``'s.

A thing's own axes are x forward, y to the left and z up, in metres, with the origin on the ground under its middle.
Faces turn counter-clockwise seen from outside, so that their normals point outward. Colours are BGR, 0–255.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hil.scene.lens import Points
from hil.scene.world import Block, Kind, Motion, Thing

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One flat polygon, (n, 3), with its colour."""

    corners: Points
    colour: Colour


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """Faces in arrays, so that one solid is turned, lit and projected at once.

    ``corners`` is (n, 3), face ``i`` owns rows ``starts[i]:starts[i + 1]``; ``normals`` and ``colours`` are (faces, 3).
    """

    corners: Points
    starts: npt.NDArray[np.int64]
    normals: Points
    colours: Points

    def middles(self) -> Points:
        """(faces, 3): the mean corner of each face."""
        counts = np.diff(self.starts)[:, None]
        mean: Points = np.add.reduceat(self.corners, self.starts[:-1]) / counts
        return mean

    def firsts(self) -> Points:
        """(faces, 3): one corner of each face."""
        return self.corners[self.starts[:-1]]

    def placed(self, east_m: float, north_m: float, heading_rad: float) -> Solid:
        """The same solid in local east, north, up."""
        sin_h, cos_h = math.sin(heading_rad), math.cos(heading_rad)
        turn = np.array([[sin_h, cos_h, 0.0], [-cos_h, sin_h, 0.0], [0.0, 0.0, 1.0]])
        shift = np.array([east_m, north_m, 0.0])
        return Solid(self.corners @ turn + shift, self.starts, self.normals @ turn, self.colours)


def solid(faces: Sequence[Face]) -> Solid:
    return Solid(
        corners=np.concatenate([face.corners for face in faces]),
        starts=np.cumsum([0, *(len(face.corners) for face in faces)]),
        normals=np.array([normal(face) for face in faces]),
        colours=np.array([face.colour for face in faces]),
    )


def prism(
    outline: Sequence[tuple[float, float]],
    span_m: tuple[float, float],
    side: Colour,
    top: Colour | None = None,
    *,
    foot: float = 1.0,
) -> list[Face]:
    """An upright solid over a counter-clockwise outline; ``foot`` scales the lower outline (a hull's flare)."""
    upper = np.array([(x, y, span_m[1]) for x, y in outline])
    lower = np.array([(x * foot, y * foot, span_m[0]) for x, y in outline])
    faces = [Face(upper, top if top is not None else side)]
    for i in range(len(outline)):
        j = (i + 1) % len(outline)
        faces.append(Face(np.array([lower[i], lower[j], upper[j], upper[i]]), side))
    return faces


def box(
    middle: tuple[float, float],
    size: tuple[float, float],
    span_m: tuple[float, float],
    side: Colour,
    top: Colour | None = None,
) -> list[Face]:
    """An upright box; ``middle`` and ``size`` in x and y."""
    (x, y), (half_x, half_y) = middle, (size[0] / 2.0, size[1] / 2.0)
    outline = ((x - half_x, y - half_y), (x + half_x, y - half_y), (x + half_x, y + half_y), (x - half_x, y + half_y))
    return prism(outline, span_m, side, top)


def _band(
    middle: tuple[float, float], size: tuple[float, float], span_m: tuple[float, float], colour: Colour
) -> list[Face]:
    """A strip round a box, a little proud of it: windows."""
    return box(middle, (size[0] + 0.08, size[1] + 0.08), span_m, colour)[1:]


_PAINT: tuple[Colour, ...] = (
    (60, 60, 175), (150, 80, 40), (70, 110, 50), (40, 40, 48), (215, 215, 218), (110, 70, 130),
    (50, 130, 200), (120, 95, 60), (45, 60, 110), (165, 165, 150),
)  # fmt: skip
_WHITE: Colour = (228, 230, 232)
_GLASS: Colour = (70, 58, 48)
_RUBBER: Colour = (34, 33, 33)


def _hull(length_m: float, beam_m: float, fullness: float) -> list[tuple[float, float]]:
    """A waterline seen from above, bow forward; ``fullness`` is where the bow begins to close."""
    half, side = length_m / 2.0, beam_m / 2.0
    shoulder = half * fullness
    return [
        (-half, -side * 0.86), (shoulder * 0.2, -side), (shoulder, -side * 0.86), ((half + shoulder) / 2, -side * 0.5),
        (half, 0.0), ((half + shoulder) / 2, side * 0.5), (shoulder, side * 0.86), (shoulder * 0.2, side),
        (-half, side * 0.86),
    ]  # fmt: skip


def _ship(thing: Thing, dice: random.Random) -> list[Face]:
    length, beam, height = thing.length_m, thing.beam_m, thing.height_m
    paint, deck_m = dice.choice(_PAINT), 0.27 * height
    boot: Colour = dice.choice(((50, 50, 140), (45, 45, 50), (60, 90, 60)))
    deck: Colour = (105, 120, 130)
    faces = prism(_hull(length, beam, 0.66), (0.0, 0.07 * height), boot, foot=0.97)
    faces += prism(_hull(length, beam, 0.66), (0.07 * height, deck_m), paint, deck)
    house = (-length * dice.uniform(0.32, 0.38), 0.0)
    size = (length * 0.13, beam * 0.82)
    faces += box(house, size, (deck_m, 0.72 * height), _WHITE)
    for floor in (0.42, 0.52, 0.62):
        faces += _band(house, size, (floor * height, (floor + 0.035) * height), _GLASS)
    faces += box(house, (size[0] * 0.8, beam), (0.72 * height, 0.82 * height), _WHITE)
    faces += _band(house, (size[0] * 0.8, beam), (0.75 * height, 0.79 * height), _GLASS)
    faces += box(
        (house[0] - size[0] * 0.2, 0.0), (length * 0.035, beam * 0.2), (0.82 * height, height), dice.choice(_PAINT)
    )
    return faces + _cargo(thing, dice, deck_m)


def _cargo(thing: Thing, dice: random.Random, deck_m: float) -> list[Face]:
    """Containers, hatch covers or tanks, by the look of the ship."""
    length, beam, height = thing.length_m, thing.beam_m, thing.height_m
    faces: list[Face] = []
    style = dice.choice(("containers", "hatches", "tanker"))
    for i in range(5):
        x = length * (-0.18 + 0.125 * i)
        if style == "containers":
            top = deck_m + height * dice.choice((0.15, 0.28, 0.4))
            faces += box((x, 0.0), (length * 0.11, beam * 0.84), (deck_m, top), dice.choice(_PAINT))
        elif style == "hatches":
            faces += box((x, 0.0), (length * 0.1, beam * 0.7), (deck_m, deck_m + height * 0.07), (95, 130, 90))
        else:
            faces += box((x, 0.0), (length * 0.09, beam * 0.12), (deck_m, deck_m + height * 0.1), (140, 150, 160))
    mast = (length * 0.4, 0.0)
    return faces + box(
        mast, (max(length * 0.008, 0.3), max(length * 0.008, 0.3)), (deck_m, 0.7 * height), (190, 190, 190)
    )


def _boat(thing: Thing, dice: random.Random) -> list[Face]:
    length, beam, height = thing.length_m, thing.beam_m, thing.height_m
    if length < 8.5:
        return _dinghy(thing, dice)
    paint, deck_m = dice.choice(_PAINT), 0.3 * height
    faces = prism(_hull(length, beam, 0.45), (0.0, deck_m), paint, (170, 190, 195), foot=0.9)
    cabin_x, cabin = length * dice.choice((0.1, 0.0, -0.12)), (length * dice.uniform(0.26, 0.36), beam * 0.7)
    shade: Colour = dice.choice((_WHITE, (190, 210, 225), (60, 140, 220)))
    faces += box((cabin_x, 0.0), cabin, (deck_m, 0.68 * height), shade)
    faces += _band((cabin_x, 0.0), cabin, (0.5 * height, 0.6 * height), _GLASS)
    pole = max(0.16, length * 0.012)
    faces += box((cabin_x - cabin[0] * 0.3, 0.0), (pole, pole), (0.68 * height, height), (205, 205, 205))
    if dice.random() < 0.5:
        faces += box((-length * 0.38, 0.0), (length * 0.1, beam * 0.6), (deck_m, 0.55 * height), (60, 110, 160))
    return faces


def _dinghy(thing: Thing, dice: random.Random) -> list[Face]:
    """An open boat with a console and a helmsman."""
    length, beam, height = thing.length_m, thing.beam_m, thing.height_m
    tube: Colour = dice.choice(((40, 90, 230), (55, 55, 60), (200, 200, 205), (60, 60, 190)))
    faces = prism(_hull(length, beam, 0.4), (0.0, 0.3 * height), tube, (120, 125, 130), foot=0.93)
    faces += box((-length * 0.05, 0.0), (0.9, 0.9), (0.3 * height, 0.6 * height), _WHITE)
    faces += box((-length * 0.2, 0.0), (0.45, 0.55), (0.3 * height, 0.85 * height), (40, 120, 235))
    faces += box((-length * 0.2, 0.0), (0.28, 0.28), (0.85 * height, height), (120, 150, 200))
    return faces + box((-length * 0.46, 0.0), (0.6, 0.7), (0.1 * height, 0.55 * height), _RUBBER)


def _wheels(length_m: float, beam_m: float, radius_m: float, axles: Sequence[float]) -> list[Face]:
    faces: list[Face] = []
    for axle in axles:
        for side in (-1.0, 1.0):
            middle = (axle * length_m, side * (beam_m / 2.0 - 0.12))
            faces += box(middle, (radius_m * 1.8, 0.26), (0.0, radius_m * 1.9), _RUBBER)
    return faces


def _truck(thing: Thing, dice: random.Random) -> list[Face]:
    length, beam, height = thing.length_m, thing.beam_m, thing.height_m
    cab, load = dice.choice(_PAINT), dice.choice((*_PAINT, _WHITE, _WHITE))
    faces = _wheels(length, beam, 0.5, (0.36, -0.2, -0.33))
    faces += box((0.0, 0.0), (length * 0.98, beam * 0.7), (0.6, 0.95), (45, 45, 45))
    faces += box((length * 0.4, 0.0), (length * 0.2, beam * 0.96), (0.45, height * 0.8), cab)
    faces += _band((length * 0.41, 0.0), (length * 0.18, beam * 0.9), (height * 0.5, height * 0.7), _GLASS)
    if dice.random() < 0.75:
        faces += box((-length * 0.12, 0.0), (length * 0.74, beam), (0.95, height), load)
    else:
        faces += box((-length * 0.12, 0.0), (length * 0.74, beam), (0.95, height * 0.5), load, (90, 110, 130))
    return faces


def _car(thing: Thing, dice: random.Random) -> list[Face]:
    length, beam, height = thing.length_m, thing.beam_m, thing.height_m
    paint = dice.choice((*_PAINT, _WHITE))
    faces = _wheels(length, beam, 0.32, (0.3, -0.3))
    faces += box((0.0, 0.0), (length, beam), (0.25, height * 0.58), paint)
    half, side = length * 0.27, beam * 0.44
    roof = ((-half * 1.15, -side), (half * 0.9, -side), (half * 0.9, side), (-half * 1.15, side))
    faces += prism(roof, (height * 0.58, height * 0.94), _GLASS, paint, foot=1.12)
    return faces + prism(roof, (height * 0.94, height), paint)


def _person(thing: Thing, dice: random.Random, time_s: float) -> list[Face]:
    """Legs that swing, a body, a head. Narrow boxes rather than a billboard, so that every side has a size."""
    height, stride = thing.height_m, 0.22 * math.sin(2.0 * math.pi * 0.9 * time_s)
    if thing.loop.rate_radps == 0.0:
        stride = 0.06
    coat: Colour = dice.choice(
        ((40, 150, 240), (60, 220, 230), (120, 70, 50), (60, 60, 170), (80, 80, 80), (200, 190, 180))
    )
    trousers: Colour = dice.choice(((70, 55, 45), (60, 60, 65), (95, 85, 70)))
    skin: Colour = dice.choice(((130, 160, 205), (90, 120, 170), (60, 80, 110)))
    faces = box((stride, 0.11), (0.2, 0.18), (0.0, height * 0.48), trousers)
    faces += box((-stride, -0.11), (0.2, 0.18), (0.0, height * 0.48), trousers)
    faces += box((0.0, 0.0), (0.3, 0.5), (height * 0.45, height * 0.83), coat)
    for side in (-1.0, 1.0):
        faces += box((-side * stride * 0.7, side * 0.31), (0.16, 0.13), (height * 0.44, height * 0.8), coat)
    return faces + box((0.0, 0.0), (0.21, 0.19), (height * 0.85, height), skin)


_DRAWN: dict[Kind, Callable[[Thing, random.Random], list[Face]]] = {
    "ship": _ship,
    "boat": _boat,
    "truck": _truck,
    "car": _car,
}


@functools.lru_cache(maxsize=256)
def _built(thing: Thing) -> Solid:
    return solid(_DRAWN[thing.kind](thing, _dice(thing)))


def _dice(thing: Thing) -> random.Random:
    """The same ``look`` gives the same thing."""
    return random.Random(f"{thing.kind} {thing.look}")


def solid_of(thing: Thing, moved: Motion, time_s: float) -> Solid:
    """A thing as it stands at one moment, in local east, north, up."""
    own = solid(_person(thing, _dice(thing), time_s)) if thing.kind == "person" else _built(thing)
    return own.placed(moved.east_m, moved.north_m, moved.heading_rad)


def solid_of_block(block: Block) -> Solid:
    top: Colour = (block.colour[0] + 18.0, block.colour[1] + 18.0, block.colour[2] + 18.0)
    faces = box((0.0, 0.0), (block.length_m, block.width_m), (0.0, block.height_m), block.colour, top)
    return solid(faces).placed(block.east_m, block.north_m, block.axis_rad)


def normal(face: Face) -> Points:
    """The outward unit normal (zero for a degenerate face), by Newell's sum over the edges."""
    here, after = face.corners, np.roll(face.corners, -1, axis=0)
    x1, y1, z1 = here.T
    x2, y2, z2 = after.T
    total: Points = np.array([(y1 * z2 - z1 * y2).sum(), (z1 * x2 - x1 * z2).sum(), (x1 * y2 - y1 * x2).sum()])
    length = float(np.linalg.norm(total))
    return total / length if length > 0.0 else total
