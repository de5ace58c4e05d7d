"""Random damage to whole bundles: none is ever accepted. ``make fuzz`` does a hundred thousand of what is done here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from appliance.bundles.reasons import REASONS
from appliance.errors import BundleRefused
from tests.support import bundle_fuzz

PRODUCT = "acme/people"
NOW_NS = 1_796_126_400_000_000_000
COUNT = 400


def test_no_damaged_bundle_is_accepted(tmp_path: Path) -> None:
    reasons = bundle_fuzz.fuzz(tmp_path, COUNT, seed=2026)
    assert reasons.total() == COUNT
    assert {"metadata", "digest", "signature", "media-format"} <= set(reasons), "each way must have been taken"


def test_the_fuzzer_notices_what_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fuzzer that cannot fail proves nothing: with damage that is none, it must."""
    monkeypatch.setattr(bundle_fuzz, "ROUNDS", ((lambda target, rng: (target.verdict(target.stick), "nothing"), 1),))
    with pytest.raises(bundle_fuzz.Accepted, match="accepted: nothing"):
        bundle_fuzz.fuzz(tmp_path, 1, seed=1)


def test_no_file_may_stand_in_for_another(new_device: Any, one: Path, two: Path) -> None:
    """Every metadata file of two sticks under the name of every other."""
    files = sorted((two / "m").iterdir())
    for target in files:
        original = target.read_bytes()
        for source in [*files, *sorted((one / "m").iterdir())]:
            if source.read_bytes() == original:
                continue
            shutil.copyfile(source, target)
            with pytest.raises(BundleRefused) as caught:
                new_device.slots.verify(two, PRODUCT, NOW_NS)
            assert caught.value.reason in REASONS
            target.write_bytes(original)
    new_device.install(two)
