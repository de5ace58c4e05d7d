"""Every way in which an envelope is refused, by name. The state of the opener is the same after each as before."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import EnvelopeRefused, IdentityRefused
from appliance.sealing import (
    Closed,
    Duplicate,
    EpochState,
    Granted,
    NoGrant,
    NotForUs,
    Opened,
    Opener,
    OpenerState,
    PrivateIdentity,
    Sender,
    generate,
)
from appliance.sealing.control import box_info, frame_key, read_grant, read_secrets
from appliance.sealing.identity import SIGNATURE_BYTES
from appliance.sealing.opener import KEEP_EPOCHS
from appliance.sealing.seen import MAX_RUNS
from appliance.sealing.wire import (
    CLOSE_CONTEXT,
    GRANT_CONTEXT,
    MAX_AUDIENCES,
    MAX_EPOCH,
    MAX_RECIPIENTS,
    frame_aad,
    frame_head,
    frame_message,
    frame_nonce,
    split_frame,
)

TOPIC = "edge/v1/alpha/entity/01J"
GRANT_TOPIC = "edge/v1/alpha/grant/7"
CLOSE_TOPIC = "edge/v1/alpha/close/7"


def refused(opener: Opener, topic: str, data: bytes) -> str:
    """The reason for which ``data`` is refused; the opener must not have changed."""
    before = opener.export()
    with pytest.raises(EnvelopeRefused) as refusal:
        opener.accept(topic, data)
    assert opener.export() == before
    return refusal.value.reason


def flipped(data: bytes, at: int, mask: int = 1) -> bytes:
    return data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]


# ---- frames


def test_a_flipped_bit_anywhere_in_a_frame_never_opens(sender: Sender, opener: Opener) -> None:
    frame = sender.seal(TOPIC, b"payload")
    outcomes: dict[str, set[int]] = {}
    for at in range(len(frame.data)):
        try:
            outcome: object = opener.accept(TOPIC, flipped(frame.data, at, 1 << at % 8))
        except EnvelopeRefused as e:
            outcomes.setdefault(e.reason, set()).add(at)
        else:
            assert isinstance(outcome, NoGrant)
            outcomes.setdefault("no grant", set()).add(at)
    assert outcomes["no grant"] == set(range(9, 16))  # the reference to the grant
    assert {16, 19} | set(range(21, len(frame.data))) <= outcomes[
        "signature"
    ]  # audience, Partial IV, ciphertext, signature
    assert outcomes["encoding"] == set(range(len(frame.data))) - outcomes["no grant"] - outcomes["signature"]
    assert isinstance(opener.accept(TOPIC, frame.data), Opened)


def test_a_replayed_frame_is_a_duplicate_also_after_a_restart(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    frame = sender.seal(TOPIC, b"x")
    assert isinstance(opener.accept(TOPIC, frame.data), Opened)
    assert opener.accept(TOPIC, frame.data) == Duplicate(unit="alpha", epoch=7, kind="frame", counter=0)
    again = Opener(reader, [device.public], opener.export())
    assert isinstance(again.accept(TOPIC, frame.data), Duplicate)


@pytest.mark.parametrize("topic", ["edge/v1/alpha/entity/02K", "edge/v1/alpha/alert", "edge/v1/alpha/entity/01J/x"])
def test_a_frame_moved_to_another_topic_is_refused(sender: Sender, opener: Opener, topic: str) -> None:
    assert refused(opener, topic, sender.seal(TOPIC, b"x").data) == "signature"


def test_a_frame_moved_to_another_unit_finds_no_grant(sender: Sender, opener: Opener) -> None:
    outcome = opener.accept("edge/v1/bravo/entity/01J", sender.seal(TOPIC, b"x").data)
    assert outcome == NoGrant(unit="bravo", kind="frame")


def _insider(sender: Sender, reader: PrivateIdentity) -> tuple[bytes, AESGCM, bytes]:
    """What a recipient holds of an epoch: reference, cipher, Context IV."""
    grant = read_grant(sender.grant().data[:-SIGNATURE_BYTES])
    digest = grant.header.digest()
    plaintext = reader.unwrap(grant.boxes[0][1], box_info(digest, reader.public.fingerprint))
    assert plaintext is not None
    key, base_iv = frame_key(read_secrets(plaintext, 1)[0], digest, 0)
    return digest[:7], AESGCM(key), base_iv


def test_a_recipient_cannot_forge_a_frame_with_the_secret_that_it_holds(
    reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    reference, cipher, base_iv = _insider(sender, reader)
    ciphertext = cipher.encrypt(frame_nonce(base_iv, 5), b"forged", frame_aad(TOPIC))
    signed = frame_head(reference, 0, 5, len(ciphertext)) + ciphertext
    own = Ed25519PrivateKey.generate().sign(frame_message(TOPIC, signed))
    real = sender.seal(TOPIC, b"real").data[-64:]
    for signature in (own, real, bytes(64)):
        assert refused(opener, TOPIC, signed + signature) == "signature"


def test_a_frame_that_is_signed_and_does_not_decrypt_is_refused_and_not_counted(
    reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    reference, _, _ = _insider(sender, reader)
    signed = frame_head(reference, 0, 0, 40) + bytes(40)
    data = signed + sender._signer.sign(frame_message(TOPIC, signed))
    assert refused(opener, TOPIC, data) == "decrypt"


def test_a_frame_later_than_the_window_reaches_is_refused(sender: Sender, opener: Opener) -> None:
    frames = [sender.seal(TOPIC, b"x") for _ in range(2 * MAX_RUNS + 3)]
    for frame in frames[::2]:
        opener.accept(TOPIC, frame.data)
    assert refused(opener, TOPIC, frames[1].data) == "window"
    assert isinstance(opener.accept(TOPIC, frames[-2].data), Opened)


def test_a_frame_beyond_what_the_close_admits_is_refused(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    close_data = sender.close().data
    opener.accept(CLOSE_TOPIC, close_data)
    sender._closed = False
    reference, cipher, base_iv = _insider(sender, reader)
    ciphertext = cipher.encrypt(frame_nonce(base_iv, 0), b"late", frame_aad(TOPIC))
    signed = frame_head(reference, 0, 0, len(ciphertext)) + ciphertext
    assert refused(opener, TOPIC, signed + sender._signer.sign(frame_message(TOPIC, signed))) == "count"


def test_a_frame_has_one_encoding(reader: PrivateIdentity, sender: Sender, opener: Opener) -> None:
    """The same COSE_Encrypt0 written otherwise, and signed by the unit itself, is still refused."""
    _, cipher, base_iv = _insider(sender, reader)
    data = sender.seal(TOPIC, b"payload").data
    reference_kid = data[9:17]
    ciphertext = cipher.encrypt(frame_nonce(base_iv, 0), b"payload", frame_aad(TOPIC))
    size = len(ciphertext)
    variants = {
        "no tag": bytes.fromhex("8343a10103a20448") + reference_kid + bytes.fromhex("064100") + b"\x57" + ciphertext,
        "long length": data[:9] + reference_kid + bytes.fromhex("064100") + b"\x58" + bytes((size,)) + ciphertext,
        "longer length": data[:9] + reference_kid + bytes.fromhex("064100") + b"\x59\x00" + bytes((size,)) + ciphertext,
        "long IV": data[:9] + reference_kid + bytes.fromhex("06420000") + b"\x57" + ciphertext,
        "full IV": data[:9] + reference_kid + bytes.fromhex("054c") + bytes(12) + b"\x57" + ciphertext,
        "trailing byte": data[:-64] + b"\0",
        "indefinite": data[:9] + reference_kid + bytes.fromhex("064100") + b"\x5f\x57" + ciphertext + b"\xff",
        "IV of five bytes": data[:9] + reference_kid + bytes.fromhex("06450100000000") + b"\x57" + ciphertext,
    }
    assert size == 23
    for name, signed in variants.items():
        forged = signed + sender._signer.sign(frame_message(TOPIC, signed))
        assert refused(opener, TOPIC, forged) == "encoding", name
    assert isinstance(opener.accept(TOPIC, data), Opened)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 100, 1024 * 1024 + 200])
def test_a_frame_of_an_impossible_size_is_refused(opener: Opener, size: int) -> None:
    assert refused(opener, TOPIC, bytes(size)) == "size"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "edge",
        "edge/v1/alpha",
        "edge/v2/alpha/entity/1",
        "edge/v1//entity",
        "edge/v1/alpha/+",
        "edge/v1/alpha/#",
        "edge/v1/alpha/a/b/c/d/e",
        "edge/v1/alpha/grant",
        "edge/v1/alpha/grant/07",
        "edge/v1/alpha/grant/-1",
        "edge/v1/alpha/grant/1/2",
        "edge/v1/alpha/close/x",
        "edge/v1/alpha/close/9999999999999999",
        "$SYS/broker",
        "edge/v1/alpha/entity/1\n",
        "edge/v1/älpha/entity/1",
        "edge/v1/alpha/" + "x" * 300,
    ],
)
def test_a_topic_on_which_no_envelope_may_stand_is_refused(opener: Opener, topic: str) -> None:
    assert refused(opener, topic, bytes(200)) == "topic"


# ---- grants


def _body(sender: Sender) -> dict[int, Any]:
    value = cbor2.loads(sender.grant().data[:-SIGNATURE_BYTES])
    assert isinstance(value, dict)
    return value


def _signed(identity: PrivateIdentity, body: object, context: bytes = GRANT_CONTEXT) -> bytes:
    raw = body if isinstance(body, bytes) else cbor2.dumps(body, canonical=True)
    return raw + identity.sign(raw, context)


@pytest.fixture
def fresh(device: PrivateIdentity, reader: PrivateIdentity) -> Opener:
    return Opener(reader, [device.public])


def test_a_flipped_bit_anywhere_in_a_grant_is_refused(sender: Sender, fresh: Opener) -> None:
    data = sender.grant().data
    places = [*range(120), *range(120, len(data), 211), len(data) - 1]
    assert {refused(fresh, GRANT_TOPIC, flipped(data, at, 1 << at % 8)) for at in places} == {"signature"}


def test_a_grant_of_a_device_that_is_not_trusted_is_refused(reader: PrivateIdentity, sender: Sender) -> None:
    impostor = generate("device", "alpha")
    other_unit = generate("device", "bravo")
    assert refused(Opener(reader, [impostor.public]), GRANT_TOPIC, sender.grant().data) == "signature"
    assert refused(Opener(reader, [other_unit.public]), GRANT_TOPIC, sender.grant().data) == "untrusted"
    assert refused(Opener(reader, []), GRANT_TOPIC, sender.grant().data) == "untrusted"


def test_a_trusted_device_cannot_speak_for_another_unit(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender
) -> None:
    bravo = generate("device", "bravo")
    opener = Opener(reader, [device.public, bravo.public])
    assert refused(opener, GRANT_TOPIC, _signed(bravo, _body(sender))) == "signature"
    assert refused(opener, "edge/v1/bravo/grant/7", _signed(bravo, _body(sender))) == "topic"


def test_a_grant_on_the_topic_of_another_epoch_is_refused(sender: Sender, fresh: Opener) -> None:
    assert refused(fresh, "edge/v1/alpha/grant/8", sender.grant().data) == "topic"


def test_a_box_moved_to_another_grant_does_not_open(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, fresh: Opener
) -> None:
    """Even where the device itself signs the mixture: the box is bound to its grant's header."""
    other = _body(Sender("alpha", 8, device, [reader.public], 1))
    other[8] = _body(sender)[8]
    assert refused(fresh, "edge/v1/alpha/grant/8", _signed(device, other)) == "box"


