"""A result on disk (signed JSON, JUnit XML, the page) and as a table on a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from appliance.host.files import write_whole
from hil.rig.live import COLOURS
from hil.rig.reports.html import page
from hil.rig.reports.junit import junit
from hil.rig.result import Result, read_signed, rig_key, write_signed
from hil.rig.verdict import Outcome

RESULT, XML, HTML = "result.json", "junit.xml", "report.html"


def write_reports(result: Result, out: Path, key: Path) -> None:
    """Into a folder, signed with the rig's key, which is made where there is none."""
    out.mkdir(parents=True, exist_ok=True)
    write_signed(result, rig_key(key), out / RESULT)
    _write_pages(result, out)


def write_again(signed: Path) -> Result:
    """The pages anew, from the signed result alone. Raises Refused."""
    result = read_signed(signed)
    _write_pages(result, signed.parent)
    return result


def _write_pages(result: Result, out: Path) -> None:
    write_whole(out / XML, junit(result))
    write_whole(out / HTML, page(result).encode())


def show(result: Result, console: Console, out: Path) -> None:
    """What failed, by trial; how much held where nothing did."""
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
