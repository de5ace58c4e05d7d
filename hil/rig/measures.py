"""From a record to numbers: pure functions, one for each measurement, in a table of names with units.

Each gives a value and, where a person would ask, a sentence. None is the value of what cannot be read from this record;
the sentence then says why. Limits are not known here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hil.demo.score import Accuracy, Judge, Opened, nanoseconds, percentile
from hil.rig.campaign import Trial
from hil.rig.record import Happened, Record
from hil.rig.slope import Slope, fitted
from hil.scene.harbour import harbour
from hil.scene.mission import AIS, CAMERA, RADAR, REPORTS

Value = tuple[float | None, str]
_NS = 1_000_000_000
_HOUR_S = 3600.0
_SETTLE_S = 12.0
"""After a fault: tracks need a few turns of the radar to be believed again."""
_SEAM_S = 12.0
"""After a lap's beginning, when everything has jumped."""
_STEADY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is measured, in which unit, and how."""

    what: str
    unit: str
    read: Callable[[Record, Trial], Value]


# -- results --------------------


def results_lost(record: Record, _: Trial) -> Value:
    """Results that the unit had sealed and that never came, although it did not give them up."""
    by_close = sum(epoch.missing for epoch in record.epochs)
    if record.names is None or record.durable is None:
        return float(by_close), f"by the unit's signed closes of {len(record.epochs)} epochs"
    heard, shed = set(record.names), set(record.shed)
    durable = set(record.durable) - heard - shed
    holes = {name for name in _expected(record) if name not in heard and name not in shed}
    lost = len(durable | holes) + max(0, by_close - len(holes))
    return float(lost), f"{len(heard)} opened, {len(record.durable)} durable on the unit"


def _expected(record: Record) -> Iterator[tuple[int, int]]:
    """Every counter below the highest that was heard of its epoch."""
    highest: dict[int, int] = {}
    lowest: dict[int, int] = {}
    for epoch, counter in record.names or ():
        highest[epoch] = max(counter, highest.get(epoch, -1))
        lowest[epoch] = min(counter, lowest.get(epoch, counter))
    for epoch, top in highest.items():
        first = min(lowest[epoch], 1)
        yield from ((epoch, counter) for counter in range(first, top + 1))


def results_doubled(record: Record, _: Trial) -> Value:
    """Results that came twice: under the same name, or the same content under another."""
    return float(record.said_twice), ""


def results_given_up(record: Record, _: Trial) -> Value:
    """What the unit gave up and said so."""
    return float(max(len(record.shed), sum(epoch.given_up for epoch in record.epochs))), ""


def results_refused(record: Record, _: Trial) -> Value:
    """Envelopes that came and that the reader did not believe."""
    return float(sum(record.refused.values())), ", ".join(f"{n} {why}" for why, n in record.refused.items())


def silence_s(record: Record, trial: Trial) -> Value:
    """The longest time of which no result ever came, while the unit had power: told late is not silence."""
    made = sorted(nanoseconds(one.body["produced"]) for one in _entities(record))
    if trial.clock == "faked":
        made = sorted(one.opened_ns for one in _entities(record))
    spans = [*_spans_of(record, "power-cut"), *_spans_of(record, "daemon-kill")]
    back = [(end, _first_after(made, end)) for _, end in spans]
    begun = record.begun_ns + round(trial.warm_up_s * _NS)
    times = [begun, *(t for t in made if begun < t < record.ended_ns), record.ended_ns]
    gaps = [(b - a, a) for a, b in itertools.pairwise(times) if not _covers(a, b, spans, back)]
    longest, at = max(gaps, default=(0, begun))
    return longest / _NS, f"beginning {(at - record.begun_ns) / _NS:.1f} s into the scene"


def _covers(a: int, b: int, spans: list[tuple[int, int]], back: list[tuple[int, int]]) -> bool:
    """Whether the unit was off or starting in between: that is the time to recover, and measured as such."""
    return any(a <= off + 2 * _NS and off <= b <= first for (off, _), (_, first) in zip(spans, back, strict=True))


def _first_after(made: list[int], moment_ns: int) -> int:
    return next((t for t in made if t > moment_ns), moment_ns)


def recovery_s(record: Record, trial: Trial) -> Value:
    """From the end of a fault to the first result that rests on something seen after it, the worst of all faults."""
    if not record.happened:
        return None, "no fault happened"
    took = [(_back_s(record, one, trial), one) for one in record.happened]
    if any(seconds is None for seconds, _ in took):
        never = next(one for seconds, one in took if seconds is None)
        return math.inf, f"nothing came after {never.fault} {never.target}".strip()
    worst, which = max(((s, one) for s, one in took if s is not None), key=lambda pair: pair[0])
    return worst, f"after {which.fault} {which.target}".strip()


def _back_s(record: Record, one: Happened, trial: Trial) -> float | None:
    """By the feed that was hit, where one was hit; by any feed otherwise. A unit that is deaf tells what it knew."""
    source = _SOURCES.get(one.target)
    end_ns = one.to_ns
    for told in record.told:
        if told.opened_ns <= end_ns or not told.body["schema"].startswith("edge/entity/"):
            continue
        if trial.clock == "faked" or any(_is_new(e, source, end_ns) for e in told.body["evidence"]):
            return (told.opened_ns - end_ns) / _NS
    return None


_SOURCES = {"camera": CAMERA, "radar": RADAR, "ais": AIS, "reports": REPORTS}
"""Nothing in the picture rests on a fix of the unit's own receiver."""