def test_a_box_moved_to_another_recipient_does_not_open(
    device: PrivateIdentity, reader: PrivateIdentity, second: PrivateIdentity
) -> None:
    body = _body(Sender("alpha", 7, device, [second.public], 1))
    body[8][0][0] = reader.public.kid
    assert refused(Opener(reader, [device.public]), GRANT_TOPIC, _signed(device, body)) == "box"


def test_a_second_grant_of_the_same_epoch_is_refused(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    again = Sender("alpha", 7, device, [reader.public], 1_000)
    assert refused(opener, GRANT_TOPIC, again.grant().data) == "conflict"
    assert isinstance(opener.accept(GRANT_TOPIC, sender.grant().data), Duplicate)


def test_an_epoch_that_was_given_up_does_not_come_back(device: PrivateIdentity, reader: PrivateIdentity) -> None:
    opener = Opener(reader, [device.public])
    first = Sender("alpha", 1, device, [reader.public], 1)
    frame = first.seal("edge/v1/alpha/picture", b"x")
    opener.accept(first.grant().topic, first.grant().data)
    for epoch in range(2, KEEP_EPOCHS + 2):
        later = Sender("alpha", epoch, device, [reader.public], 1)
        assert isinstance(opener.accept(later.grant().topic, later.grant().data), Granted)
    assert len(opener.epochs()) == KEEP_EPOCHS
    for view in (opener, Opener(reader, [device.public], opener.export())):
        assert refused(view, first.grant().topic, first.grant().data) == "stale"
        assert view.accept(frame.topic, frame.data) == NoGrant(unit="alpha", kind="frame")
        earlier = Sender("alpha", 0, device, [reader.public], 1)
        assert refused(view, earlier.grant().topic, earlier.grant().data) == "stale"
        assert refused(view, "edge/v1/alpha/close/1", bytes(5000)) == "stale"


def test_an_epoch_that_jumps_ahead_is_taken_and_no_earlier_one_is_lost_by_it(
    device: PrivateIdentity, reader: PrivateIdentity
) -> None:
    """A clock that was wrong for a day: only the device can jump, and what it sealed before still opens."""
    opener = Opener(reader, [device.public])
    for epoch in (5, MAX_EPOCH, 6):
        sender = Sender("alpha", epoch, device, [reader.public], 1)
        assert isinstance(opener.accept(sender.grant().topic, sender.grant().data), Granted)
        frame = sender.seal("edge/v1/alpha/picture", b"x")
        assert isinstance(opener.accept(frame.topic, frame.data), Opened)
    assert [epoch for _, epoch in opener.epochs()] == [5, 6, MAX_EPOCH]
    with pytest.raises(EnvelopeRefused, match="out of range"):
        Sender("alpha", MAX_EPOCH + 1, device, [reader.public], 1)


def test_an_old_grant_that_is_put_back_on_the_bus_opens_nothing_again(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    """A broker that retains the grant before and sends its frames again: all of it is known."""
    frame = sender.seal(TOPIC, b"x")
    opener.accept(TOPIC, frame.data)
    later = Sender("alpha", 8, device, [reader.public], 2_000)
    opener.accept(later.grant().topic, later.grant().data)
    for view in (opener, Opener(reader, [device.public], opener.export())):
        assert isinstance(view.accept(GRANT_TOPIC, sender.grant().data), Duplicate)
        assert isinstance(view.accept(TOPIC, frame.data), Duplicate)


def test_a_recipient_that_was_removed_opens_nothing_with_all_that_it_ever_held(
    device: PrivateIdentity, reader: PrivateIdentity, second: PrivateIdentity
) -> None:
    """Its identity, the secrets of the epoch before, and every envelope of the next."""
    before = Sender("alpha", 7, device, [reader.public, second.public], 1)
    after = Sender("alpha", 8, device, [reader.public], 2)
    removed = Opener(second, [device.public])
    assert isinstance(removed.accept(before.grant().topic, before.grant().data), Granted)
    assert removed.accept(after.grant().topic, after.grant().data) == NotForUs(unit="alpha", epoch=8, kind="grant")
    frame = after.seal(TOPIC, b"x")
    assert removed.accept(TOPIC, frame.data) == NotForUs(unit="alpha", epoch=8, kind="frame")
    with pytest.raises(EnvelopeRefused, match="audience"):
        removed.reopen(TOPIC, frame.data)
    old = read_grant(before.grant().data[:-SIGNATURE_BYTES]).header.digest()
    plaintext = second.unwrap(_box_of(before, second), box_info(old, second.public.fingerprint))
    assert plaintext is not None
    new = read_grant(after.grant().data[:-SIGNATURE_BYTES]).header.digest()
    parts = split_frame(frame.data)
    for digest in (old, new):
        key, base_iv = frame_key(read_secrets(plaintext, 1)[0], digest, 0)
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(frame_nonce(base_iv, parts.counter), parts.ciphertext, frame_aad(TOPIC))


def _box_of(sender: Sender, identity: PrivateIdentity) -> bytes:
    grant = read_grant(sender.grant().data[:-SIGNATURE_BYTES])
    return next(box for kid, box in grant.boxes if kid == identity.public.kid)


def test_a_frame_moved_to_another_audience_or_number_is_refused(
    device: PrivateIdentity, reader: PrivateIdentity, second: PrivateIdentity
) -> None:
    """By whoever can sign for the epoch: the audience's key and the number's nonce do not open it."""
    sender = Sender("alpha", 7, device, [reader.public], 1, audiences=[[reader.public, second.public]])
    opener = Opener(reader, [device.public])
    opener.accept(GRANT_TOPIC, sender.grant().data)
    parts = split_frame(sender.seal(TOPIC, b"for all", audience=1).data)
    for audience, counter in ((0, parts.counter), (1, parts.counter + 5)):
        signed = frame_head(parts.reference, audience, counter, len(parts.ciphertext)) + parts.ciphertext
        assert refused(opener, TOPIC, signed + sender._signer.sign(frame_message(TOPIC, signed))) == "decrypt"


@pytest.mark.parametrize(
    "recipients",
    [[], ["device"], ["reader", "reader"]],
    ids=["nobody", "a device", "one twice"],
)
def test_recipients_that_cannot_be_are_refused_before_anything_is_sealed(
    device: PrivateIdentity, reader: PrivateIdentity, recipients: list[str]
) -> None:
    named = {"device": device.public, "reader": reader.public}
    with pytest.raises(IdentityRefused):
        Sender("alpha", 7, device, [named[name] for name in recipients], 1)


def test_more_recipients_or_audiences_than_a_grant_holds_are_refused(
    device: PrivateIdentity, reader: PrivateIdentity
) -> None:
    many = [dataclasses.replace(reader.public, name=f"r{number}") for number in range(MAX_RECIPIENTS + 1)]
    with pytest.raises(IdentityRefused):
        Sender("alpha", 7, device, many, 1)
    with pytest.raises(IdentityRefused):
        Sender("alpha", 7, device, [reader.public], 1, audiences=[[reader.public]] * MAX_AUDIENCES)


def _without(key: int) -> Callable[[dict[int, Any]], object]:
    return lambda body: {k: v for k, v in body.items() if k != key}


def _with(key: int, value: object) -> Callable[[dict[int, Any]], object]:
    return lambda body: {**body, key: value}


def _twice(body: dict[int, Any]) -> object:
    return {**body, 8: body[8] * 2}


def _unsorted(body: dict[int, Any]) -> object:
    return {**body, 8: [[b"\xff" * 16, b"x"], [b"\0" * 16, b"x"]]}


SHAPES: dict[str, tuple[Callable[[dict[int, Any]], object], str]] = {
    "older suite": (_with(1, 0), "suite"),
    "newer suite": (_with(1, 2), "suite"),
    "suite as text": (_with(1, "1"), "suite"),
    "no suite": (_without(1), "suite"),
    "no unit": (_without(2), "shape"),
    "unit with a wildcard": (_with(2, "+"), "shape"),
    "unit as bytes": (_with(2, b"alpha"), "shape"),
    "negative epoch": (_with(3, -7), "shape"),
    "huge epoch": (_with(3, 2**63), "shape"),
    "epoch as bignum": (_with(3, 2**80), "encoding"),
    "epoch as true": (_with(3, True), "encoding"),
    "epoch as float": (_with(3, 7.0), "encoding"),
    "epoch as null": (_with(3, None), "encoding"),
    "short device kid": (_with(5, b"x"), "shape"),
    "short epoch key": (_with(6, bytes(31)), "shape"),
    "no audiences": (_with(7, 0), "shape"),
    "too many audiences": (_with(7, 17), "shape"),
    "extra key": (_with(9, 0), "shape"),
    "text key": (lambda body: {**body, "x": 0}, "encoding"),
    "recipients as map": (_with(8, {}), "shape"),
    "recipient as text": (_with(8, ["me"]), "shape"),
    "recipient of three": (_with(8, [[bytes(16), b"x", 1]]), "shape"),
    "kid too short": (_with(8, [[bytes(15), b"x"]]), "shape"),
    "box too long": (_with(8, [[bytes(16), bytes(5000)]]), "shape"),
    "box as text": (_with(8, [[bytes(16), "box"]]), "shape"),
    "recipient twice": (_twice, "shape"),
    "recipients out of order": (_unsorted, "shape"),
    "257 recipients": (_with(8, [[n.to_bytes(16, "big"), b"x"] for n in range(257)]), "shape"),
    "a list": (lambda body: [1, 2], "shape"),
    "a number": (lambda body: 1, "shape"),
    "tagged": (lambda body: cbor2.CBORTag(16, body), "encoding"),
    "a regular expression": (_with(2, cbor2.CBORTag(35, "(a+)+$")), "encoding"),
    "nested": (_with(8, [[[[[[[[]]]]]]]]), "encoding"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_grant_of_a_wrong_shape_is_refused_even_if_the_device_signed_it(
    device: PrivateIdentity, sender: Sender, fresh: Opener, name: str
) -> None:
    spoil, reason = SHAPES[name]
    assert refused(fresh, GRANT_TOPIC, _signed(device, spoil(_body(sender)))) == reason


def test_a_grant_that_names_another_device_is_refused(device: PrivateIdentity, sender: Sender, fresh: Opener) -> None:
    body = {**_body(sender), 5: bytes(16)}
    assert refused(fresh, GRANT_TOPIC, _signed(device, body)) == "device"


def _noncanonical(sender: Sender) -> dict[str, bytes]:
    body = sender.grant().data[:-SIGNATURE_BYTES]
    assert body.startswith(bytes.fromhex("a80101"))
    return {
        "trailing byte": body + b"\0",
        "long number": bytes.fromhex("a8011801") + body[3:],
        "indefinite map": b"\xbf" + body[1:] + b"\xff",
        "duplicate key": bytes.fromhex("a9010101") + b"\x01" + body[3:],
        "keys out of order": bytes.fromhex("a80265") + b"alpha" + b"\x01\x01" + body[10:],
        "cut short": body[:-1],
        "nothing but a break": b"\xff",
        "reserved": b"\x1c",
        "a cycle": bytes.fromhex("d81c81d81d00"),
        "ten thousand brackets": b"\x81" * 10_000,
        "four billion items": bytes.fromhex("9affffffff"),
        "an exabyte string": bytes.fromhex("5b0fffffffffffffff"),
        "half a text": bytes.fromhex("62c3"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "trailing byte",
        "long number",
        "indefinite map",
        "duplicate key",
        "keys out of order",
        "cut short",
        "nothing but a break",
        "reserved",
        "a cycle",
        "ten thousand brackets",
        "four billion items",
        "an exabyte string",
        "half a text",
    ],
)
def test_cbor_that_is_not_canonical_is_refused_even_if_the_device_signed_it(
    device: PrivateIdentity, sender: Sender, fresh: Opener, name: str
) -> None:
    assert refused(fresh, GRANT_TOPIC, _signed(device, _noncanonical(sender)[name])) == "encoding"


def test_a_cbor_bomb_that_nobody_signed_is_never_decoded(fresh: Opener) -> None:
    started = time.monotonic()
    assert refused(fresh, GRANT_TOPIC, b"\x81" * 400_000 + bytes(SIGNATURE_BYTES)) == "signature"
    assert refused(fresh, GRANT_TOPIC, b"\x81" * 600_000) == "size"
    assert refused(fresh, GRANT_TOPIC, bytes(SIGNATURE_BYTES)) == "size"
    assert time.monotonic() - started < 30  # a bomb would take for ever, not a little longer


@pytest.mark.parametrize(
    "plaintext",
    [b"", b"\xa0", cbor2.dumps({0: bytes(31)}), cbor2.dumps({1: bytes(32)}), cbor2.dumps({0: "x"}), b"\x01", b"\xff"],
)
def test_a_box_with_something_else_than_secrets_is_refused(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, fresh: Opener, plaintext: bytes
) -> None:
    grant = read_grant(sender.grant().data[:-SIGNATURE_BYTES])
    box = reader.public.wrap(plaintext, box_info(grant.header.digest(), reader.public.fingerprint))
    body = {**_body(sender), 8: [[reader.public.kid, box]]}
    assert refused(fresh, GRANT_TOPIC, _signed(device, body)) in ("shape", "encoding")


# ---- closes


def test_a_flipped_bit_anywhere_in_a_close_is_refused(sender: Sender, opener: Opener) -> None:
    sender.seal(TOPIC, b"x")
    data = sender.close(b"checkpoint").data
    places = [*range(len(data) - SIGNATURE_BYTES), *range(len(data) - SIGNATURE_BYTES, len(data), 311)]
    assert {refused(opener, CLOSE_TOPIC, flipped(data, at, 1 << at % 8)) for at in places} == {"signature"}


def test_a_recipient_cannot_forge_a_close(reader: PrivateIdentity, sender: Sender, opener: Opener) -> None:
    body = sender.close().data[:-SIGNATURE_BYTES]
    assert refused(opener, CLOSE_TOPIC, _signed(reader, body, CLOSE_CONTEXT)) == "signature"


def test_a_signature_of_one_kind_does_not_serve_for_another(
    device: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    body = sender.close().data[:-SIGNATURE_BYTES]
    assert refused(opener, CLOSE_TOPIC, _signed(device, body, GRANT_CONTEXT)) == "signature"
    assert refused(opener, "edge/v1/alpha/grant/7", _signed(device, body, CLOSE_CONTEXT)) == "signature"


def test_a_close_of_another_grant_or_epoch_is_refused(
    device: PrivateIdentity, reader: PrivateIdentity, opener: Opener
) -> None:
    twin = Sender("alpha", 7, device, [reader.public], 1_000).close()
    later = Sender("alpha", 8, device, [reader.public], 1_000).close()
    assert refused(opener, CLOSE_TOPIC, twin.data) == "conflict"
    assert refused(opener, CLOSE_TOPIC, later.data) == "topic"


def test_a_second_close_that_says_otherwise_is_refused(device: PrivateIdentity, sender: Sender, opener: Opener) -> None:
    sender.seal(TOPIC, b"x")
    first = sender.close().data
    body = cbor2.loads(first[:-SIGNATURE_BYTES])
    opener.accept(CLOSE_TOPIC, first)
    assert refused(opener, CLOSE_TOPIC, _signed(device, {**body, 5: 2, 6: [2]}, CLOSE_CONTEXT)) == "conflict"


CLOSE_SHAPES: dict[str, Callable[[dict[int, Any]], object]] = {
    "counts that do not sum": _with(6, [2]),
    "no counts": _with(6, []),
    "count beyond 2^32": _with(5, 2**32 + 1),
    "short root": _with(7, bytes(47)),
    "shed beyond the count": _with(8, [[0, 1]]),
    "shed backwards": _with(8, [[1, 0]]),
    "shed as number": _with(8, 3),
    "shed that touches": lambda body: {**body, 5: 9, 6: [9], 8: [[0, 1], [2, 3]]},
    "checkpoint too long": _with(9, bytes(20_000)),
    "checkpoint as text": _with(9, "x"),
    "extra key": _with(10, 0),
}


@pytest.mark.parametrize("name", CLOSE_SHAPES)
def test_a_close_of_a_wrong_shape_is_refused(
    device: PrivateIdentity, sender: Sender, opener: Opener, name: str
) -> None:
    sender.seal(TOPIC, b"x")
    body = cbor2.loads(sender.close().data[:-SIGNATURE_BYTES])
    assert refused(opener, CLOSE_TOPIC, _signed(device, CLOSE_SHAPES[name](body), CLOSE_CONTEXT)) == "shape"


def test_frames_that_the_device_did_not_seal_are_shown_by_its_close(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    """Whoever breaks the epoch's Ed25519 key can sign frames; the close, signed by ML-DSA, tells."""
    real = sender.seal(TOPIC, b"real")
    close = sender.close()
    reference, cipher, base_iv = _insider(sender, reader)
    ciphertext = cipher.encrypt(frame_nonce(base_iv, real.counter), b"fake", frame_aad(TOPIC))
    signed = frame_head(reference, 0, real.counter, len(ciphertext)) + ciphertext
    assert isinstance(opener.accept(TOPIC, signed + sender._signer.sign(frame_message(TOPIC, signed))), Opened)
    closed = opener.accept(CLOSE_TOPIC, close.data)
    assert isinstance(closed, Closed)
    assert closed.root == "differs"


# ---- stored state


def _spoilt(state: OpenerState, **changes: bytes) -> OpenerState:
    (epoch,) = state.epochs
    parts = {"grant": epoch.grant, "close": epoch.close, "seen": epoch.seen, **changes}
    return OpenerState(epochs=(EpochState(unit=epoch.unit, epoch=epoch.epoch, **parts),), floors=state.floors)


def test_a_stored_grant_is_not_believed_unless_it_is_signed(
    device: PrivateIdentity, reader: PrivateIdentity, opener: Opener
) -> None:
    state = opener.export()
    spoilt = _spoilt(state, grant=flipped(state.epochs[0].grant, 50))
    assert Opener(reader, [device.public], spoilt).epochs() == ()


@pytest.mark.parametrize(
    "seen", [b"", b"\x80", b"garbage", cbor2.dumps([[[5, 2]], 0, 0, b"", {}]), cbor2.dumps([1] * 5)]
)
def test_an_epoch_whose_memory_is_damaged_is_given_up_rather_than_replayed(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, opener: Opener, seen: bytes
) -> None:
    frame = sender.seal(TOPIC, b"x")
    opener.accept(TOPIC, frame.data)
    again = Opener(reader, [device.public], _spoilt(opener.export(), seen=seen))
    assert again.epochs() == ()
    assert refused(again, GRANT_TOPIC, sender.grant().data) == "stale"
    assert isinstance(again.accept(TOPIC, frame.data), NoGrant)


def test_a_device_that_is_no_longer_trusted_opens_nothing_from_stored_state(
    reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    again = Opener(reader, [], opener.export())
    assert again.epochs() == ()
    assert refused(again, GRANT_TOPIC, sender.grant().data) == "untrusted"


# ---- anything at all

TOPICS = st.sampled_from([TOPIC, GRANT_TOPIC, CLOSE_TOPIC, "edge/v1/bravo/grant/1", "edge/v1/alpha/status"])
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _outcome(opener: Opener, topic: str, data: bytes) -> str:
    """The name of the outcome, or the reason of the refusal."""
    try:
        return type(opener.accept(topic, data)).__name__
    except EnvelopeRefused as e:
        return e.reason


@FUZZ
@given(topic=st.one_of(TOPICS, st.text(max_size=60)), data=st.binary(max_size=400))
def test_random_bytes_end_in_a_refusal_or_wait_for_a_grant(opener: Opener, topic: str, data: bytes) -> None:
    assert _outcome(opener, topic, data) not in ("Opened", "Granted", "Closed")


@FUZZ
@given(
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4), cut=st.integers(0, 3)
)
def test_a_mutated_frame_never_opens(sender: Sender, opener: Opener, edits: list[tuple[int, int]], cut: int) -> None:
    original = sender.seal(TOPIC, b"a payload of some length").data
    data = bytearray(original)
    for at, mask in edits:
        data[at % len(data)] ^= mask
    mutated = bytes(data[: len(data) - cut])
    if mutated == original:
        return
    assert _outcome(opener, TOPIC, mutated) in ("NoGrant", "encoding", "signature", "size")


VALUES = st.recursive(
    st.one_of(
        st.integers(-(2**70), 2**70),
        st.binary(max_size=60),
        st.text(max_size=20),
        st.booleans(),
        st.none(),
        st.floats(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.integers(0, 12), inner, max_size=10)),
    max_leaves=12,
)


@FUZZ
@given(
    topic=st.sampled_from([GRANT_TOPIC, CLOSE_TOPIC, "edge/v1/alpha/grant/9"]), value=VALUES, raw=st.binary(max_size=80)
)
def test_whatever_a_device_signs_is_a_grant_a_close_or_refused(
    device: PrivateIdentity, opener: Opener, topic: str, value: object, raw: bytes
) -> None:
    context = GRANT_CONTEXT if "grant" in topic else CLOSE_CONTEXT
    for body in (value, {**value, 1: 1} if isinstance(value, dict) else raw):
        with pytest.raises(EnvelopeRefused):
            opener.accept(topic, _signed(device, body, context))
