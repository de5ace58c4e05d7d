"""From frames to the input tensor, and from network pixels back to the frame's.

One ``cv2.resize`` straight into place where the network takes bytes; else one resize into a scratch picture and one
pass per channel. Buffers are kept and reused; only the part of a slot that the picture covers is written again, because
the padding round it is still there from the frame before.

Rules: frames are read-only and are never kept. The tensor that ``prepare`` returns is valid until the next call.
INTER_LINEAR, always (INTER_AREA costs twenty times as much). A preparer belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from appliance.bundles.manifest import FixedSize, ImageInput, channels
from appliance.domain import Pixels
from appliance.errors import BadRecord

MAX_FRAME_SIDE_PX: Final = 16_384
_MAX_BUFFERS: Final = 8
"""Network sizes for which a tensor is kept, where sizes are dynamic; cameras seldom have more."""

Tensor = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where a frame lies in the network's picture, in pixels: the picture is ``net``, the frame's part is ``inner``."""

    frame_width: int
    frame_height: int
    net_width: int
    net_height: int
    inner_width: int
    inner_height: int
    left: int
    top: int

    @property
    def net(self) -> tuple[int, int]:
        """(height, width) of the network's picture: frames that share it can share a batch."""
        return self.net_height, self.net_width

    def to_frame(self, boxes: Floats) -> Floats:
        """(n, 4) boxes xyxy in network pixels → in frame pixels, clipped to the frame."""
        scale = np.array([self.frame_width / self.inner_width, self.frame_height / self.inner_height] * 2, np.float32)
        offset = np.array([self.left, self.top] * 2, np.float32)
        limit = np.array([self.frame_width, self.frame_height] * 2, np.float32)
        mapped: Floats = np.clip((boxes - offset) * scale, np.float32(0), limit)
        return mapped


def require_picture(pixels: Pixels) -> None:
    """Raise ``BadRecord``, reason ``frame-shape``, unless ``pixels`` is a (height, width, 3) uint8 picture."""
    shape: tuple[int, ...] = pixels.shape
    sane = len(shape) == 3 and shape[-1] == 3 and all(0 < side <= MAX_FRAME_SIDE_PX for side in shape[:2])
    if not sane or pixels.dtype != np.uint8:
        expected = f"(height, width, 3) uint8 with sides of 1 to {MAX_FRAME_SIDE_PX}"
        raise BadRecord("frame-shape", f"frame: expected {expected}; found {shape} {pixels.dtype}")


