"""From frames to tensors and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundles.manifest import DynamicSize, FixedSize, ImageInput
from appliance.errors import BadRecord
from appliance.inference.prepare import Preparer, lay_out, require_picture

FIXED = FixedSize(width_px=64, height_px=64)
DYNAMIC = DynamicSize(multiple_px=32, max_width_px=128, max_height_px=96)


@pytest.fixture
def colours() -> np.ndarray[Any, Any]:
    """A read-only picture, 32 high and 64 wide, in which each channel is different everywhere."""
    y, x = np.mgrid[:32, :64]
    pixels = np.stack([x * 3, y * 7, 255 - x], axis=-1).astype(np.uint8)
    pixels.setflags(write=False)
    return pixels


def image(**changes: Any) -> ImageInput:
    return ImageInput(**{"name": "image", "size": FIXED, "pad": 9, **changes})


def plain(image: ImageInput, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What ``Preparer`` should give for one frame as wide as the network, half as high, at the top: step by step."""
    canvas = np.full((64, 64, 3), image.pad, np.float64)
    canvas[:32] = pixels
    if image.colour == "RGB":
        canvas = canvas[..., ::-1]
    if image.colour == "GRAY":
        grey = np.full((64, 64, 1), image.pad, np.float64)
        grey[:32, :, 0] = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        canvas = grey
    canvas = (canvas * image.scale - np.asarray(image.mean)) / np.asarray(image.std)
    return canvas.transpose(2, 0, 1)[None] if image.layout == "NCHW" else canvas[None]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["BGR", "RGB", "GRAY"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_layout_colour_and_type_are_as_the_manifest_says(
    colours: np.ndarray[Any, Any], layout: Any, colour: Any, dtype: Any
) -> None:
    asked = image(layout=layout, colour=colour, dtype=dtype)
    tensor = Preparer(asked, 1).prepare([colours], [lay_out(asked, 32, 64)])
    assert tensor.dtype == dtype
    assert (tensor == plain(asked, colours)).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_values_are_scaled_then_normalised_in_the_networks_colour_order(
    colours: np.ndarray[Any, Any], layout: Any, dtype: Any
) -> None:
    asked = image(
        layout=layout, dtype=dtype, colour="RGB", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    tensor = Preparer(asked, 1).prepare([colours], [lay_out(asked, 32, 64)])
    np.testing.assert_allclose(tensor, plain(asked, colours), atol=2e-6 if dtype == "float32" else 4e-3)


def test_a_letterbox_is_padded_at_the_right_and_below_or_all_round() -> None:
    corner = lay_out(image(), 32, 64)
    centre = lay_out(image(align="centre"), 32, 64)
    assert (corner.left, corner.top, corner.inner_width, corner.inner_height) == (0, 0, 64, 32)
    assert (centre.left, centre.top, centre.inner_width, centre.inner_height) == (0, 16, 64, 32)
    white = np.full((32, 64, 3), 255, np.uint8)
    tensor = Preparer(image(align="centre"), 1).prepare([white], [centre])[0, 0]
    assert (tensor[:16] == 9).all()
    assert (tensor[16:48] == 255).all()
    assert (tensor[48:] == 9).all()


def test_stretch_fills_the_network_and_letterbox_does_not() -> None:
    assert lay_out(image(fit="stretch"), 30, 90).inner_width == lay_out(image(fit="stretch"), 30, 90).inner_height == 64
    assert lay_out(image(), 30, 90).inner_height == 21


def test_a_dynamic_network_takes_small_frames_as_they_are_and_scales_large_ones_down() -> None:
    small = lay_out(image(size=DYNAMIC), 40, 70)
    assert (small.inner_height, small.inner_width, small.net) == (40, 70, (64, 96))
    large = lay_out(image(size=DYNAMIC), 400, 1000)
    assert (large.inner_height, large.inner_width, large.net) == (51, 128, (64, 128))


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    size=st.sampled_from([FIXED, FixedSize(width_px=640, height_px=384), DYNAMIC]),
    align=st.sampled_from(["top-left", "centre"]),
    fit=st.sampled_from(["letterbox", "stretch"]),
)
def test_the_frame_lies_inside_the_network_and_its_corners_map_back(
    height: int, width: int, size: Any, align: Any, fit: Any
) -> None:
    where = lay_out(image(size=size, align=align, fit=fit), height, width)
    right, bottom = where.left + where.inner_width, where.top + where.inner_height
    assert 0 <= where.left < right <= where.net_width
    assert 0 <= where.top < bottom <= where.net_height
    if isinstance(size, DynamicSize):
        assert where.net_width % size.multiple_px == where.net_height % size.multiple_px == 0
        assert where.net_width <= size.max_width_px
        assert where.net_height <= size.max_height_px
    whole = where.to_frame(np.array([[where.left, where.top, right, bottom]], np.float32))
    np.testing.assert_allclose(whole, [[0, 0, width, height]], rtol=1e-5)
    beyond = where.to_frame(np.array([[-1e6, -1e6, 1e6, 1e6]], np.float32))
    np.testing.assert_allclose(beyond, [[0, 0, width, height]])


def test_a_slot_that_held_a_larger_picture_shows_nothing_of_it_afterwards() -> None:
    asked = image()
    preparer = Preparer(asked, 2)
    tall, wide = np.full((64, 20, 3), 200, np.uint8), np.full((20, 64, 3), 100, np.uint8)
    preparer.prepare([tall, wide], [lay_out(asked, 64, 20), lay_out(asked, 20, 64)])
    swapped = preparer.prepare([wide, tall], [lay_out(asked, 20, 64), lay_out(asked, 64, 20)]).copy()
    fresh = Preparer(asked, 2).prepare([wide, tall], [lay_out(asked, 20, 64), lay_out(asked, 64, 20)])
    assert (swapped == fresh).all()
    assert set(np.unique(swapped)) == {9.0, 100.0, 200.0}


def test_buffers_are_reused_and_bounded() -> None:
    asked = image(size=DynamicSize(multiple_px=8, max_width_px=512, max_height_px=512))
    preparer = Preparer(asked, 1)
    black = {side: np.zeros((side, 8, 3), np.uint8) for side in range(8, 200, 8)}
    first = preparer.prepare([black[8]], [lay_out(asked, 8, 8)])
    assert np.shares_memory(first, preparer.prepare([black[8]], [lay_out(asked, 8, 8)]))
    for side, pixels in black.items():
        assert preparer.prepare([pixels], [lay_out(asked, side, 8)]).shape == (1, 3, side, 8)
    assert len(preparer._buffers) <= 8


def test_frames_are_not_written_into(colours: np.ndarray[Any, Any]) -> None:
    before = colours.copy()
    for layout in ("NCHW", "NHWC"):
        asked = image(layout=layout, dtype="uint8", colour="RGB")
        Preparer(asked, 1).prepare([colours], [lay_out(asked, 32, 64)])
    assert (colours == before).all()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((1, 16385, 3), np.uint8),
        np.zeros((), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.shape}-{pixels.dtype}",
)
def test_what_is_no_picture_is_a_bad_record(pixels: Any) -> None:
    with pytest.raises(BadRecord, match=r"expected \(height, width, 3\) uint8") as fault:
        require_picture(pixels)
    assert fault.value.reason == "frame-shape"


def test_pictures_that_are_views_are_taken_as_they_are(
    colours: np.ndarray[Any, Any], picture: Callable[..., Any]
) -> None:
    asked = image()
    part = np.concatenate([colours, colours], axis=1)[:, 32:96]
    copied = np.ascontiguousarray(part)
    one = Preparer(asked, 1).prepare([part], [lay_out(asked, 32, 64)])
    other = Preparer(asked, 1).prepare([copied], [lay_out(asked, 32, 64)])
    assert (one == other).all()
