"""Scores the image-plane tracker on sequences in MOTChallenge layout: ``python -m benchmarks.mot FOLDER``.

Reads ``FOLDER/<sequence>/det/det.txt`` and, where they are, ``gt/gt.txt`` and ``seqinfo.ini``; writes one result file
per sequence; prints HOTA, MOTA and IDF1 by the ``trackeval`` package (extra ``benchmark``) and the
milliseconds of CPU that the tracker takes for one frame. Results are online: nothing is filled in afterwards.
"""

from __future__ import annotations

import argparse
import configparser
import importlib.util
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from appliance.domain import DetectedFrame, Detection
from appliance.tracking import ImageTracker, TrackerSettings

DEFAULT_RATE_HZ = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """One folder of the data set."""

    name: str
    folder: Path
    rate_hz: float
    width_px: int
    height_px: int
    length: int
    detections: np.ndarray[Any, Any]


def read_sequence(folder: Path) -> Sequence:
    """Reads one sequence. Without ``seqinfo.ini`` the rate is 25 Hz and the picture as large as its boxes reach."""
    rows = np.loadtxt(folder / "det" / "det.txt", delimiter=",", ndmin=2)
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    known = info["Sequence"] if info.has_section("Sequence") else {}
    return Sequence(
        name=folder.name,
        folder=folder,
        rate_hz=float(known.get("frameRate", DEFAULT_RATE_HZ)),
        width_px=int(known.get("imWidth", np.ceil((rows[:, 2] + rows[:, 4]).max()))),
        height_px=int(known.get("imHeight", np.ceil((rows[:, 3] + rows[:, 5]).max()))),
        length=int(known.get("seqLength", rows[:, 0].max())),
        detections=rows,
    )


def frames(sequence: Sequence) -> Iterator[DetectedFrame]:
    """Every frame of the sequence, also those without a detection."""
    for number in range(1, sequence.length + 1):
        rows = sequence.detections[sequence.detections[:, 0] == number]
        found = tuple(
            Detection(box_px=(x, y, x + w, y + h), category="person", label="person", confidence=float(confidence))
            for x, y, w, h, confidence in rows[:, 2:7].tolist()
        )
        yield DetectedFrame(
            sensor_id=sequence.name,
            sequence=number,
            captured_ns=round(number / sequence.rate_hz * 1e9),
            width_px=sequence.width_px,
            height_px=sequence.height_px,
            detections=found,
        )


def follow(sequence: Sequence, settings: TrackerSettings) -> tuple[list[str], float]:
    """(rows of the result file, CPU seconds that the tracker took)."""
    tracker, rows, spent_s = ImageTracker(settings), [], 0.0
    for frame in list(frames(sequence)):
        began = time.thread_time()
        tracks = tracker.step(frame)
        spent_s += time.thread_time() - began
        for track in tracks:
            if track.status == "confirmed":
                x1, y1, x2, y2 = track.box_px
                box = f"{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}"
                rows.append(f"{frame.sequence},{track.track_id},{box},{track.confidence:.3f},-1,-1,-1\n")
    return rows, spent_s


def score(folder: Path, results: Path, sequences: list[Sequence]) -> str:
    """HOTA, MOTA and IDF1 of each sequence and of all, as a table."""
    import trackeval  # noqa: PLC0415  optional, and slow to import

    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(folder),
            "TRACKERS_FOLDER": str(results.parent),
            "TRACKERS_TO_EVAL": [results.name],
            "TRACKER_SUB_FOLDER": "",
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": {sequence.name: sequence.length for sequence in sequences},
            "BENCHMARK": "MOT15",
            "DO_PREPROC": False,
            "PRINT_CONFIG": False,
        }
    )
    quiet = {"PRINT_RESULTS": False, "PRINT_CONFIG": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False}
    evaluator = trackeval.Evaluator({**quiet, "PLOT_CURVES": False, "TIME_PROGRESS": False, "BREAK_ON_ERROR": True})
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(), trackeval.metrics.Identity()]
    found, _ = evaluator.evaluate([dataset], metrics)
    per_sequence = found["MotChallenge2DBox"][results.name]
    lines = [f"{'sequence':<20}{'HOTA':>7}{'MOTA':>7}{'IDF1':>7}{'switches':>10}"]
    for name, classes in per_sequence.items():
        values = classes["pedestrian"]
        hota = 100 * float(np.mean(values["HOTA"]["HOTA"]))
        mota, idf1 = 100 * values["CLEAR"]["MOTA"], 100 * values["Identity"]["IDF1"]
        label = "all" if name == "COMBINED_SEQ" else name
        lines.append(f"{label:<20}{hota:>7.1f}{mota:>7.1f}{idf1:>7.1f}{values['CLEAR']['IDSW']:>10}")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds one folder per sequence")
    parser.add_argument("--results", type=Path, help="where result files go; a temporary folder if not given")
    arguments = parser.parse_args()
    folders = sorted(path.parent.parent for path in arguments.folder.glob("*/det/det.txt"))
    if not folders:
        parser.error(f"expected sequence folders with det/det.txt under {arguments.folder}; found none")
    with tempfile.TemporaryDirectory() as temporary:
        results = arguments.results or Path(temporary) / "appliance"
        results.mkdir(parents=True, exist_ok=True)
        run(arguments.folder, folders, results)


def run(folder: Path, folders: list[Path], results: Path) -> None:
    """Follows every sequence and prints what came out."""
    sequences = [read_sequence(path) for path in folders]
    follow(sequences[0], TrackerSettings())  # the first frames pay for compiling
    spent_s = 0.0
    for sequence in sequences:
        rows, seconds = follow(sequence, TrackerSettings())
        spent_s += seconds
        (results / f"{sequence.name}.txt").write_text("".join(rows))
    total = sum(sequence.length for sequence in sequences)
    print(f"{len(sequences)} sequences, {total} frames, {1e3 * spent_s / total:.3f} ms of CPU per frame")
    judged = [sequence for sequence in sequences if (sequence.folder / "gt" / "gt.txt").is_file()]
    if not judged:
        print("no gt/gt.txt: nothing to score against")
    elif importlib.util.find_spec("trackeval") is None:
        print("scores need the trackeval package, which is not installed: pip install trackeval")
    else:
        print(score(folder, results, judged))


if __name__ == "__main__":
    main()
