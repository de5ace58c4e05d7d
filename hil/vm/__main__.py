"""``python -m hil vm``: build the virtual device, run its campaign, or keep it running for an hour.

Ends with 0 on PASS, 1 on FAIL, 4 where the run broke off, 130 when interrupted. No machine outlives it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from appliance.errors import ApplianceError
from hil.rig.reports.written import show, write_reports
from hil.rig.result import RIG_KEY
from hil.rig.verdict import Outcome
from hil.vm.build import CACHE, build
from hil.vm.campaign import Plan, campaign
from hil.vm.readings import Report
from hil.vm.recipe import MACHINES, MIRROR

INTERRUPTED = 130
EXIT = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.ERROR: 4}
#: An hour's mission, undisturbed: what the packet filter counts in it.
HOUR = Plan(cuts=0, mission_s=3600.0)
#: Another architecture than this machine's has no compiled path in its image, and is many times slower.
FIRST_FRAMES = Plan(cuts=0, mission_s=30.0, film_s=60.0, patience=12.0)
SAYS = {
    "run": "A whole machine: built, booted, provisioned, at its mission, its power cut again and again.",
    "hour": "A whole machine at its mission for an hour, undisturbed: what its packet filter has counted.",
    "frames": "A whole machine, and the first frames of its mission.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")

    def say(what: str) -> None:
        console.print(f"{time.monotonic() - began:7.1f} s  {what}", markup=False)

    try:
        image = build(options.arch, cache=options.cache, mirror=options.mirror, say=say)
        if options.verb == "build":
            console.print(f"{image.disk}", markup=False)
            return 0
        report = Report()
        with ExitStack() as house:
            folder = options.keep or Path(house.enter_context(tempfile.TemporaryDirectory(prefix="hil-vm-")))
            folder.mkdir(parents=True, exist_ok=True)
            campaign(image, folder.resolve(), _plan(options), report, say)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ApplianceError as error:
        console.print(f"vm: {error}", markup=False)
        return error.exit_code
    took_s = time.monotonic() - began
    device, said = f"qemu-{options.arch}", SAYS[options.verb]
    result = report.result(verb=options.verb, says=said, device=device, began=started, took_s=took_s)
    write_reports(result, options.out, RIG_KEY)
    show(result, Console(highlight=False, width=None if sys.stdout.isatty() else 160), options.out)
    return EXIT[report.outcome]


def _plan(options: argparse.Namespace) -> Plan:
    plan = {"run": Plan(), "hour": HOUR, "frames": FIRST_FRAMES}[options.verb]
    return plan if options.cuts is None else replace(plan, cuts=options.cuts)


_VERBS = "build the image; run the campaign with its power cuts; an hour's mission; the first frames only"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hil vm", description="A whole machine to break, in QEMU.")
    parser.add_argument("verb", choices=("build", "run", "hour", "frames"), help=_VERBS)
    parser.add_argument("--arch", choices=tuple(MACHINES), default="amd64")
    parser.add_argument("--cuts", type=int, default=None, metavar="N", help="power cuts (default 10)")
    parser.add_argument("--out", type=Path, default=Path("rig-report"), metavar="FOLDER", help="where the reports go")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the machine's disk and logs in this folder")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="FOLDER")
    parser.add_argument("--mirror", default=MIRROR, metavar="URL", help="a Debian mirror")
    return parser


if __name__ == "__main__":
    sys.exit(main())
