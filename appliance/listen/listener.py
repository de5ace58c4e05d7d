"""The listener: results and what there is to say about epochs, one at a time, for one thread.

Not here: waiting without blocking (``stream``). A result counts as handed over when the next one is asked for or at
``done``; who dies before that gets it again, so each is worked on at least once and, with books of their own by the
result's name, exactly once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from appliance.bus import Reader, ReaderStatus, TlsFiles
from appliance.host.clock import now_ns
from appliance.listen.radio import RadioKeys, is_radio
from appliance.listen.results import Result, read_result
from appliance.sealing import Closed, Opened, PrivateIdentity, PublicIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochClosed:
    """A unit's signed end of an epoch: how many results there were, and which of them have not come."""

    unit: str
    epoch: int
    count: int
    missing: tuple[tuple[int, int], ...]
    """First and last counters of runs that have not come and that the unit did not give up."""
    given_up: tuple[tuple[int, int], ...]
    """Runs that the unit gave up before any broker had them."""
    results: Literal["all", "incomplete", "unchecked", "forged"]
    """``all`` came as the unit signed; ``forged``: what came is not what the unit sealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingForUs:
    """A unit's epoch gives this identity nothing; ask the unit's keeper to name you as a recipient."""

    unit: str
    epoch: int


Event = Result | EpochClosed | NothingForUs

_ROOTS: dict[str, Literal["all", "incomplete", "unchecked", "forged"]] = {
    "matches": "all",
    "incomplete": "incomplete",
    "unchecked": "unchecked",
    "differs": "forged",
}


class Listener:
    """Connects in the background for as long as it takes, and hands over one thing at a time."""

    def __init__(
        self,
        bus: str,
        identity: PrivateIdentity | Sequence[PrivateIdentity],
        units: Sequence[PublicIdentity],
        *,
        state: Path | None,
        tls: TlsFiles | None = None,
    ) -> None:
        """``bus`` is mqtt://HOST[:PORT], or mqtts://HOST[:PORT] with ``tls``; ``units`` are those to be believed.

        ``state`` is the file that remembers what was handed over; None forgets at the end. Raises ConfigError (URL,
        certificates), IdentityRefused (wrong kind), BusUnavailable (the file cannot be used, or another process does).
        """
        self._reader = Reader(bus, identity, units, state, tls=tls)
        self._radio = RadioKeys(self._reader)
        self._more: deque[Result] = deque()
        self._radio_unit: str | None = None

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to connect and receive."""
        self._reader.start()

    def stop(self) -> None:
        """End. What was taken last comes again, unless ``done`` was called."""
        self._reader.stop()

    def take(self, timeout_s: float) -> Event | None:
        """The next thing, or None where none came in time; the one before is handed over. Raises BusUnavailable.

        Results that came in one frame are handed over with the last of them.
        """
        if self._more:
            return self._more.popleft()
        self.done()
        match self._reader.take(timeout_s):
            case Opened() as opened if is_radio(opened):
                self._more.extend(self._radio.read(opened, now_ns()))
                self._radio_unit = opened.unit
                return self._more.popleft() if self._more else None
            case Opened() as opened:
                return read_result(opened, now_ns())
            case Closed() as closed:
                return _closed(closed)
            case None:
                return None
            case nothing:
                return NothingForUs(unit=nothing.unit, epoch=nothing.epoch)

    def done(self) -> None:
        """What was taken last is finished and will not come again. Raises BusUnavailable."""
        if self._more:
            return
        self._reader.done(self._radio.writer(self._radio_unit) if self._radio_unit is not None else None)
        self._radio_unit = None

    def status(self) -> ReaderStatus:
        """Connection, counts, refusals by reason, and what the units say of being up."""
        return self._reader.status()


def _closed(closed: Closed) -> EpochClosed:
    return EpochClosed(
        unit=closed.unit,
        epoch=closed.epoch,
        count=closed.count,
        missing=tuple(closed.missing),
        given_up=tuple(closed.shed),
        results=_ROOTS[closed.root],
    )
