"""The end of the demo: one body with everything, and the same as tables for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from appliance.domain import Geodetic
from appliance.geodesy import format_mgrs
from hil.demo.play import Run
from hil.demo.score import Judge, latency_ms, percentile
from hil.demo.stage import UNIT
from hil.scene.mission import CAMERA, PRODUCT, REPORTS
from hil.scene.words import Spoken, spoken

SCHEMA = "edge/demo/1"
SETTLED_S = 8.0
"""Accuracy is scored from here on: tracks need a few turns of the radar to be believed."""
_MS_DIGITS = 1


def result(run: Run, duration_s: float, phases_s: Mapping[str, float]) -> dict[str, Any]:
    """Everything that the demo found out, JSON-ready."""
    judge = Judge(run.scene, run.opened)
    waited = latency_ms(run.opened, CAMERA)
    frames = int(run.summary["counts"].get("DetectedFrame", 0))
    return {
        "schema": SCHEMA,
        "scene": run.scene.name,
        "seed": run.scene.seed,
        "unit": UNIT,
        "model": PRODUCT,
        "duration_s": duration_s,
        "entities": _entities(run, judge, duration_s),
        "reports": [_report(one, run, judge) for one in spoken(run.scene, duration_s)],
        "frames": {"processed": frames, "per_s": round(frames / duration_s, 2)},
        "latency_ms": {
            "from": "capture of a frame",
            "to": "opened by the listener",
            "count": len(waited),
            "p50": _rounded(percentile(waited, 0.5)),
            "p99": _rounded(percentile(waited, 0.99)),
        },
        "counts": counts(run),
        "sent": msgspec.to_builtins(run.sent, str_keys=True),
        "accuracy": _accuracy(judge, duration_s),
        "phases_s": {name: round(seconds, 2) for name, seconds in phases_s.items()},
        "faults": list(run.faults),
    }


def counts(run: Run) -> dict[str, Any]:
    """Sealed by the daemon, acknowledged by the broker, opened by the listener. They agree or the demo has failed.

    The broker also acknowledges the grant and the close of the epoch, which are no results.
    """
    sealed, opened = int(run.summary["sealed"]), len(run.opened)
    acknowledged, left = int(run.summary["acknowledged"]), int(run.summary["left_in_outbox"])
    control = acknowledged - sealed
    return {
        "sealed": sealed,
        "acknowledged": acknowledged - control,
        "control_acknowledged": control,
        "opened": opened,
        "left_in_outbox": left,
        "agree": sealed == opened and control == CONTROL_ENVELOPES and left == 0,
    }


CONTROL_ENVELOPES = 2
"""One grant and one close in an epoch."""


def _accuracy(judge: Judge, duration_s: float) -> dict[str, Any]:
    body = msgspec.to_builtins(judge.accuracy(min(SETTLED_S, duration_s / 2.0), duration_s - 1.0))
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in body.items()}


def _entities(run: Run, judge: Judge, duration_s: float) -> list[dict[str, Any]]:
    end_s = duration_s - 0.5
    stands_for = {entity_id: (name, away_m) for entity_id, name, away_m in judge.pairing(end_s).pairs}
    told = []
    for body in judge.standing(run.scene.time_ns(end_s)):
        name, away_m = stands_for.get(str(body["entity_id"]), (None, None))
        position = body["position"]
        at = Geodetic(latitude_deg=position["lat"], longitude_deg=position["lon"])
        told.append(
            {
                "entity_id": body["entity_id"],
                "status": body["status"],
                "category": body["category"],
                "existence": body["existence"],
                "count": body["count"],
                "lat": position["lat"],
                "lon": position["lon"],
                "mgrs": format_mgrs(at, 4),
                "identities": {k: v for k, v in body["identities"].items() if k != "tracklet"},
                "sources": sorted({e["source_id"] for e in body["evidence"]}),
                "truth": name,
                "true_category": run.scene.thing(name).category if name is not None else None,
                "error_m": round(away_m, 1) if away_m is not None else None,
            }
        )
    return sorted(told, key=lambda row: (row["truth"] is None, row["category"], row["entity_id"]))


def _report(one: Spoken, run: Run, judge: Judge) -> dict[str, Any]:
    """A report and what it was joined to: things of the scene where the entity stands for one."""
    joined: dict[str, str] = {}
    for message in run.opened:
        if not message.schema.startswith("edge/entity/"):
            continue
        for evidence in message.body["evidence"]:
            if evidence["source_id"] == REPORTS and str(evidence["observation_id"]).startswith(one.report_id):
                joined[str(message.body["entity_id"])] = str(message.body["status"])
    names: dict[str, str] = {}
    for second in range(int(one.time_s), int(one.time_s) + 60):
        for entity_id, name, _ in judge.pairing(float(second)).pairs:
            if entity_id in joined:
                names.setdefault(entity_id, name)
    return {
        "report_id": one.report_id,
        "author": one.author,
        "grade": one.grade,
        "language": one.language,
        "text": one.text,
        "about": list(one.about),
        "joined": sorted(names.values()),
        "standing_alone": sorted(entity_id for entity_id in joined if entity_id not in names),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _MS_DIGITS)


def print_json(body: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    print(json.dumps(body, ensure_ascii=False))  # noqa: T201 - the result of the command


def print_tables(body: Mapping[str, Any], console: Console) -> None:
    """The same for people."""
    console.print(_entity_table(body))
    console.print(_report_table(body))
    console.print(_figure_table(body))


def _entity_table(body: Mapping[str, Any]) -> Table:
    table = Table(title=f"Picture of {body['unit']} after {body['duration_s']:.0f} s in {body['scene']}", expand=False)
    for heading in ("entity", "status", "category", "position", "MGRS", "rests on", "known as", "in truth", "off by"):
        table.add_column(heading, justify="right" if heading == "off by" else "left")
    for row in body["entities"]:
        table.add_row(
            str(row["entity_id"])[-6:],
            row["status"],
            row["category"] + (f" ×{row['count']}" if row["count"] > 1 else ""),
            f"{row['lat']:.5f} {row['lon']:.5f}",
            row["mgrs"],
            ", ".join(row["sources"]),
            ", ".join(str(value) for value in row["identities"].values()),
            row["truth"] or "—",
            f"{row['error_m']:.0f} m" if row["error_m"] is not None else "—",
        )
    return table


def _report_table(body: Mapping[str, Any]) -> Table:
    table = Table(title="Reports", expand=False)
    for heading in ("from", "grade", "language", "says", "joined to"):
        table.add_column(heading)
    for row in body["reports"]:
        joined = ", ".join(row["joined"])
        if row["standing_alone"]:
            joined = ", ".join(part for part in (joined, "an entity of its own") if part)
        table.add_row(row["author"], row["grade"], row["language"], row["text"], joined or "nothing")
    return table


def _figure_table(body: Mapping[str, Any]) -> Table:
    table = Table(title="Figures", show_header=False, expand=False)
    counted, accuracy, latency = body["counts"], body["accuracy"], body["latency_ms"]
    agree = "agree" if counted["agree"] else "DO NOT AGREE"
    table.add_row("frames", f"{body['frames']['processed']}, {body['frames']['per_s']:.1f} a second")
    table.add_row("capture to opened", f"p50 {latency['p50']} ms, p99 {latency['p99']} ms over {latency['count']}")
    table.add_row(
        "results",
        f"{counted['sealed']} sealed, {counted['acknowledged']} acknowledged, {counted['opened']} opened: {agree}",
    )
    table.add_row("position error", f"{accuracy['rmse_m']} m RMS, GOSPA {accuracy['gospa_m']} m (cut-off 60 m)")
    table.add_row(
        "found",
        f"{accuracy['recall']:.0%} of {accuracy['truths']} things, {accuracy['false_per_moment']} false at a time",
    )
    table.add_row(
        "category", f"{accuracy['category_exact']:.0%} exactly, {accuracy['category_right']:.0%} exactly or its parent"
    )
    table.add_row("identity", f"{accuracy['changes_of_identity']} changes")
    table.add_row("time", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in body["phases_s"].items()))
    return table
