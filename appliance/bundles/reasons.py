"""Why a bundle is refused: one stable code for each kind of reason, which scripts and officers may match on.

This is a table and nothing else. A code is never renamed or reused; a new kind of reason gets a new line.
"""

from __future__ import annotations

from typing import Final

REASONS: Final[dict[str, str]] = {
    # the trust anchor
    "no-anchor": "no root of trust has been provisioned on this device",
    "anchor-exists": "a root of trust is already provisioned; it is replaced only by a signed rotation",
    "anchor": "the root of trust that was offered does not verify by itself",
    "other-root": "the stick carries a root that is not ours: it belongs to another fleet",
    "trust-state": "the trust state on this device is damaged, wiped or restored from a copy",
    # the TUF metadata
    "missing": "a file that must be on the stick is not there",
    "metadata": "a metadata file is malformed or not in its one canonical form",
    "signature": "fewer valid signatures than the role's threshold",
    "stray-signature": "a metadata file carries a signature that is invalid or of no key of its role",
    "scheme": "a key is not ML-DSA-87, or a digest is not SHA-384",
    "key-twice": "one key is listed under two ids, so that one signer would count as two",
    "root-chain": "a root version is skipped, repeated or not signed by the root before it",
    "rollback": "the stick is older than what this device has already accepted",
    "mixed": "metadata files of different releases were combined",
    "expired": "metadata expired before the time that this device knows to have passed",
    "too-long": "a file is longer than its maximum or than its signed length",
    # the media
    "media-path": "a name on the stick is not one that a stick may carry",
    "media-type": "something on the stick is not a regular file or folder (link, pipe, device)",
    "media-duplicate": "two members of the archive have one name",
    "media-format": "the archive is damaged or has something that this device does not read",
    "media-read": "the stick could not be read to the end",
    "unlisted": "a file on the stick is listed by no signed metadata",
    # the release policy
    "no-such-product": "no role that may speak for this product offers it on the stick",
    "release": "release.json is malformed",
    "release-schema": "release.json has a schema that this version does not know",
    "wrong-product": "release.json speaks of another product",
    "wrong-unit": "the release is not for this unit",
    "wrong-hardware": "the release is not for this hardware",
    "app-too-old": "the release needs a newer appliance",
    "counter": "the release counter is lower than what is in confirmed service",
    "revoked": "the release has been revoked",
    "issued": "the release was issued at an impossible time",
    "file-type": "a file is of a type that may not be installed",
    "file-set": "the files of the release do not make a model: exactly one network and one manifest",
    "release-mismatch": "release.json and the signed targets do not list the same files",
    "manifest": "model.json is malformed",
    "golden": "the golden inputs and outputs are malformed or belong to another network",
    "external-data": "the network keeps numbers in another file, which nobody has signed",
    "onnx": "the network may not be loaded: its operators, sizes or structure",
    # the payload
    "digest": "a file's content is not what was signed",
    "truncated": "a file is shorter than its signed length",
    # the device
    "busy": "another installation is running",
    "storage": "the device could not store the files",
    "self-test": "the model failed its self-test",
    "slot-empty": "there is nothing in that slot",
    "slot-damaged": "the files in the slot are not what was installed",
    # the audit log
    "audit-edited": "a record of the audit log was changed, moved or removed",
    "audit-truncated": "the audit log is shorter than its checkpoint",
    "audit-checkpoint": "the audit checkpoint does not verify",
}
