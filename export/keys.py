"""Signing keys in files: ML-DSA-87, one PEM per key, encrypted under a passphrase where one is given.

Not the identities of devices and recipients (``appliance keys``). A key file is PKCS#8; the public half lies beside it
as the JSON that TUF metadata holds, so that a ceremony needs only public files of people who are not in the room.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer._crypto_signer import CryptoSigner

from appliance.bundles.metadata import KEY_SCHEME
from appliance.bundles.tuf7 import SSlibKey
from appliance.errors import IdentityRefused, UsageError

__all__ = ["CryptoSigner", "load_public", "load_signer", "new_key", "public_path"]

MAX_KEY_BYTES: Final = 64 * 1024


def new_key(path: Path, passphrase: str | None = None) -> CryptoSigner:
    """Makes a key pair: ``path`` (0600) and ``path.pub.json``. Existing files are never overwritten.

    Raises: UsageError where a file exists.
    """
    signer = CryptoSigner(MLDSA87PrivateKey.generate())
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase:
        encryption = BestAvailableEncryption(passphrase.encode())
    private = signer._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_new(path, private, 0o600)
    public = {"keyid": signer.public_key.keyid, **signer.public_key.to_dict()}
    _write_new(public_path(path), json.dumps(public, indent=1).encode() + b"\n", 0o644)
    return signer


def load_signer(path: Path, passphrase: str | None = None) -> CryptoSigner:
    """Opens a private key.

    Raises: IdentityRefused: "key-locked" for a wrong or missing passphrase, "key" for what is no ML-DSA-87 key.
    """
    try:
        raw = _read(path)
        private = load_pem_private_key(raw, passphrase.encode() if passphrase else None)
    except (TypeError, ValueError) as e:
        locked = b"ENCRYPTED" in raw
        reason = "key-locked" if locked else "key"
        wanted = "its passphrase" if locked else "an unencrypted ML-DSA-87 PEM key"
        raise IdentityRefused(reason, f"{path}: expected {wanted}") from e
    if not isinstance(private, MLDSA87PrivateKey):
        raise IdentityRefused("key", f"{path}: expected an ML-DSA-87 key; found {type(private).__name__}")
    return CryptoSigner(private)


def load_public(path: Path) -> SSlibKey:
    """Reads a public key file.

    Raises: IdentityRefused ("key").
    """
    try:
        fields = json.loads(_read(path))
        key = SSlibKey.from_dict(fields.pop("keyid"), fields)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise IdentityRefused("key", f"{path}: not a public key file: {e}") from e
    if key.scheme != KEY_SCHEME:
        raise IdentityRefused("key", f"{path}: expected {KEY_SCHEME}; found {key.scheme}")
    return key


def public_path(path: Path) -> Path:
    """Where the public half of a key lies."""
    return path.with_name(path.stem + ".pub.json")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_KEY_BYTES + 1)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    if len(raw) > MAX_KEY_BYTES:
        raise IdentityRefused("key", f"{path}: longer than a key file")
    return raw


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as e:
        raise UsageError(f"{path}: exists already; keys are never overwritten") from e
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
