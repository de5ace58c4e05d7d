"""``python -m hil run|selftest|report``: see ``docs/rig.md``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from appliance.errors import ApplianceError
from hil.devices.named import device_named
from hil.rig.campaign import Loaded, load_campaign
from hil.rig.faults.every import FAULTS
from hil.rig.live import Progressing
from hil.rig.measures import MEASURES
from hil.rig.reports.written import HTML, show, write_again, write_reports
from hil.rig.result import RIG_KEY
from hil.rig.run import run_campaign
from hil.rig.sabotage import SABOTAGES
from hil.rig.selftest import selftest, worked
from hil.rig.verdict import Outcome

CAMPAIGNS = Path(__file__).resolve().parents[1] / "campaigns"
EXIT = {Outcome.PASS: 0, Outcome.ABORTED: 130}


def main(arguments: Sequence[str]) -> int:
    """Run the command that is named first; return the exit code: 0 PASS, 1 not, 2 bad usage, 130 stopped."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.act(options, console))
    except ApplianceError as error:
        console.print(f"rig: {error}", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT[Outcome.ABORTED]


def loaded_from(name: str) -> Loaded:
    """A campaign by its path, or by the name of one that is shipped."""
    path = Path(name)
    if not path.suffix and not path.exists():
        path = CAMPAIGNS / f"{name}.toml"
    return load_campaign(path, faults=FAULTS, measures=MEASURES, sabotages=SABOTAGES)


def _run(options: argparse.Namespace, console: Console) -> int:
    loaded = _chosen(loaded_from(options.campaign), options)
    with contextlib.ExitStack() as house:
        folder = Path(house.enter_context(tempfile.TemporaryDirectory(prefix="rig-")))
        live = house.enter_context(Progressing(console, len(loaded.campaign.trials)))
        device = device_named(options.on, folder / "device", live.preparing)
        result = run_campaign(loaded, device, folder, live)
    write_reports(result, options.out, options.key)
    show(result, Console(highlight=False), options.out)
    return EXIT.get(result.outcome, 1)


def _chosen(loaded: Loaded, options: argparse.Namespace) -> Loaded:
    """Only some of the trials, or all of them longer or shorter in those parts that no fault has a time in."""
    trials = tuple(
        msgspec.structs.replace(
            trial, duration_s=trial.duration_s if trial.steps else trial.duration_s * options.scale,
            warm_up_s=trial.warm_up_s if trial.steps else trial.warm_up_s * min(options.scale, 1.0),
        )
        for trial in loaded.campaign.trials if not options.only or trial.name in options.only
    )  # fmt: skip
    if not trials:
        raise _BadUsage(f"--only: expected one of {', '.join(t.name for t in loaded.campaign.trials)}")
    return dataclasses.replace(loaded, campaign=msgspec.structs.replace(loaded.campaign, trials=trials))


def _report(options: argparse.Namespace, console: Console) -> int:
    result = write_again(options.result)
    console.print(f"{options.result.with_name(HTML)}: {result.outcome}", markup=False)
    return 0


def _selftest(options: argparse.Namespace, console: Console) -> int:
    loaded = _chosen(loaded_from(options.campaign), options)
    with contextlib.ExitStack() as house:
        folder = Path(house.enter_context(tempfile.TemporaryDirectory(prefix="rig-")))
        live = house.enter_context(Progressing(console, sum(len(trial.catches) for trial in loaded.campaign.trials)))
        rows = selftest(loaded, device_named("local", folder / "device", live.preparing), folder, live)
    table = Table("trial", "fault", "broken on purpose", "must be caught by", "verdict", "reading", title="Self-test")
    for row in rows:
        table.add_row(row.trial, row.faults, row.sabotage, row.caught_by, row.verdict, row.reading)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
    return 0 if worked(rows) else 1


class _BadUsage(ApplianceError):
    exit_code = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hil", description="Plays, breaks, measures, and says PASS or not.")
    commands = parser.add_subparsers(required=True)
    for name, act, says in (
        ("run", _run, "run a campaign"),
        ("selftest", _selftest, "each trial against a build that was broken on purpose"),
    ):
        command = commands.add_parser(name, help=says)
        command.set_defaults(act=act)
        command.add_argument("campaign", help="a campaign file, or the name of one that is shipped")
        if act is _run:
            on = "local, qemu-amd64, qemu-arm64, or the path of a board file"
            command.add_argument("--on", default="local", metavar="DEVICE", help=on)
        command.add_argument("--only", action="append", default=[], metavar="TRIAL", help="only this trial; repeatable")
        command.add_argument("--scale", type=float, default=1.0, help="trials without faults so many times as long")
        command.add_argument("--out", type=Path, default=Path("rig-report"), help="where the reports go")
        command.add_argument(
            "--key", type=Path, default=RIG_KEY, help="the rig's signing key, made where there is none"
        )
    report = commands.add_parser("report", help="make the page anew from a signed result")
    report.set_defaults(act=_report)
    report.add_argument("result", type=Path, help="result.json, with its signature beside it")
    return parser
