"""What a release wrote of identities and announcements is read by every later one, and refused for the same reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import IdentityRefused
from appliance.sealing import PrivateIdentity, PublicIdentity
from appliance.sealing.succession import Successor
from tests.support.softtoken import SoftToken

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def cases(table: str) -> list[Any]:
    found = []
    for path in sorted(GOLDEN.glob("*/identity/vectors.json")):
        document = json.loads(path.read_text())
        release = path.parent.parent.name
        found += [pytest.param(document, case, id=f"{release}: {case['name']}") for case in document[table]]
    return found


@pytest.mark.parametrize(("document", "case"), cases("files"))
def test_a_published_identity_file_has_its_published_outcome(document: dict[str, Any], case: dict[str, Any]) -> None:
    def open_token(uri: str) -> SoftToken:
        return SoftToken(uri, bytes.fromhex(document["token_key"]))

    def read() -> PrivateIdentity:
        return PrivateIdentity.from_json(case["text"], case.get("passphrase"), open_token=open_token)

    if "refused" in case:
        with pytest.raises(IdentityRefused) as refusal:
            read()
        assert refusal.value.reason == case["refused"]
    else:
        assert json.loads(read().public.to_json()) == document["identity"]


@pytest.mark.parametrize(("document", "case"), cases("announcements"))
def test_a_published_announcement_has_its_published_outcome(document: dict[str, Any], case: dict[str, Any]) -> None:
    known = PublicIdentity.from_json(json.dumps(document["identity"]))
    if "refused" in case:
        with pytest.raises(IdentityRefused) as refusal:
            Successor.from_json(case["text"].encode(), known)
        assert refusal.value.reason == case["refused"]
        return
    found = Successor.from_json(case["text"].encode(), known)
    assert (found.number, found.identity.fingerprint) == (case["number"], case["fingerprint"])


def test_there_are_identity_vectors_of_a_release() -> None:
    assert cases("files")
    assert cases("announcements")
