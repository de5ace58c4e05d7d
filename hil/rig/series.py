"""The lines of a trial's plots, thinned to what a screen shows."""

from __future__ import annotations

from hil.rig.record import Record
from hil.rig.result import Series

MOST_POINTS = 400
_NS = 1e9


def series_of(record: Record) -> tuple[Series, ...]:
    """Latency, results a second, memory, descriptors; those that were seen."""
    begun = record.begun_ns
    waited = [((at - begun) / _NS, ms) for at, ms in record.waited_ms]
    first, last = begun // 10**9, record.ended_ns // 10**9
    arrivals = [(float(second - first), float(record.arrivals_s.get(second, 0))) for second in range(first, last + 1)]
    memory = [((one.at_ns - begun) / _NS, one.own_bytes / 1e6) for one in record.samples]
    descriptors = [((one.at_ns - begun) / _NS, float(one.fds)) for one in record.samples]
    lines = (
        ("capture to opened", "ms", thinned(waited, max)),
        ("results opened in a second", "", thinned(arrivals, min)),
        ("memory of daemon and children", "MB", thinned(memory, max)),
        ("open descriptors", "", thinned(descriptors, max)),
    )
    return tuple(Series(name=name, unit=unit, points=tuple(points)) for name, unit, points in lines if points)


def thinned(points: list[tuple[float, float]], keep: object) -> list[tuple[float, float]]:
    """At most ``MOST_POINTS``; of each stretch the point that is worst, ``keep`` saying which that is."""
    stride = -(-len(points) // MOST_POINTS)
    if stride <= 1:
        return points
    worst = max if keep is max else min
    return [worst(points[at : at + stride], key=lambda point: point[1]) for at in range(0, len(points), stride)]
