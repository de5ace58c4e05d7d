"""Pictures for the bench: a folder, single files, frames of a video, or drawn ones where nobody gives any.

What it is not: the device's feed. These are an integrator's own files, read in this process with OpenCV and PyAV.

Rules: pictures come as BGR bytes (height, width, 3), read-only; the order is that of the names or of time, so that the
same set gives the same calibration. A video gives frames that are evenly spread over its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from appliance.bundles.manifest import FixedSize, Manifest
from appliance.domain import Frame, Pixels
from appliance.errors import UsageError
from export import golden

PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VIDEOS: Final = frozenset({".mp4", ".mkv", ".avi", ".mov", ".ts", ".m4v", ".webm", ".mpg"})
MAX_PICTURES: Final = 500
"""A calibration set seldom gains from more; all of them are held while they are compared."""
#: Side of a drawn picture where the network takes any size.
DRAWN_SIDE_PX: Final = 320


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture and what it is called: a file's name, or ``film.mp4#120`` for the frame of that number."""

    name: str
    pixels: Pixels

    def frame(self, sequence: int) -> Frame:
        """As a frame of a camera, which is what a detector takes."""
        return Frame(sensor_id="bench", sequence=sequence, captured_ns=sequence, pixels=self.pixels)


def gather(sources: Sequence[Path], limit: int, manifest: Manifest) -> list[Picture]:
    """At most ``limit`` pictures of ``sources`` (folders, pictures, videos); drawn ones where there is no source.

    Raises: UsageError for a source that is missing, unreadable or holds no picture.
    """
    if not 1 <= limit <= MAX_PICTURES:
        raise UsageError(f"expected 1 to {MAX_PICTURES} pictures; found {limit}")
    if not sources:
        return list(drawn(manifest))[:limit]
    share = -(-limit // len(sources))
    return [picture for source in sources for picture in _source(source, share)][:limit]


def drawn(manifest: Manifest) -> Iterator[Picture]:
    """Noise and blocks from a seeded generator, of the size that the network takes."""
    size = manifest.input.size
    if isinstance(size, FixedSize):
        height, width = size.height_px, size.width_px
    else:
        height, width = min(DRAWN_SIDE_PX, size.max_height_px), min(DRAWN_SIDE_PX, size.max_width_px)
    yield Picture("drawn noise", _sealed(golden.noise(height, width)))
    yield Picture("drawn blocks", _sealed(golden.blocks(height, width)))


def _source(path: Path, limit: int) -> Iterator[Picture]:
    if path.is_dir():
        yield from _folder(path, limit)
    elif not path.is_file():
        raise UsageError(f"{path}: no such file or folder")
    elif path.suffix.lower() in VIDEOS:
        yield from _video(path, limit)
    else:
        yield _picture(path)


def _folder(path: Path, limit: int) -> Iterator[Picture]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise UsageError(f"{path}: expected pictures ({', '.join(sorted(PICTURES))}); found none")
    for place in _spread(len(files), limit):
        yield _picture(files[place])


def _picture(path: Path) -> Picture:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise UsageError(f"{path}: expected a picture that can be read")
    return Picture(path.name, _sealed(pixels))


def _video(path: Path, limit: int) -> Iterator[Picture]:
    """Two passes where the container does not say how many frames there are: most do not need to."""
    try:
        with av.open(str(path)) as container:
            count = container.streams.video[0].frames or sum(1 for _ in container.decode(video=0))
        with av.open(str(path)) as container:
            wanted = set(_spread(count, limit))
            for number, frame in enumerate(container.decode(video=0)):
                if number in wanted:
                    yield Picture(f"{path.name}#{number}", _sealed(frame.to_ndarray(format="bgr24")))
    except (av.FFmpegError, IndexError) as e:
        raise UsageError(f"{path}: expected a video that can be read; found: {e}") from e


def _spread(count: int, limit: int) -> list[int]:
    """Places of at most ``limit`` of ``count`` things, evenly spread, the first one among them."""
    return sorted({int(place) for place in np.linspace(0, count, min(limit, count), endpoint=False)})


def _sealed(pixels: Pixels) -> Pixels:
    pixels.setflags(write=False)
    return pixels
