"""Optimisation profiles: which shapes an engine must take, worked out from the manifest.

A network whose batch or picture size is open is built for a range of shapes, and is fastest at one of them. The
manifest says the whole range: ``max_batch`` and, for an open size, the multiple and the largest sides. Pure; no arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from appliance.bundles.manifest import DynamicSize, FixedSize, Manifest, channels

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeRange:
    """The smallest, best and largest shape of one input."""

    low: Shape
    best: Shape
    high: Shape

    def holds(self, shape: Shape) -> bool:
        """Whether an engine built for this range takes ``shape``."""
        return len(shape) == len(self.low) and all(
            a <= side <= b for a, side, b in zip(self.low, shape, self.high, strict=True)
        )


Profile = Mapping[str, ShapeRange]
"""By input name; every input of the network stands in every profile."""


def profiles_of(manifest: Manifest) -> tuple[Profile, ...]:
    """One profile for single pictures, and one for batches where the manifest allows them.

    A batch of one is what one camera gives, so it has a profile (and later a CUDA graph) of its own.
    """
    batches = [(1, 1, 1)]
    if manifest.max_batch > 1:
        batches.append((2, manifest.max_batch, manifest.max_batch))
    return tuple(dict(_ranges(manifest, *batch)) for batch in batches)


def profile_for(profiles: tuple[Profile, ...], name: str, shape: Shape) -> int | None:
    """The index of the profile whose input ``name`` takes ``shape``, or None."""
    return next((index for index, profile in enumerate(profiles) if profile[name].holds(shape)), None)


def _ranges(manifest: Manifest, low: int, best: int, high: int) -> Iterator[tuple[str, ShapeRange]]:
    image = manifest.input
    smallest, largest = _sides(image.size)
    yield (
        image.name,
        ShapeRange(
            low=_shape(manifest, low, smallest),
            best=_shape(manifest, best, largest),
            high=_shape(manifest, high, largest),
        ),
    )
    for constant in image.constants:
        width = len(constant.values)
        yield constant.name, ShapeRange(low=(low, width), best=(best, width), high=(high, width))


def _sides(size: FixedSize | DynamicSize) -> tuple[tuple[int, int], tuple[int, int]]:
    """The smallest and the largest (height, width)."""
    if isinstance(size, FixedSize):
        return (size.height_px, size.width_px), (size.height_px, size.width_px)
    return (size.multiple_px, size.multiple_px), (size.max_height_px, size.max_width_px)


def _shape(manifest: Manifest, batch: int, sides: tuple[int, int]) -> Shape:
    depth = channels(manifest.input.colour)
    return (batch, depth, *sides) if manifest.input.layout == "NCHW" else (batch, *sides, depth)
