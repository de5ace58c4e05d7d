"""Writes the envelope test vectors of a release: run once per release, never over an older one.

    python tests/sealing/programs/make_vectors.py tests/golden/<release>/envelope/vectors.json

Each run makes new keys, so the bytes differ and the outcomes do not. The private keys in the file are for tests alone.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import cbor2

from appliance.sealing import Envelope, PrivateIdentity, Sender, generate
from appliance.sealing.control import box_info, frame_key, read_grant, read_secrets
from appliance.sealing.identity import SIGNATURE_BYTES
from appliance.sealing.wire import CLOSE_CONTEXT, GRANT_CONTEXT, frame_aad, frame_head, frame_message, frame_nonce

TOPIC = "edge/v1/alpha/entity/01J00000000000000000000000"
Step = dict[str, Any]


class Vectors:
    """Envelopes by name, and cases that take them in order."""

    def __init__(self) -> None:
        self.device = generate("device", "alpha")
        self.recipient = generate("recipient", "reader-1")
        self.stranger = generate("recipient", "stranger")
        self.envelopes: dict[str, dict[str, str]] = {}
        self.cases: list[dict[str, Any]] = []

    def envelope(self, name: str, topic: str, data: bytes) -> None:
        self.envelopes[name] = {"topic": topic, "data": base64.b64encode(data).decode()}

    def add(self, name: str, envelope: Envelope) -> None:
        self.envelope(name, envelope.topic, envelope.data)

    def case(self, name: str, *steps: Step, identity: str = "recipient") -> None:
        self.cases.append({"name": name, "identity": identity, "steps": list(steps)})

    def signed(self, body: object, context: bytes = GRANT_CONTEXT, by: PrivateIdentity | None = None) -> bytes:
        raw = body if isinstance(body, bytes) else cbor2.dumps(body, canonical=True)
        return raw + (by or self.device).sign(raw, context)

    def document(self) -> dict[str, Any]:
        return {
            "schema": "edge-envelope-vectors/1",
            "about": "Keys are for tests alone. Each case starts with a fresh opener that trusts the device.",
            "device": json.loads(self.device.public.to_json()),
            "recipient": json.loads(self.recipient.to_json()),
            "stranger": json.loads(self.stranger.to_json()),
            "envelopes": self.envelopes,
            "cases": self.cases,
        }


def opens(name: str, payload: str, counter: int) -> Step:
    return {"envelope": name, "outcome": "Opened", "payload": payload, "counter": counter}


def gives(name: str, outcome: str, **more: Any) -> Step:
    return {"envelope": name, "outcome": outcome, **more}


def refused(name: str, reason: str, **more: Any) -> Step:
    return {"envelope": name, "refused": reason, **more}


def good(vectors: Vectors) -> Sender:
    sender = Sender("alpha", 7, vectors.device, [vectors.recipient.public], 1_790_000_000_000_000_000)
    vectors.add("grant-7", sender.grant())
    for number in range(3):
        vectors.add(f"frame-7-{number}", sender.seal(TOPIC, b'{"n":%d}' % number))
    vectors.add("frame-7-long", sender.seal("edge/v1/alpha/picture", b"p" * 300))
    vectors.case(
        "a whole epoch",
        gives("grant-7", "Granted"),
        *(opens(f"frame-7-{n}", f'{{"n":{n}}}', n) for n in range(3)),
        opens("frame-7-long", "p" * 300, 3),
        gives("close-7", "Closed", missing=[], root="matches"),
    )
    vectors.case("a frame before its grant", gives("frame-7-0", "NoGrant"), gives("grant-7", "Granted"))
    vectors.case(
        "a replay",
        gives("grant-7", "Granted"),
        gives("grant-7", "Duplicate"),
        opens("frame-7-1", '{"n":1}', 1),
        gives("frame-7-1", "Duplicate"),
    )
    vectors.case(
        "a suppressed frame",
        gives("grant-7", "Granted"),
        opens("frame-7-0", '{"n":0}', 0),
        gives("close-7", "Closed", missing=[[1, 3]], root="incomplete"),
    )
    vectors.case("a stranger", gives("grant-7", "NotForUs"), gives("frame-7-0", "NotForUs"), identity="stranger")
    return sender


def audiences(vectors: Vectors) -> None:
    everyone = [vectors.recipient.public, vectors.stranger.public]
    sender = Sender("alpha", 8, vectors.device, everyone, 1, audiences=[[vectors.recipient.public]])
    vectors.add("grant-8", sender.grant())
    vectors.add("frame-8-all", sender.seal(TOPIC, b"all"))
    vectors.add("frame-8-some", sender.seal(TOPIC, b"some", audience=1))
    for identity, last in (
        ("recipient", opens("frame-8-some", "some", 1)),
        ("stranger", gives("frame-8-some", "NotForUs")),
    ):
        vectors.case(
            f"two audiences, seen by the {identity}",
            gives("grant-8", "Granted"),
            opens("frame-8-all", "all", 0),
            last,
            identity=identity,
        )


def bad_frames(vectors: Vectors, sender: Sender) -> None:
    grant = gives("grant-7", "Granted")
    size = len(base64.b64decode(vectors.envelopes["frame-7-0"]["data"]))
    for what, at, reason in [
        ("tag", 0, "encoding"),
        ("protected header", 5, "encoding"),
        ("audience", 16, "signature"),
        ("Partial IV", 19, "signature"),
        ("ciphertext", 25, "signature"),
        ("signature", size - 1, "signature"),
    ]:
        vectors.case(f"a flipped bit in the {what}", grant, refused("frame-7-0", reason, flip=at))
    vectors.case("a flipped bit in the reference", grant, gives("frame-7-0", "NoGrant", flip=9))
    vectors.case("a moved frame", grant, refused("frame-7-0", "signature", topic="edge/v1/alpha/alert"))
    vectors.case("an impossible topic", grant, refused("frame-7-0", "topic", topic="edge/v1/alpha/+"))
    reference, cipher, base_iv = insider(sender, vectors.recipient)
    ciphertext = cipher.encrypt(frame_nonce(base_iv, 9), b"forged", frame_aad(TOPIC))
    signed = frame_head(reference, 0, 9, len(ciphertext)) + ciphertext
    vectors.envelope("frame-insider", TOPIC, signed + bytes(64))
    vectors.case("a frame forged by a recipient", grant, refused("frame-insider", "signature"))
    signed = frame_head(reference, 0, 9, 40) + bytes(40)
    vectors.envelope("frame-garbage", TOPIC, signed + sender._signer.sign(frame_message(TOPIC, signed)))
    vectors.case("a signed frame that does not decrypt", grant, refused("frame-garbage", "decrypt"))
    head = frame_head(reference, 0, 9, len(ciphertext))
    signed = head[:-1] + b"\x58" + bytes((len(ciphertext),)) + ciphertext
    vectors.envelope("frame-long-length", TOPIC, signed + sender._signer.sign(frame_message(TOPIC, signed)))
    vectors.case("a length that is not the shortest", grant, refused("frame-long-length", "encoding"))
    vectors.case("a frame beyond the close", grant, gives("close-7", "Closed"), refused("frame-beyond", "count"))
    vectors.add("frame-beyond", sender.seal(TOPIC, b"beyond"))


def bad_grants(vectors: Vectors, sender: Sender) -> None:
    body = cbor2.loads(sender.grant().data[:-SIGNATURE_BYTES])
    other = Sender("alpha", 9, vectors.device, [vectors.recipient.public], 1)
    mixed = {**cbor2.loads(other.grant().data[:-SIGNATURE_BYTES]), 8: body[8]}
    raw = sender.grant().data[:-SIGNATURE_BYTES]
    made: list[tuple[str, str, bytes, str]] = [
        ("suite", "another suite", vectors.signed({**body, 1: 2}), "suite"),
        ("shape", "an extra key", vectors.signed({**body, 9: 0}), "shape"),
        ("recipients", "a recipient twice", vectors.signed({**body, 8: body[8] * 2}), "shape"),
        ("device", "another device named", vectors.signed({**body, 5: bytes(16)}), "device"),
        ("trailing", "a trailing byte", vectors.signed(raw + b"\0"), "encoding"),
        ("duplicate", "a duplicate key", vectors.signed(b"\xa9\x01\x01\x01\x01" + raw[3:]), "encoding"),
        ("bomb", "nested brackets", vectors.signed(b"\x81" * 400), "encoding"),
        ("impostor", "an impostor's signature", vectors.signed(body, by=generate("device", "alpha")), "signature"),
        ("context", "a close's signature", vectors.signed(body, CLOSE_CONTEXT), "signature"),
    ]
    for name, about, data, reason in made:
        vectors.envelope(f"grant-{name}", "edge/v1/alpha/grant/7", data)
        vectors.case(f"a grant with {about}", refused(f"grant-{name}", reason))
    vectors.envelope("grant-box", "edge/v1/alpha/grant/9", vectors.signed(mixed))
    vectors.case("a box moved from another grant", refused("grant-box", "box"))
    vectors.case("a grant on another epoch's topic", refused("grant-7", "topic", topic="edge/v1/alpha/grant/8"))
    vectors.case("a grant of another unit", refused("grant-7", "untrusted", topic="edge/v1/bravo/grant/7"))
    vectors.case("a flipped bit in a grant", refused("grant-7", "signature", flip=40))
    vectors.add("grant-conflict", Sender("alpha", 7, vectors.device, [vectors.recipient.public], 5).grant())
    vectors.case("a second grant of one epoch", gives("grant-7", "Granted"), refused("grant-conflict", "conflict"))
    vectors.envelope("grant-short", "edge/v1/alpha/grant/7", bytes(100))
    vectors.case("a grant that is too short", refused("grant-short", "size"))


def bad_closes(vectors: Vectors, close: Envelope) -> None:
    grant = gives("grant-7", "Granted")
    body = cbor2.loads(close.data[:-SIGNATURE_BYTES])
    forged = vectors.signed(close.data[:-SIGNATURE_BYTES], CLOSE_CONTEXT, by=vectors.recipient)
    for name, about, data, reason in [
        ("forged", "forged by a recipient", forged, "signature"),
        ("sum", "whose counts do not sum", vectors.signed({**body, 6: [3]}, CLOSE_CONTEXT), "shape"),
        ("moved", "of another grant", vectors.signed({**body, 4: bytes(48)}, CLOSE_CONTEXT), "conflict"),
    ]:
        vectors.envelope(f"close-{name}", close.topic, data)
        vectors.case(f"a close {about}", grant, refused(f"close-{name}", reason))
    vectors.envelope("close-root", close.topic, vectors.signed({**body, 7: bytes(48)}, CLOSE_CONTEXT))
    frames = [gives(f"frame-7-{name}", "Opened") for name in ("0", "1", "2", "long")]
    vectors.case("frames that the close does not cover", grant, *frames, gives("close-root", "Closed", root="differs"))


def insider(sender: Sender, recipient: PrivateIdentity) -> tuple[bytes, Any, bytes]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  used here alone

    grant = read_grant(sender.grant().data[:-SIGNATURE_BYTES])
    digest = grant.header.digest()
    plaintext = recipient.unwrap(grant.boxes[0][1], box_info(digest, recipient.public.fingerprint))
    assert plaintext is not None
    key, base_iv = frame_key(read_secrets(plaintext, 1)[0], digest, 0)
    return digest[:7], AESGCM(key), base_iv


def close_of(sender: Sender) -> Envelope:
    """A close of the first four frames, made from a sender that goes on."""
    close = sender.close(b"edge/alpha/audit\n0\n")
    sender._closed = False
    return close


def main(target: str) -> None:
    path = Path(target)
    if path.exists():
        sys.exit(f"{path} is there already, and what was released is never written again")
    vectors = Vectors()
    sender = good(vectors)
    audiences(vectors)
    ciphers = sender._ciphers
    close = close_of(sender)
    sender._ciphers = ciphers
    vectors.add("close-7", close)
    bad_frames(vectors, sender)
    bad_grants(vectors, sender)
    bad_closes(vectors, close)
    path.write_text(json.dumps(vectors.document(), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
