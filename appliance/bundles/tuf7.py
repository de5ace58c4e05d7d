"""The one place that names python-tuf's types, and the one thing of it that is private.

python-tuf 7.0.1 exports these from ``tuf.api.metadata`` without saying so to type checkers, so they are taken from
where they are defined. ``set_reference_time`` reaches into the Updater because python-tuf reads the system clock there
and offers no argument. The version is pinned, and a contract test holds both.
"""

from __future__ import annotations

from datetime import UTC, datetime

from securesystemslib.signer._key import Key, SSlibKey
from tuf.api._payload import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
    VerificationResult,
)
from tuf.api.metadata import Metadata
from tuf.ngclient.updater import Updater

__all__ = [
    "DelegatedRole",
    "Delegations",
    "Key",
    "MetaFile",
    "Metadata",
    "Root",
    "SSlibKey",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "Updater",
    "VerificationResult",
    "set_reference_time",
]


def set_reference_time(updater: Updater, now_ns: int) -> None:
    """Makes ``updater`` judge expiry against ``now_ns`` instead of the system clock. Call before ``refresh``."""
    updater._trusted_set.reference_time = datetime.fromtimestamp(now_ns / 1e9, tz=UTC)
