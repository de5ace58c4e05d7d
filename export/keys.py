"""Signing keys: ML-DSA-87, one PEM file per key, or in the token of its holder.

Not the identities of devices and recipients (``appliance keys``). A key file is PKCS#8, encrypted under a passphrase
where one is given, or names a PKCS#11 token whose key wraps the seed (``appliance.host.token``); the public half lies
beside it as the JSON that TUF metadata holds, so that a ceremony needs only public files of people who are not in the
room. ``carry`` puts a key into its holder's token, which then is all that the holder needs: wherever a key file is
expected, ``pkcs11:token=…;object=…?module-path=…`` stands for it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Final, Literal

import msgspec
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
from appliance.host.files import read_at_most
from appliance.host.token import SCHEME, get_datum, open_token, put_datum
from appliance.sealing.lock import Wrapped, in_token, out_of_token

__all__ = ["CryptoSigner", "carry", "load_public", "load_signer", "new_key", "public_path", "token_of"]

MAX_KEY_BYTES: Final = 64 * 1024
SEED_BYTES: Final = 32
_BEGIN: Final = b"-----BEGIN EDGE TOKEN-WRAPPED KEY-----\n"
_END: Final = b"-----END EDGE TOKEN-WRAPPED KEY-----\n"
_BIND: Final = b"edge/signing-key/v1"


class _InToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A seed under a token's key; the key id is bound to it."""

    schema: Literal["edge-signing-key/1"] = "edge-signing-key/1"
    keyid: str
    secret: Wrapped


def new_key(path: Path, passphrase: str | None = None, *, token: str | None = None) -> CryptoSigner:
    """Makes a key pair: ``path`` (0600) and ``path.pub.json``. Existing files are never overwritten.

    ``token`` is the PKCS#11 URI of the key that wraps the seed; it is made where the token has none of that name.

    Raises: UsageError where a file exists, or for a passphrase and a token; IdentityRefused as the token says.
    """
    if passphrase and token:
        raise UsageError("expected a passphrase or a token for the key files, not both")
    private = MLDSA87PrivateKey.generate()
    signer = CryptoSigner(private)
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase:
        encryption = BestAvailableEncryption(passphrase.encode())
    kept = _wrapped(private, token) if token else private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_new(path, kept, 0o600)
    public = {"keyid": signer.public_key.keyid, **signer.public_key.to_dict()}
    _write_new(public_path(path), json.dumps(public, indent=1).encode() + b"\n", 0o644)
    return signer


def load_signer(path: Path, passphrase: str | None = None) -> CryptoSigner:
    """Opens a private key: a file, or a ``pkcs11:`` URI of one that was carried into a token.

    Raises: IdentityRefused: "key-locked" for a wrong or missing passphrase, "key" for what is no ML-DSA-87 key, or as
    the token says.
    """
    return CryptoSigner(_load(path, passphrase))


def _load(path: Path, passphrase: str | None) -> MLDSA87PrivateKey:
    uri = str(path) if str(path).startswith(SCHEME) else None
    raw = _read(path) if uri is None else get_datum(uri)
    if raw.startswith(_BEGIN) or uri is not None:
        return _unwrapped(raw, uri, path)
    try:
        private = load_pem_private_key(raw, passphrase.encode() if passphrase else None)
    except (TypeError, ValueError) as e:
        locked = b"ENCRYPTED" in raw
        reason = "key-locked" if locked else "key"
        wanted = "its passphrase" if locked else "an unencrypted ML-DSA-87 PEM key"
        raise IdentityRefused(reason, f"{path}: expected {wanted}") from e
    if not isinstance(private, MLDSA87PrivateKey):
        raise IdentityRefused("key", f"{path}: expected an ML-DSA-87 key; found {type(private).__name__}")
    return private


def carry(path: Path, uri: str, passphrase: str | None = None) -> str:
    """Puts a key into its holder's token: from now on ``uri`` stands for it. Its key id.

    The file stays; whoever carried it destroys it. Raises: IdentityRefused; nothing in a token is overwritten.
    """
    private = _load(path, passphrase)
    put_datum(uri, _wrapped(private, uri))
    return str(CryptoSigner(private).public_key.keyid)


def token_of(path: Path) -> str | None:
    """The URI of the key that wraps a key file; None where none does."""
    raw = _read(path)
    return _parsed(raw, path).secret.uri if raw.startswith(_BEGIN) else None


def _wrapped(private: MLDSA87PrivateKey, uri: str) -> bytes:
    token = open_token(uri)
    token.make_key()
    keyid = str(CryptoSigner(private).public_key.keyid)
    secret = in_token(private.private_bytes_raw(), token, bind=_BIND + keyid.encode())
    body = base64.encodebytes(msgspec.json.encode(_InToken(keyid=keyid, secret=secret)))
    return _BEGIN + body + _END


def _unwrapped(raw: bytes, uri: str | None, where: Path) -> MLDSA87PrivateKey:
    """``uri`` None: the token that the key names itself."""
    kept = _parsed(raw, where)
    seed = out_of_token(kept.secret, lambda own: open_token(uri or own), bind=_BIND + kept.keyid.encode())
    if len(seed) != SEED_BYTES:
        raise IdentityRefused("key", f"{where}: expected a seed of {SEED_BYTES} bytes; found {len(seed)}")
    private = MLDSA87PrivateKey.from_seed_bytes(seed)
    if CryptoSigner(private).public_key.keyid != kept.keyid:
        raise IdentityRefused("key", f"{where}: the seed is not that of key {kept.keyid[:16]}")
    return private


def _parsed(raw: bytes, where: Path) -> _InToken:
    try:
        text = raw.removeprefix(_BEGIN).removesuffix(_END)  # what is left of another first or last line is no base64
        body = base64.b64decode(text.replace(b"\n", b""), validate=True)
        return msgspec.json.decode(body, type=_InToken)
    except (binascii.Error, ValueError, msgspec.DecodeError) as e:
        raise IdentityRefused("key", f"{where}: expected a signing key of a token: {e}") from e


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
        raw = read_at_most(path, MAX_KEY_BYTES)
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
