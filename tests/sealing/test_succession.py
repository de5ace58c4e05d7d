"""A recipient's next key is taken from the recipient alone, and never goes back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import IdentityRefused
from appliance.sealing import Opened, Opener, PrivateIdentity, Sender, generate
from appliance.sealing.succession import CONTEXT, MAX_NUMBER, Successor, announce, lineage, rotated

FIRST = generate("recipient", "ops")
SECOND = rotated(FIRST)
STRANGER = generate("recipient", "ops")


def refused(text: bytes, known: PrivateIdentity = FIRST) -> str:
    with pytest.raises(IdentityRefused) as refusal:
        Successor.from_json(text, known.public)
    return refusal.value.reason


def test_a_rotated_recipient_is_the_same_with_another_kem_key() -> None:
    assert (SECOND.public.name, SECOND.public.signing) == (FIRST.public.name, FIRST.public.signing)
    assert SECOND.public.kem != FIRST.public.kem
    assert SECOND.public.kid != FIRST.public.kid
    assert lineage(SECOND.public) == lineage(FIRST.public) != lineage(STRANGER.public)


def test_an_announcement_is_taken_by_whoever_knows_any_identity_of_the_recipient() -> None:
    for known in (FIRST, SECOND, rotated(SECOND)):
        found = Successor.from_json(announce(SECOND, 7), known.public)
        assert (found.number, found.identity) == (7, SECOND.public)


def test_the_old_key_opens_what_was_sealed_to_it_and_nothing_that_follows(device: PrivateIdentity) -> None:
    before = Sender("alpha", 1, device, [FIRST.public], 1)
    after = Sender("alpha", 2, device, [SECOND.public], 2)
    frames = [sender.seal("edge/v1/alpha/picture", b"x") for sender in (before, after)]
    opened = {}
    for name, keys in (("old", [FIRST]), ("new", [SECOND]), ("both", [SECOND, FIRST])):
        opener = Opener(keys, [device.public])
        for sender in (before, after):
            opener.accept(sender.grant().topic, sender.grant().data)
        opened[name] = [isinstance(opener.accept(frame.topic, frame.data), Opened) for frame in frames]
    assert opened == {"old": [True, False], "new": [False, True], "both": [True, True]}


def test_a_device_has_no_successor(device: PrivateIdentity) -> None:
    with pytest.raises(IdentityRefused, match="kind"):
        rotated(device)
    assert refused(announce(SECOND, 1), device) == "kind"


def test_a_successor_that_somebody_else_signed_is_refused() -> None:
    forged = json.loads(announce(SECOND, 1))
    signature = STRANGER.sign((1).to_bytes(8, "big") + bytes.fromhex(SECOND.public.fingerprint), CONTEXT)
    forged["signature"] = base64.b64encode(signature).decode()
    assert refused(json.dumps(forged).encode()) == "signature"


def test_a_successor_of_somebody_else_is_refused() -> None:
    assert refused(announce(rotated(STRANGER), 1)) == "successor", "the same name, another signing key"
    renamed = generate("recipient", "ops-2")
    assert refused(announce(renamed, 1)) == "successor"


def _with(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: {**document, name: value}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_with("number", 2), "signature"),
        (_with("number", 0), "malformed"),
        (_with("number", -1), "malformed"),
        (_with("number", MAX_NUMBER + 1), "malformed"),
        (_with("number", 1.5), "malformed"),
        (_with("schema", "edge-recipient-key/2"), "malformed"),
        (_with("signature", "AAAA"), "signature"),
        (_with("signature", "?"), "malformed"),
        (_with("more", 1), "malformed"),
        (lambda d: {k: v for k, v in d.items() if k != "signature"}, "malformed"),
        (_with("identity", json.loads(FIRST.public.to_json())), "signature"),
        (_with("identity", json.loads(generate("device", "ops").public.to_json())), "kind"),
        (_with("identity", {}), "malformed"),
        (_with("identity", "x"), "malformed"),
        (lambda d: {**d, "identity": {**d["identity"], "fingerprint": "00" * 48}}, "fingerprint"),
        (lambda d: [d], "malformed"),
    ],
)
def test_an_announcement_of_another_shape_or_content_is_refused(
    edit: Callable[[dict[str, Any]], object], reason: str
) -> None:
    assert refused(json.dumps(edit(json.loads(announce(SECOND, 1)))).encode()) == reason


def test_a_signature_of_another_kind_is_no_announcement() -> None:
    forged = json.loads(announce(SECOND, 1))
    message = (1).to_bytes(8, "big") + bytes.fromhex(SECOND.public.fingerprint)
    forged["signature"] = base64.b64encode(FIRST.sign(message, b"edge/grant/v1")).decode()
    assert refused(json.dumps(forged).encode()) == "signature"


def test_an_announcement_that_is_too_large_is_refused_unread() -> None:
    assert refused(b" " * 40_000 + announce(SECOND, 1)) == "malformed"


@settings(max_examples=60, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 255)), min_size=1, max_size=3))
def test_a_mutated_announcement_never_names_another_key(edits: list[tuple[int, int]]) -> None:
    data = bytearray(announce(SECOND, 1))
    for at, mask in edits:
        data[at % len(data)] ^= mask
    try:
        found = Successor.from_json(bytes(data), FIRST.public)
    except IdentityRefused:
        return
    assert (found.number, found.identity) == (1, SECOND.public)
