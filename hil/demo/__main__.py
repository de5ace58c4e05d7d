"""``python -m hil.demo``: the whole chain from an empty folder, in under 90 seconds.

Ends with 0 where what was sealed, acknowledged and opened agrees, with 1 where not or where a part failed, with 130
when interrupted. No child process outlives it.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from appliance.bus.embedded import EmbeddedBroker
from appliance.errors import ApplianceError
from hil.demo import stage as staging
from hil.demo.play import play
from hil.demo.tell import print_json, print_tables, result
from hil.scene.film import FRAMES_PER_S
from hil.scene.harbour import harbour
from hil.scene.players import LineServer

INTERRUPTED = 130
SEED = 7
MIN_DURATION_S, MAX_DURATION_S = 5.0, 600.0
_SAY_EVERY_S = 5.0


class Phases:
    """Says what is going on: a bar for each phase on a terminal, plain lines elsewhere. Keeps how long each took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.took_s: dict[str, float] = {}
        columns = (TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console) if console.is_terminal else None

    def __enter__(self) -> Phases:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextlib.contextmanager
    def phase(self, name: str, total: float = 1.0) -> Iterator[PhaseTold]:
        began = time.monotonic()
        told = PhaseTold(self._console, self._bar, name, total)
        yield told
        told(total)
        self.took_s[name] = time.monotonic() - began
        if self._bar is None:
            self._console.print(f"{name}: done in {self.took_s[name]:.1f} s", markup=False)


class PhaseTold:
    """How far one phase is."""

    def __init__(self, console: Console, bar: Progress | None, name: str, total: float) -> None:
        self._console, self._bar, self._name, self._total = console, bar, name, total
        self._task = bar.add_task(name, total=total) if bar is not None else None
        self._said = time.monotonic()

    def __call__(self, done: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
        elif done < self._total and time.monotonic() - self._said >= _SAY_EVERY_S:
            self._said = time.monotonic()
            self._console.print(f"{self._name}: {done:.0f} of {self._total:.0f}", markup=False)


def demo(folder: Path, duration_s: float, seed: int, phases: Phases) -> dict[str, Any]:
    """Prepare, play, judge. Returns the result; raises ApplianceError where a part failed."""
    scene = harbour(seed)
    with phases.phase("identities"):
        identities = staging.make_identities(folder)
    with phases.phase("signed bundle"):
        made = staging.make_bundle(folder, lambda _: None)
    with phases.phase("installation"):
        staging.install(folder, made)
    frames = duration_s * FRAMES_PER_S
    with phases.phase("film of the harbour", frames) as told:
        film = staging.make_film(folder, scene, duration_s, lambda done, _: told(done))
    with EmbeddedBroker() as broker, contextlib.closing(LineServer()) as lines:
        ready = staging.make_mission(folder, film, identities, bus_url=broker.url, ais_port=lines.address[1])
        with phases.phase("scene, in real time", duration_s) as told:
            run = play(ready, broker, lines, scene, duration_s=duration_s, told=told)
    return result(run, duration_s, phases.took_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    options = _parser().parse_args(arguments)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupted)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with contextlib.ExitStack() as house:
            folder = _folder(options.keep, house)
            phases = house.enter_context(Phases(console))
            body = demo(folder, options.duration, options.seed, phases)
    except KeyboardInterrupt:
        console.print("interrupted", markup=False)
        return INTERRUPTED
    except ApplianceError as error:
        console.print(f"demo: {error}", markup=False)
        return error.exit_code
    if options.json:
        print_json(body)
    else:
        print_tables(body, Console(highlight=False, width=None if sys.stdout.isatty() else 160))
    return 0 if body["counts"]["agree"] and not body["faults"] else 1


def _interrupted(*_: object) -> None:
    """The first interrupt ends the demo; a second one must not end the tidying up."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt


def _folder(keep: Path | None, house: contextlib.ExitStack) -> Path:
    if keep is None:
        return Path(house.enter_context(tempfile.TemporaryDirectory(prefix="appliance-demo-")))
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise _NotEmpty(f"{keep}: expected an empty folder")
    return keep.resolve()


class _NotEmpty(ApplianceError):
    exit_code = 2


def _seconds(text: str) -> float:
    value = float(text)
    if not MIN_DURATION_S <= value <= MAX_DURATION_S:
        raise argparse.ArgumentTypeError(f"expected {MIN_DURATION_S:.0f} to {MAX_DURATION_S:.0f} seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hil.demo", description="The whole chain on this machine, from an empty folder."
    )
    parser.add_argument("--duration", type=_seconds, default=30.0, metavar="S", help="seconds of scene (default 30)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed is another harbour day")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="use this empty folder and leave everything in it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
