"""What a payload becomes: a typed result, or one that says why it is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.listen import AlertBody, Unread
from appliance.listen.results import read_body, read_result
from appliance.sealing import Opened

ALERT: dict[str, Any] = {
    "schema": "edge/alert/1",
    "unit": "quay-01",
    "time": "2026-01-31T12:00:00.000000000Z",
    "dispute": {
        "entity_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "raised": "2026-01-31T12:00:00.000000000Z",
        "claimed": "a",
        "observed": "b",
        "sources": ["ais"],
    },
}


def test_a_result_is_typed_and_keeps_its_payload_and_its_name() -> None:
    payload = json.dumps({**ALERT, "a_field_of_a_later_release": 1}).encode()
    result = read_result(Opened(topic="edge/v1/q/alert", payload=payload, unit="q", epoch=3, counter=4), 5)
    assert isinstance(result.body, AlertBody)
    assert result.body.dispute.claimed == "a"
    assert (result.unit, result.epoch, result.counter, result.index, result.opened_ns) == ("q", 3, 4, 0, 5)
    assert result.payload == payload
    with pytest.raises(AttributeError):
        result.body.unit = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("payload", "schema"),
    [
        (b"no JSON", ""),
        (b"\xff\xfe", ""),
        (b"[1]", ""),
        (b"[" * 100_000, ""),
        (b'{"schema": 7}', ""),
        (b'{"schema": "edge/entity/2"}', "edge/entity/2"),
        (b'{"schema": "' + b"x" * 5000 + b'"}', "x" * 64),
        (b'{"schema": "edge/entity/1"}', "edge/entity/1"),
        (json.dumps({**ALERT, "time": "yesterday"}).encode(), "edge/alert/1"),
    ],
    ids=["text", "bytes", "array", "deep", "number", "newer", "long", "empty", "wrong field"],
)
def test_what_cannot_be_read_says_why(payload: bytes, schema: str) -> None:
    body = read_body(payload)
    assert isinstance(body, Unread)
    assert body.schema == schema
    assert body.reason


@given(st.binary(max_size=200))
def test_no_payload_raises(payload: bytes) -> None:
    read_body(payload)
