"""Who seals and who opens: identities of devices and recipients, as values and as strict JSON.

An identity is a kind, a name, an ML-DSA-87 key (FIPS 204) to sign with and an ML-KEM-1024 key (FIPS 203) to receive
with. A private identity is the two seeds; everything else follows from them.

Not here: files and their modes (the command line's), trust decisions (``opener``), certificates of the broker (TLS).

Rules:

- The fingerprint is SHA-384 over kind, name and both public keys, so a renamed key is another identity.
- ``kid`` is its first 16 bytes. A person compares the fingerprint; machines use the kid.
- A device's name is its unit. A device can therefore never speak for another unit.
- JSON with an unknown field, a wrong length or keys that do not belong together is refused, and never repaired.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey, MLDSA87PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey, MLKEM1024PublicKey

from appliance.errors import IdentityRefused
from appliance.sealing.lock import Locked, Token, Wrapped, in_token, lock, out_of_token, unlock

IdentityKind = Literal["device", "recipient"]

KID_BYTES: Final = 16
SIGNING_SEED_BYTES: Final = 32
KEM_SEED_BYTES: Final = 64
SIGNING_PUBLIC_BYTES: Final = 2592
KEM_PUBLIC_BYTES: Final = 1568
SIGNATURE_BYTES: Final = 4627
MAX_IDENTITY_BYTES: Final = 32 * 1024
"""A private identity is about 6.5 kB of JSON; nothing that is much larger is one."""
NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names stand in topics, so they hold no separator, wildcard or space."""

_PUBLIC_SCHEMA: Final = "edge-identity-public/1"
_PRIVATE_SCHEMA: Final = "edge-identity-private/1"
_FINGERPRINT_CONTEXT: Final = b"edge/identity/v1"
_HPKE: Final = hpke.Suite(hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM)


class _PublicJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["edge-identity-public/1"]
    kind: IdentityKind
    name: str
    fingerprint: str
    signing: str
    kem: str


class _Seeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="seeds", tag_field="form"):
    signing: str
    kem: str


class _PrivateJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["edge-identity-private/1"]
    kind: IdentityKind
    name: str
    fingerprint: str
    signing: str
    kem: str
    secret: _Seeds | Locked | Wrapped


