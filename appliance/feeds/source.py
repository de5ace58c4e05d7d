"""What a source and its supervisor promise each other. Two small protocols and one signal; nothing happens here.

A *source* reads one outside thing and is run by the feed's thread. ``run`` may be called again after it raised, on
the same object: what it knows (names heard, file position, record number) lives in the object and survives.

How ``run`` ends, and what the supervisor does:

- it returns: a file is read to its end; the feed has ended.
- ``FeedUnavailable``: the thing is away; back off and run again.
- ``Drop`` (``BadRecord``): the medium as a whole is unusable. A file ends in "failed"; anything live, as above.
- ``Stopped``: the feed was told to stop. Sources let it pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from appliance.feeds.spec import Item


class Stopped(Exception):
    """The feed was told to stop while a source was at work."""


class Tap(Protocol):
    """Where a source puts what it reads, and how it hears that it shall stop."""

    def opened(self) -> None:
        """The outside thing is there and answers."""

    def put(self, item: Item, taken: Callable[[], None] | None = None) -> None:
        """Hand over one item; blocks while a replay's queue is full. ``taken`` is called when the consumer, done
        with the item, asks for the next. Raises ``Stopped``."""

    def bad(self, reason: str, count: int = 1) -> None:
        """Count what was dropped because it does not parse or cannot be true. ``reason`` is one of our own words."""

    def ignored(self, reason: str, count: int = 1) -> None:
        """Count what is well formed and of no use here."""

    def overrun(self, count: int = 1) -> None:
        """Count live items that were lost before ``put`` because the consumer is slow."""

    def wait(self, seconds: float) -> None:
        """Sleep; raises ``Stopped`` at once when told to stop."""

    def check(self) -> None:
        """Raise ``Stopped`` if the feed was told to stop."""


class Source(Protocol):
    """One outside thing."""

    def run(self, tap: Tap) -> None:
        """Read until the end, a fault, or ``Stopped``."""
