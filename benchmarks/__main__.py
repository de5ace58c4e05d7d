"""Runs benchmarks by name; each prints a table and returns its figures."""

from __future__ import annotations

import importlib
import sys

NAMES = ("pipeline", "sealing", "fusion")


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"expected any of {', '.join(NAMES)}; found {', '.join(unknown)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        print(f"\n## {name}\n")
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