_Shape = TypeVar("_Shape", _PublicJson, _PrivateJson)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicIdentity:
    """What others may know of an identity. ``signing`` is 2592 bytes, ``kem`` 1568 bytes, both FIPS raw encodings."""

    kind: IdentityKind
    name: str
    signing: bytes = field(repr=False)
    kem: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-384 over kind, name and both keys, 96 lower-case hex digits."""
        return _digest(self).hex()

    @property
    def kid(self) -> bytes:
        """First 16 bytes of the fingerprint."""
        return _digest(self)[:KID_BYTES]

    def verifies(self, signature: bytes, message: bytes, context: bytes) -> bool:
        """Whether ``signature`` is this identity's ML-DSA-87 signature over ``message`` under ``context``."""
        try:
            MLDSA87PublicKey.from_public_bytes(self.signing).verify(signature, message, context)
        except InvalidSignature:
            return False
        return True

    def wrap(self, secret: bytes, info: bytes) -> bytes:
        """HPKE base mode, ML-KEM-1024, HKDF-SHA384, AES-256-GCM: encapsulated key, then ciphertext."""
        return _HPKE.encrypt(secret, MLKEM1024PublicKey.from_public_bytes(self.kem), info)

    def to_json(self) -> str:
        """One line of JSON that ``from_json`` accepts."""
        parts = _PublicJson(
            schema=_PUBLIC_SCHEMA,
            kind=self.kind,
            name=self.name,
            fingerprint=self.fingerprint,
            signing=_b64(self.signing),
            kem=_b64(self.kem),
        )
        return msgspec.json.encode(parts).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> PublicIdentity:
        """Read a public identity; a private one is refused, so that seeds are never passed on by mistake.

        Raises IdentityRefused with reason ``malformed``, ``key`` or ``fingerprint``.
        """
        parts = _decode(text, _PublicJson)
        return _checked_public(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateIdentity:
    """The two seeds and the public identity that follows from them. Never printed, never sent."""

    public: PublicIdentity
    signing_seed: bytes = field(repr=False)
    kem_seed: bytes = field(repr=False)

    def sign(self, message: bytes, context: bytes) -> bytes:
        """ML-DSA-87 over ``message`` with a context of at most 255 bytes; 4627 bytes, hedged (FIPS 204 §3.4)."""
        return MLDSA87PrivateKey.from_seed_bytes(self.signing_seed).sign(message, context)

    def unwrap(self, box: bytes, info: bytes) -> bytes | None:
        """The secret that ``PublicIdentity.wrap`` put into ``box``, or None where box or info is another."""
        try:
            return _HPKE.decrypt(box, MLKEM1024PrivateKey.from_seed_bytes(self.kem_seed), info)
        except InvalidTag:
            return None

    def to_json(self, passphrase: str | None = None, *, token: Token | None = None) -> str:
        """One line of JSON; a passphrase locks the seeds by Argon2id and AES-256-GCM, a token wraps them by its key."""
        public = self.public
        secret: _Seeds | Locked | Wrapped
        if token is not None:
            secret = in_token(self.signing_seed + self.kem_seed, token, bind=_digest(public))
        elif passphrase is None:
            secret = _Seeds(signing=_b64(self.signing_seed), kem=_b64(self.kem_seed))
        else:
            secret = lock(self.signing_seed + self.kem_seed, passphrase, bind=_digest(public))
        parts = _PrivateJson(
            schema=_PRIVATE_SCHEMA,
            kind=public.kind,
            name=public.name,
            fingerprint=public.fingerprint,
            signing=_b64(public.signing),
            kem=_b64(public.kem),
            secret=secret,
        )
        return msgspec.json.encode(parts).decode()

    @classmethod
    def from_json(
        cls, text: str | bytes, passphrase: str | None = None, *, open_token: Callable[[str], Token] | None = None
    ) -> PrivateIdentity:
        """Read a private identity; ``open_token`` gives the token that a wrapped one names by its URI.

        Raises IdentityRefused with reason ``malformed``, ``key``, ``fingerprint``, ``locked`` (a passphrase or token is
        needed), ``passphrase`` (it is the wrong one, or the file was changed), ``mismatch`` (seeds of another
        identity), or what the token refuses.
        """
        parts = _decode(text, _PrivateJson)
        public = _checked_public(parts)
        if isinstance(parts.secret, Wrapped):
            seeds = _whole(out_of_token(parts.secret, open_token, bind=_digest(public)), public)
        else:
            seeds = _seeds(parts.secret, passphrase, public)
        identity = from_seeds(public.kind, public.name, seeds[:SIGNING_SEED_BYTES], seeds[SIGNING_SEED_BYTES:])
        if identity.public != public:
            raise IdentityRefused("mismatch", f"identity {public.name}: the seeds do not belong to the public keys")
        return identity


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredIdentity:
    """What a private identity file says without opening its secret: whose it is, and how the secret is kept.

    ``uri`` names the key of a token, where one keeps it.
    """

    public: PublicIdentity
    form: Literal["seeds", "argon2id", "pkcs11"]
    uri: str | None = None

    @classmethod
    def from_json(cls, text: str | bytes) -> StoredIdentity:
        """Raises IdentityRefused (``malformed``, ``key``, ``fingerprint``)."""
        parts = _decode(text, _PrivateJson)
        public = _checked_public(parts)
        match parts.secret:
            case Wrapped(uri=uri):
                return cls(public=public, form="pkcs11", uri=uri)
            case Locked():
                return cls(public=public, form="argon2id")
        return cls(public=public, form="seeds")


def generate(kind: IdentityKind, name: str) -> PrivateIdentity:
    """A new identity from the system's random numbers. A device's ``name`` is its unit.

    Raises IdentityRefused (``malformed``) for a name that could not stand in a topic.
    """
    _check_name(name)
    return from_seeds(kind, name, os.urandom(SIGNING_SEED_BYTES), os.urandom(KEM_SEED_BYTES))


def from_seeds(kind: IdentityKind, name: str, signing_seed: bytes, kem_seed: bytes) -> PrivateIdentity:
    """The identity that these seeds (32 and 64 bytes) are."""
    public = PublicIdentity(
        kind=kind,
        name=name,
        signing=MLDSA87PrivateKey.from_seed_bytes(signing_seed).public_key().public_bytes_raw(),
        kem=MLKEM1024PrivateKey.from_seed_bytes(kem_seed).public_key().public_bytes_raw(),
    )
    return PrivateIdentity(public=public, signing_seed=signing_seed, kem_seed=kem_seed)


def _digest(public: PublicIdentity) -> bytes:
    digest = hashlib.sha384(_FINGERPRINT_CONTEXT)
    for part in (public.kind.encode(), public.name.encode(), public.signing, public.kem):
        digest.update(len(part).to_bytes(2, "big") + part)
    return digest.digest()


def _decode(text: str | bytes, shape: type[_Shape]) -> _Shape:
    if len(text) > MAX_IDENTITY_BYTES:
        raise IdentityRefused("malformed", f"identity: expected at most {MAX_IDENTITY_BYTES} bytes; found {len(text)}")
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        raise IdentityRefused("malformed", f"identity: {e}") from e


def _checked_public(parts: _PublicJson | _PrivateJson) -> PublicIdentity:
    _check_name(parts.name)
    public = PublicIdentity(
        kind=parts.kind,
        name=parts.name,
        signing=_unb64(parts.signing, SIGNING_PUBLIC_BYTES, "signing"),
        kem=_unb64(parts.kem, KEM_PUBLIC_BYTES, "kem"),
    )
    try:
        MLDSA87PublicKey.from_public_bytes(public.signing)
        MLKEM1024PublicKey.from_public_bytes(public.kem)  # FIPS 203 §7.2: the modulus check
    except ValueError as e:
        raise IdentityRefused("key", f"identity {parts.name}: a public key is not a valid one: {e}") from e
    if public.fingerprint != parts.fingerprint:
        raise IdentityRefused("fingerprint", f"identity {parts.name}: kind, name and keys do not give its fingerprint")
    return public


def _seeds(secret: _Seeds | Locked, passphrase: str | None, public: PublicIdentity) -> bytes:
    if isinstance(secret, _Seeds):
        signing = _unb64(secret.signing, SIGNING_SEED_BYTES, "secret.signing")
        return signing + _unb64(secret.kem, KEM_SEED_BYTES, "secret.kem")
    if passphrase is None:
        raise IdentityRefused("locked", f"identity {public.name} is locked: a passphrase is needed")
    return _whole(unlock(secret, passphrase, bind=_digest(public)), public)


def _whole(seeds: bytes, public: PublicIdentity) -> bytes:
    if len(seeds) != SIGNING_SEED_BYTES + KEM_SEED_BYTES:
        raise IdentityRefused("malformed", f"identity {public.name}: expected 96 bytes of seeds; found {len(seeds)}")
    return seeds


def _check_name(name: str) -> None:
    if NAME_PATTERN.fullmatch(name) is None:
        raise IdentityRefused(
            "malformed", f"identity: expected a name of 1 to 64 letters, digits, '.', '_' or '-'; found {name[:80]!r}"
        )


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unb64(text: str, size: int, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise IdentityRefused("malformed", f"identity: {what} is not base64: {e}") from e
    if len(raw) != size:
        raise IdentityRefused("malformed", f"identity: expected {size} bytes in {what}; found {len(raw)}")
    return raw
