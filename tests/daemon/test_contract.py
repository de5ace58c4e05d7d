"""What a run tells is what the published schemas say: the contract that readers write against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from appliance.pipeline.bodies import BODIES
from appliance.pipeline.results import Result
from appliance.pipeline.views import seen_by
from tests.support.brokers import until

FEEDS = """
[[feeds]]
name = "radar"
kind = "plots"
uri = "file:radar.jsonl"
pace = "fast"
[[feeds]]
name = "ais"
kind = "plots"
uri = "file:ais.jsonl"
pace = "fast"
[[feeds]]
name = "reports"
kind = "reports"
uri = "file:reports.jsonl"
pace = "fast"
"""
START_S = 1_700_000_000
TOLD = sorted(BODIES.keys() - {"explanation"})
"""An explanation is printed by a command and never told."""
OWN = {"topic", "epoch", "counter", "opened"}
"""What `appliance listen` adds to a result."""


def write_feeds(folder: Path) -> None:
    """A ship that radar sees and that says where it is, until what it says leaves it; and a person who saw one."""
    place = {"kind": "position", "latitude_deg": 50.81, "category": "vessel/ship"}
    seen = [
        {**place, "time": START_S + t, "longitude_deg": -1.1 + 1e-5 * t, "position_sigma_m": 10.0} for t in range(150)
    ]
    says = [
        {
            **place,
            "time": START_S + t,
            "longitude_deg": -1.1 + 1e-5 * t + (0.03 if t > 60 else 0.0),
            "position_sigma_m": 10.0,
            "identity_kind": "mmsi",
            "identity": "235000000",
            "cooperative": True,
        }
        for t in range(0, 150, 5)
    ]
    report = {"id": "r1", "author": "watch", "time": "2023-11-14T22:14:00Z", "text": "one boat at 50.82 -1.11"}
    for name, rows in (("radar", seen), ("ais", says), ("reports", [report])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def wrong(schema: dict[str, Any], body: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(body)]


def test_what_a_run_tells_is_what_the_schemas_say(house: Any, mosquitto: Any, repository: Path) -> None:
    write_feeds(house.folder)
    house.write_mission(mosquitto.url, FEEDS)
    reader = house.listen(mosquitto.url, "ops")
    daemon = house.run_daemon("--until-end")
    assert daemon.wait(120) == 0, house.log_of(daemon)
    sealed = json.loads(house.out_of(daemon))["sealed"]
    until(lambda: len(house.results(reader)) >= sealed, 60)
    told = [{name: value for name, value in result.items() if name not in OWN} for result in house.results(reader)]
    for body in [body for body in told if body["schema"] == "edge/entity/1"]:
        shown = seen_by("position-only", Result(topic="", priority="entity", payload=json.dumps(body).encode()))
        assert shown is not None
        told.append(json.loads(shown.payload))
    folder = repository / "docs" / "schema"
    schemas = {f"edge/{name}/1": json.loads((folder / f"{name}.json").read_text("utf-8")) for name in TOLD}
    assert {body["schema"] for body in told} == set(schemas), "every kind of result was told"
    assert [fault for body in told for fault in wrong(schemas[body["schema"]], body)] == []
    entity = next(body for body in told if body["schema"] == "edge/entity/1")
    for change in ({"existence": 1.5}, {"entity_id": "U" * 26}, {"time": "noon"}, {"position": None}):
        assert wrong(schemas["edge/entity/1"], {**entity, **change}), "the schemas refuse what is no result"
