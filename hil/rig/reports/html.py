"""A result as one page for people: no script, nothing from elsewhere, every text escaped, plots as SVG inside.

It opens with the verdict in a sentence, then a line for each trial, then each trial with its faults, readings, plots.
"""

from __future__ import annotations

import math
from html import escape

from hil.rig.record import Happened
from hil.rig.reports.plot import plot
from hil.rig.result import Result, TrialResult
from hil.rig.verdict import Outcome, Reading

_WHOLE_FROM = 100.0
"""From here on a reader wants no digits behind the point."""
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
table{border-collapse:collapse;width:100%;margin:.6em 0}td,th{text-align:left;padding:.25em .7em;border-bottom:1px solid #e3e6ea;vertical-align:top}
th{font-weight:600;color:#51606c}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.nb{white-space:nowrap}
.facts td{border:0;padding:.05em .7em .05em 0}.facts td:first-child{color:#6b7680;white-space:nowrap;width:9em}ul{margin:.2em 0;padding-left:1.2em}
.w{display:inline-block;padding:.05em .6em;border-radius:.3em;color:#fff;font-weight:600}
.PASS{background:#1f7a3f}.FAIL,.TIMEOUT{background:#b3261e}.ERROR,.ABORTED{background:#9a6700}.none{background:#6b7680}
tr.bad td,.why{background:#fdecea}.why{padding:.5em .9em;border-radius:.3em}.dim{color:#6b7680}.plots{display:flex;flex-wrap:wrap;gap:1em}pre{background:#f4f5f7;padding:.7em;overflow:auto;font-size:12px}
"""


def page(result: Result) -> str:
    """The whole document."""
    passed = sum(t.outcome is Outcome.PASS and not t.not_run for t in result.trials)
    ran = sum(not t.not_run for t in result.trials)
    skipped = len(result.trials) - ran
    also = f" {skipped} could not be run on this kind of device." if skipped else ""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(result.campaign)}: {result.outcome.value}</title><style>{STYLE}</style></head><body>",
            f"<h1>{_word(result.outcome.value)} {escape(result.campaign)}</h1>",
            f"<p><b>{SENTENCES[result.outcome]}</b> {passed} of {ran} trials passed.{also}</p>",
            f"<p>{escape(result.says)}</p>",
            _facts(result),
            _overview(result),
            *(_trial(trial, number) for number, trial in enumerate(result.trials, start=1)),
            HELP,
            "</body></html>",
        ]
    )


HELP = """<h2>How to read this</h2><p>A <i>trial</i> runs the device from start to end in a simulated harbour whose
truth is known: a camera, a radar, AIS, GNSS and people's reports. While it plays, something is broken and mended (grey
bands in the plots). A <i>result</i> is one sealed message of the device; the rig reads them as a user would.
A <i>reading</i> is a number held against a limit; one beyond it makes the trial FAIL. TIMEOUT: the device did not come
up or end in time. ERROR: rig or device failed in a way that proves nothing. Readings "not judged" are only told. The
same data, signed with ML-DSA-87, lie beside this page in result.json.</p>"""


def _facts(result: Result) -> str:
    rows = {
        "Device": f"{result.device}: {', '.join(f'{key} {value}' for key, value in result.facts.items())}",
        "When": f"{result.began}, for {result.took_s / 60:.1f} minutes",
        "Campaign file": f"SHA-384 {result.digest[:24]}…",
    }
    told = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in rows.items())
    return f'<table class="facts">{told}</table>'


def _word(word: str) -> str:
    return f'<span class="w {word if word in Outcome.__members__ else "none"}">{escape(word)}</span>'


def _overview(result: Result) -> str:
    rows = [
        f'<tr><td class="nb">{_word(_outcome(t))}</td><td class="nb"><a href="#t{number}">{escape(t.name)}</a></td>'
        f"<td>{escape(t.says)}</td><td>{_in_short(t)}</td></tr>"
        for number, t in enumerate(result.trials, start=1)
    ]
    head = "<tr><th></th><th>trial</th><th>what it is about</th><th>what came of it</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _outcome(trial: TrialResult) -> str:
    return "not run" if trial.not_run else trial.outcome.value


def _in_short(trial: TrialResult) -> str:
    """What failed, in words and numbers; how much held where nothing did."""
    broken = trial.not_run or trial.outcome not in {Outcome.PASS, Outcome.FAIL}
    bad = [_told(reading) for reading in trial.readings if reading.outcome is not Outcome.PASS]
    told = [*([escape(trial.why)] if broken else []), *bad]
    if told:
        return f"<ul>{''.join(f'<li>{one}</li>' for one in told)}</ul>"
    judged = sum(_is_judged(reading) for reading in trial.readings)
    return f"{judged} readings within their limits"


def _told(reading: Reading) -> str:
    return f"{escape(reading.what)}: <b>{_value(reading)}</b>, limit {_limit(reading)}"


def _trial(trial: TrialResult, number: int) -> str:
    parts = [f'<h2 id="t{number}">{_word(_outcome(trial))} {escape(trial.name)}</h2><p>{escape(trial.says)}</p>']
    if trial.outcome is not Outcome.PASS or trial.not_run:
        words = _in_short(trial)
        parts.append(f'<div class="why"><b>{"Not run" if trial.not_run else "What failed"}</b> {words}</div>')
    if trial.played_s:
        parts.append(f"<p><b>What was done</b> {_done(trial)}</p>")
    if trial.readings:
        parts.append(_readings(trial.readings))
    if trial.series:
        parts.append(f'<div class="plots">{"".join(plot(line, trial) for line in trial.series)}</div>')
    if trial.log:
        parts.append(f"<details><summary>What the device said</summary><pre>{escape(trial.log)}</pre></details>")
    return "\n".join(parts)


def _done(trial: TrialResult) -> str:
    faults = "".join(f"<br>{_fault(one, trial.begun_ns)}" for one in trial.happened)
    return (
        f"The harbour was played for {trial.played_s:.0f} s{' and nothing was broken.' if not faults else '.'}{faults}"
    )


def _fault(one: Happened, begun_ns: int) -> str:
    start, end = (one.from_ns - begun_ns) / 1e9, (one.to_ns - begun_ns) / 1e9
    return f"From {start:.1f} to {end:.1f} s the rig {escape(one.says)}."


def _readings(readings: tuple[Reading, ...]) -> str:
    rows = [
        f'<tr class="{"" if r.outcome is Outcome.PASS else "bad"}"><td>{escape(r.what)}</td>'
        f'<td class="n">{_value(r)}</td><td class="n">{_limit(r)}</td>'
        f'<td class="nb">{_word(r.outcome.value if _is_judged(r) else "not judged")}</td>'
        f'<td class="dim">{escape("; ".join(word for word in (r.says, r.limit.why) if word))}</td></tr>'
        for r in readings
    ]
    head = '<tr><th>reading</th><th class="n">value</th><th class="n">limit</th><th></th><th>remarks</th></tr>'
    return f"<table>{head}{''.join(rows)}</table>"


def _is_judged(reading: Reading) -> bool:
    return reading.limit.at_most is not None or reading.limit.at_least is not None


def _value(reading: Reading) -> str:
    if reading.value is None or math.isnan(reading.value):
        return "not taken"
    value = reading.value
    number = f"{value:.3g}" if abs(value) < _WHOLE_FROM and value != round(value) else f"{value:.0f}"
    return f"{number} {escape(reading.unit)}".strip()


def _limit(reading: Reading) -> str:
    return f"{escape(str(reading.limit))} {escape(reading.unit)}".strip() if _is_judged(reading) else "none"
