"""One way to read a text in tests: received at a known time, at a known place, with a small gazetteer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.domain import Claim, Geodetic, Report
from appliance.reading import read

RECEIVED_NS = 1_795_273_200 * 10**9
"""2026-11-21 15:00Z, a Saturday."""


@pytest.fixture(scope="session")
def received_ns() -> int:
    return RECEIVED_NS


@pytest.fixture(scope="session")
def reading() -> Callable[..., tuple[Claim, ...]]:
    """Reads a text: ``reading(text, grade=…, near=…, position=…, received_ns=…, gazetteer=…)``."""

    def of(
        text: str,
        *,
        grade: str | None = None,
        near: Geodetic | None = None,
        position: Geodetic | None = None,
        received_ns: int = RECEIVED_NS,
        gazetteer: dict[str, Geodetic] | None = None,
    ) -> tuple[Claim, ...]:
        report = Report(
            sensor_id="inbox",
            report_id="r1",
            author="a",
            received_ns=received_ns,
            text=text,
            grade=grade,
            position=position,
        )
        return read(report, near=near, gazetteer=gazetteer)

    return of
