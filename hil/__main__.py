"""``python -m hil run|selftest|report|vm|demo …``: the rig's commands by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

USAGE = """\
usage: python -m hil run CAMPAIGN [--only TRIAL] [--scale N] [--out FOLDER]
       python -m hil selftest CAMPAIGN [--only TRIAL]
       python -m hil report RESULT.json
       python -m hil vm build|run|hour|frames [--arch amd64|arm64] [--cuts N] [--out FOLDER] [--keep FOLDER]
       python -m hil demo [--duration S] [--json] [--seed N] [--keep FOLDER]"""


def main(arguments: Sequence[str]) -> int:
    """Run the command that is named first."""
    if arguments[:1] == ["demo"]:
        from hil.demo import __main__ as demo  # noqa: PLC0415 - a command loads what it needs

        return demo.main(arguments[1:])
    if arguments[:1] and arguments[0] in {"run", "selftest", "report"}:
        from hil.rig import __main__ as rig  # noqa: PLC0415

        return rig.main(arguments)
    if arguments[:1] == ["vm"]:
        from hil.vm import __main__ as vm  # noqa: PLC0415

        return vm.main(arguments[1:])
    wants_help = arguments[:1] in (["-h"], ["--help"])
    print(USAGE, file=sys.stdout if wants_help else sys.stderr)
    return 0 if wants_help else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
