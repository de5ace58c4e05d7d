"""What a recipient may open, and how grant, frame and close play together."""

from __future__ import annotations

import hashlib
import random

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import EnvelopeRefused, IdentityRefused
from appliance.sealing import (
    Closed,
    Duplicate,
    Granted,
    NoGrant,
    NotForUs,
    Opened,
    Opener,
    OpenerState,
    PrivateIdentity,
    Sender,
)
from appliance.sealing.control import Grant, box_info, frame_key, read_grant, read_secrets, write_grant
from appliance.sealing.identity import SIGNATURE_BYTES
from appliance.sealing.wire import GRANT_CONTEXT

TOPIC = "edge/v1/alpha/entity/01J"


def test_a_recipient_opens_what_was_sealed_for_it(sender: Sender, opener: Opener) -> None:
    envelope = sender.seal(TOPIC, b'{"entity_id":"01J"}')
    assert opener.accept(envelope.topic, envelope.data) == Opened(
        topic=TOPIC, payload=b'{"entity_id":"01J"}', unit="alpha", epoch=7, counter=0
    )


def test_a_grant_says_what_was_granted(device: PrivateIdentity, reader: PrivateIdentity, sender: Sender) -> None:
    grant = sender.grant()
    assert grant.retain
    assert grant.topic == "edge/v1/alpha/grant/7"
    outcome = Opener(reader, [device.public]).accept(grant.topic, grant.data)
    assert outcome == Granted(unit="alpha", epoch=7, issued_ns=1_000, audiences=(0,))


@pytest.mark.parametrize("size", [1, 7, 8, 200, 239, 240, 1024, 65_519, 65_520, 70_000])
def test_a_frame_costs_at_most_110_bytes_over_its_payload(sender: Sender, opener: Opener, size: int) -> None:
    sender.sealed = 2**32 - 2  # the longest counter that there is
    payload = bytes(size)
    envelope = sender.seal(TOPIC, payload)
    assert len(envelope.data) - size <= 110
    outcome = opener.accept(envelope.topic, envelope.data)
    assert isinstance(outcome, Opened)
    assert outcome.payload == payload


def test_the_payload_and_the_topic_are_not_in_the_frame(sender: Sender) -> None:
    data = sender.seal(TOPIC, b"position of the ship").data
    assert b"ship" not in data
    assert b"alpha" not in data


def test_a_stranger_is_told_that_nothing_is_for_it(
    device: PrivateIdentity, stranger: PrivateIdentity, sender: Sender
) -> None:
    opener = Opener(stranger, [device.public])
    assert opener.accept(sender.grant().topic, sender.grant().data) == NotForUs(unit="alpha", epoch=7, kind="grant")
    frame = sender.seal(TOPIC, b"x")
    assert opener.accept(frame.topic, frame.data) == NotForUs(unit="alpha", epoch=7, kind="frame")
    assert isinstance(opener.accept(frame.topic, frame.data), Duplicate)


def test_a_frame_before_its_grant_says_so_and_opens_afterwards(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender
) -> None:
    opener = Opener(reader, [device.public])
    frame, close = sender.seal(TOPIC, b"x"), sender.close()
    assert opener.accept(frame.topic, frame.data) == NoGrant(unit="alpha", kind="frame")
    assert opener.accept(close.topic, close.data) == NoGrant(unit="alpha", kind="close")
    opener.accept(sender.grant().topic, sender.grant().data)
    assert isinstance(opener.accept(frame.topic, frame.data), Opened)


