"""Small line charts as SVG text, for the documentation. No colours but the current text's, no library."""

from __future__ import annotations

import math
from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 480, 300, 62, 44, 26
Points = Sequence[tuple[float, float]]
DASHES = ("none", "6 4", "2 3", "9 3 2 3")


def chart(
    title: str, x_name: str, y_name: str, series: dict[str, Points], *, logarithmic: bool = False
) -> str:  # fmt: skip
    """An SVG of the named lines; both axes logarithmic where asked for. Raises `ValueError` where nothing is drawn."""
    points = [point for line in series.values() for point in line]
    if not points:
        raise ValueError("expected at least one point to draw; found none")
    scale = math.log10 if logarithmic else float
    xs, ys = [scale(x) for x, _ in points], [scale(y) for _, y in points]
    box = min(xs), max(*xs, min(xs) + 1e-9), min(ys), max(*ys, min(ys) + 1e-9)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (scale(x) - box[0]) / (box[1] - box[0])
        up = (scale(y) - box[2]) / (box[3] - box[2])
        return LEFT + across * (WIDTH - LEFT - 12), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="11" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="16" font-size="13">{title}</text>',
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - 12}" fill="none" stroke="#222"/>',
        f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{x_name}</text>',
        f'<text x="14" y="{HEIGHT / 2:.0f}" transform="rotate(-90 14 {HEIGHT / 2:.0f})" '
        f'text-anchor="middle">{y_name}</text>',
    ]
    parts += _ticks(series, place)
    for k, (name, line) in enumerate(series.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        dash = DASHES[k % len(DASHES)]
        y = TOP + 6 + 15 * k
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="#222" stroke-width="1.5" stroke-dasharray="{dash}"/>'
        )
        parts.append(f'<path d="M{LEFT + 12} {y}h26" stroke="#222" stroke-width="1.5" stroke-dasharray="{dash}"/>')
        parts.append(f'<text x="{LEFT + 44}" y="{y + 4}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _ticks(series: dict[str, Points], place: object) -> list[str]:
    """Numbers at the first line's points: across at each, upward at the least and the greatest of all."""
    assert callable(place)
    first = next(iter(series.values()))
    every = [y for line in series.values() for _, y in line]
    out = [
        f'<text x="{place(x, y)[0]:.0f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{round(x, 2):g}</text>'
        for x, y in first
    ]
    return out + [
        f'<text x="{LEFT - 6}" y="{place(first[0][0], y)[1] + 4:.0f}" text-anchor="end">{y:.3g}</text>'
        for y in (min(every), max(every))
    ]
