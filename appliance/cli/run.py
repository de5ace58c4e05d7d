"""``appliance run``: the daemon, in the foreground, until it is told to stop or the feeds have ended."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from appliance.cli.output import note, print_json, print_line
from appliance.config import load_mission
from appliance.daemon import Daemon, Summary

UNAVAILABLE: Final = 4


def run(
    mission: Path,
    /,
    *,
    until_end: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a mission: take the feeds, fuse, seal, publish.

    Parameters
    ----------
    mission
        The mission file.
    until_end
        Stop when every feed that can end has ended and everything is acknowledged.
    json
        End with one JSON object of counts on standard output.
    """
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