def test_a_frame_is_a_cose_encrypt0_that_an_independent_reader_opens(reader: PrivateIdentity, sender: Sender) -> None:
    """RFC 9052 §5.2 and §5.3 by hand: nothing of our own layout code is used."""
    body = cbor2.loads(sender.grant().data[:-SIGNATURE_BYTES])
    header = {key: value for key, value in body.items() if key != 8}
    digest = hashlib.sha384(cbor2.dumps(header, canonical=True)).digest()
    plaintext = reader.unwrap(body[8][0][1], box_info(digest, reader.public.fingerprint))
    assert plaintext is not None
    key, context_iv = frame_key(read_secrets(plaintext, 1)[0], digest, 0)
    sender.sealed = 300
    data = sender.seal(TOPIC, b"payload").data
    message = cbor2.loads(data[:-64])
    assert message.tag == 16
    protected, unprotected, ciphertext = message.value
    assert cbor2.loads(protected) == {1: 3}
    assert unprotected == {4: digest[:7] + b"\0", 6: (300).to_bytes(2, "big")}
    nonce = bytes(a ^ b for a, b in zip(context_iv, (300).to_bytes(12, "big"), strict=True))
    aad = cbor2.dumps(["Encrypt0", protected, TOPIC.encode()])
    assert AESGCM(key).decrypt(nonce, ciphertext, aad) == b"payload"
    signed = b"edge/frame/v1" + len(TOPIC).to_bytes(2, "big") + TOPIC.encode() + data[:-64]
    Ed25519PublicKey.from_public_bytes(body[6]).verify(data[-64:], signed)


def test_a_close_after_everything_came_matches_the_root(sender: Sender, opener: Opener) -> None:
    for number in range(20):
        frame = sender.seal(TOPIC, b"%d" % number)
        opener.accept(frame.topic, frame.data)
    close = sender.close(b"checkpoint")
    outcome = opener.accept(close.topic, close.data)
    assert outcome == Closed(
        unit="alpha", epoch=7, count=20, missing=(), shed=(), forgotten=0, root="matches", checkpoint=b"checkpoint"
    )
    assert isinstance(opener.accept(close.topic, close.data), Duplicate)


def test_a_suppressed_frame_is_shown_by_the_close(sender: Sender, opener: Opener) -> None:
    frames = [sender.seal(TOPIC, b"%d" % number) for number in range(10)]
    for number in (0, 1, 2, 5, 6, 9):
        opener.accept(frames[number].topic, frames[number].data)
    close = sender.close(shed=[(7, 8)])
    outcome = opener.accept(close.topic, close.data)
    assert isinstance(outcome, Closed)
    assert (outcome.missing, outcome.shed, outcome.root) == (((3, 4),), ((7, 8),), "incomplete")


def test_late_frames_complete_a_closed_epoch(sender: Sender, opener: Opener) -> None:
    frames = [sender.seal(TOPIC, b"%d" % number) for number in range(6)]
    close = sender.close()
    opener.accept(close.topic, close.data)
    for frame in reversed(frames):
        assert isinstance(opener.accept(frame.topic, frame.data), Opened)
    closed = opener.closed("alpha", 7)
    assert closed is not None
    assert (closed.missing, closed.root) == ((), "matches")


