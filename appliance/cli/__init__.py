"""The ``appliance`` command: nouns and verbs, ``--json``, and exit codes that scripts may rely on.

    0 done · 1 unexpected · 2 bad usage or config · 3 refused (trust) · 4 unavailable · 130 interrupted

What this is: the table of commands and the one place where errors become exit codes. What it is not: no command's
work is done here, and a command's module is imported only when it is called.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from appliance.cli.output import say_failure
from appliance.errors import ApplianceError

if TYPE_CHECKING:
    from cyclopts import App

INTERRUPTED = 130
UNEXPECTED = 1
BAD_USAGE = 2


def _app() -> App:
    from cyclopts import App  # noqa: PLC0415 - a service's start parses no command line

    app = App(
        name="appliance",
        help="Air-gapped edge analysis: watches, listens, reads, and tells named recipients what it found and why.",
        version=_version,
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for name, target in COMMANDS.items():
        app.command(target, name=name)
    return app


#: Every command and where its work stands.
COMMANDS = {
    "demo": "appliance.cli.demo:demo",
    "run": "appliance.cli.run:run",
    "check": "appliance.cli.check:check",
    "listen": "appliance.cli.listen:listen",
    "keys": "appliance.cli.keys:keys_app",
    "provision": "appliance.cli.provision:provision_app",
    "bundle": "appliance.cli.bundle:bundle_app",
    "engine": "appliance.cli.engine:engine_app",
    "replay": "appliance.cli.replay:replay",
    "explain": "appliance.cli.explain:explain",
    "camera": "appliance.cli.camera:camera_app",
    "audit": "appliance.cli.audit:audit_app",
    "doctor": "appliance.cli.doctor:doctor",
    "image": "appliance.cli.image:image_app",
}


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only `--version` pays for reading package metadata

    return version("edge-appliance")


def call(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    return exit_code(lambda: _parsed(arguments))


def _parsed(arguments: Sequence[str] | None) -> object:
    from cyclopts import CycloptsError  # noqa: PLC0415 - see `_app`

    try:
        return _app()(arguments)
    except CycloptsError as e:
        say_failure(str(e), reason="usage")
        return BAD_USAGE


def exit_code(work: Callable[[], object]) -> int:
    """Do the work; return what the process ends with, having said why."""
    try:
        outcome = work()
    except ApplianceError as e:
        say_failure(str(e), reason=getattr(e, "reason", type(e).__name__))
        return e.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # the reader has gone; nothing more can be said to it
        return 0
    return outcome if isinstance(outcome, int) else 0


def main() -> None:
    """The console script."""
    code = call()
    gc.freeze()  # the process ends: looking for cycles among all its modules would only keep the caller waiting
    sys.exit(code)
