"""What of the results leaves the unit: all of them, or what the bit budget of a radio allows.

Not here: sealing and sending (``publisher``). A recording holds what the path told, whatever the channel.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Protocol

from appliance.config.mission import Bus
from appliance.pipeline.results import Result

_SIGNED_BYTES: Final = 4800
"""A grant without its recipients, and a close: an ML-DSA-87 signature and a header."""
_BOX_BYTES: Final = 1640
"""What each recipient adds to a grant: an ML-KEM-1024 ciphertext and the wrapped secrets."""


class Channel(Protocol):
    """Takes results, gives those that are to be sealed now."""

    counts: Counter[str]

    def pass_on(self, results: tuple[Result, ...], at_ns: int, *, epoch: int) -> tuple[Result, ...]: ...


class Everything:
    """A link that carries all."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pass_on(self, results: tuple[Result, ...], at_ns: int, *, epoch: int) -> tuple[Result, ...]:  # noqa: ARG002
        """All of them."""
        return results


class ThinLink:
    """The radio profile: every new epoch is paid for, and its recipients begin from nothing."""

    def __init__(self, unit: str, bus: Bus, *, now_ns: int) -> None:
        from appliance.pipeline.radio import Radio, RadioSettings  # noqa: PLC0415 - no other profile waits for it

        settings = RadioSettings(bits_per_s=bus.radio_bits_per_s, key_interval_s=bus.radio_key_interval_s)
        self._radio = Radio(unit, settings, now_ns=now_ns)
        self._recipients = len(bus.recipients)
        self._epoch = -1
        self.counts = self._radio.counts

    def pass_on(self, results: tuple[Result, ...], at_ns: int, *, epoch: int) -> tuple[Result, ...]:
        """The frames that the budget allows now."""
        if epoch != self._epoch:
            if self._epoch >= 0:
                self._radio.spend(_SIGNED_BYTES)
                self._radio.restart()
            self._radio.spend(_SIGNED_BYTES + _BOX_BYTES * self._recipients)
            self._epoch = epoch
        return self._radio.pack(results, at_ns)


def channel(unit: str, bus: Bus, *, now_ns: int) -> Channel:
    """The mission's channel."""
    return ThinLink(unit, bus, now_ns=now_ns) if bus.profile == "radio" else Everything()
