"""One line over the seconds of a scene as an SVG: a band for each fault, gaps where nothing was measured."""

from __future__ import annotations

import itertools
import math
import statistics
from html import escape

from hil.rig.result import Series, TrialResult

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 176, 52, 14, 26, 26
FLOOR = HEIGHT - BOTTOM
LETTER_PX = 6.2
"""What a letter of a band's name needs, so that it does not lie on the one before."""
GAP = 6.0
"""Where so many usual spacings lie between two points, nothing was measured: no line joins them."""
LEAST_GAP_S = 3.0
MOST_TICKS = 6

Points = list[tuple[float, float]]


def plot(line: Series, trial: TrialResult) -> str:
    """The axis begins at zero; nothing where there is no point."""
    points = [(x, y) for x, y in line.points if 0.0 <= x <= trial.played_s]
    if not points:
        return ""
    top = ceiling(max(y for _, y in points))
    across, up = (WIDTH - LEFT - RIGHT) / max(trial.played_s, 1e-9), (FLOOR - TOP) / top
    paths = "".join(
        f'<polyline points="{" ".join(f"{LEFT + x * across:.1f},{FLOOR - y * up:.1f}" for x, y in run)}" fill="none" '
        'stroke="#1d5fa8" stroke-width="1.5" stroke-linecap="round"/>'
        for run in runs(points)
    )
    unit = f" ({escape(line.unit)})" if line.unit else ""
    return (
        f'<figure style="margin:0"><figcaption>{escape(line.name)}{unit}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="11" fill="#51606c">{_bands(trial, across)}'
        f"{_across(trial.played_s, across)}{_up(top, up)}"
        f'<path d="M{LEFT} {TOP}V{FLOOR}H{WIDTH - RIGHT}" fill="none" stroke="#8a949e"/>{paths}</svg></figure>'
    )


def runs(points: Points) -> list[Points]:
    """The points parted where nothing was measured for much longer than usual."""
    apart = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    widest = max(LEAST_GAP_S, GAP * statistics.median(apart)) if apart else 0.0
    parted = [points[:1]]
    for gap, point in zip(apart, points[1:], strict=True):
        if gap > widest:
            parted.append([])
        parted[-1].append(point)
    return parted


def ceiling(highest: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten; 1 for a line of zeros."""
    if highest <= 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0) if step * power >= highest * (1.0 - 1e-9))


def _bands(trial: TrialResult, across: float) -> str:
    parts, free_px = [], 0.0
    for one in trial.happened:
        start, end = (one.from_ns - trial.begun_ns) / 1e9, (one.to_ns - trial.begun_ns) / 1e9
        at, name = LEFT + start * across, f"{one.fault} {one.target}".strip()
        parts.append(
            f'<rect x="{at:.1f}" y="{TOP}" width="{max(1.5, (end - start) * across):.1f}" height="{FLOOR - TOP}" '
            f'fill="#d5d9df"><title>{escape(name)}</title></rect>'
        )
        at = min(at, WIDTH - LETTER_PX * len(name))
        if at >= free_px:
            parts.append(f'<text x="{at:.1f}" y="{TOP - 6}" fill="#1b2126">{escape(name)}</text>')
            free_px = at + LETTER_PX * len(name)
    return "".join(parts)


def _across(played_s: float, across: float) -> str:
    """Round seconds, or minutes and hours of a long trial."""
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 43_200, 86_400)
    step = next((s for s in steps if played_s / s <= MOST_TICKS), 604_800)
    share, unit = (60, " min") if step >= 60 else (1, " s")
    ticks = [(at // share, LEFT + at * across) for at in range(0, math.floor(played_s) + 1, step)]
    return "".join(
        f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{at}{"" if at else unit}</text>'
        f'<path d="M{x:.1f} {FLOOR}v4" stroke="#8a949e"/>'
        for at, x in ticks
    )


def _up(top: float, up: float) -> str:
    return "".join(
        f'<path d="M{LEFT} {FLOOR - y * up:.1f}H{WIDTH - RIGHT}" stroke="#e3e6ea"/>'
        f'<text x="{LEFT - 6}" y="{FLOOR - y * up + 4:.1f}" text-anchor="end">{y:g}</text>'
        for y in (0.0, top / 2, top)
    )