def test_frames_of_the_epoch_before_a_crash_open_beside_the_new_one(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    old = sender.seal(TOPIC, b"old")
    after = Sender("alpha", 8, device, [reader.public], 2_000)
    opener.accept(after.grant().topic, after.grant().data)
    new = after.seal(TOPIC, b"new")
    assert isinstance(opener.accept(new.topic, new.data), Opened)
    assert isinstance(opener.accept(old.topic, old.data), Opened)


def test_a_recipient_removed_by_a_new_epoch_opens_the_old_one_only(
    device: PrivateIdentity, reader: PrivateIdentity, second: PrivateIdentity
) -> None:
    both = Sender("alpha", 1, device, [reader.public, second.public], 1)
    alone = Sender("alpha", 2, device, [reader.public], 2)
    opener = Opener(second, [device.public])
    assert isinstance(opener.accept(both.grant().topic, both.grant().data), Granted)
    assert isinstance(opener.accept(alone.grant().topic, alone.grant().data), NotForUs)
    old, new = both.seal(TOPIC, b"old"), alone.seal(TOPIC, b"new")
    assert isinstance(opener.accept(old.topic, old.data), Opened)
    assert isinstance(opener.accept(new.topic, new.data), NotForUs)


def test_each_audience_opens_its_own_frames_only(
    device: PrivateIdentity, reader: PrivateIdentity, second: PrivateIdentity
) -> None:
    """Audience 0: positions, for both; audience 1: everything, for one."""
    sender = Sender("alpha", 1, device, [reader.public, second.public], 1, audiences=[[second.public]])
    full, positions = Opener(second, [device.public]), Opener(reader, [device.public])
    for opener in (full, positions):
        opener.accept(sender.grant().topic, sender.grant().data)
    assert (full.audiences("alpha", 1), positions.audiences("alpha", 1)) == ((0, 1), (0,))
    position, everything = sender.seal(TOPIC, b"where"), sender.seal(TOPIC, b"all", audience=1)
    outcomes = [[o.accept(e.topic, e.data) for e in (position, everything)] for o in (full, positions)]
    assert [[type(outcome) for outcome in row] for row in outcomes] == [[Opened, Opened], [Opened, NotForUs]]
    close = sender.close()
    closed = [opener.accept(close.topic, close.data) for opener in (full, positions)]
    assert all(isinstance(c, Closed) and c.root == "matches" for c in closed)


def test_several_identities_open_while_a_key_is_rotated(
    device: PrivateIdentity, reader: PrivateIdentity, second: PrivateIdentity
) -> None:
    opener = Opener([reader, second], [device.public])
    for epoch, recipient in ((1, reader), (2, second)):
        sender = Sender("alpha", epoch, device, [recipient.public], 1)
        frame = sender.seal(TOPIC, b"x")
        opener.accept(sender.grant().topic, sender.grant().data)
        assert isinstance(opener.accept(frame.topic, frame.data), Opened)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 40), restart_at=st.integers(0, 60))
def test_any_order_with_losses_repeats_and_restarts_opens_each_frame_once(
    device: PrivateIdentity, reader: PrivateIdentity, seed: int, count: int, restart_at: int
) -> None:
    chance = random.Random(seed)
    sender = Sender("alpha", 3, device, [reader.public], 1)
    frames = [sender.seal(TOPIC, b"%d" % number) for number in range(count)]
    lost = {number for number in range(count) if chance.random() < 0.2}
    arriving = [f for f in frames if f.counter not in lost for _ in range(chance.choice([1, 1, 2]))]
    chance.shuffle(arriving)
    opener = Opener(reader, [device.public])
    opener.accept(sender.grant().topic, sender.grant().data)
    opened = []
    for at, frame in enumerate(arriving):
        if at == restart_at:
            opener = Opener(reader, [device.public], opener.export())
        outcome = opener.accept(frame.topic, frame.data)
        if isinstance(outcome, Opened):
            opened.append(outcome.counter)
        else:
            assert isinstance(outcome, Duplicate)
    assert sorted(opened) == sorted(set(range(count)) - lost)
    close = sender.close()
    closed = opener.accept(close.topic, close.data)
    assert isinstance(closed, Closed)
    assert {c for first, last in closed.missing for c in range(first, last + 1)} == lost
    assert closed.root == ("incomplete" if lost else "matches")


def test_state_comes_back_whole(
    device: PrivateIdentity, reader: PrivateIdentity, sender: Sender, opener: Opener
) -> None:
    frames = [sender.seal(TOPIC, b"%d" % number) for number in range(5)]
    for frame in frames[:2] + frames[3:]:
        opener.accept(frame.topic, frame.data)
    close = sender.close()
    opener.accept(close.topic, close.data)
    again = Opener(reader, [device.public], opener.export())
    assert again.export() == opener.export()
    assert isinstance(again.accept(frames[0].topic, frames[0].data), Duplicate)
    assert isinstance(again.accept(frames[2].topic, frames[2].data), Opened)
    closed = again.closed("alpha", 7)
    assert closed is not None
    assert closed.root == "matches"


def test_a_stored_frame_opens_again_without_counting(sender: Sender, opener: Opener) -> None:
    frame = sender.seal(TOPIC, b"x")
    first = opener.accept(frame.topic, frame.data)
    assert opener.reopen(frame.topic, frame.data) == first
    assert isinstance(opener.accept(frame.topic, frame.data), Duplicate)


