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
from appliance.host.files import write_whole
from hil.devices.named import device_named
from hil.rig.campaign import Loaded, load_campaign
from hil.rig.faults.every import FAULTS
from hil.rig.live import COLOURS, Progressing
from hil.rig.measures import MEASURES
from hil.rig.reports.html import page
from hil.rig.reports.junit import junit
from hil.rig.result import Result, read_signed, rig_key, write_signed
from hil.rig.run import run_campaign
from hil.rig.sabotage import SABOTAGES
from hil.rig.selftest import selftest, worked
from hil.rig.verdict import Outcome

CAMPAIGNS = Path(__file__).resolve().parents[1] / "campaigns"
EXIT = {Outcome.PASS: 0, Outcome.ABORTED: 130}
RESULT, XML, HTML = "result.json", "junit.xml", "report.html"


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
    _say(result, Console(highlight=False), options.out)
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


def write_reports(result: Result, out: Path, key: Path) -> None:
    """The signed JSON, JUnit XML and the page for people, in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_signed(result, rig_key(key), out / RESULT)
    write_whole(out / XML, junit(result))
    write_whole(out / HTML, page(result).encode())


def _report(options: argparse.Namespace, console: Console) -> int:
    result = read_signed(options.result)
    target = options.result.with_name(HTML)
    write_whole(target, page(result).encode())
    write_whole(options.result.with_name(XML), junit(result))
    console.print(f"{target}: {result.outcome}", markup=False)
    return 0


def _selftest(options: argparse.Namespace, console: Console) -> int:
    loaded = _chosen(loaded_from(options.campaign), options)
    with contextlib.ExitStack() as house:
        folder = Path(house.enter_context(tempfile.TemporaryDirectory(prefix="rig-")))
        live = house.enter_context(Progressing(console, len(loaded.campaign.trials)))
        rows = selftest(loaded, device_named("local", folder / "device", live.preparing), folder, live)
    table = Table("trial", "fault", "broken on purpose", "must be caught by", "verdict", "reading", title="Self-test")
    for row in rows:
        table.add_row(row.trial, row.faults, row.sabotage, row.caught_by, row.verdict, row.reading)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
    return 0 if worked(rows) else 1


def _say(result: Result, console: Console, out: Path) -> None:
    table = Table("trial", "outcome", "reading", "value", "limit", title=f"{result.campaign} on {result.device}")
    for trial in result.trials:
        word = "not run" if trial.not_run else trial.outcome.value
        told = f"[{COLOURS.get(word, 'cyan')}]{word}[/]"
        bad = [reading for reading in trial.readings if reading.outcome is not Outcome.PASS]
        if not bad:
            table.add_row(trial.name, told, trial.why[:80], f"{len(trial.readings)} within their limits", "")
        for reading in bad:
            value = "not taken" if reading.value is None else f"{reading.value:g} {reading.unit}"
            table.add_row(trial.name, told, reading.what, value, str(reading.limit))
    console.print(table)
    console.print(f"{result.outcome.value}  {out / HTML}", markup=False)


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
        key = Path.home() / ".config" / "edge-appliance-rig" / "rig.key"
        command.add_argument("--key", type=Path, default=key, help="the rig's signing key, made where there is none")
    report = commands.add_parser("report", help="make the page anew from a signed result")
    report.set_defaults(act=_report)
    report.add_argument("result", type=Path, help="result.json, with its signature beside it")
    return parser
