"""Sealing: results to named recipients, post-quantum end to end. Values in, values out; no file, socket or clock.

``docs/envelope.md`` is the specification. A unit's ``Sender`` makes envelopes; a recipient's ``Opener`` takes them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from appliance.sealing.identity import IdentityKind, PrivateIdentity, PublicIdentity, StoredIdentity, generate
from appliance.sealing.sender import Sender
from appliance.sealing.wire import Envelope, EnvelopeKind, control_topic

if TYPE_CHECKING:
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
else:

    def __getattr__(name: str) -> object:
        """The recipient's half is loaded when somebody asks for it (PEP 562): a unit opens nothing."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("appliance.sealing.opener"), name)


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
