"""The benchmark command reads MOTChallenge folders and says what it cannot do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.mot", *arguments]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, timeout=120)


def test_a_folder_of_sequences_is_followed_and_written(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "walk" / "det"
    folder.mkdir(parents=True)
    rows = [f"{n},-1,{100 + 3 * n},200,40,100,0.95,-1,-1,-1" for n in range(1, 31) if n != 12]
    (folder / "det.txt").write_text("\n".join(rows) + "\n")
    done = run(repository, str(tmp_path / "data"), "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert "1 sequences, 30 frames" in done.stdout
    assert "nothing to score against" in done.stdout
    written = [line.split(",") for line in (tmp_path / "results" / "walk.txt").read_text().splitlines()]
    assert {row[1] for row in written} == {"1"}
    assert [int(row[0]) for row in written] == [n for n in range(1, 31) if n != 12]


def test_an_empty_folder_is_bad_usage(repository: Path, tmp_path: Path) -> None:
    done = run(repository, str(tmp_path))
    assert done.returncode == 2
    assert "det/det.txt" in done.stderr
