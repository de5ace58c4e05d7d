"""Which shapes an engine is built for follows from the manifest."""

from __future__ import annotations

from appliance.bundles.manifest import Manifest
from appliance.engines.profiles import ShapeRange, profile_for, profiles_of
from tests.engines.conftest import BASE, page


def test_single_pictures_and_batches_have_a_profile_each(manifest: Manifest) -> None:
    single, many = profiles_of(manifest)
    shape = (64, 64, 3)
    assert single["image"] == ShapeRange(low=(1, *shape), best=(1, *shape), high=(1, *shape))
    assert many["image"] == ShapeRange(low=(2, *shape), best=(4, *shape), high=(4, *shape))


def test_a_model_without_batches_has_one_profile() -> None:
    assert len(profiles_of(page(max_batch=1))) == 1


def test_open_sizes_span_from_the_multiple_to_the_largest_in_the_layout() -> None:
    size = {"kind": "multiple", "multiple_px": 32, "max_width_px": 256, "max_height_px": 128}
    changed = page(input={**BASE["input"], "size": size, "layout": "NCHW"}, max_batch=1)
    assert profiles_of(changed)[0]["image"] == ShapeRange(
        low=(1, 3, 32, 32), best=(1, 3, 128, 256), high=(1, 3, 128, 256)
    )


def test_constants_have_the_batch_of_their_profile() -> None:
    constants = [{"name": "size", "dtype": "int64", "values": [7, 9]}]
    single, many = profiles_of(page(input={**BASE["input"], "constants": constants}))
    assert single["size"].high == (1, 2)
    assert (many["size"].low, many["size"].high) == ((2, 2), (4, 2))


def test_a_shape_finds_the_profile_that_takes_it_or_none(manifest: Manifest) -> None:
    profiles = profiles_of(manifest)
    found = [profile_for(profiles, "image", (batch, 64, 64, 3)) for batch in (1, 2, 4, 5)]
    assert found == [0, 1, 1, None]
    assert profile_for(profiles, "image", (1, 64, 64)) is None
