"""The examination: what the shipped detector finds in unseen rendered places and in the demo's harbour.

    python -m models.harbour.examine            prints the figures
    python -m models.harbour.examine --card     and writes them into card.md, between its two marks

Runs the shipped ONNX through the appliance's own pre-processing and decoding, by the shipped manifest. A detection is
right where label and box (IoU ≥ 0.5) agree with a thing that no better detection has taken. What is hidden by more than
65 %, or smaller than 2 × 3 network pixels, is neither asked for nor held against the network.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from appliance.bundles.manifest import parse_manifest
from appliance.domain import Detection, Frame
from appliance.inference.detector import Detector
from appliance.inference.runner import open_runner
from hil.scene.harbour import LENS, harbour
from hil.scene.paint import Painter, TrueBox
from models.harbour.pictures import EXAM_FROM, LABELS, MIN_SIDE_PX, MIN_VISIBLE, WIDTH_PX, painted, worn

FOLDER = Path(__file__).resolve().parent
MODEL, MANIFEST, CARD = FOLDER / "harbour.onnx", FOLDER / "model.json", FOLDER / "card.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
MIN_IOU = 0.5


@dataclass(slots=True)
class Tally:
    """Of one label: things asked for and found, detections given and right, and the IoU of the right ones."""

    asked: int = 0
    found: int = 0
    given: int = 0
    right: int = 0
    overlaps: list[float] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return self.found / self.asked if self.asked else float("nan")

    @property
    def precision(self) -> float:
        return self.right / self.given if self.given else float("nan")


def open_detector(threads: int = 1) -> Detector:
    """The shipped model as the appliance opens it."""
    manifest = parse_manifest(MANIFEST.read_bytes())
    return Detector(manifest, open_runner(MODEL, manifest, threads=threads))


def unseen(count: int) -> Iterable[tuple[np.ndarray, tuple[TrueBox, ...]]]:
    """Pictures of places that were kept from learning."""
    for seed in range(count):
        picture, dice = next(iter(painted(EXAM_FROM + seed, 1)))
        yield worn(picture.pixels, dice), picture.boxes


def demo(count: int) -> Iterable[tuple[np.ndarray, tuple[TrueBox, ...]]]:
    """Pictures of the demo's harbour, half a second apart."""
    painter = Painter(harbour(7), LENS)
    for index in range(count):
        picture = painter.paint(index * 0.5)
        yield picture.pixels, picture.boxes


def examine(detector: Detector, pictures: Iterable[tuple[np.ndarray, tuple[TrueBox, ...]]]) -> dict[str, Tally]:
    """Tallies by label, and under ``all``."""
    tallies = {label: Tally() for label in (*LABELS, "all")}
    for sequence, (pixels, boxes) in enumerate(pictures):
        pixels.setflags(write=False)
        frame = Frame(sensor_id="exam", sequence=sequence, captured_ns=sequence, pixels=pixels)
        (seen,) = detector.detect([frame])
        _mark(tallies, seen.detections, boxes, WIDTH_PX / pixels.shape[1])
    for label in LABELS:
        one, total = tallies[label], tallies["all"]
        total.asked, total.found = total.asked + one.asked, total.found + one.found
        total.given, total.right = total.given + one.given, total.right + one.right
        total.overlaps += one.overlaps
    return tallies


def _mark(
    tallies: dict[str, Tally], detections: tuple[Detection, ...], boxes: tuple[TrueBox, ...], scale: float
) -> None:
    open_boxes = list(boxes)
    for box in boxes:
        tallies[box.kind].asked += _asked(box, scale)
    for detection in sorted(detections, key=lambda one: -one.confidence):
        best = max(open_boxes, key=lambda box: overlap(detection.box_px, box.box_px), default=None)
        shared = overlap(detection.box_px, best.box_px) if best is not None else 0.0
        right = best is not None and shared >= MIN_IOU and best.kind == detection.label
        if right and best is not None:
            open_boxes.remove(best)
            if not _asked(best, scale):
                continue
            tallies[best.kind].found += 1
            tallies[best.kind].overlaps.append(shared)
        elif any(not _asked(box, scale) and overlap(detection.box_px, box.box_px) > 0.1 for box in boxes):
            continue
        tallies[detection.label].given += 1
        tallies[detection.label].right += right


def _asked(box: TrueBox, scale: float) -> bool:
    x1, y1, x2, y2 = box.box_px
    return box.visible >= MIN_VISIBLE and (x2 - x1) * scale >= MIN_SIDE_PX[0] and (y2 - y1) * scale >= MIN_SIDE_PX[1]


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes xyxy."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    shared = width * height
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / (areas - shared)


def table(tallies: dict[str, Tally]) -> str:
    """A Markdown table of one examination."""
    rows = ["| label | things | recall | precision | mean IoU |", "|---|---|---|---|---|"]
    for label, tally in tallies.items():
        mean = float(np.mean(tally.overlaps)) if tally.overlaps else float("nan")
        rows.append(f"| {label} | {tally.asked} | {tally.recall:.3f} | {tally.precision:.3f} | {mean:.3f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.harbour.examine")
    parser.add_argument("--card", action="store_true", help="write the figures into card.md")
    parser.add_argument("--pictures", type=int, default=400)
    arguments = parser.parse_args()
    detector = open_detector()
    figures = (
        f"Unseen rendered places ({arguments.pictures} pictures):\n\n"
        f"{table(examine(detector, unseen(arguments.pictures)))}\n\n"
        f"The demo's harbour (60 pictures):\n\n{table(examine(detector, demo(60)))}"
    )
    print(figures)  # noqa: T201 - a script's result
    if arguments.card:
        before, _, rest = CARD.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        CARD.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
