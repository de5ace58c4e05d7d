"""Sealing: results to named recipients, post-quantum end to end. Values in, values out; no file, socket or clock.

``docs/envelope.md`` is the specification. A unit's ``Sender`` makes envelopes; a recipient's ``Opener`` takes them.
"""

from appliance.sealing.identity import IdentityKind, PrivateIdentity, PublicIdentity, StoredIdentity, generate
from appliance.sealing.opener import (
    Closed,
    Duplicate,
    EpochState,
    Granted,
    NoGrant,
    NotForUs,
    Opened,
    Opener,
    OpenerState,
    Outcome,
)
from appliance.sealing.sender import Sender
from appliance.sealing.wire import Envelope, EnvelopeKind, control_topic

__all__ = [
    "Closed",
    "Duplicate",
    "Envelope",
    "EnvelopeKind",
    "EpochState",
    "Granted",
    "IdentityKind",
    "NoGrant",
    "NotForUs",
    "Opened",
    "Opener",
    "OpenerState",
    "Outcome",
    "PrivateIdentity",
    "PublicIdentity",
    "Sender",
    "StoredIdentity",
    "control_topic",
    "generate",
]
