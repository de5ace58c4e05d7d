"""Which counters of an epoch have been seen: a set of whole numbers kept as runs.

Counters of an epoch are dense, so the set of the seen ones is a few runs however long the epoch lasts, and unlike a
sliding window it knows a frame that is resent an hour late from one that was never delivered.

Rule: the number of runs is bounded. Beyond it the oldest gap is given up: its frames count as seen from then on (a late
one is refused as ``window``), which is the safe side, and ``forgotten`` says how many.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

Run = tuple[int, int]
"""First and last counter, both within."""

MAX_RUNS: Final = 4096


class Seen:
    """A set of counters. Not for use by two threads."""

    __slots__ = ("_firsts", "_lasts", "floor", "forgotten")

    def __init__(self, runs: Iterable[Run] = (), *, floor: int = 0, forgotten: int = 0) -> None:
        """``runs`` ascend and do not touch; counters below ``floor`` are no longer told apart."""
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.floor = floor
        self.forgotten = forgotten
        for first, last in runs:
            if not (0 <= first <= last and (not self._lasts or first > self._lasts[-1] + 1)):
                raise ValueError(f"runs of seen counters must ascend and not touch: {first}..{last}")
            self._firsts.append(first)
            self._lasts.append(last)

    def __contains__(self, counter: int) -> bool:
        at = bisect_right(self._firsts, counter) - 1
        return at >= 0 and counter <= self._lasts[at]

    def __len__(self) -> int:
        """How many counters are in the set, given-up ones included."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The set as ascending runs that do not touch."""
        return tuple(zip(self._firsts, self._lasts, strict=True))

    def add(self, counter: int) -> bool:
        """Add ``counter``; False where it was there already."""
        firsts, lasts = self._firsts, self._lasts
        at = bisect_right(firsts, counter) - 1
        if at >= 0 and counter <= lasts[at]:
            return False
        joins_left = at >= 0 and lasts[at] == counter - 1
        joins_right = at + 1 < len(firsts) and firsts[at + 1] == counter + 1
        if joins_left and joins_right:
            lasts[at] = lasts[at + 1]
            del firsts[at + 1], lasts[at + 1]
        elif joins_left:
            lasts[at] = counter
        elif joins_right:
            firsts[at + 1] = counter
        else:
            firsts.insert(at + 1, counter)
            lasts.insert(at + 1, counter)
            self._bound()
        return True

    def missing(self, count: int, excused: Iterable[Run] = ()) -> tuple[Run, ...]:
        """Runs of 0..count-1 that are neither seen nor excused."""
        known = sorted([*self.runs, *excused])
        missing, at = [], 0
        for first, last in known:
            if first >= count:
                break
            if first > at:
                missing.append((at, first - 1))
            at = max(at, last + 1)
        if at < count:
            missing.append((at, count - 1))
        return tuple(missing)

    def _bound(self) -> None:
        if len(self._firsts) <= MAX_RUNS:
            return
        self.forgotten += self._firsts[1] - self._lasts[0] - 1
        self.floor = self._firsts[1]
        self._firsts.pop(1)
        self._lasts.pop(0)
