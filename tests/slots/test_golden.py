"""What was once signed can always be read: bundles frozen as they were made, never made again.

``golden/edge-release-1`` was made by the first version of the bench with real ML-DSA-87 keys (thrown away). If
a new version of python-tuf, securesystemslib or of our own rules refuses it, devices in the field refuse their sticks.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BundleRefused
from appliance.slots import Slots
from appliance.slots.selftest import run_self_test

GOLDEN = Path(__file__).parent / "golden" / "edge-release-1"
PRODUCT = "acme/people"
NOW_NS = 1_796_126_400_000_000_000
DIGEST = "44075ff46bc41a9809fe37b36772810567b34f549e966c9a6b2aede3216bc13264fe59e0f8e533177c9e0f3bd0351e42"


@pytest.fixture
def device(tmp_path: Path) -> Slots:
    slots = Slots(tmp_path / "state", self_test=run_self_test)
    slots.provision((GOLDEN / "1.root.json").read_bytes(), unit="unit-1")
    return slots


def test_the_first_bundle_still_installs_and_serves(device: Slots) -> None:
    pytest.importorskip("onnxruntime", reason="the desk's runtime is not installed")
    done = device.install(GOLDEN / "stick", PRODUCT, NOW_NS)
    assert done.release_digest == DIGEST
    assert device.active(PRODUCT).manifest.labels == ("person",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m/timestamp.json", "signature"),
        ("m/1.snapshot.json", "digest"),
        ("m/1.targets.json", "digest"),
        ("m/1.acme.json", "digest"),
        ("t/acme/people/*.release.json", "digest"),
        ("t/acme/people/*.model.onnx", "digest"),
        ("m/1.root.json", "other-root"),
    ],
)
def test_its_failing_vectors_still_fail_for_the_same_reason(
    device: Slots, tmp_path: Path, name: str, reason: str
) -> None:
    shutil.copytree(GOLDEN / "stick", tmp_path / "stick")
    path: Any = next((tmp_path / "stick").glob(name))
    data = path.read_bytes()
    place = data.rindex(b'"version":') + len(b'"version":') if name.startswith("m/") else len(data) // 2
    path.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])
    with pytest.raises(BundleRefused) as caught:
        device.verify(tmp_path / "stick", PRODUCT, NOW_NS)
    assert caught.value.reason == reason
