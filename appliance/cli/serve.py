"""The work of ``appliance run``, and what a unit file starts: ``python -m appliance.cli.serve MISSION``.

The same run by either way. A service manager has no options to give, and on a device's processor the parser of command
lines would take a twentieth of the start.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from appliance.cli import exit_code
from appliance.cli.output import note, print_json, print_line
from appliance.errors import UsageError
from appliance.host.memory import for_good

if TYPE_CHECKING:
    from appliance.daemon import Summary

UNAVAILABLE: Final = 4


def serve(mission: Path, *, until_end: bool = False, json: bool = False) -> int:
    """Run a mission to its end; return the exit code. What it is asked is said at ``appliance run``."""
    with for_good():
        from appliance.config import load_mission  # noqa: PLC0415 - a thousand modules, none of them garbage
        from appliance.daemon import Daemon  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    daemon = Daemon(load_mission(mission), until_end=until_end)

    def stop_once(*_: object) -> None:
        """The first signal asks for an orderly end; a second Ctrl-C does not wait for it (exit 130)."""
        daemon.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop_once)
    had_terminal = _has_terminal()

    def hung_up_or_asked(*_: object) -> None:
        """SIGHUP asks a service to read its recipients again; where a terminal was and is gone, it is the end."""
        if had_terminal and not _has_terminal():
            daemon.stop()
        else:
            daemon.look_again()

    signal.signal(signal.SIGHUP, hung_up_or_asked)
    summary = daemon.run()
    if json:
        print_json(summary)
    else:
        _say(summary)
    if summary.left_in_outbox:
        note(f"{summary.left_in_outbox} envelopes were not acknowledged; they wait in the outbox for the next start")
    if summary.failed:
        note(f"the run ended without {', '.join(summary.failed)}")
    return UNAVAILABLE if summary.failed or (until_end and summary.left_in_outbox) else 0


def _has_terminal() -> bool:
    """Whether this process has a terminal that could send it signals (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _say(summary: Summary) -> None:
    print_line(f"unit {summary.unit}, epoch {summary.epoch}: {summary.sealed} results sealed")
    for name, count in sorted(summary.counts.items()):
        print_line(f"  {name}: {count}")
    for feed in summary.status["feeds"]:
        print_line(f"  feed {feed['name']}: {_feed_line(feed)}")
    for sick in summary.status["sick"]:
        note(f"  {sick}")


def _feed_line(feed: dict[str, Any]) -> str:
    bad = sum(feed["bad"].values())
    return f"{feed['state']}, {feed['received']} received, {bad} bad, {feed['dropped_oldest']} dropped"


def _asked(arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise UsageError("expected one argument, the mission file; `appliance run` takes options")
    return serve(Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: _asked(sys.argv[1:])))
