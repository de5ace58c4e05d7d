"""The bus: sealed envelopes out of the unit and in at the recipient, with nothing lost between.

Outbox (on disk) → Link (MQTT) → broker → Reader (on disk again) → the user, once. The broker is trusted with nothing:
what it loses is sent again, what it repeats is dropped, what it changes is refused.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from appliance.bus.endpoint import TlsFiles
from appliance.bus.link import Link, LinkStatus
from appliance.bus.outbox import Outbox, OutboxStatus
from appliance.bus.outbox_rows import Priority

if TYPE_CHECKING:
    from appliance.bus.reader import Reader, ReaderStatus
else:

    def __getattr__(name: str) -> object:
        """The recipient's half is loaded when somebody asks for it (PEP 562): a unit reads nothing."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("appliance.bus.reader"), name)


__all__ = [
    "Link",
    "LinkStatus",
    "Outbox",
    "OutboxStatus",
    "Priority",
    "Reader",
    "ReaderStatus",
    "TlsFiles",
]
