"""A recipient's newest KEM key, said by the recipient itself, so that units seal to it without an administrator.

What this is: the announcement as a value and as strict JSON. What it is not: where it lies and which number a unit has
taken before (``daemon.recipients``).

Rules:

- A rotation changes the KEM key alone. Name and signing key stay, and the signing key signs the announcement; so a
  unit that was given the recipient's public identity once can tell every successor by itself.
- Numbers only go up. An announcement with a lower number than one that was taken is never taken: an old stick does not
  bring an old key back.
- Whoever holds the whole private identity can announce as well. A rotation helps against a KEM key that will be
  captured or broken later; a captured identity must be put out, and another put in.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import os
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from appliance.errors import IdentityRefused
from appliance.sealing.identity import (
    KEM_SEED_BYTES,
    MAX_IDENTITY_BYTES,
    PrivateIdentity,
    PublicIdentity,
    from_seeds,
)

CONTEXT: Final = b"edge/recipient-key/v1"
MAX_NUMBER: Final = 2**48 - 1
_SCHEMA: Final = "edge-recipient-key/1"


class _Json(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["edge-recipient-key/1"]
    number: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
    identity: msgspec.Raw
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """A recipient as it wants to be sealed to from now on. ``raw`` is the announcement as it came."""

    number: int
    identity: PublicIdentity
    raw: bytes = dataclasses.field(repr=False)

    @classmethod
    def from_json(cls, text: bytes, known: PublicIdentity) -> Successor:
        """Read what the recipient ``known`` announces; ``known`` may be any identity that it had.

        Raises IdentityRefused: ``malformed``, ``key``, ``fingerprint``, ``kind`` (no recipient's), ``successor`` (of
        another name or signing key) or ``signature``.
        """
        if len(text) > MAX_IDENTITY_BYTES:
            raise IdentityRefused("malformed", f"announcement: expected at most {MAX_IDENTITY_BYTES} bytes")
        try:
            parts = msgspec.json.decode(text, type=_Json)
            signature = base64.b64decode(parts.signature, validate=True)
        except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError) as e:
            raise IdentityRefused("malformed", f"announcement: {e}") from e
        identity = PublicIdentity.from_json(bytes(parts.identity))
        if identity.kind != "recipient" or known.kind != "recipient":
            raise IdentityRefused("kind", f"announcement: expected a recipient's; found a {identity.kind}'s")
        if (identity.name, identity.signing) != (known.name, known.signing):
            raise IdentityRefused("successor", f"announcement: of another name or signing key than {known.name} has")
        if not known.verifies(signature, _message(parts.number, identity), CONTEXT):
            raise IdentityRefused("signature", f"announcement: not signed by {known.name} itself")
        return cls(number=parts.number, identity=identity, raw=bytes(text))


def rotated(private: PrivateIdentity) -> PrivateIdentity:
    """The same recipient with a new KEM key. Raises IdentityRefused (``kind``) for a device, which receives nothing."""
    if private.public.kind != "recipient":
        raise IdentityRefused("kind", f"expected a recipient's identity; {private.public.name} is a device")
    return from_seeds("recipient", private.public.name, private.signing_seed, os.urandom(KEM_SEED_BYTES))


def announce(private: PrivateIdentity, number: int) -> bytes:
    """The announcement that ``private`` has the KEM key to seal to from now on; one line of JSON."""
    public = private.public
    signature = private.sign(_message(number, public), CONTEXT)
    parts = _Json(
        schema=_SCHEMA,
        number=number,
        identity=msgspec.Raw(public.to_json()),
        signature=base64.b64encode(signature).decode(),
    )
    return msgspec.json.encode(parts) + b"\n"


def lineage(public: PublicIdentity) -> str:
    """What all identities of one recipient share, however often it rotates: 32 hex digits over name and signing key."""
    return hashlib.sha384(b"edge/lineage/v1" + public.signing + public.name.encode()).hexdigest()[:32]


def successor_name(public_file: str) -> str:
    """The file name of a recipient's announcement, which lies beside its public identity file."""
    return public_file.removesuffix(".json").removesuffix(".public") + ".successor.json"


def _message(number: int, identity: PublicIdentity) -> bytes:
    """Eight bytes of number, and the fingerprint, which covers kind, name and both keys."""
    return number.to_bytes(8, "big") + bytes.fromhex(identity.fingerprint)
