"""Signed checkpoints: one form, one key, one meaning."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audit.checkpoint import CONTEXT, Checkpoint, key_hash, open_checkpoint, sign_checkpoint
from appliance.audit.merkle import CompactRange
from appliance.errors import Refused

KEY = MLDSA87PrivateKey.from_seed_bytes(bytes(32))
OTHER = MLDSA87PrivateKey.from_seed_bytes(bytes([1]) * 32)
POINT = Checkpoint(origin="edge-appliance/unit-1", size=7, root=CompactRange().root())
NOTE = sign_checkpoint(POINT, KEY)


def _refused(raw: bytes, key: MLDSA87PrivateKey = KEY) -> None:
    with pytest.raises(Refused) as caught:
        open_checkpoint(raw, key.public_key())
    assert caught.value.reason == "audit-checkpoint"


def test_a_checkpoint_opens_with_the_key_that_signed_it() -> None:
    assert open_checkpoint(NOTE, KEY.public_key()) == POINT


def test_it_has_the_shape_of_a_c2sp_signed_note() -> None:
    text, _, signature = NOTE.decode().partition("\n\n")
    assert text.split("\n") == ["edge-appliance/unit-1", "7", base64.b64encode(POINT.root).decode()]
    assert signature.startswith("— edge-appliance/unit-1 ")
    assert signature.endswith("\n")
    raw = base64.b64decode(signature.split(" ")[2])
    assert raw[:4] == key_hash("edge-appliance/unit-1", KEY.public_key())
    KEY.public_key().verify(raw[4:], (text + "\n").encode(), context=CONTEXT)


def test_another_key_is_refused() -> None:
    _refused(NOTE, OTHER)


def test_a_signature_for_something_else_is_no_checkpoint() -> None:
    """The context separates what one key signs for different purposes."""
    text = POINT.text().encode()
    signature = key_hash(POINT.origin, KEY.public_key()) + KEY.sign(text)
    _refused(text + f"\n— {POINT.origin} {base64.b64encode(signature).decode()}\n".encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n7\n", b"\n8\n"),
        (b"\n7\n", b"\n07\n"),
        (b"\n7\n", b"\n-7\n"),
        (b"\n7\n", b"\n7 \n"),
        (b"unit-1\n7", b"unit-2\n7"),
        (b"\n\n", b"\n"),
        (b"\n\n", b"\nextra\n\n"),
        ("— ".encode(), b"- "),
    ],
)
def test_a_changed_checkpoint_is_refused(old: bytes, new: bytes) -> None:
    changed = NOTE.replace(old, new, 1)
    assert changed != NOTE
    _refused(changed)


@pytest.mark.parametrize("raw", [b"", b"\n\n\n", b"\xff" * 100, NOTE + b"\n", NOTE + NOTE, NOTE[:-1], b"x" * 100_000])
def test_what_is_no_signed_note_is_refused(raw: bytes) -> None:
    _refused(raw)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, change: int) -> None:
    raw = bytearray(NOTE)
    raw[position] ^= change
    _refused(bytes(raw))
