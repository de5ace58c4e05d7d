"""A result as one page for people: no script, nothing from elsewhere, every text escaped, plots as SVG inside.

It opens with the verdict in a sentence, then a line for each trial, then each trial with its faults, readings, plots.
"""

from __future__ import annotations

from html import escape

from hil.rig.record import Happened
from hil.rig.result import Result, Series, TrialResult
from hil.rig.verdict import Outcome, Reading

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 150, 52, 10, 12, 26
SENTENCES = {
    Outcome.PASS: "Everything that was asked held.",
    Outcome.FAIL: "Something did not hold: the readings in red are beyond their limits.",
    Outcome.TIMEOUT: "The device did not reach a state in time.",
    Outcome.ERROR: "Rig or device failed, so nothing is proved either way.",
    Outcome.ABORTED: "Somebody stopped it before its end.",
}
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1b2126;max-width:1120px;margin:2em auto;padding:0 1em}
h1{margin:0}h2{margin:2em 0 .3em;border-top:1px solid #ccd;padding-top:1em}p{margin:.4em 0}
table{border-collapse:collapse;width:100%;margin:.6em 0}td,th{text-align:left;padding:.25em .7em;border-bottom:1px solid #e3e6ea}
th{font-weight:600;color:#51606c}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.w{display:inline-block;padding:.05em .6em;border-radius:.3em;color:#fff;font-weight:600}
.PASS{background:#1f7a3f}.FAIL,.TIMEOUT{background:#b3261e}.ERROR,.ABORTED{background:#9a6700}.none{background:#6b7680}
tr.bad td{background:#fdecea}.dim{color:#6b7680}.plots{display:flex;flex-wrap:wrap;gap:1em}pre{background:#f4f5f7;padding:.7em;overflow:auto;font-size:12px}
"""


def page(result: Result) -> str:
    """The whole document."""
    facts = " · ".join(f"{escape(key)} {escape(value)}" for key, value in result.facts.items())
    passed = sum(t.outcome is Outcome.PASS and not t.not_run for t in result.trials)
    ran = sum(not t.not_run for t in result.trials)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(result.campaign)}: {result.outcome.value}</title><style>{STYLE}</style></head><body>",
            f"<h1>{_word(result.outcome.value)} {escape(result.campaign)}</h1>",
            f"<p><b>{SENTENCES[result.outcome]}</b> {passed} of {ran} trials passed.</p>",
            f"<p>{escape(result.says)}</p>",
            f'<p class="dim">Device: {escape(result.device)}. {facts}. Began {escape(result.began)}, took '
            f"{result.took_s / 60:.1f} min. Campaign file SHA-384 {escape(result.digest[:24])}…</p>",
            _overview(result),
            *(_trial(trial, number) for number, trial in enumerate(result.trials, start=1)),
            "<h2>How to read this</h2><p>A <i>trial</i> runs the device from start to end in a simulated harbour whose "
            "truth is known, and breaks something while it plays (grey bands in the plots). A <i>reading</i> is a number "
            "with a limit; one beyond its limit makes the trial FAIL. TIMEOUT: the device did not come up or end in time. "
            "ERROR: rig or device failed in a way that proves nothing. The same data, signed with ML-DSA-87, lie beside "
            "this page in result.json.</p></body></html>",
        ]
    )


def _word(word: str) -> str:
    return f'<span class="w {word if word in Outcome.__members__ else "none"}">{escape(word)}</span>'


def _overview(result: Result) -> str:
    rows = [
        f'<tr><td>{_word("not run" if t.not_run else t.outcome.value)}</td><td><a href="#t{number}">{escape(t.name)}</a>'
        f"</td><td>{escape(t.says)}</td><td>{escape(t.why)}</td></tr>"
        for number, t in enumerate(result.trials, start=1)
    ]
    return f"<table><tr><th></th><th>trial</th><th>what it is about</th><th>why not</th></tr>{''.join(rows)}</table>"


def _trial(trial: TrialResult, number: int) -> str:
    word = "not run" if trial.not_run else trial.outcome.value
    parts = [f'<h2 id="t{number}">{_word(word)} {escape(trial.name)}</h2><p>{escape(trial.says)}</p>']
    if trial.why:
        parts.append(f"<p><b>{escape(trial.why)}</b></p>")
    if trial.happened:
        parts.append(f"<p>{'<br>'.join(_fault(one, trial.begun_ns) for one in trial.happened)}</p>")
    if trial.readings:
        parts.append(_readings(trial.readings))
    if trial.series:
        parts.append(f'<div class="plots">{"".join(plot(line, trial) for line in trial.series)}</div>')
    if trial.log:
        parts.append(f"<details><summary>What the daemon said last</summary><pre>{escape(trial.log)}</pre></details>")
    return "\n".join(parts)


def _fault(one: Happened, begun_ns: int) -> str:
    start, end = (one.from_ns - begun_ns) / 1e9, (one.to_ns - begun_ns) / 1e9
    return f"{start:.1f} to {end:.1f} s: the rig {escape(one.says)}."


def _readings(readings: tuple[Reading, ...]) -> str:
    rows = [
        f'<tr class="{"" if r.outcome is Outcome.PASS else "bad"}"><td>{escape(r.what)}</td>'
        f'<td class="n">{_number(r.value)} {escape(r.unit)}</td><td class="n">{escape(str(r.limit))}</td>'
        f'<td>{_word(r.outcome.value)}</td><td class="dim">{escape(r.says)}</td></tr>'
        for r in readings
    ]
    return f"<table><tr><th>reading</th><th>value</th><th>limit</th><th></th><th></th></tr>{''.join(rows)}</table>"


def _number(value: float | None) -> str:
    return "not taken" if value is None else f"{value:.0f}" if value == round(value) else f"{value:.3g}"


def plot(line: Series, trial: TrialResult) -> str:
    """One line over the seconds of the scene, with a band for each fault; the axis begins at zero."""
    points = [(x, y) for x, y in line.points if 0.0 <= x <= trial.played_s]
    if not points:
        return ""
    top = max(1e-9, *(y for _, y in points)) * 1.1
    across, up = (WIDTH - LEFT - RIGHT) / max(trial.played_s, 1e-9), (HEIGHT - TOP - BOTTOM) / top

    def place(x: float, y: float) -> str:
        return f"{LEFT + x * across:.1f},{HEIGHT - BOTTOM - y * up:.1f}"

    bands = []
    for one in trial.happened:
        start, end = (one.from_ns - trial.begun_ns) / 1e9, (one.to_ns - trial.begun_ns) / 1e9
        wide = max(1.5, (end - start) * across)
        bands.append(
            f'<rect x="{LEFT + start * across:.1f}" y="{TOP}" width="{wide:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}" fill="#c9ced6"><title>{escape(one.fault)}</title></rect>'
        )
    floor = HEIGHT - BOTTOM
    unit = f" ({escape(line.unit)})" if line.unit else ""
    path = " ".join(place(x, y) for x, y in points)
    return (
        f'<figure style="margin:0"><figcaption>{escape(line.name)}{unit}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="11" fill="#51606c">{"".join(bands)}'
        f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="#8a949e"/>'
        f'<polyline points="{path}" fill="none" stroke="#1d5fa8" stroke-width="1.5"/>'
        f'<text x="{LEFT - 6}" y="{floor}" text-anchor="end">0</text>'
        f'<text x="{LEFT - 6}" y="{TOP + 9}" text-anchor="end">{top / 1.1:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 8}">0</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{trial.played_s:.0f} s</text></svg></figure>'
    )
