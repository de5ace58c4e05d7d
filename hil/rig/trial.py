"""One trial, read aloud: boot, run, let the world begin, break and mend in time, let it end, note what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hil.devices.device import Device, DeviceFailed
from hil.rig.bench import Bench, Wants
from hil.rig.campaign import Step, Trial
from hil.rig.ear import Heard
from hil.rig.faults.table import FaultKind
from hil.rig.record import Epoch, Happened, Record, Told
from hil.rig.stage import Kit
from hil.scene.world import Scene

LAST_FRAME_S = 1.5
"""For what is on its way through the device when the feeds fall silent."""
CLOSED_LIMIT_S = 30.0
"""For the unit to be acknowledged by its broker and the reader to have it all."""
RECORDING = '[record]\npath = "recordings"\nmax_bytes = 200_000_000\n'
RESEND_S = 3600
"""Longer than any trial whose outbox is read afterwards, so that it holds all that was ever durable in it."""
_LOOK_S = 0.1

TellTime = Callable[[float, str], None]
"""Seconds played, and what is going on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The scene and its film, the same for every trial of a campaign."""

    scene: Scene
    film: Path
    lap_s: float


def run_trial(
    device: Device,
    kit: Kit,
    world: World,
    trial: Trial,
    faults: Mapping[str, FaultKind],
    folder: Path,
    told: TellTime,
) -> Record:
    """Raises DeviceTimeout, DeviceFailed, CannotDo. The device may be left on: it has a log of what happened."""
    folder.mkdir(parents=True, exist_ok=True)
    with Bench(device, kit, folder, _wants(trial, world)) as bench:
        told(0.0, "booted, starting")
        bench.start(laps=int(trial.duration_s // world.lap_s) + 2)
        happened = [_break(bench, step, faults[step.fault], told) for step in trial.steps]
        _play_until(bench, trial.duration_s, told, "playing")
        ended_ns = time.time_ns()
        told(trial.duration_s, "ending in order")
        exit_code = _end(bench)
        return _record(bench, trial, tuple(happened), ended_ns, exit_code)


def _wants(trial: Trial, world: World) -> Wants:
    return Wants(
        scene=world.scene,
        film=world.film,
        lap_s=world.lap_s,
        sample_s=trial.sample_s,
        keep_s=trial.keep_s,
        bus=tuple({"resend_window_s": RESEND_S, **trial.bus}.items()),
        more=RECORDING if trial.record else "",
        through_proxy=trial.link == "proxy",
    )


def _break(bench: Bench, step: Step, kind: FaultKind, told: TellTime) -> Happened:
    """Wait for the step's time, break, wait, mend."""
    _play_until(bench, step.at_s, told, "playing")
    from_ns = time.time_ns()
    name = f"{step.fault} {step.target}".strip()
    told(step.at_s, name)
    with kind.act(bench, step) as facts:
        _play_until(bench, step.at_s + step.for_s, told, name)
        mended_ns = time.time_ns()
    says = f"{kind.says}{f' ({step.target})' if step.target else ''}"
    return Happened(fault=step.fault, target=step.target, from_ns=from_ns, to_ns=mended_ns, says=says, facts=facts)


def _play_until(bench: Bench, at_s: float, told: TellTime, doing: str) -> None:
    """Wait for a moment of the scene. Raises DeviceFailed where the rig's own parts have died meanwhile."""
    while (played_s := (time.time_ns() - bench.scene.start_ns) / 1e9) < at_s:
        told(played_s, doing)
        if bench.ear.failure is not None:
            raise DeviceFailed(f"the rig's reader failed: {bench.ear.failure}")
        time.sleep(min(_LOOK_S, max(0.0, at_s - played_s)))


def _end(bench: Bench) -> int:
    """The world falls silent, the daemon ends in order, the reader hears the close of its epoch."""
    bench.camera.mood = "ending"
    bench.players.stop()
    time.sleep(LAST_FRAME_S)
    bench.sampler.stop()
    epoch = bench.ear.look(lambda heard: heard.newest_epoch)
    code = bench.device.stop()
    bench.strategy.state = "booted"
    bench.ear.wait(lambda heard: any(closed.epoch >= epoch for closed in heard.closed), CLOSED_LIMIT_S)
    return code


def _record(bench: Bench, trial: Trial, happened: tuple[Happened, ...], ended_ns: int, exit_code: int) -> Record:
    heard: Heard = bench.ear.look(lambda heard: heard)
    bench.ear.stop()
    bench.note_books()
    short = trial.duration_s <= RESEND_S / 2.0
    samples = bench.sampler.samples
    return Record(
        begun_ns=bench.scene.start_ns,
        ended_ns=ended_ns,
        lap_s=bench.wants.lap_s,
        seed=bench.scene.seed,
        happened=happened,
        told=tuple(Told(opened_ns=one.opened_ns, body=dict(one.body)) for one in heard.opened),
        opened=len(heard.names),
        names=tuple(sorted(heard.names)) if short else None,
        durable=tuple(sorted(bench.durable)) if short else None,
        shed=tuple(sorted(bench.shed)),
        said_twice=heard.said_twice,
        refused=bench.ear.refused(),
        epochs=tuple(_epochs(heard)),
        waited_ms=tuple(heard.latencies.waited),
        arrivals_s=dict(heard.arrivals_s),
        samples=tuple(samples),
        frames_sent=bench.camera.sent,
        camera_connections=bench.camera.connections,
        last_status=dict(heard.statuses[-1].body) if heard.statuses else None,
        sick=tuple(_changes_of_sick(heard)),
        exit_code=exit_code,
        daemon_log=bench.device.log("daemon"),
        player_faults=tuple(bench.players.faults()),
        took_s=dict(bench.strategy.took_s),
        restarts=max(0, len({sample.pid for sample in samples}) - 1),
    )


def _epochs(heard: Heard) -> list[Epoch]:
    def total(runs: tuple[tuple[int, int], ...]) -> int:
        return sum(last - first + 1 for first, last in runs)

    newest = {closed.epoch: closed for closed in heard.closed}
    return [
        Epoch(
            epoch=number,
            count=one.count,
            missing=total(one.missing),
            given_up=total(one.given_up),
            results=one.results,
        )
        for number, one in sorted(newest.items())
    ]


def _changes_of_sick(heard: Heard) -> list[tuple[int, tuple[str, ...]]]:
    changes: list[tuple[int, tuple[str, ...]]] = []
    for status in heard.statuses:
        sick = tuple(status.body["sick"])
        if not changes or changes[-1][1] != sick:
            changes.append((status.opened_ns, sick))
    return changes
