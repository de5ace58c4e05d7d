"""A network tried out on pictures, exactly as the device would run it: prepared, run, decoded, thresholded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.bundles.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from appliance.errors import UsageError
from appliance.host.files import read_at_most
from appliance.inference.detector import Detector
from appliance.inference.runner import open_runner
from export.agreement import Box
from export.pictures import Picture
from export.progress import Progress, no_progress


def read_manifest(path: Path) -> Manifest:
    """The manifest at ``path``.

    Raises: UsageError where it cannot be read; BundleRefused where the device would refuse it.
    """
    try:
        return parse_manifest(read_at_most(path, MAX_MANIFEST_BYTES))
    except OSError as e:
        raise UsageError(f"{path}: no such file, or not to be read: {e.strerror}") from e


def detect(
    model: Path, manifest: Manifest, pictures: Sequence[Picture], progress: Progress = no_progress
) -> list[list[Box]]:
    """What the network reports in each picture.

    Raises: UsageError, BundleRefused, EngineUnavailable.
    """
    if not model.is_file():
        raise UsageError(f"{model}: no such file")
    detector = Detector(manifest, open_runner(model, manifest))
    found: list[list[Box]] = []
    for number, picture in enumerate(pictures):
        (seen,) = detector.detect([picture.frame(number)])
        boxes = [Box(box_px=each.box_px, label=each.label, score=each.confidence) for each in seen.detections]
        found.append(boxes)
        progress(f"running {model.name}", number + 1, len(pictures))
    return found