def _is_new(evidence: dict[str, Any], source: str | None, since_ns: int) -> bool:
    """Of this source, or any."""
    ours = source is None or evidence["source_id"].split(":")[0] == source
    return ours and nanoseconds(evidence["time"]) > since_ns


def back_after_power_s(record: Record, _: Trial) -> Value:
    """From power to the unit's first word, the worst of all cuts."""
    return _fact(record, "back_after_power_s", max)


def daemon_restarts(record: Record, _: Trial) -> Value:
    """How often the daemon was started anew."""
    return float(record.restarts), ""


def exit_code(record: Record, _: Trial) -> Value:
    """How the daemon ended when it was asked to."""
    return (None if record.exit_code is None else float(record.exit_code)), ""


def told_sick(record: Record, _: Trial) -> Value:
    """Of the faults, the share during or right after which the unit's own status named something sick."""
    if not record.happened:
        return None, "no fault happened"
    named = [one for one in record.happened if _said_sick(record, one)]
    words = sorted({word for _, sick in record.sick for word in sick})
    return len(named) / len(record.happened), "; ".join(words)[:300]


def _said_sick(record: Record, one: Happened) -> bool:
    state: tuple[str, ...] = ()
    for at_ns, sick in record.sick:
        if at_ns <= one.from_ns:
            state = sick
        elif at_ns <= one.to_ns + 5 * _NS and sick:
            return True
    return bool(state)


def sick_at_end(record: Record, _: Trial) -> Value:
    """What the unit still calls sick when all is mended."""
    words = record.sick[-1][1] if record.sick else ()
    return float(len(words)), "; ".join(words)


# -- speed --------------------


def latency_p50_ms(record: Record, trial: Trial) -> Value:
    return _latency(record, trial, 0.5)


def latency_p99_ms(record: Record, trial: Trial) -> Value:
    return _latency(record, trial, 0.99)


def _latency(record: Record, trial: Trial, part: float) -> Value:
    """Over the times in which nothing was broken."""
    begun = record.begun_ns + round(trial.warm_up_s * _NS)
    spans = [(one.from_ns, one.to_ns + round(_SETTLE_S * _NS)) for one in record.happened]
    calm = sorted(
        ms for at, ms in record.waited_ms if at > begun and not any(start <= at <= end for start, end in spans)
    )  # fmt: skip
    return percentile(calm, part), f"{len(calm)} results from capture to opened"


def frames_missed(record: Record, _: Trial) -> Value:
    """Frames that the camera sent and that no detector answered."""
    if record.last_status is None:
        return None, "the unit was never heard"
    seen = int(record.last_status["counts"].get("DetectedFrame", 0))
    feed = sum(int(one["dropped_oldest"]) for one in record.last_status["feeds"] if one["name"] == CAMERA)
    lane = sum(int(one["dropped_oldest"]) for one in record.last_status["lanes"])
    where = f"{feed} gave way to newer ones before the model, {lane} at it"
    return float(record.frames_sent - seen), f"{record.frames_sent} sent, {seen} looked at; {where}"


# -- truth --------------------


def gospa_m(record: Record, trial: Trial) -> Value:
    accuracy, says = _accuracy(record, trial)
    return (None if accuracy is None else accuracy.gospa_m), says


