"""A signed statement of how long the log is and what it hashes to.

The shape is C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint) inside C2SP signed-note: three lines (origin, size,
base64 root), an empty line, and one signature line. The algorithms are ours: the tree is SHA-384 and the signature
ML-DSA-87 (FIPS 204) under the context below, for which C2SP has no type byte, so the type is 0xff and an identifier
(signed-note, "Signature types").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey, MLDSA87PublicKey

from appliance.audit.merkle import HASH_BYTES
from appliance.errors import Refused

CONTEXT: Final = b"edge-audit-checkpoint/1"
_TYPE: Final = b"\xff" + b"ml-dsa-87"
#: ML-DSA-87 has 4627 bytes of signature; base64, three lines and a name fit well.
MAX_CHECKPOINT_BYTES: Final = 16 * 1024
_NOTE: Final = re.compile(
    r"(?P<text>(?P<origin>[!-~]{1,128})\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/]{64})\n)\n"
    r"— (?P<name>[!-~]{1,128}) (?P<signature>[A-Za-z0-9+/=]+)\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The log named ``origin`` had ``size`` records with this root (48 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_checkpoint(checkpoint: Checkpoint, key: MLDSA87PrivateKey) -> bytes:
    """The checkpoint as a signed note."""
    text = checkpoint.text().encode()
    signature = key_hash(checkpoint.origin, key.public_key()) + key.sign(text, context=CONTEXT)
    line = f"\n— {checkpoint.origin} {base64.b64encode(signature).decode()}\n"
    return text + line.encode()


def open_checkpoint(raw: bytes, key: MLDSA87PublicKey) -> Checkpoint:
    """Reads and verifies a signed note.

    Raises: Refused ("audit-checkpoint") for any other form, key or content.
    """
    note = _NOTE.fullmatch(_decode(raw)) if len(raw) <= MAX_CHECKPOINT_BYTES else None
    if note is None or note["name"] != note["origin"]:
        raise Refused("audit-checkpoint", "the checkpoint is not a signed note of one log")
    try:
        signature = base64.b64decode(note["signature"], validate=True)
        root = base64.b64decode(note["root"], validate=True)
    except binascii.Error as e:
        raise Refused("audit-checkpoint", f"the checkpoint is not base64: {e}") from e
    if signature[:4] != key_hash(note["origin"], key) or len(root) != HASH_BYTES:
        raise Refused("audit-checkpoint", "the checkpoint was signed by another key")
    try:
        key.verify(signature[4:], note["text"].encode(), context=CONTEXT)
    except InvalidSignature as e:
        raise Refused("audit-checkpoint", "the signature of the checkpoint does not verify") from e
    checkpoint = Checkpoint(origin=note["origin"], size=int(note["size"]), root=root)
    if base64.b64encode(signature).decode() != note["signature"]:
        raise Refused("audit-checkpoint", "the checkpoint is not in canonical form")
    return checkpoint


def key_hash(origin: str, key: MLDSA87PublicKey) -> bytes:
    """The four bytes by which a signature line names its key (signed-note, "Key hash")."""
    return hashlib.sha256(origin.encode() + b"\n" + _TYPE + key.public_bytes_raw()).digest()[:4]


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Refused("audit-checkpoint", "the checkpoint is not text") from e
