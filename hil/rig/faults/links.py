"""Bad links: between the unit and its broker by a proxy, between the sensors and the unit at the sensors themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hil.devices.device import CannotDo
from hil.rig.bench import Bench
from hil.rig.campaign import Step
from hil.rig.faults.table import Act, Facts, FaultKind
from hil.rig.proxy import Condition

DELAY_S, JITTER_S, BYTES_PER_S = 0.3, 0.3, 20_000.0
"""A satellite hop on a bad day."""


def _link(condition: Condition) -> Act:
    @contextlib.contextmanager
    def act(bench: Bench, step: Step) -> Iterator[Facts]:
        with bench.linked_as(step.fault) as proxy:
            proxy.condition = condition
            try:
                yield {}
            finally:
                proxy.condition = Condition()

    return act


@contextlib.contextmanager
def sensor_loss(bench: Bench, step: Step) -> Iterator[Facts]:
    """The camera or the AIS receiver hangs up and cannot be reached. Raises CannotDo for another target."""
    if step.target not in {"camera", "ais"}:
        raise CannotDo(f"sensor-loss: expected the target 'camera' or 'ais'; found {step.target!r}")
    _away(bench, step.target, away=True)
    try:
        yield {}
    finally:
        _away(bench, step.target, away=False)


def _away(bench: Bench, target: str, *, away: bool) -> None:
    if target == "camera":
        bench.camera.mood = "away" if away else "well"
    else:
        bench.lines.go_away(away=away)


TABLE = {
    "link-cut": FaultKind(act=_link(Condition(cut=True)), says="cuts the link between the unit and its broker"),
    "link-stall": FaultKind(act=_link(Condition(stalled=True)), says="lets the link stand: connected, nothing passes"),
    "netem": FaultKind(
        act=_link(Condition(delay_s=DELAY_S, jitter_s=JITTER_S, bytes_per_s=BYTES_PER_S)),
        says=f"makes the link bad: {DELAY_S:g} to {DELAY_S + JITTER_S:g} s each way, {BYTES_PER_S / 1000:g} kB/s",
    ),
    "sensor-loss": FaultKind(act=sensor_loss, says="takes a sensor away; it hangs up and cannot be reached"),
}  # fmt: skip
