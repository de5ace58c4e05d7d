"""Finds the line of a key in a TOML text, for messages only; ``tomllib`` keeps no positions.

Understands tables, arrays of tables and plain keys, which is what missions are written with. A key inside an inline
table is found at the line of that table. Never raises; an unknown place is ``None``.
"""

from __future__ import annotations

import re
from typing import Final

_HEADER: Final = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\"'-]{1,200})\s*\]\]?")
_KEY: Final = re.compile(r"^\s*([A-Za-z0-9_\"'-]{1,100})\s*[.=]")


def key_lines(text: str) -> dict[str, int]:
    """Key paths such as ``feeds[1].uri`` with the 1-based line on which each stands."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = header[2].replace('"', "").replace("'", "")
            if header[1] == "[[":
                counts[name] = counts.get(name, -1) + 1
            table = _indexed(name, counts)
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            name = key[1].strip("\"'")
            lines.setdefault(f"{table}.{name}" if table else name, number)
    return lines


def line_of(lines: dict[str, int], key: str) -> int | None:
    """The line of ``key``, or of the nearest table around it."""
    while key:
        if key in lines:
            return lines[key]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return None


def _indexed(name: str, counts: dict[str, int]) -> str:
    first, _, rest = name.partition(".")
    head = f"{first}[{counts[first]}]" if first in counts else first
    return f"{head}.{rest}" if rest else head