def lay_out(image: ImageInput, frame_height: int, frame_width: int) -> Geometry:
    """Where a frame of this size will lie in the network's picture."""
    size = image.size
    if isinstance(size, FixedSize):
        net_width, net_height = size.width_px, size.height_px
        inner_width, inner_height = _within(frame_width, frame_height, net_width, net_height)
    else:
        inner_width, inner_height = frame_width, frame_height
        if frame_width > size.max_width_px or frame_height > size.max_height_px:
            inner_width, inner_height = _within(frame_width, frame_height, size.max_width_px, size.max_height_px)
        net_width = -(-inner_width // size.multiple_px) * size.multiple_px
        net_height = -(-inner_height // size.multiple_px) * size.multiple_px
    if image.fit == "stretch":
        inner_width, inner_height = net_width, net_height
    centred = image.align == "centre"
    return Geometry(
        frame_width=frame_width,
        frame_height=frame_height,
        net_width=net_width,
        net_height=net_height,
        inner_width=inner_width,
        inner_height=inner_height,
        left=(net_width - inner_width) // 2 if centred else 0,
        top=(net_height - inner_height) // 2 if centred else 0,
    )


def _within(width: int, height: int, max_width: int, max_height: int) -> tuple[int, int]:
    """The largest size of this shape that fits, to the nearest pixel.

    In whole numbers: a quotient's rounding can cost a row, and one row less moves the score of a half-seen thing by a
    tenth and the foot of a near one by several pixels.
    """
    if width * max_height >= height * max_width:
        return max_width, max(1, (2 * height * max_width + width) // (2 * width))
    return max(1, (2 * width * max_height + height) // (2 * height)), max_height


class Preparer:
    """Holds the tensors of one network and fills them."""

    def __init__(self, image: ImageInput, max_batch: int) -> None:
        depth = channels(image.colour)
        std = np.broadcast_to(np.asarray(image.std, np.float64), depth)
        mean = np.broadcast_to(np.asarray(image.mean, np.float64), depth)
        self._image = image
        self._max_batch = max_batch
        self._gain = (image.scale / std).astype(np.float32)
        self._bias = (-mean / std).astype(np.float32)
        self._buffers: dict[tuple[int, int], _Buffer] = {}

    def prepare(self, frames: Sequence[Pixels], geometries: Sequence[Geometry]) -> Tensor:
        """The input tensor of ``frames``, which must share one network size and be at most ``max_batch``."""
        net = geometries[0].net
        buffer = self._buffers.pop(net, None) or self._new_buffer(net)
        self._buffers[net] = buffer
        for slot, (pixels, geometry) in enumerate(zip(frames, geometries, strict=True)):
            if buffer.held[slot] != geometry:
                self._pad(buffer.pictures[slot])
                buffer.held[slot] = geometry
            self._fill(buffer.pictures[slot], pixels, geometry)
        return buffer.tensor[: len(frames)]

    def _new_buffer(self, net: tuple[int, int]) -> _Buffer:
        while len(self._buffers) >= _MAX_BUFFERS:
            self._buffers.pop(next(iter(self._buffers)))
        depth, chw = channels(self._image.colour), self._image.layout == "NCHW"
        shape = (self._max_batch, depth, *net) if chw else (self._max_batch, *net, depth)
        tensor = np.empty(shape, self._image.dtype)
        pictures = tensor.transpose(0, 2, 3, 1) if chw else tensor
        return _Buffer(tensor=tensor, pictures=pictures, held=[None] * self._max_batch)

    def _pad(self, picture: Tensor) -> None:
        """``picture`` is one slot seen as (height, width, channel), whatever the layout."""
        pad = np.float32(self._image.pad)
        picture[...] = self._image.pad if self._plain else pad * self._gain + self._bias

    @property
    def _plain(self) -> bool:
        return bool((self._gain == 1.0).all() and (self._bias == 0.0).all())

    def _fill(self, picture: Tensor, pixels: Pixels, geometry: Geometry) -> None:
        part = picture[
            geometry.top : geometry.top + geometry.inner_height, geometry.left : geometry.left + geometry.inner_width
        ]
        size = (geometry.inner_width, geometry.inner_height)
        if self._image.dtype == "uint8" and self._image.layout == "NHWC" and self._image.colour != "GRAY":
            small = cv2.resize(pixels, size, dst=part, interpolation=cv2.INTER_LINEAR)
            if self._image.colour == "RGB":
                small = cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=part)
            if small is not part:  # OpenCV allocates anew where it will not write into a view
                part[...] = small
            return
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        planes = [cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)] if self._image.colour == "GRAY" else cv2.split(small)
        if self._image.colour == "RGB":
            planes = planes[::-1]
        for channel, plane in enumerate(planes):
            self._write(part[..., channel], plane, channel)

    def _write(self, target: Tensor, plane: Tensor, channel: int) -> None:
        gain, bias = self._gain[channel], self._bias[channel]
        if gain == 1.0 and bias == 0.0:
            np.copyto(target, plane)
        elif target.dtype == np.float32:
            np.multiply(plane, gain, out=target)
            if bias != 0.0:
                target += bias
        else:
            target[...] = plane * gain + bias


@dataclass(slots=True, kw_only=True)
class _Buffer:
    """The tensor of one network size; ``pictures`` sees it as (slot, height, width, channel)."""

    tensor: Tensor
    pictures: Tensor
    held: list[Geometry | None]
