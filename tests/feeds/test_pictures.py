"""Another unit's opened entities, line by line."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Estimate, Identity
from appliance.errors import BadRecord, UsageError
from appliance.feeds import FeedSpec, PictureOptions, open_feed
from appliance.feeds.pictures import PictureParser

SPEC = FeedSpec(name="east", kind="pictures", uri="file:/x", options=PictureOptions(units=("quay-02",), trust=0.8))
ENTITY: dict[str, Any] = {
    "schema": "edge/entity/1", "unit": "quay-02", "entity_id": "01KEAB0000000000000000000A",
    "time": "2026-01-01T12:00:00.000000000Z", "produced": "2026-01-01T12:00:01.500000000Z", "status": "confirmed",
    "category": "vessel/ship", "categories": {"vessel/ship": 0.9, "of another release": 0.1}, "existence": 0.97,
    "count": 1, "position": {"lat": 50.8, "lon": -1.1, "alt_m": 0.0, "covariance_m2": [[25.0, 0.0], [0.0, 25.0]]},
    "velocity_mps": {"east": 1.0, "north": 2.0, "up": 0.0},
    "identities": {"mmsi": "235000001", "name": "Marie Astrid", "tracklet": "cam:7"},
    "evidence": [{"source_id": "radar", "observation_id": "1", "kind": "plot", "time": "x", "llr": 1.0, "says": "s"}],
    "receipt": {}, "topic": "edge/v1/quay-02/entity/01KE", "epoch": "e", "counter": 3, "opened": "x",
}  # fmt: skip


class Tap:
    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()

    def ignored(self, reason: str, count: int = 1) -> None:
        self.passed[reason] += count


def parsed(body: Any, tap: Any = None) -> list[Estimate]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [estimate for _, estimate in PictureParser(SPEC).parse(raw, 1, None, tap or Tap())]


def test_an_opened_entity_is_an_estimate_at_the_moment_for_which_it_was_told() -> None:
    (estimate,) = parsed(ENTITY)
    assert (estimate.sensor_id, estimate.unit, estimate.trust) == ("east", "quay-02", 0.8)
    assert estimate.observed_ns == 1_767_268_801_500_000_000
    assert estimate.provenance == ("quay-02/radar",)
    assert estimate.identities == (
        Identity(kind="mmsi", value="235000001"),
        Identity(kind="name", value="Marie Astrid"),
    )
    assert dict(estimate.categories) == {"vessel/ship": 0.9}


def test_the_provenance_that_it_tells_goes_before_that_of_its_evidence() -> None:
    (estimate,) = parsed({**ENTITY, "provenance": ["quay-01/radar", "quay-02/eo"]})
    assert estimate.provenance == ("quay-01/radar", "quay-02/eo")


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("unit", {"unit": "quay-66"}),
        ("status", {"status": "deleted"}),
        ("status", {"status": "reported"}),
        ("schema", {"schema": "edge/picture/1"}),
    ],
)
def test_what_is_not_wanted_is_counted_as_ignored(reason: str, change: dict[str, Any]) -> None:
    tap = Tap()
    assert parsed({**ENTITY, **change}, tap) == []
    assert tap.passed == {reason: 1}


@pytest.mark.parametrize(
    "change",
    [
        {"existence": 1.5},
        {"position": {**ENTITY["position"], "lat": 95.0}},
        {"position": {**ENTITY["position"], "covariance_m2": [[1e300, 0], [0, 1]]}},
        {"evidence": []},
        {"produced": "yesterday"},
        {"velocity_mps": {"east": "fast", "north": 0}},
        {"provenance": ["x"] * 1000},
    ],
)
def test_what_cannot_be_true_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadRecord):
        parsed({**ENTITY, **change})


_VALUES = st.none() | st.integers() | st.text(max_size=8) | st.floats()
_CHANGES = st.dictionaries(st.sampled_from(sorted(ENTITY)), _VALUES, max_size=3)


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=200) | st.builds(lambda d: json.dumps({**ENTITY, **d}).encode(), _CHANGES))
def test_no_line_does_more_than_be_dropped(raw: bytes) -> None:
    try:
        for estimate in parsed(raw):
            assert estimate.provenance
    except BadRecord:
        pass


def test_a_feed_without_units_is_bad_usage() -> None:
    with pytest.raises(UsageError, match="units"):
        PictureParser(FeedSpec(name="east", kind="pictures", uri="file:/x"))
    assert open_feed(SPEC).kind == "pictures"
