"""Rules for TUF metadata beyond TUF's own: one canonical form, ML-DSA-87 and SHA-384 only, no stray signature.

Not the TUF client workflow: python-tuf decides that (``TrustedMetadataSet``). The specification allows any JSON
spelling and ignores signatures that it cannot use; here a file has exactly one accepted form, so that *any* changed
byte is refused, and an officer who compares digests of two sticks compares what counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tuf.api.exceptions import RepositoryError
from tuf.api.serialization.json import JSONSerializer

from appliance.bundles.tuf7 import Key, Metadata, Root, Snapshot, Targets, Timestamp, VerificationResult
from appliance.errors import BundleRefused

KEY_TYPE: Final = "ml-dsa"
KEY_SCHEME: Final = "ml-dsa-87/1"
HASH: Final = "sha384"

MAX_ROOT_ROTATIONS: Final = 64
MAX_DELEGATIONS: Final = 8

_SIGNATURE: Final = re.compile(r"[0-9a-f]{9254}")
_ROLE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_COMPACT: Final = JSONSerializer(compact=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """Who signed one role's metadata: proof for a person. Key ids are SHA-256 of the public key, hex."""

    role: str
    version: int
    threshold: int
    of: int
    keys: tuple[str, ...]


def to_canonical(metadata: Metadata[Any]) -> bytes:
    """The one form in which metadata lies on media: compact JSON with sorted keys."""
    return metadata.to_bytes(_COMPACT)


def parse_strict(name: str, raw: bytes) -> Metadata[Any]:
    """Reads metadata and refuses every form but the canonical one. Signatures are not verified here.

    Raises: BundleRefused: "metadata" for another form or a malformed file, "scheme" for other keys or digests.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(raw)
        canonical = to_canonical(metadata)
    except (RepositoryError, RecursionError) as e:
        raise BundleRefused("metadata", f"{name}: {_cause(e)}") from e
    if canonical != raw or metadata.unrecognized_fields:
        raise BundleRefused("metadata", f"{name}: not in canonical form")
    for signature in metadata.signatures.values():
        if signature.unrecognized_fields or not _SIGNATURE.fullmatch(signature.signature):
            raise BundleRefused("metadata", f"{name}: a signature is not {9254 // 2} bytes of lower-case hex")
    _check_algorithms(name, metadata.signed)
    return metadata


def _check_algorithms(name: str, signed: Root | Timestamp | Snapshot | Targets) -> None:
    if isinstance(signed, Root):
        _check_keys(name, signed.keys.values())
        if not signed.consistent_snapshot:
            raise BundleRefused("metadata", f"{name}: consistent_snapshot must be true")
    elif isinstance(signed, Timestamp):
        _check_hashes(name, [signed.snapshot_meta.hashes])
    elif isinstance(signed, Snapshot):
        _check_names(name, [file.removesuffix(".json") for file in signed.meta])
        _check_hashes(name, [meta.hashes for meta in signed.meta.values()])
    else:
        _check_hashes(name, [target.hashes for target in signed.targets.values()])
        if signed.delegations is not None:
            _check_keys(name, signed.delegations.keys.values())
            _check_names(name, signed.delegations.roles or ())
            if signed.delegations.succinct_roles is not None:
                raise BundleRefused("metadata", f"{name}: hash-bin delegation is not used here")


def _check_names(name: str, roles: Iterable[str]) -> None:
    """A role's name becomes part of file names, here and in python-tuf: it has nothing that means something there."""
    for role in roles:
        if not _ROLE.fullmatch(role):
            raise BundleRefused(
                "metadata", f"{name}: a role is named in small letters, digits and dashes, not {role[:64]!r}"
            )


def _check_keys(name: str, keys: Iterable[Key]) -> None:
    seen: set[str] = set()
    for key in keys:
        public = str(key.keyval.get("public"))
        if public in seen:
            raise BundleRefused("key-twice", f"{name}: one key is listed under two ids, and would count twice")
        seen.add(public)
        if key.keytype != KEY_TYPE or key.scheme != KEY_SCHEME:
            found = f"{key.keytype} {key.scheme}"
            raise BundleRefused("scheme", f"{name}: key {key.keyid[:16]}: expected {KEY_SCHEME}; found {found[:64]}")


def _check_hashes(name: str, hashes: Iterable[Mapping[str, str] | None]) -> None:
    for entry in hashes:
        if entry is None or set(entry) != {HASH} or not re.fullmatch(r"[0-9a-f]{96}", entry[HASH]):
            raise BundleRefused("scheme", f"{name}: every digest must be {HASH} and nothing else")


def signers_of(role: str, metadata: Metadata[Any], delegator: Root | Targets) -> Signers:
    """Who signed ``role``, judged by the keys that ``delegator`` names.

    Raises: BundleRefused: "signature" below the threshold, "stray-signature" where a signature is not a valid one of
    the role's own keys.
    """
    result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return _signers(role, metadata, result.signed, (result,))


def root_signers(previous: Root | None, metadata: Metadata[Any]) -> Signers:
    """Who signed a root, judged by its own keys and, for a rotation, those of the root before it (TUF 1.0.34 §5.3.4).

    Raises: as ``signers_of``.
    """
    root: Root = metadata.signed
    result = root.get_root_verification_result(previous, metadata.signed_bytes, metadata.signatures)
    return _signers("root", metadata, result.signed, (result.first, result.second))


def _signers(
    role: str, metadata: Metadata[Any], signed: Mapping[str, Key], results: tuple[VerificationResult, ...]
) -> Signers:
    if not all(results):
        raise BundleRefused("signature", f"{role}: fewer valid signatures than its threshold")
    if set(metadata.signatures) != set(signed):
        raise BundleRefused("stray-signature", f"{role}: a signature is invalid or of no key of this role")
    last = results[-1]
    return Signers(
        role=role,
        version=metadata.signed.version,
        threshold=last.threshold,
        of=len(last.signed) + len(last.unsigned),
        keys=tuple(sorted(signed)),
    )


def _cause(error: BaseException) -> str:
    """The innermost reason of a wrapped parse error, short enough for one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error)[:200]}"
