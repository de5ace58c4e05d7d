"""What a release once sealed can always be opened, and what it refused is refused for the same reason."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import EnvelopeRefused
from appliance.sealing import Opener, PrivateIdentity, PublicIdentity

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
FILES = sorted(GOLDEN.glob("*/envelope/*.json"))


def _cases() -> list[Any]:
    found = []
    for path in FILES:
        document = json.loads(path.read_text())
        release = f"{path.parent.parent.name} {path.stem}"
        found += [pytest.param(document, case, id=f"{release}: {case['name']}") for case in document["cases"]]
    return found


@pytest.mark.parametrize(("document", "case"), _cases())
def test_a_published_vector_has_its_published_outcome(document: dict[str, Any], case: dict[str, Any]) -> None:
    names = case["identity"].split()  # several while a key rotates
    identities = [PrivateIdentity.from_json(json.dumps(document[name])) for name in names]
    opener = Opener(identities, [PublicIdentity.from_json(json.dumps(document["device"]))])
    for step in case["steps"]:
        envelope = document["envelopes"][step["envelope"]]
        topic, data = step.get("topic", envelope["topic"]), bytearray(base64.b64decode(envelope["data"]))
        if "flip" in step:
            data[step["flip"]] ^= 1
        if "refused" in step:
            with pytest.raises(EnvelopeRefused) as refusal:
                opener.accept(topic, bytes(data))
            assert refusal.value.reason == step["refused"]
            continue
        outcome = opener.accept(topic, bytes(data))
        assert type(outcome).__name__ == step["outcome"]
        _compare(outcome, step)


def _compare(outcome: object, step: dict[str, Any]) -> None:
    for name in ("counter", "root"):
        if name in step:
            assert getattr(outcome, name) == step[name]
    if "payload" in step:
        assert getattr(outcome, "payload") == step["payload"].encode()  # noqa: B009
    if "missing" in step:
        assert [list(run) for run in getattr(outcome, "missing")] == step["missing"]  # noqa: B009


def test_there_are_vectors_of_a_release() -> None:
    assert FILES
