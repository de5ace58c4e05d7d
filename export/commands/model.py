"""What is done to a network before it is bundled: ``onnx``, ``quantize``, ``parity``, ``card``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from appliance.bundles.manifest import Manifest
from appliance.errors import UsageError
from appliance.slots.disk import digest_file
from export import accuracy, agreement, fromtorch, parity, pictures, progress, quantise, trial
from export import card as cards
from export.commands.console import Json, line, note, print_json
from export.facts import facts_of
from export.pictures import Picture
from export.progress import Progress
from export.truth import read_truth

model_app = App()

ManifestFile = Annotated[Path, Parameter(name="--manifest", help="The model's manifest.")]
Sources = Annotated[
    tuple[Path, ...], Parameter(name="--pictures", help="A folder of pictures, a picture or a video; more than once.")
]
Limit = Annotated[int, Parameter(name="--limit", help="How many pictures at most, evenly spread.")]

FEWEST_TO_HOLD_BACK = 8
"""With fewer pictures all of them calibrate and judge, and the report says so."""


@model_app.command(name="onnx")
def onnx_(
    source: Annotated[str, Parameter(help="PYTHON_FILE:FACTORY, or a folder with network.py:deployed.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The ONNX file.")],
    manifest: Annotated[Path | None, Parameter(help="The manifest; that of the folder if not given.")] = None,
    weights: Annotated[Path | None, Parameter(help="Given to the factory.")] = None,
    opset: int = fromtorch.LEAST_OPSET,
    external_data: Annotated[
        bool, Parameter(negative="", help="Weights in a second file, for other runtimes: a device refuses it.")
    ] = False,
    json: Json = False,
) -> None:
    """Export a torch module to the ONNX that its manifest promises, and check it. Runs the module's own Python."""
    factory, beside = fromtorch.load_factory(source)
    page = manifest or beside
    if page is None:
        raise UsageError("--manifest: expected the manifest; there is none beside the module")
    with progress.shown("steps", quiet=json) as show:
        made = fromtorch.export(factory, trial.read_manifest(page), weights=weights, opset=opset, progress=show)
    fromtorch.save(made.model, out, external_data=external_data)
    facts = facts_of(out)
    if json:
        print_json({"onnx": str(out), "sha384": facts.sha384, "checks": {each.name: each.says for each in made.checks}})
        return
    for each in made.checks:
        line(f"checked {each.name}: {each.says}")
    line(f"wrote {out}, {facts.length_bytes} bytes, {facts.parameters} parameters, SHA-384 {facts.sha384}")


@model_app.command
def quantize(
    model: Path,
    /,
    *,
    manifest: ManifestFile,
    out: Annotated[Path, Parameter(help="The folder for the networks and the report.")],
    pictures: Sources,
    limit: Limit = 200,
    target: Annotated[tuple[quantise.Target, ...], Parameter(help="tensorrt, cpu; both if not given.")] = (),
    method: quantise.Method = "minmax",
    heads: Annotated[bool, Parameter(negative="", help="Quantise the last convolutions too.")] = False,
    exclude: Annotated[tuple[str, ...], Parameter(help="A node to leave in float.")] = (),
    truth: Annotated[Path | None, Parameter(help="COCO annotations of the pictures, for mAP.")] = None,
    card: Annotated[Path | None, Parameter(help="A card to put the table into.")] = None,
    json: Json = False,
) -> None:
    """Make INT8 networks for TensorRT and for the CPU, and say what that costs in accuracy."""
    page = trial.read_manifest(manifest)
    gathered = _pictures(pictures, limit, page)
    options = quantise.Options(method=method, heads=heads, exclude=exclude)
    with progress.shown("pictures", quiet=json) as show:
        report = _quantised(model, page, gathered, target or quantise.TARGETS, out, options, truth, pictures, show)
    path = out / "accuracy.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if card is not None:
        made = cards.make(cards.read_card(card), facts_of(model), page, trained_on=None, report=report)
        card.write_text(made, encoding="utf-8")
    if json:
        print_json(msgspec.to_builtins(report))
        return
    line(accuracy.table(report))
    line(accuracy.explain(report))
    line(f"wrote {', '.join(str(out / each.name) for each in report.rows[1:])} and {path}")


