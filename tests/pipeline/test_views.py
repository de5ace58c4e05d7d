"""A view gets what it is allowed and not a byte more, whatever is told."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from appliance.domain import Dispute, Entity, Evidence, Geodetic, Identity, Picture, Receipt
from appliance.pipeline.bodies import EntityPositionBody
from appliance.pipeline.results import Result, alert_result, entity_result, picture_result, status_result
from appliance.pipeline.views import VIEWS, seen_by

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
RECEIPT = Receipt(
    config_digest="secret-digest", bundles={}, engines={}, clock="replayed", position_integrity="surveyed"
)
ENTITY = Entity(
    entity_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    status="confirmed",
    category="vessel/ship",
    categories={"vessel/ship": 0.9, "vessel/secret-second": 0.1},
    existence=0.987,
    count=1,
    position=Geodetic(latitude_deg=50.8, longitude_deg=-1.1),
    covariance_m2=((4.0, 0.0), (0.0, 9.0)),
    velocity_mps=(1.0, 2.0, 0.0),
    velocity_covariance_m2ps2=((1.0, 0.0), (0.0, 1.0)),
    identities=(Identity(kind="mmsi", value="secret-235070762"),),
    updated_ns=5,
    evidence=(
        Evidence(
            source_id="secret-source",
            observation_id="secret-observation",
            kind="claim",
            observed_ns=5,
            log_likelihood_ratio=4.2,
            says="secret words of a person",
        ),
    ),
)
DISPUTE = Dispute(
    entity_id=ENTITY.entity_id, raised_ns=5, claimed="secret claim", observed="a ship", sources=("secret-source",)
)
STATUS = {"sick": (), "feeds": (), "lanes": (), "link": {}, "outbox": {}, "recording": None, "counts": {}}


def entity() -> Result:
    return entity_result(ENTITY, unit="quay-01", produced_ns=6, receipt=RECEIPT)


def test_full_is_the_result_itself() -> None:
    assert seen_by("full", entity()) == entity()


def test_position_only_is_where_it_is_how_it_moves_and_what_kind_it_is() -> None:
    seen = seen_by("position-only", entity())
    assert seen is not None
    assert seen.topic == "edge/v1/quay-01/position/01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert seen.priority == "entity"
    body = json.loads(seen.payload)
    assert set(body) == {
        *("schema", "unit", "entity_id", "time", "produced"),
        *("status", "category", "position", "velocity_mps"),
    }
    assert body["schema"] == "edge/position/1"
    assert body["position"] == json.loads(entity().payload)["position"]
    assert msgspec.json.decode(seen.payload, type=EntityPositionBody).entity_id == ENTITY.entity_id


def test_position_only_holds_no_evidence_identity_source_or_text() -> None:
    seen = seen_by("position-only", entity())
    assert seen is not None
    assert b"secret" in entity().payload
    assert b"secret" not in seen.payload
    assert b"987" not in seen.payload


@pytest.mark.parametrize(
    "result",
    [
        picture_result(
            Picture(unit="quay-01", produced_ns=6, entities=(ENTITY,), disputes=(DISPUTE,), receipt=RECEIPT)
        ),
        alert_result(DISPUTE, unit="quay-01", produced_ns=6),
        status_result(STATUS, unit="quay-01", produced_ns=6),
        Result(topic="edge/v1/quay-01/entity/x", priority="entity", payload=b'{"schema":"edge/entity/2"}'),
        Result(topic="edge/v1/quay-01/entity/x", priority="entity", payload=b"\xff no JSON"),
    ],
    ids=["picture", "alert", "status", "another schema", "no JSON"],
)
def test_position_only_gets_nothing_of_what_has_no_projection(result: Result) -> None:
    assert seen_by("position-only", result) is None


def test_a_view_is_a_function_of_the_result_alone() -> None:
    assert [seen_by(view, entity()) for view in VIEWS] == [seen_by(view, entity()) for view in VIEWS]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/views/vectors.json")), ids=lambda path: path.parent.parent.name)
def test_what_a_release_showed_to_a_view_is_shown_by_every_later_one(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        result = Result(topic=case["topic"], priority=case["priority"], payload=case["payload"].encode())
        seen = seen_by("position-only", result)
        expected = case["position-only"]
        assert (seen and {"topic": seen.topic, "payload": seen.payload.decode()}) == expected, case["name"]
