"""A model of a few bytes with its manifest and card: nothing here loads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.__main__ import call

MANIFEST = {
    "schema": "edge.manifest/1",
    "name": "small",
    "task": "detection",
    "input": {"name": "images", "size": {"kind": "fixed", "width_px": 32, "height_px": 32}},
    "decoder": {"kind": "yolox", "output": "output"},
    "labels": ["person"],
    "categories": {"labels": {"person": "person"}},
    "thresholds": {"score": 0.3},
}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the commands run."""
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08 a network of a few bytes")
    (tmp_path / "model.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "card.md").write_text("# Small\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs one command line; returns exit code, standard output, standard error."""

    def run_(line: str, *more: Any) -> tuple[int, str, str]:
        code = call([*line.split(), *(str(word) for word in more)])
        out, err = capsys.readouterr()
        return code, out, err

    return run_
