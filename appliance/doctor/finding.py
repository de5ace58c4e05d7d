"""What the doctor says: one question, its answer, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["good", "unknown", "warning", "bad"]
#: From best to worst.
ORDER: Final[tuple[Verdict, ...]] = ("good", "unknown", "warning", "bad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``check`` is stable, for scripts. ``says`` is what was found; ``remedy`` what to do, empty where all is well."""

    check: str
    verdict: Verdict
    says: str
    remedy: str = ""


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict of all; good where there is none."""
    return max((finding.verdict for finding in findings), key=ORDER.index, default="good")


def listed(items: Iterable[str], most: int = 6) -> str:
    """A few of many, for one line."""
    names = list(items)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
