"""Pictures to learn from and to be examined on: rendered harbours, fitted as the appliance fits frames.

Needs only what the project itself needs (numpy, OpenCV, hil.scene). Places with a seed under ``EXAM_FROM`` are for
learning; from there on for the examination; the demo's own harbour is in neither.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hil.scene.backdrop import Backdrop
from hil.scene.paint import Painted, Painter, TrueBox
from hil.scene.variety import peopled, somewhere

LABELS = ("person", "car", "truck", "boat", "ship")
WIDTH_PX, HEIGHT_PX = 320, 192
PAD = 114
EXAM_FROM = 1_000_000

MIN_VISIBLE = 0.35
"""What is hidden more than this is neither asked for nor held against the network."""
MIN_SIDE_PX = (2.0, 3.0)
"""Smallest width and height in network pixels that is asked for."""

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One fitted picture, (192, 320, 3) BGR, and its rows (x1, y1, x2, y2, label, asked) in network pixels."""

    pixels: Pixels
    rows: Rows


def fitted(pixels: Pixels) -> tuple[Pixels, float]:
    """A picture letterboxed to the network's size, upper left, padded with 114; and the scale that was used."""
    height, width = pixels.shape[:2]
    scale = min(WIDTH_PX / width, HEIGHT_PX / height)
    inner = (round(width * scale), round(height * scale))
    canvas = np.full((HEIGHT_PX, WIDTH_PX, 3), PAD, dtype=np.uint8)
    canvas[: inner[1], : inner[0]] = cv2.resize(pixels, inner, interpolation=cv2.INTER_LINEAR)
    return canvas, scale


def example(pixels: Pixels, boxes: tuple[TrueBox, ...], window: tuple[int, int, int, int] | None = None) -> Example:
    """A picture, or a window (x1, y1, x2, y2) of it, with its truth."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = window if window is not None else (0, 0, width, height)
    canvas, scale = fitted(pixels[y1:y2, x1:x2])
    rows: list[tuple[float, ...]] = []
    for box in boxes:
        bx1, by1 = max(box.box_px[0], x1) - x1, max(box.box_px[1], y1) - y1
        bx2, by2 = min(box.box_px[2], x2) - x1, min(box.box_px[3], y2) - y1
        if bx2 - bx1 < 1.0 or by2 - by1 < 1.0:
            continue
        whole = (box.box_px[2] - box.box_px[0]) * (box.box_px[3] - box.box_px[1])
        visible = box.visible * (bx2 - bx1) * (by2 - by1) / whole
        large = (bx2 - bx1) * scale >= MIN_SIDE_PX[0] and (by2 - by1) * scale >= MIN_SIDE_PX[1]
        asked = float(visible >= MIN_VISIBLE and large)
        rows.append((bx1 * scale, by1 * scale, bx2 * scale, by2 * scale, float(LABELS.index(box.kind)), asked))
    return Example(canvas, np.array(rows, dtype=np.float32).reshape(-1, 6))


def painted(seed: int, casts: int) -> Iterator[tuple[Painted, random.Random]]:
    """``casts`` pictures of one place, and the dice that belong to it."""
    dice = random.Random(f"pictures {seed}")  # noqa: S311 - pictures want to be made again, not to be secret
    scene, lens = somewhere(seed)
    backdrop = Backdrop(scene, lens)
    for cast in range(casts):
        painter = Painter(peopled(scene, lens, cast), lens, grain=dice.uniform(0.5, 4.0), backdrop=backdrop)
        yield painter.paint(dice.uniform(0.0, 1.2)), dice


def to_learn(seed: int, casts: int) -> Iterator[Example]:
    """Pictures of one place, sometimes zoomed, sometimes worn by compression."""
    for picture, dice in painted(seed, casts):
        yield example(worn(picture.pixels, dice), picture.boxes, _window(picture.pixels, dice))


def worn(pixels: Pixels, dice: random.Random) -> Pixels:
    """The picture as compression leaves it, most of the time."""
    if dice.random() < 0.3:
        return pixels
    ok, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, dice.randint(35, 95)])
    worn = cv2.imdecode(data, cv2.IMREAD_COLOR) if ok else None
    return pixels if worn is None else np.asarray(worn, dtype=np.uint8)


def _window(pixels: Pixels, dice: random.Random) -> tuple[int, int, int, int] | None:
    if dice.random() < 0.55:
        return None
    height, width = pixels.shape[:2]
    part = dice.uniform(0.7, 0.98)
    inner_w, inner_h = int(width * part), int(height * part)
    x, y = dice.randint(0, width - inner_w), dice.randint(0, height - inner_h)
    return x, y, x + inner_w, y + inner_h


def render(target: Path, places: int, casts: int) -> None:
    """Render the learning set once: ``pixels`` (n, 192, 320, 3), all ``rows``, and ``starts`` (n + 1) into the rows."""
    pixels = np.zeros((places * casts, HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    rows: list[Rows] = []
    for seed in range(places):
        for cast, one in enumerate(to_learn(seed, casts)):
            pixels[seed * casts + cast] = one.pixels
            rows.append(one.rows)
    starts = np.cumsum([0, *(len(each) for each in rows)])
    np.savez(target, pixels=pixels, rows=np.concatenate(rows), starts=starts)
