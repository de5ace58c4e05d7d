"""``python -m hil demo …``: the rig's commands by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hil.demo import __main__ as demo

USAGE = "usage: python -m hil demo [--duration S] [--json] [--seed N] [--keep FOLDER]"


def main(arguments: Sequence[str]) -> int:
    """Run the command that is named first."""
    if arguments[:1] == ["demo"]:
        return demo.main(arguments[1:])
    wants_help = arguments[:1] in (["-h"], ["--help"])
    print(USAGE, file=sys.stdout if wants_help else sys.stderr)
    return 0 if wants_help else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
