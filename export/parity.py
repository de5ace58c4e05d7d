"""Do two networks answer alike? Their outputs, tensor by tensor, on the same prepared pictures.

An element agrees where |b − a| ≤ absolute × M + relative × |a|, with M the largest magnitude of the output in A;
``outliers`` is the share of an output's elements that may differ, for graphs that choose among nearly equal scores.
Whole numbers agree or do not. An element that is no number in one and a number in the other differs.

It says whether two files compute the same. Whether a quantised network still *finds* the same is for ``agreement``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.bundles.manifest import Manifest, output_names
from appliance.errors import Refused
from appliance.inference.prepare import Preparer, lay_out
from appliance.inference.runner import open_runner
from export.pictures import Picture
from export.progress import Progress, no_progress

Array = npt.NDArray[Any]


class ParityRefused(Refused):
    """Two networks that should answer alike do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """See above; shares, not percent."""

    absolute: float = 1e-4
    relative: float = 1e-3
    outliers: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One output over all pictures: the worst difference and where, and the share of elements that differ."""

    output: str
    picture: str
    worst: float
    at: tuple[int, ...]
    differing: float
    passed: bool


def compare_files(
    one: Path,
    other: Path,
    manifest: Manifest,
    pictures: Sequence[Picture],
    tolerance: Tolerance,
    progress: Progress = no_progress,
) -> list[Row]:
    """Runs both on every picture; rows with the worst output first.

    Raises: BundleRefused, EngineUnavailable where one of them is not what the manifest says or does not run.
    """
    runners = [open_runner(path, manifest) for path in (one, other)]
    preparer = Preparer(manifest.input, 1)
    rows: dict[str, Row] = {}
    for number, picture in enumerate(pictures):
        batch = preparer.prepare([picture.pixels], [lay_out(manifest.input, *picture.pixels.shape[:2])])
        answers = [runner.run(batch) for runner in runners]
        for name in output_names(manifest.decoder):
            row = compare(name, picture.name, answers[0][name], answers[1][name], tolerance)
            rows[name] = max(rows.get(name, row), row, key=_badness)
        progress("comparing", number + 1, len(pictures))
    return sorted(rows.values(), key=_badness, reverse=True)


def compare(name: str, picture: str, one: Array, other: Array, tolerance: Tolerance) -> Row:
    """Compares one output of two networks."""
    if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
        return Row(output=name, picture=picture, worst=float("inf"), at=(), differing=1.0, passed=False)
    a, b = one.astype(np.float64), other.astype(np.float64)
    whole = one.dtype.kind in "iu"
    magnitude = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(b - a))
        apart = np.where(np.isnan(apart), np.inf, apart)
        allowed = np.zeros_like(a) if whole else tolerance.absolute * magnitude + tolerance.relative * np.abs(a)
        wrong = apart > np.nan_to_num(allowed, nan=0.0, posinf=0.0)
    differing = float(wrong.mean()) if wrong.size else 0.0
    worst = tuple(int(each) for each in np.unravel_index(int(apart.argmax()), apart.shape)) if apart.size else ()
    return Row(
        output=name,
        picture=picture,
        worst=float(apart.max(initial=0.0)),
        at=worst,
        differing=differing,
        passed=differing <= tolerance.outliers,
    )


def require_parity(rows: Sequence[Row]) -> None:
    """Raise ``ParityRefused``, reason ``parity``, naming every output that differs, the worst first."""
    bad = [row for row in rows if not row.passed]
    if bad:
        told = "; ".join(
            f"{row.output} differs in {100 * row.differing:.3g} % of its elements, by {row.worst:.3g} at {list(row.at)}"
            f" on {row.picture}"
            for row in bad
        )
        raise ParityRefused("parity", f"the two networks do not answer alike: {told}")


def _badness(row: Row) -> tuple[float, float]:
    return row.differing, row.worst
