"""Progress while a campaign runs: a bar on a terminal, plain lines elsewhere, never more than seconds of silence."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hil.rig.campaign import Trial
from hil.rig.result import TrialResult

SAY_EVERY_S = 5.0
COLOURS = {"PASS": "green", "FAIL": "red", "TIMEOUT": "red", "ERROR": "yellow", "ABORTED": "yellow"}


class Progressing:
    """See ``run.Live``. Use as a context."""

    def __init__(self, console: Console, of: int) -> None:
        self._console, self._of, self._number = console, of, 0
        columns = (TextColumn("{task.description:<44}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console) if console.is_terminal else None
        self._task = self._bar.add_task("", total=1.0) if self._bar is not None else None
        self._name, self._total_s, self._said_s = "", 1.0, 0.0

    def __enter__(self) -> Progressing:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def preparing(self, what: str) -> None:
        self._show(f"preparing: {what}", 0.0)
        self._line(f"preparing: {what}")

    def began(self, trial: Trial) -> None:
        self._number += 1
        self._name, self._total_s, self._said_s = trial.name, trial.duration_s, time.monotonic()
        self._line(f"{self._number} of {self._of}  {trial.name}: {trial.says}")

    def played(self, seconds: float, doing: str) -> None:
        self._show(f"{self._name}: {doing}", seconds / self._total_s)
        if time.monotonic() - self._said_s >= SAY_EVERY_S:
            self._said_s = time.monotonic()
            self._line(f"    {seconds:.0f} of {self._total_s:.0f} s, {doing}")

    def ended(self, result: TrialResult) -> None:
        word = "not run" if result.not_run else result.outcome.value
        colour = COLOURS.get(word, "cyan")
        why = f" ({result.why})" if result.why else ""
        self._console.print(f"[{colour}]{word:>8}[/]  {result.name}", end="")
        self._console.print(why, markup=False)

    def _show(self, text: str, part: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text[:44], completed=min(part, 1.0))

    def _line(self, text: str) -> None:
        if self._bar is None:
            self._console.print(text, markup=False)
