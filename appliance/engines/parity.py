"""The gate before an engine serves: are its answers those of the network, as ONNX Runtime computes it?

Both runners get the same tensors. What is compared is what the decoder reads: for each picture the best candidates,
matched by label and place, because two right implementations may order equal scores differently; and the sorted values
of every output, so that a network that finds nothing in a picture is compared all the same. Reduced precision moves
scores and boxes a little; the tolerances say how much.

Rules: an answer that is not a number, has another shape or lacks an output is a fault. A report that compared nothing
has not passed. No file, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from appliance.bundles.manifest import ImageInput, Manifest, output_names
from appliance.engines.goldens import NO_GOLDENS
from appliance.errors import EngineUnavailable
from appliance.inference.decode import decode
from appliance.inference.prepare import Preparer, lay_out
from appliance.inference.runner import Runner
from appliance.inference.suppress import Candidates, Floor, best_first
from appliance.inference.tensors import require_answer

Tensor = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

BEST: Final = 20
"""Candidates of each picture that are matched; a picture rarely holds more things."""
MAX_FAULTS: Final = 8
_SEED: Final = 20_261_126


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far reduced precision may move an answer. Scores: ``score + score_share × score``; boxes: pixels of the
    network's picture or a share of the box's side, whichever is more; ``spread``: relative L2 of sorted outputs."""

    score: float = 0.002
    score_share: float = 0.05
    box_px: float = 2.0
    box_share: float = 0.05
    spread: float = 0.05

    def of_score(self, score: float) -> float:
        """How far another score may be from this one."""
        return self.score + self.score_share * abs(score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """What was compared and how far apart it was. ``worst_*`` are over everything that was matched."""

    pictures: int
    matched: int
    worst_score: float
    worst_box_px: float
    worst_spread: float
    faults: tuple[str, ...]
    golden: str = NO_GOLDENS
    """How near the engine came to the signed golden answers."""

    @property
    def passed(self) -> bool:
        """Whether the engine may serve."""
        return self.pictures > 0 and self.matched > 0 and not self.faults


def compare(
    manifest: Manifest,
    reference: Runner,
    candidate: Runner,
    batches: Iterable[Tensor],
    tolerance: Tolerance | None = None,
) -> Parity:
    """Run both on every batch. Raises ``EngineUnavailable`` where the reference does not answer."""
    gate = _Gate(manifest, tolerance or Tolerance())
    for batch in batches:
        gate.take(batch, reference.run(batch), candidate)
    return gate.report()


class _Gate:
    """State of one comparison."""

    def __init__(self, manifest: Manifest, tolerance: Tolerance) -> None:
        self._manifest = manifest
        self._tolerance = tolerance
        labels = len(manifest.labels)
        self._floor = Floor(per_label=np.zeros(labels, np.float32), lowest=np.float32(0))
        self._pictures = self._matched = 0
        self._score = self._box = self._spread = 0.0
        self._faults: list[str] = []

    def report(self) -> Parity:
        return Parity(
            pictures=self._pictures,
            matched=self._matched,
            worst_score=round(self._score, 6),
            worst_box_px=round(self._box, 4),
            worst_spread=round(self._spread, 6),
            faults=tuple(self._faults[:MAX_FAULTS]),
        )

    def take(self, batch: Tensor, expected: Mapping[str, Tensor], candidate: Runner) -> None:
        net = _net(self._manifest.input, batch)
        try:
            found = candidate.run(batch)
            require_answer(self._manifest, found, len(batch), net)
        except EngineUnavailable as e:
            self._faults.append(str(e))
            return
        self._compare_outputs(expected, found)
        if any(found[name].shape != expected[name].shape for name in output_names(self._manifest.decoder)):
            return  # rows that are not there cannot be decoded
        for index in range(len(batch)):
            self._pictures += 1
            pair = (decode(self._manifest, each, index, net, self._floor)[0] for each in (expected, found))
            self._match(*map(_best, pair))

    def _compare_outputs(self, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
        for name in output_names(self._manifest.decoder):
            mine, theirs = (np.sort(each[name].astype(np.float64), axis=None) for each in (expected, found))
            if mine.shape != theirs.shape or not np.isfinite(theirs).all():
                self._faults.append(f"output {name!r}: expected {mine.size} numbers; found other shapes or no numbers")
                continue
            if not np.issubdtype(expected[name].dtype, np.floating):
                continue  # labels and counts are compared with their boxes
            spread = float(np.linalg.norm(mine - theirs)) / max(float(np.linalg.norm(mine)), 1e-6)
            self._spread = max(self._spread, spread)
            if spread > self._tolerance.spread:
                limit = self._tolerance.spread
                self._faults.append(f"output {name!r}: expected values within {limit:.1%}; found {spread:.1%} apart")

    def _match(self, expected: Candidates, found: Candidates) -> None:
        """Each of ours has one of theirs, and the other way round, but for those at the cut."""
        for these, those, whose in ((expected, found, "the network"), (found, expected, "the engine")):
            for row in range(len(these.scores)):
                self._match_one(these, row, those, whose)

    def _match_one(self, these: Candidates, row: int, those: Candidates, whose: str) -> None:
        score, box = float(these.scores[row]), these.boxes[row]
        room = self._tolerance.of_score(score)
        sides = np.maximum(box[2:] - box[:2], 0.0)
        allowed = max(self._tolerance.box_px, self._tolerance.box_share * float(sides.max(initial=0.0)))
        apart = np.abs(those.boxes - box).max(axis=1, initial=0.0)
        good = (those.labels == these.labels[row]) & (np.abs(those.scores - score) <= room) & (apart <= allowed)
        if good.any():
            self._matched += 1
            nearest = int(np.argmin(np.where(good, apart, np.inf)))
            self._box = max(self._box, float(apart[nearest]))
            self._score = max(self._score, abs(float(those.scores[nearest]) - score))
        elif len(those.scores) < BEST or score > float(those.scores[-1]) + room:
            label = self._manifest.labels[int(these.labels[row])]
            where = [round(float(side), 1) for side in box]
            self._faults.append(f"{whose} sees {label} {score:.3f} at {where}; the other does not")


def _best(candidates: Candidates) -> Candidates:
    return candidates.take(best_first(candidates.scores, BEST))


def _net(image: ImageInput, batch: Tensor) -> tuple[int, int]:
    height, width = batch.shape[2:4] if image.layout == "NCHW" else batch.shape[1:3]
    return int(height), int(width)


def probe_batches(manifest: Manifest, pictures: Iterable[Pixels] = ()) -> Iterator[Tensor]:
    """What both runners are given: each picture alone, then one full batch where the manifest allows batches.

    ``pictures`` are (height, width, 3) uint8 BGR; none given, some that are drawn, the same every time.
    """
    frames = list(pictures) or drawn_pictures()
    preparer = Preparer(manifest.input, manifest.max_batch)
    for frame in frames:
        yield preparer.prepare([frame], [lay_out(manifest.input, *frame.shape[:2])]).copy()
    if manifest.max_batch > 1:
        many = [frames[number % len(frames)] for number in range(manifest.max_batch)]
        first = lay_out(manifest.input, *many[0].shape[:2])
        same = [frame for frame in many if lay_out(manifest.input, *frame.shape[:2]).net == first.net]
        if len(same) > 1:
            yield preparer.prepare(same, [lay_out(manifest.input, *frame.shape[:2]) for frame in same]).copy()


def drawn_pictures(count: int = 4, height: int = 360, width: int = 640) -> list[Pixels]:
    """Shapes on a noisy ground, from a fixed seed: not pictures of anything, but full of edges, sizes and colours."""
    random = np.random.default_rng(_SEED)
    made: list[Pixels] = []
    for _ in range(count):
        coarse = random.integers(0, 255, (height // 40, width // 40, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            x, y, size = (int(random.integers(0, limit)) for limit in (width, height, 80))
            colour = tuple(int(value) for value in random.integers(0, 255, 3))
            cv2.rectangle(picture, (x, y), (x + size, y + 2 * size), colour, -1)
            cv2.circle(picture, (width - x, height - y), 5 + size // 2, colour, -1)
        made.append(np.asarray(picture, np.uint8))
    return made
