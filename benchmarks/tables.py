"""Plain tables, and where the shared data are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def shared_data() -> Path:
    """The folder of third-party data beside the checkout; ends the program with a reason where it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        sys.exit(f"this benchmark needs third-party data: expected a folder at {folder}")
    return folder


class Table:
    """A Markdown table that is also readable as it stands."""

    def __init__(self, head: Sequence[str]) -> None:
        self._rows = [tuple(head)]

    def row(self, *cells: str) -> None:
        """Add a row."""
        self._rows.append(cells)

    def __str__(self) -> str:
        widths = [max(len(row[i]) for row in self._rows) for i in range(len(self._rows[0]))]
        lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in self._rows]
        return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
