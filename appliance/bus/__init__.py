"""The bus: sealed envelopes out of the unit and in at the recipient, with nothing lost between.

Outbox (on disk) → Link (MQTT) → broker → Reader (on disk again) → the user, once. The broker is trusted with nothing:
what it loses is sent again, what it repeats is dropped, what it changes is refused.
"""

from appliance.bus.endpoint import TlsFiles
from appliance.bus.link import Link, LinkStatus
from appliance.bus.outbox import Outbox, OutboxStatus
from appliance.bus.outbox_rows import Priority
from appliance.bus.reader import Reader, ReaderStatus

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
