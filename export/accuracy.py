"""What quantisation cost: the table that goes to the terminal, into a report and into the card.

``before`` is the float network itself, held against the truth where there is one; every other row is a network held
against the float one's boxes, and against the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import UsageError
from export.agreement import Boxes, agree, mean_average_precision

SCHEMA: Final = "edge-accuracy/1"
MAX_REPORT_BYTES: Final = 1024**2


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network. None where there is nothing to say: no truth, or no box."""

    name: str
    length_bytes: int
    sha384: str
    boxes: int
    recall: float | None = None
    precision: float | None = None
    mean_iou: float | None = None
    mean_score_difference: float | None = None
    worst_score_difference: float | None = None
    map_50: float | None = None
    map_50_95: float | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured, on what: pictures that calibrated and, others, that were judged; names of their sources."""

    schema: str
    calibrated_on: int
    judged_on: int
    sources: tuple[str, ...]
    method: str
    unseen: bool
    rows: tuple[Row, ...]


def row(
    name: str,
    digest: tuple[int, str],
    found: Sequence[Boxes],
    reference: Sequence[Boxes] | None,
    truth: Sequence[Boxes] | None,
) -> Row:
    """One network's row; ``reference`` is None for the float network itself. ``digest`` is (length, SHA-384)."""
    kept = agree(reference, found) if reference is not None else None
    return Row(
        name=name,
        length_bytes=digest[0],
        sha384=digest[1],
        boxes=sum(map(len, found)),
        recall=_number(kept.recall if kept else None),
        precision=_number(kept.precision if kept else None),
        mean_iou=_number(kept.mean_iou if kept else None),
        mean_score_difference=_number(kept.mean_score_difference if kept else None),
        worst_score_difference=_number(kept.worst_score_difference if kept else None),
        map_50=_number(mean_average_precision(truth, found, (0.5,)) if truth is not None else None),
        map_50_95=_number(mean_average_precision(truth, found) if truth is not None else None),
    )


def table(report: Report) -> str:
    """The rows as a Markdown table, which reads well on a terminal too."""
    lines = [
        "| network | bytes | boxes | recall | precision | mean IoU | score, mean | score, worst | mAP 50 | mAP 50–95 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in report.rows:
        values = (each.recall, each.precision, each.mean_iou, each.mean_score_difference, each.worst_score_difference)
        cells = [_cell(value) for value in (*values, each.map_50, each.map_50_95)]
        lines.append(f"| {each.name} | {each.length_bytes} | {each.boxes} | {' | '.join(cells)} |")
    return "\n".join(lines)


def explain(report: Report) -> str:
    """What the table was made from, in a sentence or two."""
    seen = (
        "others, which calibrated nothing" if report.unseen else "the same ones: there were too few to hold some back"
    )
    return (
        f"Calibrated ({report.method}) on {report.calibrated_on} pictures of {', '.join(report.sources)}; judged on"
        f" {report.judged_on} pictures, {seen}. Recall and precision are of the float network's boxes at IoU 0.5 with"
        " the manifest's thresholds; score differences are over matched boxes."
    )


def read_report(path: Path) -> Report:
    """A report that ``quantize`` wrote.

    Raises: UsageError.
    """
    try:
        raw = path.read_bytes()
        report = msgspec.json.decode(raw, type=Report)
    except (OSError, msgspec.DecodeError) as e:
        raise UsageError(f"{path}: expected a report of `export quantize`; found: {e}") from e
    if report.schema != SCHEMA or len(raw) > MAX_REPORT_BYTES:
        raise UsageError(f"{path}: expected schema {SCHEMA}; found {report.schema[:64]!r}")
    return report


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 6)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
