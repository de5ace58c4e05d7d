"""A folder in which the good mission is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.sealing.identity import generate


@pytest.fixture(scope="session")
def identities() -> dict[str, bytes]:
    device, ops = generate("device", "quay-01"), generate("recipient", "ops")
    return {
        "device.json": device.to_json().encode(),
        "device.public.json": device.public.to_json().encode(),
        "ops.json": ops.to_json().encode(),
        "ops.public.json": ops.public.to_json().encode(),
    }


@pytest.fixture
def mission_folder(tmp_path: Path, identities: dict[str, bytes]) -> Callable[[], Path]:
    def make() -> Path:
        for name, content in identities.items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "clip.mp4").write_bytes(b"a name is enough: a mission check opens no camera")
        (tmp_path / "inbox").mkdir()
        return tmp_path

    return make