def recall(record: Record, trial: Trial) -> Value:
    accuracy, says = _accuracy(record, trial)
    return (None if accuracy is None else accuracy.recall), says


def false_entities(record: Record, trial: Trial) -> Value:
    accuracy, says = _accuracy(record, trial)
    return (None if accuracy is None else accuracy.false_per_moment), says


def position_error_m(record: Record, trial: Trial) -> Value:
    accuracy, says = _accuracy(record, trial)
    return (None if accuracy is None else accuracy.rmse_m), says


def worst_false_entities(record: Record, trial: Trial) -> Value:
    """The most entities that stood for nothing at any one second, faults included."""
    judge, span = _judge(record), _last_lap(record, trial, settled=False)
    moments = [judge.pairing(float(second)) for second in range(math.ceil(span[1]), math.floor(span[2]))]
    return float(max((moment.false for moment in moments), default=0)), f"{len(moments)} moments"


def _accuracy(record: Record, trial: Trial) -> tuple[Accuracy | None, str]:
    """The means over the last part of the scene in which nothing was broken and all had time to settle."""
    _, from_s, to_s = _last_lap(record, trial, settled=True)
    if to_s - from_s < _STEADY_S:
        return None, "no calm second to score"
    return _judge(record).accuracy(from_s, to_s), f"{to_s - from_s:.0f} s at the end, 10 things in truth"


