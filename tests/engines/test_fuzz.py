"""A small part of the campaign of ``make fuzz``: whatever is done to a sealed engine, it is not loaded."""

from __future__ import annotations

from pathlib import Path

from tests.support.engine_fuzz import campaign


def test_no_damaged_engine_is_ever_loaded(tmp_path: Path) -> None:
    reasons = campaign(tmp_path, 1_000, seed=20_261_126)
    assert reasons.total() == 1_000
    assert {"engine-sealed", "engine-format", "engine-key"} <= set(reasons)
