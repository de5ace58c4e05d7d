"""Runs benchmarks by name, each in a process of its own, so that none warms or burdens the next."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "start",
    "pipeline",
    "sealing",
    "bus",
    "radio",
    "fusion",
    "scale",
    "consistency",
    "solent",
    "bundles",
    "engines",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"expected any of {', '.join(NAMES)}; found {', '.join(unknown)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        print(f"\n## {name}\n", flush=True)
        code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
