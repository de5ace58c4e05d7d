"""Pictures of a scene, with the true box of everything that can be seen in them.

Plain painting: sky, water with moving waves, quay, then every solid from far to near with flat shading, reflection,
shadow, wake and haze. Not photographs: enough for a small detector to learn from and for a person to recognise.
What is drawn as a thing is what its box is taken from; reflections, shadows and wakes belong to no box.

A ``Painter`` keeps what does not change for one scene and lens (sky, ground, where the waves are sampled).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from appliance.domain import Pixels
from hil.scene.backdrop import SHIFT, Backdrop, fixed, warm
from hil.scene.lens import NEAR_M, Lens, Points, in_camera, project_polygon, to_pixels
from hil.scene.shapes import Solid, solid_of, solid_of_block
from hil.scene.world import Light, Motion, Scene, Thing, motion

Outline = npt.NDArray[np.int32]

_REFLECTION, _SHADOW, _WAKE = 0.30, 0.42, 0.30
"""How strongly each film covers what is under it."""

_GRAIN_MARGIN_PX = 97
"""The grain of every picture is another window of one larger field: drawing fresh noise costs more than the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueBox:
    """Where a thing was drawn: (x1, y1, x2, y2) in pixels, and how much of what was drawn is left to see."""

    name: str
    kind: str
    category: str
    box_px: tuple[float, float, float, float]
    visible: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Painted:
    """One picture, (height, width, 3) uint8 BGR, and its truth.

    ``owner`` holds 1 + the index of the thing that each pixel shows, 0 for none.
    """

    pixels: Pixels
    boxes: tuple[TrueBox, ...]
    owner: npt.NDArray[np.uint8]


class Painter:
    """Paints one scene through one lens. The same scene, lens and time give the same picture."""

    def __init__(self, scene: Scene, lens: Lens, grain: float = 2.2, backdrop: Backdrop | None = None) -> None:
        self._scene, self._lens = scene, lens
        shape = (lens.height_px + _GRAIN_MARGIN_PX, lens.width_px + _GRAIN_MARGIN_PX, 1)
        noise = np.random.default_rng([scene.seed & 0xFFFFFFFF, 11]).normal(0.0, grain, shape)
        self._grain_field = np.round(noise).astype(np.int16)
        self._sun = _sun(scene.light)
        self._backdrop = backdrop if backdrop is not None else Backdrop(scene, lens)
        self._blocks = [solid_of_block(block) for block in scene.blocks]

    def paint(self, time_s: float) -> Painted:
        """The picture at ``time_s`` seconds into the scene."""
        picture = self._backdrop.at(time_s)
        owner = np.zeros(picture.shape[:2], dtype=np.uint8)
        solids = [(self._depth(block), 0, block) for block in self._blocks]
        for number, thing in enumerate(self._scene.things, start=1):
            moved = motion(thing.loop, time_s)
            body = solid_of(thing, moved, time_s)
            solids.append((self._depth(body), number, body))
            self._underlay(picture, thing, moved, body)
        drawn: dict[int, int] = {}
        for _, number, body in sorted(solids, key=lambda entry: -entry[0]):
            self._solid(picture, owner, number, body)
            if number:
                drawn[number] = cv2.countNonZero(cv2.inRange(owner, number, number))
        boxes = tuple(
            box for number in sorted(drawn) if (box := self._true_box(owner, number, drawn[number])) is not None
        )
        return Painted(pixels=self._finish(picture, time_s), boxes=boxes, owner=owner)

    def _depth(self, body: Solid) -> float:
        """How far the nearest corner of a solid stands from the mast, over the ground."""
        away = body.corners[:, :2] - self._lens.centre[:2]
        return float(np.hypot(away[:, 0], away[:, 1]).min())

    def _underlay(self, picture: Pixels, thing: Thing, moved: Motion, body: Solid) -> None:
        """Reflection and wake on the water, shadow on the quay."""
        if thing.kind in ("ship", "boat"):
            mirrored = Solid(body.corners * (1.0, 1.0, -0.55), body.starts, body.normals, body.colours)
            self._blend(picture, mirrored.corners, mirrored.starts, self._shaded(body, 0.6), _REFLECTION)
            if moved.speed_mps > 0.5:
                wake = wake_of(thing, moved)
                self._blend(picture, wake, np.array([0, 4, 8]), np.full((2, 3), 226.0), _WAKE)
            return
        reach = min(2.5, 1.0 / math.tan(max(0.2, self._scene.light.sun_elevation_rad)))
        away = self._sun[:2] / max(0.1, float(np.hypot(self._sun[0], self._sun[1])))
        flat = np.zeros_like(body.corners)
        flat[:, :2] = body.corners[:, :2] - away * (body.corners[:, 2:3] * reach)
        self._blend(picture, flat, body.starts, np.full((len(body.starts) - 1, 3), 20.0), _SHADOW)

    def _blend(
        self, picture: Pixels, corners: Points, starts: npt.NDArray[np.int64], tones: Points, strength: float
    ) -> None:
        """Lay polygons on the picture as one half-transparent film."""
        outlines = _outlines(self._lens, corners, starts)
        drawn = [(outline, tone) for outline, tone in zip(outlines, tones, strict=True) if len(outline) >= 3]
        if not drawn:
            return
        x1, y1, x2, y2 = _bounds(np.concatenate([outline for outline, _ in drawn]), picture.shape)
        if x1 >= x2 or y1 >= y2:
            return
        patch = picture[y1:y2, x1:x2].copy()
        shift = np.array([x1 << SHIFT, y1 << SHIFT], dtype=np.int32)
        for outline, tone in drawn:
            cv2.fillPoly(patch, [outline - shift], tone.tolist(), cv2.LINE_AA, SHIFT)
        below = picture[y1:y2, x1:x2]
        cv2.addWeighted(patch, strength, below, 1.0 - strength, 0.0, dst=below)

    def _solid(self, picture: Pixels, owner: npt.NDArray[np.uint8], number: int, body: Solid) -> None:
        """Draw the faces that look at the camera, far ones first, and note the pixels as this thing's own."""
        centre = self._lens.centre
        facing = ((centre - body.firsts()) * body.normals).sum(axis=1) > 0.0
        away = np.linalg.norm(body.middles() - centre, axis=1)
        outlines, tones = _outlines(self._lens, body.corners, body.starts), self._shaded(body, 1.0).tolist()
        for index in np.argsort(-away):
            if not facing[index] or len(outlines[index]) < 3:
                continue
            cv2.fillPoly(picture, [outlines[index]], tones[index], cv2.LINE_AA, SHIFT)
            cv2.fillPoly(owner, [outlines[index]], (float(number),), cv2.LINE_8, SHIFT)

    def _shaded(self, body: Solid, strength: float) -> Points:
        """(faces, 3): ambient light from above, direct light from the sun, and haze with distance."""
        light = self._scene.light
        lit = 0.52 + 0.12 * body.normals[:, 2] + 0.5 * np.maximum(0.0, body.normals @ self._sun)
        tones = body.colours * (lit * (light.brightness * strength))[:, None] * warm(light)
        away = np.linalg.norm(body.middles() - self._lens.centre, axis=1)
        veil = (1.0 - np.exp(-away / light.haze_m))[:, None]
        veiled: Points = np.clip(tones * (1.0 - veil) + self._backdrop.horizon * veil, 0.0, 255.0)
        return veiled

    def _true_box(self, owner: npt.NDArray[np.uint8], number: int, drawn: int) -> TrueBox | None:
        """The box of what was drawn inside the picture, from the same corners that were drawn."""
        shown = cv2.inRange(owner, number, number)
        left = cv2.countNonZero(shown)
        if left == 0:
            return None
        x, y, width, height = cv2.boundingRect(shown)
        thing = self._scene.things[number - 1]
        return TrueBox(
            name=thing.name,
            kind=thing.kind,
            category=thing.category,
            box_px=(float(x), float(y), float(x + width), float(y + height)),
            visible=left / drawn,
        )

    def _finish(self, picture: Pixels, time_s: float) -> Pixels:
        """A lens that is not perfectly sharp, and a sensor's grain."""
        soft = cv2.GaussianBlur(picture, (3, 3), 0.55)
        dice = np.random.default_rng([self._scene.seed & 0xFFFFFFFF, round(time_s * 1000.0)])
        top, left = dice.integers(0, _GRAIN_MARGIN_PX, size=2)
        grain = self._grain_field[top : top + soft.shape[0], left : left + soft.shape[1]]
        finished: Pixels = np.clip(soft.astype(np.int16) + grain, 0, 255).astype(np.uint8)
        return finished


