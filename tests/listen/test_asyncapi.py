"""docs/asyncapi.yaml is AsyncAPI 3, and says what the code says.

AsyncAPI's own schema comes with the npm package @asyncapi/specs (Apache-2.0), which is not kept here:
`make asyncapi` fetches it into .cache/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from appliance.bus.link import CONTENT_TYPE
from appliance.pipeline.bodies import BODIES
from appliance.sealing.wire import address

OFFICIAL = Path(".cache") / "asyncapi" / "3.0.0-without-$id.json"


@pytest.fixture(scope="module")
def described(repository: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((repository / "docs" / "asyncapi.yaml").read_text("utf-8"))
    return document


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_it_is_asyncapi_3_by_its_own_schema(described: dict[str, Any], repository: Path) -> None:
    official = repository / OFFICIAL
    if not official.exists():
        pytest.skip("AsyncAPI's schema is not here: run `make asyncapi` (needs npm)")
    jsonschema.Draft7Validator(json.loads(official.read_text("utf-8"))).validate(described)


def test_every_reference_leads_somewhere(described: dict[str, Any], repository: Path) -> None:
    found = list(references(described))
    assert len(found) > 30
    for reference in found:
        if reference.startswith("./"):
            assert (repository / "docs" / reference).is_file(), reference
            continue
        node: Any = described
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node, reference


def test_every_body_of_the_code_has_a_channel_and_a_schema(described: dict[str, Any]) -> None:
    payloads = {name: m["payload"] for name, m in described["components"]["messages"].items()}
    told = BODIES.keys() - {"explanation"}  # that one is printed by a command and never told
    assert {name: payloads[name]["schema"]["$ref"] for name in told} == {n: f"./schema/{n}.json" for n in told}
    assert told <= described["channels"].keys()
    assert described["defaultContentType"] == CONTENT_TYPE


def test_every_channel_is_a_topic_that_the_envelope_allows(described: dict[str, Any]) -> None:
    for name, channel in described["channels"].items():
        values = {"unit": "quay-01", "entity": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "epoch": "7"}
        assert set(channel["parameters"]) == set(re.findall(r"{(.*?)}", channel["address"]))
        where = address(channel["address"].format(**values))
        assert where.unit == "quay-01"
        assert where.kind == (name if name in {"grant", "close"} else "frame")


@pytest.mark.parametrize("name", sorted(BODIES))
def test_a_published_schema_is_a_json_schema(name: str, repository: Path) -> None:
    schema = json.loads((repository / "docs" / "schema" / f"{name}.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
