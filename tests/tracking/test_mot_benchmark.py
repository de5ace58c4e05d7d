"""The benchmark command reads MOTChallenge folders and says what it cannot do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


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


def synthetic(folder: Path) -> None:
    """Three people who cross, in MOTChallenge layout: truth, and detections with noise, gaps and a false one."""
    rng = np.random.default_rng(11)
    truth, found = [], []
    for n in range(1, 81):
        for person in range(3):
            x = 60.0 + 6.0 * n if person != 1 else 540.0 - 6.0 * n
            box = np.array([x, 120.0 + 75.0 * person, 36.0, 90.0])
            truth.append(f"{n},{person + 1},{box[0]:.2f},{box[1]:.2f},36,90,1,1,1")
            if rng.random() < 0.92:
                x, y, w, h = box + rng.normal(0, 1.5, 4)
                found.append(f"{n},-1,{x:.2f},{y:.2f},{w:.2f},{h:.2f},{rng.uniform(0.6, 1):.2f},-1,-1,-1")
        if n % 13 == 0:
            found.append(f"{n},-1,{rng.uniform(0, 500):.1f},20,30,80,0.55,-1,-1,-1")
    sequence = folder / "walk"
    for name, rows in (("gt", truth), ("det", found)):
        (sequence / name).mkdir(parents=True)
        (sequence / name / f"{name}.txt").write_text("\n".join(rows) + "\n")
    (sequence / "seqinfo.ini").write_text(
        "[Sequence]\nname=walk\nframeRate=25\nseqLength=80\nimWidth=640\nimHeight=480\n"
    )


def by_hand(folder: Path, results: Path) -> tuple[float, int]:
    """(MOTA in percent, switches) of CLEAR MOT (Bernardin & Stiefelhagen 2008); a pairing is kept while it can be."""

    def rows(path: Path) -> dict[int, dict[int, list[float]]]:
        out: dict[int, dict[int, list[float]]] = {}
        for line in path.read_text().splitlines():
            n, who, *box = (float(x) for x in line.split(",")[:6])
            out.setdefault(int(n), {})[int(who)] = box
        return out

    def iou(a: list[float], b: list[float]) -> float:
        w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
        h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
        shared = max(w, 0.0) * max(h, 0.0)
        return shared / (a[2] * a[3] + b[2] * b[3] - shared)

    truth, told = rows(folder / "walk" / "gt" / "gt.txt"), rows(results / "walk.txt")
    last: dict[int, int] = {}
    missed = false = switches = total = 0
    for n in range(1, 81):
        left, now = dict(told.get(n, {})), dict(truth[n])
        total += len(now)
        pairs = {who: last[who] for who in now if last.get(who) in left and iou(now[who], left[last[who]]) >= 0.5}
        for mine in pairs.values():
            left.pop(mine)
        rest = sorted(((-iou(now[w], box), w, t) for w in now if w not in pairs for t, box in left.items()))
        for minus, who, mine in rest:
            if -minus >= 0.5 and who not in pairs and mine in left:
                pairs[who] = mine
                left.pop(mine)
        switches += sum(who in last and last[who] != mine for who, mine in pairs.items())
        last.update(pairs)
        missed, false = missed + len(now) - len(pairs), false + len(left)
    return 100.0 * (1.0 - (missed + false + switches) / total), switches


def test_scores_are_those_of_trackeval_and_clear_mot_counted_by_hand(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackeval", reason="needs the trackeval package (extra `benchmark`)")
    synthetic(tmp_path / "data")
    done = run(repository, str(tmp_path / "data"), "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("all"))
    _, hota, mota, idf1, switches = line.split()
    expected_mota, expected_switches = by_hand(tmp_path / "data", tmp_path / "results")
    assert float(mota) == pytest.approx(expected_mota, abs=0.06)
    assert int(switches) == expected_switches
    assert 60.0 < float(hota) <= 100.0
    assert 60.0 < float(idf1) <= 100.0
    assert "ms of CPU per frame" in done.stdout
