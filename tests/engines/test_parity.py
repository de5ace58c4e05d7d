"""The gate: the same network passes, and every way in which an engine can be wrong does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.engines.bench import time_runner
from appliance.engines.parity import Parity, compare, drawn_pictures, probe_batches
from appliance.errors import EngineUnavailable
from appliance.inference.runner import Runner, open_runner
from tests.engines.conftest import bright_network, open_sized_page

Answer = dict[str, np.ndarray[Any, Any]]


class Changed:
    """An engine that changes what ONNX Runtime answered."""

    def __init__(self, runner: Runner, change: Callable[[Answer], Mapping[str, Any]]) -> None:
        self._runner = runner
        self._change = change
        self.provider = "tensorrt 11 (a fake)"

    def run(self, batch: np.ndarray[Any, Any]) -> Mapping[str, Any]:
        return self._change({name: value.copy() for name, value in self._runner.run(batch).items()})


def half(answer: Answer) -> Answer:
    """What half precision does to outputs."""
    return {n: v.astype(np.float16).astype(v.dtype) if v.dtype.kind == "f" else v for n, v in answer.items()}


def reordered(answer: Answer) -> Answer:
    """Two right implementations may order their rows differently."""
    return {name: value[:, ::-1].copy() for name, value in answer.items()}


def away(_: Answer) -> Answer:
    raise EngineUnavailable("the engine did not answer")


RIGHT: dict[str, Callable[[Answer], Mapping[str, Any]]] = {
    "the same": lambda answer: answer,
    "half precision": half,
    "another order": reordered,
}
WRONG: dict[str, tuple[Callable[[Answer], Mapping[str, Any]], str]] = {
    "zeros": (lambda a: {n: np.zeros_like(v) for n, v in a.items()}, "expected values within"),
    "half the scores": (lambda a: {**a, "scores": a["scores"] / 2}, "output 'scores': expected values within"),
    "boxes moved by ten pixels": (lambda a: {**a, "boxes": a["boxes"] + 10}, "the other does not"),
    "boxes of swapped sides": (lambda a: {**a, "boxes": a["boxes"][..., [1, 0, 3, 2]]}, "the other does not"),
    "other labels": (lambda a: {**a, "labels": (a["labels"] + 1) % 5}, "the other does not"),
    "scores of other rows": (lambda a: {**a, "scores": np.roll(a["scores"], 7, axis=1)}, "the other does not"),
    "no numbers": (lambda a: {**a, "boxes": a["boxes"] * np.nan}, "no numbers"),
    "an output too few": (lambda a: {"boxes": a["boxes"], "scores": a["scores"]}, "expected an output 'labels'"),
    "another shape": (lambda a: {**a, "boxes": a["boxes"][:, :10]}, "output 'boxes'|expected"),
    "a picture too few": (lambda a: {n: v[:0] for n, v in a.items()}, "with batch"),
    "no answer": (away, "did not answer"),
}


@pytest.fixture(scope="module")
def harbour(request: pytest.FixtureRequest) -> tuple[Manifest, Runner]:
    folder = Path(__file__).resolve().parents[2] / "models" / "harbour"
    manifest = parse_manifest((folder / "model.json").read_bytes())
    return manifest, open_runner(folder / "harbour.onnx", manifest)


def judged(harbour: tuple[Manifest, Runner], change: Callable[[Answer], Mapping[str, Any]]) -> Parity:
    manifest, runner = harbour
    return compare(manifest, runner, Changed(runner, change), itertools.islice(probe_batches(manifest), 3))


@pytest.mark.parametrize("way", RIGHT)
def test_a_right_engine_passes(harbour: tuple[Manifest, Runner], way: str) -> None:
    report = judged(harbour, RIGHT[way])
    assert report.passed, report.faults
    assert report.pictures == 3
    assert report.matched >= 3 * 2 * 15


@pytest.mark.parametrize("way", WRONG)
def test_a_wrong_engine_does_not_pass_and_the_report_says_why(harbour: tuple[Manifest, Runner], way: str) -> None:
    change, says = WRONG[way]
    report = judged(harbour, change)
    assert not report.passed
    assert any(says.split("|")[0] in fault or says in fault for fault in report.faults), report.faults
    assert len(report.faults) <= 8


def test_dense_heads_are_compared_too(repository: Path, shared_data: Path) -> None:
    manifest = parse_manifest((repository / "models" / "manifests" / "yolox_nano.json").read_bytes())
    runner = open_runner(shared_data / "models" / "yolox_nano.onnx", manifest)
    batches = list(itertools.islice(probe_batches(manifest), 2))
    assert compare(manifest, runner, Changed(runner, half), batches).passed
    assert not compare(manifest, runner, Changed(runner, lambda a: {"output": a["output"][:, ::-1]}), batches).passed


def test_an_engine_of_another_network_does_not_pass(bright: bytes, manifest: Manifest) -> None:
    right, wrong = open_runner(bright, manifest), open_runner(bright_network(gain=0.9), manifest)
    assert compare(manifest, right, right, probe_batches(manifest)).passed
    assert not compare(manifest, right, wrong, probe_batches(manifest)).passed


def test_a_gate_that_compared_nothing_is_not_passed(bright: bytes, manifest: Manifest) -> None:
    runner = open_runner(bright, manifest)
    assert not compare(manifest, runner, runner, []).passed


def test_a_reference_that_does_not_answer_is_unavailable_and_no_verdict(bright: bytes, manifest: Manifest) -> None:
    runner = open_runner(bright, manifest)
    with pytest.raises(EngineUnavailable):
        compare(manifest, Changed(runner, away), runner, probe_batches(manifest))


def test_what_is_probed_is_the_same_every_time_and_holds_every_batch_size(manifest: Manifest) -> None:
    first, second = list(probe_batches(manifest)), list(probe_batches(manifest))
    assert [len(batch) for batch in first] == [1, 1, 1, 1, 4]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({batch.tobytes() for batch in first[:4]}) == 4


def test_open_sizes_are_probed_at_the_pictures_own_size() -> None:
    batches = list(probe_batches(open_sized_page(), drawn_pictures(2, 60, 90)))
    assert [batch.shape for batch in batches] == [(1, 64, 96, 3), (1, 64, 96, 3), (4, 64, 96, 3)]


def test_timing_tells_single_pictures_and_full_batches(bright: bytes, manifest: Manifest) -> None:
    rows = list(time_runner(open_runner(bright, manifest), manifest, 0.01))
    assert [row.batch for row in rows] == [1, 4]
    assert all(row.runs >= 10 and 0 < row.median_ms <= row.p99_ms and row.pictures_per_s > 0 for row in rows)
