"""Writes the vectors of private identity files and of recipients' announcements: once per release.

    python -m tests.sealing.programs.make_identity_vectors tests/golden/<release>/identity/vectors.json

``token_key`` stands for the AES-256 key that a token would never give out. All keys are for tests alone.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from appliance.sealing import PrivateIdentity, generate
from appliance.sealing.succession import CONTEXT, announce, rotated
from tests.support.softtoken import SoftToken

URI = "pkcs11:token=edge;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/keys/pin"
PASSPHRASE = "correct horse battery staple"
Case = dict[str, Any]


def opens(name: str, document: object, **how: str) -> Case:
    return {"name": name, "text": _text(document), **how}


def refused(name: str, reason: str, document: object, **how: str) -> Case:
    return {"name": name, "text": _text(document), "refused": reason, **how}


def _text(document: object) -> str:
    return document if isinstance(document, str) else json.dumps(document, separators=(",", ":"))


def files(ops: PrivateIdentity, token: SoftToken) -> list[Case]:
    plain = json.loads(ops.to_json())
    wrapped, locked = json.loads(ops.to_json(token=token)), json.loads(ops.to_json(PASSPHRASE))
    other = json.loads(generate("recipient", "ops").to_json(token=token))
    stolen = {**wrapped, "secret": {**wrapped["secret"], "ciphertext": _flipped(wrapped["secret"]["ciphertext"])}}
    foreign = json.loads(ops.to_json(token=SoftToken(URI, os.urandom(32))))
    return [
        opens("seeds in plain", plain),
        opens("locked by a passphrase", locked, passphrase=PASSPHRASE),
        opens("wrapped by a token", wrapped),
        refused("locked, without its passphrase", "locked", locked),
        refused("locked, with another passphrase", "passphrase", locked, passphrase="another"),
        refused("wrapped, and one bit of it changed", "wrapped", stolen),
        refused("wrapped for another identity", "wrapped", {**wrapped, "secret": other["secret"]}),
        refused("wrapped by another key", "wrapped", foreign),
        refused("a nonce of another length", "malformed", _with(wrapped, nonce="AAAA")),
        refused("a ciphertext that is no base64", "malformed", _with(wrapped, ciphertext="?")),
        refused("a PIN beside the secret", "malformed", _with(wrapped, pin="1234")),
        refused("another form", "malformed", _with(wrapped, form="tpm2")),
        refused("another name", "fingerprint", {**plain, "name": "opz"}),
        refused("seeds of another identity", "mismatch", {**plain, "secret": _seeds()}),
    ]


def announcements(ops: PrivateIdentity) -> list[Case]:
    new, stranger = rotated(ops), generate("recipient", "ops")
    good = json.loads(announce(new, 7))
    message = (7).to_bytes(8, "big") + bytes.fromhex(new.public.fingerprint)
    forged = base64.b64encode(stranger.sign(message, CONTEXT)).decode()
    elsewhere = base64.b64encode(ops.sign(message, b"edge/grant/v1")).decode()
    device = json.loads(generate("device", "ops").public.to_json())
    return [
        {**opens("the next key", good), "number": 7, "fingerprint": new.public.fingerprint},
        refused("signed by somebody else", "signature", {**good, "signature": forged}),
        refused("signed under another context", "signature", {**good, "signature": elsewhere}),
        refused("another number", "signature", {**good, "number": 8}),
        refused("another key under the signature", "signature", {**good, "identity": json.loads(ops.public.to_json())}),
        refused("of another recipient of that name", "successor", json.loads(announce(rotated(stranger), 7))),
        refused("of a device", "kind", {**good, "identity": device}),
        refused("number 0", "malformed", {**good, "number": 0}),
        refused("a field more", "malformed", {**good, "more": 1}),
        refused("another schema", "malformed", {**good, "schema": "edge-recipient-key/2"}),
        refused(
            "a fingerprint of something else",
            "fingerprint",
            {**good, "identity": {**good["identity"], "fingerprint": "00" * 48}},
        ),
    ]


def _with(document: dict[str, Any], **fields: str) -> dict[str, Any]:
    return {**document, "secret": {**document["secret"], **fields}}


def _flipped(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[0] ^= 1
    return base64.b64encode(raw).decode()


def _seeds() -> Any:
    return json.loads(generate("recipient", "ops").to_json())["secret"]


def main(target: str) -> None:
    path = Path(target)
    if path.exists():
        sys.exit(f"{path} is there already, and what was released is never written again")
    ops, key = generate("recipient", "ops"), os.urandom(32)
    document = {
        "schema": "edge-identity-vectors/1",
        "about": "Keys are for tests alone. token_key stands for the key in the token that a pkcs11 form names.",
        "token_key": key.hex(),
        "identity": json.loads(ops.public.to_json()),
        "files": files(ops, SoftToken(URI, key)),
        "announcements": announcements(ops),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