def _outlines(lens: Lens, corners: Points, starts: npt.NDArray[np.int64]) -> list[Outline]:
    """Each face's corners in fixed-point pixels; faces that reach behind the camera are cut."""
    seen = in_camera(lens, corners)
    if bool((seen[:, 2] > NEAR_M).all()):
        pixels = fixed(to_pixels(lens, seen))
        return [pixels[first:last] for first, last in itertools.pairwise(starts.tolist())]
    return [fixed(project_polygon(lens, face)) for face in np.split(corners, starts[1:-1])]


def wake_of(thing: Thing, moved: Motion) -> Points:
    """(8, 3): two arms of foam behind a moving hull, four corners each."""
    sin_h, cos_h = math.sin(moved.heading_rad), math.cos(moved.heading_rad)
    reach_m = thing.length_m * 0.25 + moved.speed_mps * 4.0
    corners: list[tuple[float, float, float]] = []
    for side in (-1.0, 1.0):
        x, y = -thing.length_m * 0.48, side * thing.beam_m * 0.4
        inner, outer = y - side * thing.beam_m * 0.3, y + side * reach_m * 0.16
        for ahead, left in ((x, y), (x, inner), (x - reach_m, outer - side * 0.5), (x - reach_m, outer)):
            corners.append(
                (moved.east_m + ahead * sin_h - left * cos_h, moved.north_m + ahead * cos_h + left * sin_h, 0.0)
            )
    return np.array(corners)


def _sun(light: Light) -> Points:
    level = math.cos(light.sun_elevation_rad)
    return np.array(
        [
            math.sin(light.sun_azimuth_rad) * level,
            math.cos(light.sun_azimuth_rad) * level,
            math.sin(light.sun_elevation_rad),
        ]
    )


def _bounds(outline: Outline, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of the picture that an outline may touch: x1, y1, x2, y2."""
    low, high = (outline.min(axis=0) >> SHIFT) - 1, (outline.max(axis=0) >> SHIFT) + 3
    return max(0, int(low[0])), max(0, int(low[1])), min(shape[1], int(high[0])), min(shape[0], int(high[1]))
