"""Opens the published good frames with another COSE library, and without a line of this product's code.

    python -m venv /tmp/other && /tmp/other/bin/pip install 'pycose==1.1.0' 'cbor2<6' 'cryptography>=50'
    /tmp/other/bin/python tests/sealing/programs/open_with_pycose.py tests/golden/0.1.0/envelope/vectors.json

pycose 1.1.0 does not work with the cbor2 that we use (6 gives what is in a tag as frozen values, and it wants lists),
and brings libraries that nobody keeps up. So it is no part of the development set, and this is a program to run by
hand.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pycose.keys import SymmetricKey
from pycose.keys.keyparam import KpBaseIV
from pycose.messages import Enc0Message

SUITE = hpke.Suite(hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM)


def main(path: str) -> int:
    document = json.loads(Path(path).read_text())
    recipient, device = document["recipient"], document["device"]
    fingerprint = bytes.fromhex(recipient["fingerprint"])
    kem = MLKEM1024PrivateKey.from_seed_bytes(base64.b64decode(recipient["secret"]["kem"]))
    opened = 0
    for case in document["cases"]:
        if case["identity"] != "recipient" or any("refused" in step for step in case["steps"]):
            continue
        grant = None
        for step in case["steps"]:
            raw = document["envelopes"][step["envelope"]]
            data = base64.b64decode(raw["data"])
            if step["outcome"] == "Granted":
                grant = Grant(data, device, fingerprint, kem)
            elif step["outcome"] == "Opened" and grant is not None:
                payload = grant.open(raw["topic"], data)
                assert "payload" not in step or payload == step["payload"].encode()
                opened += 1
    sys.stdout.write(f"{opened} frames opened, each refused on another topic\n")
    return 0


class Grant:
    """A grant by docs/envelope.md."""

    def __init__(self, data: bytes, device: dict[str, str], fingerprint: bytes, kem: MLKEM1024PrivateKey) -> None:
        body, signature = data[:-4627], data[-4627:]
        key = MLDSA87PublicKey.from_public_bytes(base64.b64decode(device["signing"]))
        key.verify(signature, body, b"edge/grant/v1")
        fields = cbor2.loads(body)
        header = {number: fields[number] for number in range(1, 8)}
        self.digest = hashlib.sha384(cbor2.dumps(header, canonical=True)).digest()
        self.frames = Ed25519PublicKey.from_public_bytes(fields[6])
        box = next(box for kid, box in fields[8] if kid == fingerprint[:16])
        self.secrets = cbor2.loads(SUITE.decrypt(box, kem, b"edge/grant-box/v1" + self.digest + fingerprint))

    def open(self, topic: str, data: bytes) -> bytes:
        name = topic.encode()
        self.frames.verify(data[-64:], b"edge/frame/v1" + len(name).to_bytes(2, "big") + name + data[:-64])
        message: Any = Enc0Message.decode(data[:-64])
        audience = data[16]
        info = b"edge/frame-key/v1" + bytes((audience,))
        material = HKDF(hashes.SHA384(), 44, self.digest, info).derive(self.secrets[audience])
        message.key = SymmetricKey(material[:32], optional_params={KpBaseIV: material[32:]})
        message.external_aad = b"edge/v1/alpha/elsewhere"
        try:
            message.decrypt()
        except InvalidTag:
            message.external_aad = name
            return bytes(message.decrypt())
        raise AssertionError("a frame opened on another topic")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
