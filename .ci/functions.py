"""Counts function lengths: at least 95 in 100 functions stay under 40 lines, and none passes 80.

Usage: python .ci/functions.py FOLDER...
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

LIMIT_LINES = 40
HARD_LIMIT_LINES = 80
SHARE = 0.95


def lengths(folder: Path) -> list[tuple[int, str]]:
    """Lines of each function, decorators left out, with its place."""
    found: list[tuple[int, str]] = []
    for path in sorted(folder.rglob("*.py")):
        found.extend(
            ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.lineno} {node.name}")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
    return found


def main(folders: list[str]) -> int:
    """Print the share of short functions and every long one; 1 where the limit is broken."""
    found = [item for folder in folders for item in lengths(Path(folder))]
    long = sorted((item for item in found if item[0] >= LIMIT_LINES), reverse=True)
    share = 1 - len(long) / max(len(found), 1)
    print(f"{len(found)} functions, {100 * share:.1f} % under {LIMIT_LINES} lines")
    for lines, place in long:
        print(f"  {lines:3} {place}")
    return int(share < SHARE or any(lines > HARD_LIMIT_LINES for lines, _ in long))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
