"""The true boxes of a set of pictures, from a COCO annotation file (cocodataset.org, "Data format", detection).

Read: ``images[].file_name`` (or ``film.mp4#120`` for a frame of a video), ``annotations[].bbox`` as x, y, width, height
in pixels, ``categories[].name`` as the model's labels. ``iscrowd`` boxes are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import UsageError
from export.agreement import Box
from export.pictures import Picture

MAX_TRUTH_BYTES: Final = 512 * 1024**2


class _Image(msgspec.Struct, frozen=True):
    id: int
    file_name: str


class _Annotation(msgspec.Struct, frozen=True):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class _Category(msgspec.Struct, frozen=True):
    id: int
    name: str


class _Page(msgspec.Struct, frozen=True):
    images: tuple[_Image, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...]


def read_truth(path: Path, pictures: Sequence[Picture]) -> list[list[Box]]:
    """The true boxes of each picture, in order.

    Raises: UsageError for a file that is no COCO page, or that knows one of the pictures not.
    """
    try:
        if path.stat().st_size > MAX_TRUTH_BYTES:
            raise UsageError(f"{path}: expected at most {MAX_TRUTH_BYTES} bytes")
        page = msgspec.json.decode(path.read_bytes(), type=_Page)
    except (OSError, msgspec.DecodeError) as e:
        raise UsageError(f"{path}: expected a COCO annotation file; found: {e}") from e
    labels = {category.id: category.name for category in page.categories}
    numbers = {Path(image.file_name).name: image.id for image in page.images}
    boxes: dict[int, list[Box]] = {image.id: [] for image in page.images}
    for each in page.annotations:
        if each.image_id not in boxes or each.category_id not in labels:
            raise UsageError(f"{path}: an annotation names an image or category that the file does not have")
        if not each.iscrowd:
            x, y, width, height = each.bbox
            corners = (x, y, x + width, y + height)
            boxes[each.image_id].append(Box(box_px=corners, label=labels[each.category_id]))
    missing = [picture.name for picture in pictures if picture.name not in numbers]
    if missing:
        raise UsageError(f"{path}: expected truth for every picture; found none for {missing[0]} ({len(missing)} such)")
    return [boxes[numbers[picture.name]] for picture in pictures]
