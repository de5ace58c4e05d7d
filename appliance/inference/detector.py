"""One network and all that stands round it: frames in, detected frames out.

It batches frames that share a network size, up to what the manifest allows; a frame alone and the same frame in a batch
give the same detections. It keeps no frame: when ``detect`` returns, nothing here holds a pixel.

Rules: an answer for every frame, in order, or an error. A frame that is no picture is ``BadRecord``; a runner that does
not answer as promised is ``EngineUnavailable``. A detector belongs to one thread (`lane` gives it one).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from appliance.bundles.manifest import Manifest
from appliance.domain import DetectedFrame, Detection, Frame
from appliance.inference.decode import Outputs, decode
from appliance.inference.prepare import Geometry, Preparer, lay_out, require_picture
from appliance.inference.runner import Runner
from appliance.inference.suppress import Candidates, calibrate, floor_of, suppress
from appliance.inference.tensors import require_answer


class Detector:
    """Runs one model. ``unusable`` counts boxes that were dropped because they were no numbers or named no label."""

    def __init__(self, manifest: Manifest, runner: Runner) -> None:
        self.manifest = manifest
        self.provider = runner.provider
        self.unusable = 0
        self._runner = runner
        self._floor = floor_of(manifest)
        self._preparer = Preparer(manifest.input, manifest.max_batch)

    @property
    def max_batch(self) -> int:
        """How many frames of one network size the model takes at once."""
        return self.manifest.max_batch

    def detect(self, frames: Sequence[Frame]) -> list[DetectedFrame]:
        """One ``DetectedFrame`` per frame, in order. Raises ``BadRecord`` and ``EngineUnavailable`` (see above)."""
        for frame in frames:
            require_picture(frame.pixels)
        geometries = [lay_out(self.manifest.input, *frame.pixels.shape[:2]) for frame in frames]
        found: dict[int, DetectedFrame] = {}
        for batch in self._batches(geometries):
            chosen = [geometries[place] for place in batch]
            tensor = self._preparer.prepare([frames[place].pixels for place in batch], chosen)
            outputs = self._runner.run(tensor)
            require_answer(self.manifest, outputs, len(batch), chosen[0].net)
            for index, place in enumerate(batch):
                found[place] = self._read(frames[place], outputs, index, geometries[place])
        return [found[place] for place in range(len(frames))]

    def _batches(self, geometries: Sequence[Geometry]) -> Iterator[list[int]]:
        """Places of frames that go together: same network size, at most ``max_batch``, each size in order."""
        waiting: dict[tuple[int, int], list[int]] = {}
        for place, geometry in enumerate(geometries):
            batch = waiting.setdefault(geometry.net, [])
            batch.append(place)
            if len(batch) == self.max_batch:
                yield waiting.pop(geometry.net)
        yield from waiting.values()

    def _read(self, frame: Frame, outputs: Outputs, index: int, geometry: Geometry) -> DetectedFrame:
        candidates, unusable = decode(self.manifest, outputs, index, geometry.net, self._floor)
        self.unusable += unusable
        return DetectedFrame(
            sensor_id=frame.sensor_id,
            sequence=frame.sequence,
            captured_ns=frame.captured_ns,
            width_px=geometry.frame_width,
            height_px=geometry.frame_height,
            detections=tuple(self._detections(self._chosen(candidates), geometry)),
            engine=self.provider,
        )

    def _chosen(self, candidates: Candidates) -> Candidates:
        thresholds = self.manifest.thresholds
        if thresholds.nms_iou is None:
            return candidates.take(np.arange(min(len(candidates.scores), thresholds.max_detections)))
        across = thresholds.nms_scope == "all"
        rows = suppress(candidates, thresholds.nms_iou, thresholds.max_detections, across_labels=across)
        return candidates.take(rows)

    def _detections(self, chosen: Candidates, geometry: Geometry) -> Iterator[Detection]:
        boxes = geometry.to_frame(chosen.boxes).tolist()
        confidences = calibrate(chosen.scores, self.manifest.calibration.temperature).tolist()
        for (x1, y1, x2, y2), confidence, index in zip(boxes, confidences, chosen.labels.tolist(), strict=True):
            label = self.manifest.labels[index]
            category = self.manifest.category_of(label)
            if x2 > x1 and y2 > y1 and category is not None:  # a box in the padding clips to nothing
                yield Detection(box_px=(x1, y1, x2, y2), category=category, label=label, confidence=confidence)