def _quantised(
    model: Path,
    page: Manifest,
    gathered: list[Picture],
    targets: tuple[quantise.Target, ...],
    out: Path,
    options: quantise.Options,
    truth: Path | None,
    sources: tuple[Path, ...],
    show: Progress,
) -> accuracy.Report:
    unseen = len(gathered) >= FEWEST_TO_HOLD_BACK
    calibrate, judge = (gathered[::2], gathered[1::2]) if unseen else (gathered, gathered)
    true = read_truth(truth, judge) if truth is not None else None
    before = trial.detect(model, page, judge, show)
    rows = [accuracy.row(model.name, digest_file(model.resolve()), before, None, true)]
    out.mkdir(parents=True, exist_ok=True)
    for target in targets:
        made = out / f"{model.stem}-int8-{target}.onnx"
        quantise.quantise(model, page, calibrate, target, made, options, show)
        after = trial.detect(made, page, judge, show)
        rows.append(accuracy.row(made.name, digest_file(made.resolve()), after, before, true))
    return accuracy.Report(
        schema=accuracy.SCHEMA,
        calibrated_on=len(calibrate),
        judged_on=len(judge),
        sources=tuple(source.name for source in sources),
        method=options.method,
        unseen=unseen,
        rows=tuple(rows),
    )


@model_app.command(name="parity")
def parity_(
    one: Path,
    other: Path,
    /,
    *,
    manifest: ManifestFile,
    pictures: Sources = (),
    limit: Limit = 20,
    absolute: Annotated[float, Parameter(help="Share of an output's largest magnitude.")] = 1e-4,
    relative: Annotated[float, Parameter(help="Share of the element.")] = 1e-3,
    outliers: Annotated[float, Parameter(help="Share of an output's elements that may differ.")] = 0.0,
    json: Json = False,
) -> None:
    """Compare two networks on the same pictures (two drawn ones if none are given); exit 3 where they differ."""
    page = trial.read_manifest(manifest)
    gathered = _pictures(pictures, limit, page)
    tolerance = parity.Tolerance(absolute=absolute, relative=relative, outliers=outliers)
    with progress.shown("pictures", quiet=json) as show:
        rows = parity.compare_files(one, other, page, gathered, tolerance, show)
        kept = agreement.agree(trial.detect(one, page, gathered, show), trial.detect(other, page, gathered, show))
    if json:
        print_json({"outputs": [asdict(row) for row in rows], "agreement": _agreement(kept)})
    else:
        for row in rows:
            verdict = "same" if row.passed else "DIFFERS"
            share = f"{100 * row.differing:.3g} % of elements beyond the tolerance"
            line(f"{verdict} {row.output}: {share}, worst {row.worst:.3g} at {list(row.at)} on {row.picture}")
        line(f"boxes: {kept.matched} of {kept.reference} matched, {kept.candidate} found by the other")
    parity.require_parity(rows)


def _pictures(sources: tuple[Path, ...], limit: int, page: Manifest) -> list[Picture]:
    return pictures.gather(sources, limit, page)


def _agreement(kept: agreement.Agreement) -> dict[str, Any]:
    return {"pictures": kept.pictures, "a": kept.reference, "b": kept.candidate, "matched": kept.matched}


@model_app.command(name="card")
def card_(
    *,
    model: Path,
    manifest: ManifestFile,
    out: Annotated[Path, Parameter(help="The card: made, or brought up to date.")],
    trained_on: Annotated[str | None, Parameter(help="What the network was trained on; needed for a new card.")] = None,
    report: Annotated[Path | None, Parameter(help="An accuracy.json of `quantize`.")] = None,
    json: Json = False,
) -> None:
    """Make a model card, or bring the parts of one up to date that can be read off network, manifest and reports."""
    page = trial.read_manifest(manifest)
    measured = accuracy.read_report(report) if report is not None else None
    made = cards.make(cards.read_card(out), facts_of(model), page, trained_on=trained_on, report=measured)
    out.write_text(made, encoding="utf-8")
    if json:
        print_json({"card": str(out), "licence": page.licence})
        return
    if not page.licence:
        note("the manifest names no licence; the card says so")
    line(f"wrote {out}")
