"""A small model with its manifest and card, in an empty folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.__main__ import call
from tests.support.networks import MANIFEST, small_network


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the commands run."""
    (tmp_path / "model.onnx").write_bytes(small_network())
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