def test_a_grant_written_for_fewer_recipients_adds_to_the_first_one(
    device: PrivateIdentity, reader: PrivateIdentity, second: PrivateIdentity
) -> None:
    """For thin links: the same header, one box each."""
    sender = Sender("alpha", 1, device, [reader.public, second.public], 1)
    whole = read_grant(sender.grant().data[:-SIGNATURE_BYTES])
    parts = [write_grant(Grant(header=whole.header, boxes=(box,))) for box in whole.boxes]
    opener = Opener(second, [device.public])
    outcomes = [opener.accept(sender.grant().topic, part + device.sign(part, GRANT_CONTEXT)) for part in parts]
    assert {type(outcome) for outcome in outcomes} & {Granted}
    assert opener.audiences("alpha", 1) == (0,)


def test_what_a_sender_cannot_seal_is_refused_and_named(
    device: PrivateIdentity, reader: PrivateIdentity, stranger: PrivateIdentity, sender: Sender
) -> None:
    cases = [
        (lambda: sender.seal("edge/v1/bravo/entity/1", b"x"), "topic"),
        (lambda: sender.seal("edge/v1/alpha/grant/7", b"x"), "topic"),
        (lambda: sender.seal("edge/v1/alpha/+", b"x"), "topic"),
        (lambda: sender.seal(TOPIC, b""), "size"),
        (lambda: sender.seal(TOPIC, bytes(1024 * 1024 + 1)), "size"),
        (lambda: sender.seal(TOPIC, b"x", audience=1), "audience"),
        (lambda: sender.close(bytes(20_000)), "size"),
        (lambda: Sender("alpha", -1, device, [reader.public], 0), "epoch"),
    ]
    for act, reason in cases:
        with pytest.raises(EnvelopeRefused) as refusal:
            act()
        assert refusal.value.reason == reason
    assert sender.sealed == 0


def test_a_sender_is_made_only_for_its_own_unit_and_real_recipients(
    device: PrivateIdentity, reader: PrivateIdentity
) -> None:
    cases = [
        (lambda: Sender("bravo", 1, device, [reader.public], 0), "unit"),
        (lambda: Sender("reader-1", 1, reader, [reader.public], 0), "unit"),
        (lambda: Sender("alpha", 1, device, [], 0), "recipients"),
        (lambda: Sender("alpha", 1, device, [device.public], 0), "recipients"),
        (lambda: Sender("alpha", 1, device, [reader.public, reader.public], 0), "recipients"),
    ]
    for act, reason in cases:
        with pytest.raises(IdentityRefused) as refusal:
            act()
        assert refusal.value.reason == reason


def test_an_opener_needs_a_recipient_and_trusts_devices_only(device: PrivateIdentity, reader: PrivateIdentity) -> None:
    with pytest.raises(IdentityRefused):
        Opener(device, [device.public])
    with pytest.raises(IdentityRefused):
        Opener(reader, [reader.public])


def test_an_exhausted_epoch_seals_no_more(sender: Sender) -> None:
    sender.sealed = 2**32
    with pytest.raises(EnvelopeRefused) as refusal:
        sender.seal(TOPIC, b"x")
    assert refusal.value.reason == "exhausted"


def test_a_closed_epoch_seals_no_more(sender: Sender) -> None:
    sender.close()
    for act in (lambda: sender.seal(TOPIC, b"x"), sender.close):
        with pytest.raises(EnvelopeRefused) as refusal:
            act()
        assert refusal.value.reason == "closed"


def test_two_epochs_never_share_a_key(device: PrivateIdentity, reader: PrivateIdentity) -> None:
    """The same payload at the same counter of many epochs gives as many ciphertexts."""
    frames = {Sender("alpha", 1, device, [reader.public], 0).seal(TOPIC, b"same").data for _ in range(20)}
    assert len({frame[-80:-64] for frame in frames}) == 20


def test_an_empty_state_is_a_fresh_start(device: PrivateIdentity, reader: PrivateIdentity) -> None:
    assert Opener(reader, [device.public], OpenerState()).epochs() == ()
