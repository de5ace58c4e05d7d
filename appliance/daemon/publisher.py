"""From results to envelopes on disk: sealed, then durable, then gone to the link.

Nothing is told before it is sealed, and nothing counts as told before it is durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.bus import Outbox
from appliance.pipeline.results import Priority, Result
from appliance.sealing import Envelope, Sender

#: Lower goes first where the outbox must choose.
PRIORITIES: Final[dict[Priority, int]] = {"alert": 0, "entity": 1, "picture": 2, "status": 3}
GRANT_PRIORITY: Final = 0


class Publisher:
    """One epoch's sender in front of the outbox."""

    def __init__(self, sender: Sender, outbox: Outbox) -> None:
        self._sender = sender
        self._outbox = outbox
        self.sealed = 0

    def open(self) -> None:
        """Put the grant out, so that recipients can open what follows."""
        self._outbox.put_many([(self._sender.grant(), GRANT_PRIORITY)])

    def publish(self, results: Sequence[Result]) -> None:
        """Seal results and make them durable, in order."""
        sealed: list[tuple[Envelope, int]] = [
            (self._sender.seal(result.topic, result.payload), PRIORITIES[result.priority]) for result in results
        ]
        if sealed:
            self._outbox.put_many(sealed)
            self.sealed += len(sealed)

    def close(self) -> None:
        """Put the close out: how many frames there were, so that a missing one shows."""
        self._outbox.put_many([(self._sender.close(), GRANT_PRIORITY)])
