"""Identities: what they are made of, and every way in which a file of one is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import IdentityRefused
from appliance.sealing import PrivateIdentity, PublicIdentity, generate


def test_a_private_identity_comes_back_from_its_json(device: PrivateIdentity) -> None:
    assert PrivateIdentity.from_json(device.to_json()) == device


def test_a_locked_identity_needs_its_passphrase(reader: PrivateIdentity) -> None:
    text = reader.to_json("grünes Licht")
    assert base64.b64encode(reader.signing_seed).decode() not in text
    assert PrivateIdentity.from_json(text, "grünes Licht") == reader
    with pytest.raises(IdentityRefused) as wrong:
        PrivateIdentity.from_json(text, "rotes Licht")
    with pytest.raises(IdentityRefused) as missing:
        PrivateIdentity.from_json(text)
    assert (wrong.value.reason, missing.value.reason) == ("passphrase", "locked")


def test_a_public_identity_comes_back_from_its_json(device: PrivateIdentity) -> None:
    again = PublicIdentity.from_json(device.public.to_json())
    assert again == device.public
    assert again.kid.hex() == again.fingerprint[:32]


def test_a_private_identity_is_not_taken_for_a_public_one(device: PrivateIdentity) -> None:
    with pytest.raises(IdentityRefused) as refusal:
        PublicIdentity.from_json(device.to_json())
    assert refusal.value.reason == "malformed"


def test_printing_an_identity_shows_no_secret(device: PrivateIdentity) -> None:
    shown = repr(device)
    assert "alpha" in shown
    assert "seed" not in shown
    assert len(shown) < 200


def test_the_same_keys_under_another_name_are_another_identity(device: PrivateIdentity) -> None:
    renamed = PublicIdentity(kind="device", name="bravo", signing=device.public.signing, kem=device.public.kem)
    assert renamed.fingerprint != device.public.fingerprint


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", "-a", "x" * 65, "ä", "a\n"])
def test_a_name_that_may_not_stand_in_a_topic_is_refused(name: str) -> None:
    with pytest.raises(IdentityRefused) as refusal:
        generate("device", name)
    assert refusal.value.reason == "malformed"


def _renamed(parts: dict[str, Any]) -> None:
    parts["name"] = "mallory"


def _other_kind(parts: dict[str, Any]) -> None:
    parts["kind"] = "recipient"


def _extra(parts: dict[str, Any]) -> None:
    parts["admin"] = True


def _short_key(parts: dict[str, Any]) -> None:
    parts["signing"] = parts["signing"][:-8]


def _not_base64(parts: dict[str, Any]) -> None:
    parts["kem"] = "*" * len(parts["kem"])


def _impossible_kem_key(parts: dict[str, Any]) -> None:
    parts["kem"] = base64.b64encode(b"\xff" * 1568).decode()


def _without_fingerprint(parts: dict[str, Any]) -> None:
    del parts["fingerprint"]


def _newer_schema(parts: dict[str, Any]) -> None:
    parts["schema"] = "edge-identity-public/2"


def _number_for_name(parts: dict[str, Any]) -> None:
    parts["name"] = 5


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_renamed, "fingerprint"),
        (_other_kind, "fingerprint"),
        (_extra, "malformed"),
        (_short_key, "malformed"),
        (_not_base64, "malformed"),
        (_impossible_kem_key, "key"),
        (_without_fingerprint, "malformed"),
        (_newer_schema, "malformed"),
        (_number_for_name, "malformed"),
    ],
)
def test_a_spoilt_public_identity_is_refused(
    device: PrivateIdentity, spoil: Callable[[dict[str, Any]], None], reason: str
) -> None:
    parts = json.loads(device.public.to_json())
    spoil(parts)
    with pytest.raises(IdentityRefused) as refusal:
        PublicIdentity.from_json(json.dumps(parts))
    assert refusal.value.reason == reason


def test_seeds_of_another_identity_are_refused(device: PrivateIdentity, reader: PrivateIdentity) -> None:
    parts = json.loads(device.to_json())
    parts["secret"] = json.loads(reader.to_json())["secret"]
    with pytest.raises(IdentityRefused) as refusal:
        PrivateIdentity.from_json(json.dumps(parts))
    assert refusal.value.reason == "mismatch"


def test_a_lock_moved_to_another_identity_does_not_open(device: PrivateIdentity, reader: PrivateIdentity) -> None:
    parts = json.loads(device.to_json())
    parts["secret"] = json.loads(reader.to_json("word"))["secret"]
    with pytest.raises(IdentityRefused) as refusal:
        PrivateIdentity.from_json(json.dumps(parts), "word")
    assert refusal.value.reason == "passphrase"


@pytest.mark.parametrize(
    ("cost", "value"), [("memory_kib", 2**31), ("iterations", 10**6), ("lanes", 10**4), ("memory_kib", 1), ("lanes", 0)]
)
def test_a_lock_that_would_cost_too_much_is_refused_before_any_work(
    reader: PrivateIdentity, cost: str, value: int
) -> None:
    parts = json.loads(reader.to_json("word"))
    parts["secret"][cost] = value
    with pytest.raises(IdentityRefused) as refusal:
        PrivateIdentity.from_json(json.dumps(parts), "word")
    assert refusal.value.reason == "malformed"


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(IdentityRefused):
        PublicIdentity.from_json(b" " * 40_000)


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_nothing_that_is_no_identity_ends_in_anything_but_a_refusal(text: str | bytes) -> None:
    for read in (PublicIdentity.from_json, PrivateIdentity.from_json):
        with pytest.raises(IdentityRefused):
            read(text)
