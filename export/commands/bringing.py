"""``import …``: networks of other people's making, with a manifest made for them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.prompt import Prompt

from export import progress
from export.commands.console import Json, line, print_json
from export.importers.anything import Question, import_any
from export.importers.common import Imported
from export.importers.detr import import_detr
from export.importers.yolox import import_yolox

import_app = App(name="import", help="Make a manifest for a network that others made, and try both out.")

Out = Annotated[Path, Parameter(name="--out", help="The folder for model.onnx and model.json.")]
Category = Annotated[tuple[str, ...], Parameter(name="--category", help="LABEL=CATEGORY, where the table has none.")]
Name = Annotated[str | None, Parameter(name="--name", help="The model's name; that of the file if not given.")]
Licence = Annotated[str, Parameter(name="--licence", help="The network's licence; none is guessed.")]
Tried = Annotated[tuple[Path, ...], Parameter(name="--pictures", help="Try it on these; on drawn ones if none.")]


@import_app.command
def yolox(
    model: Path,
    /,
    *,
    out: Out,
    labels: Annotated[Path | None, Parameter(help="One label a line; COCO's if not given.")] = None,
    category: Category = (),
    name: Name = None,
    licence: Licence = "",
    score: float = 0.25,
    legacy: Annotated[bool, Parameter(negative="", help="Preparation of releases before 0.1.1.")] = False,
    pictures: Tried = (),
    json: Json = False,
) -> None:
    """A YOLOX ONNX file: strides, decoding and scores are inferred."""
    made = import_yolox(
        model,
        out,
        labels=labels,
        category=category,
        name=name,
        licence=licence,
        score=score,
        legacy=legacy,
        pictures=pictures,
    )
    _say(made, json)


@import_app.command
def detr(
    folder: Path,
    /,
    *,
    out: Out,
    category: Category = (),
    name: Name = None,
    licence: Licence = "",
    score: float = 0.4,
    pictures: Tried = (),
    json: Json = False,
) -> None:
    """A D-FINE or RT-DETR folder of Hugging Face transformers, offline; needs the `export` extra."""
    with progress.shown("steps", quiet=json) as show:
        made = import_detr(
            folder, out, category=category, name=name, licence=licence, score=score, pictures=pictures, progress=show
        )
    _say(made, json)


@import_app.command(name="any")
def any_(
    model: Path,
    /,
    *,
    out: Out,
    answers: Annotated[
        Path | None, Parameter(help="A TOML file with the manifest's keys that nobody can read.")
    ] = None,
    category: Category = (),
    pictures: Tried = (),
    json: Json = False,
) -> None:
    """Any ONNX file: questions on a terminal, or answers from a TOML file; interrupted, it goes on where it was."""
    ask = _ask if sys.stdin.isatty() and not json else None
    _say(import_any(model, out, answers=answers, ask=ask, category=category, pictures=pictures), json)


def _ask(question: Question) -> str:
    default = question.default if question.default is not None else ("-" if question.optional else None)
    choices = list(question.choices) or None
    console = Console(stderr=True)
    if default is None:
        return Prompt.ask(f"{question.key}: {question.text}", console=console, choices=choices)
    return Prompt.ask(f"{question.key}: {question.text}", console=console, choices=choices, default=default)


def _say(made: Imported, json: bool) -> None:
    manifest = made.manifest
    quiet = [label for label in manifest.labels if manifest.category_of(label) is None]
    if json:
        tried = {name: [[box.label, round(box.score, 4), *box.box_px] for box in boxes] for name, boxes in made.tried}
        print_json({"folder": str(made.folder), "name": manifest.name, "not_reported": quiet, "tried": tried})
        return
    line(f"manifest {manifest.name}: {type(manifest.decoder).__name__}, {len(manifest.labels)} labels")
    if quiet:
        line(f"looked at and not reported: {', '.join(quiet[:12])}{' …' if len(quiet) > 12 else ''}")
    for name, boxes in made.tried:
        seen = ", ".join(f"{box.label} {box.score:.2f}" for box in boxes[:8]) or "nothing"
        line(f"tried on {name}: {seen}")
    line(
        f"wrote {made.folder / 'model.onnx'} and {made.folder / 'model.json'}: look at the manifest before you sign it"
    )
