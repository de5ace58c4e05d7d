"""What the rig's tests share: one scene with a date, and a lens that looks at it."""

from __future__ import annotations

import pytest

from hil.scene.harbour import LENS, harbour
from hil.scene.lens import Lens
from hil.scene.world import Scene

START_NS = 1_763_906_400_000_000_000
"""2025-11-23T14:00:00Z: inside a day, so that times of day do not wrap."""


@pytest.fixture(scope="session")
def scene() -> Scene:
    return harbour(7, START_NS)


@pytest.fixture(scope="session")
def lens() -> Lens:
    return LENS