def _judge(record: Record) -> Judge:
    """Holds what was told against the newest lap of the scene."""
    lap = int((record.ended_ns - record.begun_ns - round(_STEADY_S * _NS)) / _NS // record.lap_s)
    begun = record.begun_ns + round(lap * record.lap_s * _NS)
    opened = [Opened(opened_ns=one.opened_ns, body=one.body) for one in record.told]
    return Judge(harbour(record.seed, begun), opened)


def _last_lap(record: Record, trial: Trial, *, settled: bool) -> tuple[int, float, float]:
    """(lap, from, to): seconds of the newest lap that may be scored."""
    lap = int((record.ended_ns - record.begun_ns - round(_STEADY_S * _NS)) / _NS // record.lap_s)
    begun = record.begun_ns + round(lap * record.lap_s * _NS)
    to_s = (record.ended_ns - begun) / _NS - _STEADY_S
    from_s = _SEAM_S if lap else trial.warm_up_s
    if settled and record.happened:
        from_s = max(from_s, (record.happened[-1].to_ns - begun) / _NS + _SETTLE_S)
    return lap, from_s, to_s


# -- what it costs --------------------


def memory_slope(record: Record, trial: Trial) -> Value:
    """MB an hour of memory that it has written and shares with nobody, after warm-up; its 95 % interval in words."""
    return _slope(record, trial, lambda sample: sample.own_bytes / 1e6, "MB/h")


def fd_slope(record: Record, trial: Trial) -> Value:
    return _slope(record, trial, lambda sample: float(sample.fds), "descriptors/h")


def _slope(record: Record, trial: Trial, of: Callable[[Any], float], unit: str) -> Value:
    found = slope_of(record, trial, of)
    if found is None:
        return None, "too few samples after warm-up"
    return found.per_hour, f"95 % interval {found.low:+.2f} to {found.high:+.2f} {unit} over {found.minutes} minutes"


def slope_of(record: Record, trial: Trial, of: Callable[[Any], float]) -> Slope | None:
    """The line through the minutes after warm-up."""
    begun = record.begun_ns + round(trial.warm_up_s * _NS)
    points = [((one.at_ns - begun) / _NS, of(one)) for one in record.samples if one.at_ns >= begun]
    return fitted(points)


def memory_peak_mb(record: Record, _: Trial) -> Value:
    if not record.samples:
        return None, "no sample was taken"
    return max(one.resident_bytes for one in record.samples) / 1e6, "resident, daemon and children together"


def cpu_cores(record: Record, trial: Trial) -> Value:
    """Processor time for each second, of the last process of the daemon."""
    last = [one for one in record.samples if one.pid == record.samples[-1].pid]
    last = [one for one in last if one.at_ns >= record.begun_ns + round(trial.warm_up_s * _NS)]
    if len(last) < 2:
        return None, "too few samples"
    return (last[-1].cpu_s - last[0].cpu_s) / ((last[-1].at_ns - last[0].at_ns) / _NS), ""


def watts(record: Record, _: Trial) -> Value:
    told = [one.watts for one in record.samples if one.watts is not None]
    if not told:
        return None, "this board tells no power"
    return sum(told) / len(told), "mean of what the board's own sensors say"


# -- what faults know --------------------


def _fact(record: Record, name: str, of: Callable[[list[float]], float]) -> Value:
    values = [one.facts[name] for one in record.happened if name in one.facts]
    says = f"{len(values)} faults together" if len(values) > 1 else ""
    return (of(values), says) if values else (None, "no fault of this trial told it")


def _from_facts(name: str, of: Callable[[list[float]], float]) -> Callable[[Record, Trial], Value]:
    return lambda record, _: _fact(record, name, of)


def _entities(record: Record) -> Iterator[Any]:
    return (one for one in record.told if one.body["schema"].startswith("edge/entity/"))


def _spans_of(record: Record, fault: str) -> list[tuple[int, int]]:
    return [(one.from_ns, one.to_ns) for one in record.happened if one.fault == fault]


MEASURES = MappingProxyType(
    {
        "results_lost": Measure(what="results lost", unit="results", read=results_lost),
        "results_doubled": Measure(what="results told twice", unit="results", read=results_doubled),
        "results_given_up": Measure(what="results given up, and said so", unit="results", read=results_given_up),
        "results_refused": Measure(what="envelopes not believed", unit="envelopes", read=results_refused),
        "silence_s": Measure(what="longest time without a result", unit="s", read=silence_s),
        "recovery_s": Measure(what="time to recover", unit="s", read=recovery_s),
        "back_after_power_s": Measure(what="from power to the first word", unit="s", read=back_after_power_s),
        "daemon_restarts": Measure(what="restarts of the daemon", unit="restarts", read=daemon_restarts),
        "exit_code": Measure(what="exit code at the end", unit="", read=exit_code),
        "told_sick": Measure(what="faults that the unit itself named", unit="of 1", read=told_sick),
        "sick_at_end": Measure(what="parts still sick at the end", unit="parts", read=sick_at_end),
        "latency_p50_ms": Measure(what="capture to opened, median", unit="ms", read=latency_p50_ms),
        "latency_p99_ms": Measure(what="capture to opened, 99 of 100", unit="ms", read=latency_p99_ms),
        "frames_missed": Measure(what="frames missed", unit="frames", read=frames_missed),
        "gospa_m": Measure(what="distance from the truth (GOSPA)", unit="m", read=gospa_m),
        "recall": Measure(what="things found", unit="of 1", read=recall),
        "false_entities": Measure(what="entities that stand for nothing", unit="at a time", read=false_entities),
        "worst_false_entities": Measure(what="false entities at the worst moment", unit="entities", read=worst_false_entities),
        "position_error_m": Measure(what="position error", unit="m RMS", read=position_error_m),
        "memory_slope": Measure(what="growth of memory", unit="MB/h", read=memory_slope),
        "fd_slope": Measure(what="growth of descriptors", unit="1/h", read=fd_slope),
        "memory_peak_mb": Measure(what="memory at most", unit="MB", read=memory_peak_mb),
        "cpu_cores": Measure(what="processor", unit="cores", read=cpu_cores),
        "watts": Measure(what="power", unit="W", read=watts),
        "sticks_accepted": Measure(what="bad sticks that were taken", unit="sticks", read=_from_facts("sticks_accepted", sum)),
        "releases_changed": Measure(what="changes of what is in service", unit="changes", read=_from_facts("releases_changed", sum)),
        "heat_missed": Measure(what="heat that the doctor did not see", unit="times", read=_from_facts("heat_missed", sum)),
        "moved_m": Measure(what="how far a deceived receiver moved the unit", unit="m", read=_from_facts("moved_m", max)),
        "intrusions": Measure(what="what a hostile client was let do", unit="acts", read=_from_facts("intrusions", sum)),
        "upgrades_cut": Measure(what="installations that the power cut", unit="installations", read=_from_facts("upgrades_cut", sum)),
        "upgrade_unfinished": Measure(what="upgrades that no retry completed", unit="upgrades", read=_from_facts("upgrade_unfinished", sum)),
        "slots_broken": Measure(what="cuts after which no release could serve", unit="cuts", read=_from_facts("slots_broken", sum)),
    }
)  # fmt: skip
