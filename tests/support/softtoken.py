"""A token whose key is at hand: for published vectors, where the key must be in the file."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.errors import IdentityRefused


@dataclass(frozen=True)
class SoftToken:
    """Wraps as ``host.token`` has a token do it: AES-256-GCM, 12-byte nonce, 16-byte tag at the end."""

    uri: str
    key: bytes

    def wrap(self, secret: bytes, bind: bytes) -> tuple[bytes, bytes]:
        nonce = os.urandom(12)
        return nonce, AESGCM(self.key).encrypt(nonce, secret, bind)

    def unwrap(self, nonce: bytes, ciphertext: bytes, bind: bytes) -> bytes:
        try:
            return AESGCM(self.key).decrypt(nonce, ciphertext, bind)
        except (InvalidTag, ValueError) as e:
            raise IdentityRefused("wrapped", "token: does not open") from e
