"""How long work at the bench shows that it goes on: how much is done, how fast, and how long it will still take.

On a terminal one bar a task; elsewhere a plain line for each tenth, so that a log stays short; with ``--json`` nothing.
Work takes a ``Progress`` and calls it with what it is doing, how much is done and how much there is; it knows nothing
of terminals.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Task, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from appliance.slots.checks import Progress, no_progress

__all__ = ["Progress", "no_progress", "plain", "shown"]

LINES: Final = 10
"""Plain lines a task."""
_SHORT_S: Final = 1e-3
"""What is over sooner has no rate."""
_THOUSANDS: Final = (("G", 1e9), ("M", 1e6), ("k", 1e3))


@contextlib.contextmanager
def shown(unit: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Shows what is reported inside the block; ``unit`` is what is counted (bytes, pictures, steps)."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield no_progress
    elif not console.is_terminal:
        yield plain(unit, lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201 - a command speaks
    else:
        with _bars(unit, console) as bars:
            yield _on(bars)


def plain(unit: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Progress:
    """A line for each tenth: done, share, rate and remaining time. ``clock`` gives seconds."""
    begun: dict[str, float] = {}
    said: dict[str, int] = {}

    def show(name: str, done: int, total: int) -> None:
        at = begun.setdefault(name, clock())
        part = LINES * done // max(total, 1)
        if part <= said.get(name, -1):
            return
        said[name] = part
        text = f"{name}: {done} of {total} {unit}, {100 * done // max(total, 1)} %"
        elapsed_s = clock() - at
        if done and elapsed_s > _SHORT_S:
            rate = done / elapsed_s
            text += f", {_short(rate)} {unit}/s, {_spell((total - done) / rate)} left"
        say(text)

    return show


def _bars(unit: str, console: Console) -> Bars:
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(unit),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )


def _on(bars: Bars) -> Progress:
    tasks: dict[str, TaskID] = {}

    def show(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total)
        bars.update(tasks[name], completed=done, total=total)

    return show


class _Rate(TextColumn):
    """How many of the unit a second."""

    def __init__(self, unit: str) -> None:
        super().__init__("")
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{_short(speed)} {self._unit}/s" if speed else "")


def _short(number: float) -> str:
    """``12.3 M``: three digits are enough for a rate."""
    for letter, size in _THOUSANDS:
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g}"


def _spell(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
