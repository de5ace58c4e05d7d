"""What keeps a few secret bytes in a file: a passphrase (Argon2id, RFC 9106, then AES-256-GCM), or a token's own key.

Not here: what the bytes are, and the token itself (``host.token``).

Rule: the costs in a file are bounded before any work is done, so that a crafted file can take neither the memory nor
the hours of the one who opens it.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from typing import Annotated, Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from appliance.errors import IdentityRefused

ITERATIONS: Final = 3
LANES: Final = 4
MEMORY_KIB: Final = 64 * 1024
"""RFC 9106 §4, second recommended option: t=3, p=4, 64 MiB; fits beside everything else on a small device."""
SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MAX_TEXT: Final = 1024


class Locked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="argon2id", tag_field="form"):
    """Locked bytes as they stand in JSON; base64 in the three strings."""

    iterations: Annotated[int, msgspec.Meta(ge=1, le=16)]
    lanes: Annotated[int, msgspec.Meta(ge=1, le=16)]
    memory_kib: Annotated[int, msgspec.Meta(ge=8 * 16, le=256 * 1024)]
    salt: Annotated[str, msgspec.Meta(max_length=_MAX_TEXT)]
    nonce: Annotated[str, msgspec.Meta(max_length=_MAX_TEXT)]
    ciphertext: Annotated[str, msgspec.Meta(max_length=_MAX_TEXT)]


class Wrapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="pkcs11", tag_field="form"):
    """Bytes under a token's AES-256-GCM key as they stand in JSON; ``uri`` is RFC 7512, base64 in the other two."""

    uri: Annotated[str, msgspec.Meta(max_length=_MAX_TEXT)]
    nonce: Annotated[str, msgspec.Meta(max_length=_MAX_TEXT)]
    ciphertext: Annotated[str, msgspec.Meta(max_length=_MAX_TEXT)]


class Token(Protocol):
    """A key that never leaves its token. Raises IdentityRefused as ``host.token`` says."""

    @property
    def uri(self) -> str:
        """What names it."""

    def wrap(self, secret: bytes, bind: bytes) -> tuple[bytes, bytes]:
        """Nonce and ciphertext."""

    def unwrap(self, nonce: bytes, ciphertext: bytes, bind: bytes) -> bytes:
        """What was wrapped."""


def in_token(secret: bytes, token: Token, *, bind: bytes) -> Wrapped:
    """Wrap ``secret`` by ``token``; ``bind`` must be the same at ``out_of_token``."""
    nonce, ciphertext = token.wrap(secret, bind)
    return Wrapped(
        uri=token.uri, nonce=base64.b64encode(nonce).decode(), ciphertext=base64.b64encode(ciphertext).decode()
    )


def out_of_token(wrapped: Wrapped, open_token: Callable[[str], Token] | None, *, bind: bytes) -> bytes:
    """The bytes that were wrapped. Raises IdentityRefused (``malformed``, ``locked``, or as the token says)."""
    if open_token is None:
        raise IdentityRefused("locked", "identity: its secret is in a token, which is not asked here")
    try:
        nonce, ciphertext = (base64.b64decode(text, validate=True) for text in (wrapped.nonce, wrapped.ciphertext))
    except (binascii.Error, ValueError) as e:
        raise IdentityRefused("malformed", f"identity: the wrapped secret is not base64: {e}") from e
    if len(nonce) != _NONCE_BYTES:
        raise IdentityRefused("malformed", "identity: the nonce of the wrapped secret has a wrong length")
    return open_token(wrapped.uri).unwrap(nonce, ciphertext, bind)


def lock(secret: bytes, passphrase: str, *, bind: bytes) -> Locked:
    """Lock ``secret`` under ``passphrase``; ``bind`` must be the same at ``unlock``."""
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(_NONCE_BYTES)
    key = _key(passphrase, salt, ITERATIONS, LANES, MEMORY_KIB)
    ciphertext = AESGCM(key).encrypt(nonce, secret, bind)
    return Locked(
        iterations=ITERATIONS,
        lanes=LANES,
        memory_kib=MEMORY_KIB,
        salt=base64.b64encode(salt).decode(),
        nonce=base64.b64encode(nonce).decode(),
        ciphertext=base64.b64encode(ciphertext).decode(),
    )


def unlock(locked: Locked, passphrase: str, *, bind: bytes) -> bytes:
    """The bytes that were locked. Raises IdentityRefused (``malformed`` or ``passphrase``)."""
    try:
        salt, nonce, ciphertext = (
            base64.b64decode(text, validate=True) for text in (locked.salt, locked.nonce, locked.ciphertext)
        )
    except (binascii.Error, ValueError) as e:
        raise IdentityRefused("malformed", f"identity: the locked secret is not base64: {e}") from e
    if len(salt) != SALT_BYTES or len(nonce) != _NONCE_BYTES:
        raise IdentityRefused("malformed", "identity: salt or nonce of the locked secret has a wrong length")
    key = _key(passphrase, salt, locked.iterations, locked.lanes, locked.memory_kib)
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, bind)
    except InvalidTag as e:
        raise IdentityRefused("passphrase", "identity: wrong passphrase, or the file was changed") from e


def _key(passphrase: str, salt: bytes, iterations: int, lanes: int, memory_kib: int) -> bytes:
    kdf = Argon2id(salt=salt, length=_KEY_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory_kib)
    return kdf.derive(passphrase.encode("utf-8", "surrogatepass"))
