from __future__ import annotations

import dataclasses
import json

import pytest

from appliance.domain import Dispute, Entity, Evidence, Geodetic, Identity, Receipt
from appliance.pipeline.results import Result
from appliance.pipeline.telling import Teller, TellingSettings
from appliance.pipeline.times import time_text

SECOND = 1_000_000_000
RECEIPT = Receipt(config_digest="00", bundles={}, engines={}, clock="replayed", position_integrity="surveyed")
ENTITY = Entity(
    entity_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    status="confirmed",
    category="vessel/ship",
    categories={"vessel/ship": 0.9, "vessel/boat": 0.1},
    existence=0.99,
    count=1,
    position=Geodetic(latitude_deg=50.8, longitude_deg=-1.1),
    covariance_m2=((4.0, 0.0), (0.0, 9.0)),
    velocity_mps=(1.0, 2.0, 0.0),
    velocity_covariance_m2ps2=((1.0, 0.0), (0.0, 1.0)),
    identities=(Identity(kind="mmsi", value="235070762"),),
    updated_ns=5 * SECOND,
    evidence=(
        Evidence(
            source_id="ais",
            observation_id="ais:1",
            kind="plot",
            observed_ns=5 * SECOND,
            log_likelihood_ratio=4.2,
            says="is where its transponder says",
        ),
    ),
)


@pytest.fixture
def teller() -> Teller:
    return Teller("quay-01", TellingSettings(picture_interval_ns=10 * SECOND, entity_interval_ns=SECOND))


def tell(teller: Teller, *entities: Entity, at_s: float, disputes: tuple[Dispute, ...] = ()) -> list[Result]:
    return list(teller.tell(entities, disputes, now_ns=int(at_s * SECOND), receipt=RECEIPT))


def kinds(results: list[Result]) -> list[str]:
    return [result.priority for result in results]


def test_a_new_entity_is_told_with_the_first_picture(teller: Teller) -> None:
    results = tell(teller, ENTITY, at_s=6)
    assert [r.topic for r in results] == [f"edge/v1/quay-01/entity/{ENTITY.entity_id}", "edge/v1/quay-01/picture"]
    body = json.loads(results[0].payload)
    assert body["position"] == {"lat": 50.8, "lon": -1.1, "alt_m": 0.0, "covariance_m2": [[4.0, 0.0], [0.0, 9.0]]}
    assert body["identities"] == {"mmsi": "235070762"}
    assert body["evidence"][0]["llr"] == 4.2
    assert body["receipt"]["clock"] == "replayed"


def test_an_entity_that_did_not_change_is_not_told_again(teller: Teller) -> None:
    tell(teller, ENTITY, at_s=6)
    assert tell(teller, dataclasses.replace(ENTITY, existence=0.98), at_s=8) == []


@pytest.mark.parametrize(
    "change",
    [{"updated_ns": 7 * SECOND}, {"status": "coasting"}, {"category": "vessel/boat"}, {"identities": ()}],
    ids=["observed again", "coasts", "another category", "another identity"],
)
def test_a_change_is_told(teller: Teller, change: dict[str, object]) -> None:
    tell(teller, ENTITY, at_s=6)
    assert kinds(tell(teller, dataclasses.replace(ENTITY, **change), at_s=8)) == ["entity"]  # type: ignore[arg-type]


def test_a_tentative_entity_is_not_told(teller: Teller) -> None:
    assert kinds(tell(teller, dataclasses.replace(ENTITY, status="tentative"), at_s=6)) == ["picture"]


def test_an_entity_that_is_gone_is_told_once_as_deleted(teller: Teller) -> None:
    tell(teller, ENTITY, at_s=6)
    (gone,) = tell(teller, at_s=8)
    assert json.loads(gone.payload)["status"] == "deleted"
    assert tell(teller, at_s=9) == []


def test_a_dispute_is_an_alert_and_comes_first_and_once(teller: Teller) -> None:
    dispute = Dispute(entity_id=ENTITY.entity_id, raised_ns=SECOND, claimed="a", observed="b", sources=("ais", "radar"))
    assert kinds(tell(teller, ENTITY, at_s=6, disputes=(dispute,))) == ["alert", "entity", "picture"]
    assert tell(teller, ENTITY, at_s=8, disputes=(dispute,)) == []


def test_the_picture_keeps_its_interval(teller: Teller) -> None:
    assert [kinds(tell(teller, at_s=t)) for t in (6, 8, 15.9, 16)] == [["picture"], [], [], ["picture"]]


def test_entities_keep_their_interval(teller: Teller) -> None:
    assert teller.due(0)
    tell(teller, ENTITY, at_s=6)
    assert not teller.due(int(6.9 * SECOND))
    assert teller.due(7 * SECOND)


def test_the_same_nouns_give_the_same_bytes(teller: Teller) -> None:
    other = Teller("quay-01", TellingSettings(picture_interval_ns=10 * SECOND, entity_interval_ns=SECOND))
    assert tell(teller, ENTITY, at_s=6) == tell(other, ENTITY, at_s=6)


def test_time_is_told_to_the_nanosecond() -> None:
    assert time_text(1_452_603_731_218_000_001) == "2016-01-12T13:02:11.218000001Z"
