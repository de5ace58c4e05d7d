"""Results without blocking: ``listen`` for programs that run an event loop.

Rules:

- One thread of its own asks the listener, so that the loop never waits for a disk or a broker.
- A wait that is cancelled (a timeout round ``anext``, a cancelled task) loses nothing: what had been taken meanwhile is
  what the next wait gives.
- Leaving the block without an exception finishes the result that was given last; leaving it by an exception does not,
  and that result comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final

from appliance.bus import ReaderStatus, TlsFiles
from appliance.errors import BusUnavailable, UsageError
from appliance.listen.listener import Event, Listener
from appliance.listen.results import Result
from appliance.sealing import PrivateIdentity, PublicIdentity

_LOOK_S: Final = 0.25
"""How long one question to the listener waits; a stop is noticed after at most so long."""


def listen(
    bus: str,
    identity: PrivateIdentity | Sequence[PrivateIdentity],
    units: Sequence[PublicIdentity],
    *,
    state: Path | None,
    tls: TlsFiles | None = None,
) -> Listening:
    """Everything that ``units`` tell ``identity`` over the broker at ``bus``, as it comes, for ever.

    ``state`` is the file that remembers what was handed over, also over restarts; None forgets at the end. A broker
    that is away is waited for. Raises ConfigError, IdentityRefused, BusUnavailable (see ``Listener``); the iteration
    raises BusUnavailable where the state can no longer be written.
    """
    return Listening(Listener(bus, identity, units, state=state, tls=tls))


class Listening:
    """An asynchronous iterator of results, to be used in ``async with``; ``events`` gives closes as well."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="listen")
        self._asked: asyncio.Future[Event | None] | None = None
        self._given = False
        self._state = "new"

    async def __aenter__(self) -> Listening:
        if self._state != "new":
            raise UsageError("a listening can be entered once; call listen() again")
        self._state = "open"
        await asyncio.get_running_loop().run_in_executor(self._thread, self._listener.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._state = "closed"
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._end, kind is None))

    def __aiter__(self) -> AsyncIterator[Result]:
        return self

    async def __anext__(self) -> Result:
        """The next result."""
        while True:
            event = await self.next_event()
            if isinstance(event, Result):
                return event

    async def events(self) -> AsyncIterator[Event]:
        """Results, and between them what units say of their epochs."""
        while True:
            yield await self.next_event()

    async def next_event(self) -> Event:
        """The next result or word about an epoch. Raises UsageError outside of ``async with``, BusUnavailable."""
        if self._state != "open":
            raise UsageError("expected `async with listen(...) as results:` round this")
        while True:
            if self._asked is None:
                self._given = False  # asking on hands over what was given before
                self._asked = asyncio.get_running_loop().run_in_executor(self._thread, self._listener.take, _LOOK_S)
            try:
                event = await asyncio.shield(self._asked)  # cancelled, the question stays asked
            except BusUnavailable:
                self._asked = None
                raise
            self._asked = None
            if event is not None:
                self._given = True
                return event

    def status(self) -> ReaderStatus:
        """Connection, counts, refusals by reason, and what the units say of being up."""
        return self._listener.status()

    def _end(self, finished: bool) -> None:
        """On the listener's thread, behind a question that may still wait there."""
        try:
            if finished and self._given:
                self._listener.done()
        finally:
            self._listener.stop()
            self._thread.shutdown(wait=False)
