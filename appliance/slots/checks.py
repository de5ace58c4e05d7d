"""What a verification tells a person while it runs: what was proved, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was proved, for a person to read: ``name`` is stable, ``says`` is a line."""

    name: str
    says: str


Say = Callable[[Check], None]
Progress = Callable[[str, int, int], None]
"""Called with the file's name, bytes done and bytes in all of the payload."""


def say_nothing(check: Check) -> None:
    """Reports nothing."""


def no_progress(name: str, done: int, total: int) -> None:
    """Shows nothing."""
