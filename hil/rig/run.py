"""A campaign from its file to its result: prepare once, then trial after trial, whatever becomes of each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from appliance.errors import ApplianceError
from hil.devices.device import CannotDo, Device, DeviceFailed, DeviceTimeout
from hil.devices.local import APPLIANCE, LocalDevice
from hil.rig.campaign import Loaded, Trial, trials_on
from hil.rig.faults.every import FAULTS
from hil.rig.measures import MEASURES
from hil.rig.record import Record
from hil.rig.result import Result, TrialResult, digest_of
from hil.rig.series import series_of
from hil.rig.stage import Kit, film_of, furnish, make_kit
from hil.rig.strategy import Strategy
from hil.rig.trial import World, run_trial
from hil.rig.verdict import Outcome, judged, worst
from hil.scene.harbour import harbour

SILENT = "prepared"


class Live(Protocol):
    """Where the progress is told."""

    def preparing(self, what: str) -> None: ...
    def began(self, trial: Trial) -> None: ...
    def played(self, seconds: float, doing: str) -> None: ...
    def ended(self, result: TrialResult) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A furnished device and what all trials share."""

    device: Device
    kit: Kit
    world: World
    folder: Path


def prepare(loaded: Loaded, device: Device, folder: Path, live: Live) -> Prepared:
    """Boot, put everything on the device, shoot the film. Raises DeviceTimeout, DeviceFailed."""
    playing = loaded.campaign.scene
    live.preparing("keys and a signed bundle")
    kit = make_kit(folder / "kit", device.unit)
    live.preparing("the device boots")
    Strategy(device, "", lambda _: True).to("booted")
    device.first_boot()
    live.preparing("the bundle is installed")
    furnish(device, kit)
    scene = harbour(playing.seed)
    live.preparing("the film of the harbour")
    film = film_of(scene, playing.lap_s, lambda _done, _of: None)
    device.power_off()
    world = World(scene=scene, film=film, lap_s=playing.lap_s)
    return Prepared(device=device, kit=kit, world=world, folder=folder)


def run_campaign(loaded: Loaded, device: Device, folder: Path, live: Live) -> Result:
    """Every trial. Does not raise for what a device does; an interrupt ends it as ABORTED."""
    began, began_s = datetime.now(UTC), time.monotonic()
    trials: list[TrialResult] = []
    try:
        ready = prepare(loaded, device, folder, live)
        for trial in trials_on(loaded.campaign, device.kind):
            trials.append(tried(ready, loaded, trial, live))
            if trials[-1].outcome is Outcome.ABORTED:
                break
    except KeyboardInterrupt:
        trials.append(_nothing(SILENT, "the device is made ready", Outcome.ABORTED, "interrupted"))
    except ApplianceError as e:
        outcome = Outcome.TIMEOUT if isinstance(e, DeviceTimeout) else Outcome.ERROR
        trials.append(_nothing(SILENT, "the device is made ready", outcome, str(e)))
    finally:
        device.power_off()
    return Result(
        campaign=loaded.campaign.name,
        says=loaded.campaign.says,
        digest=digest_of(loaded.text),
        outcome=worst([trial.outcome for trial in trials if not trial.not_run]),
        device=device.kind,
        facts=dict(device.facts),
        began=began.isoformat(timespec="seconds"),
        took_s=time.monotonic() - began_s,
        trials=tuple(trials),
    )


def tried(
    ready: Prepared, loaded: Loaded, trial: Trial, live: Live, program: tuple[str, ...] = APPLIANCE
) -> TrialResult:
    """One trial with its verdict; what goes wrong becomes an outcome."""
    live.began(trial)
    try:
        _outfit(ready.device, trial, program)
        record = run_trial(
            ready.device, ready.kit, ready.world, trial, FAULTS, ready.folder / trial.name, live.played
        )  # fmt: skip
        result = verdict(loaded, trial, record, ready.device.kind)
    except KeyboardInterrupt:
        result = _nothing(trial.name, trial.says, Outcome.ABORTED, "interrupted")
    except CannotDo as e:
        result = _nothing(trial.name, trial.says, Outcome.PASS, str(e), not_run=True)
    except DeviceTimeout as e:
        result = _nothing(trial.name, trial.says, Outcome.TIMEOUT, str(e), log=_last_words(ready.device))
    except Exception as e:  # noqa: BLE001 - whatever fails in one trial must not take the others' verdicts with it
        why = f"{type(e).__name__}: {e}"
        result = _nothing(trial.name, trial.says, Outcome.ERROR, why, log=_last_words(ready.device))
    finally:
        ready.device.power_off()
    live.ended(result)
    return result


def _last_words(device: Device) -> str:
    """The daemon's log of a trial that failed, where the device still gives it: why it failed is told without it."""
    try:
        return device.log("daemon")
    except DeviceFailed as e:
        return f"no log: {e}"


def _outfit(device: Device, trial: Trial, program: tuple[str, ...]) -> None:
    """A local device can be given another build, and a clock of its own; others are what they are."""
    if isinstance(device, LocalDevice):
        device.outfit(program=program, faked=trial.clock == "faked")
    elif program != APPLIANCE:
        raise CannotDo("only a local device can be given a build that was broken on purpose")


def verdict(loaded: Loaded, trial: Trial, record: Record, kind: str) -> TrialResult:
    """A record held against the limits."""
    readings = []
    for name in trial.measure:
        measure = MEASURES[name]
        value, says = measure.read(record, trial)
        limit = loaded.limits.of(name, kind, trial.limits)
        readings.append(judged(name, measure.what, value, measure.unit, limit, says))
    failed = [reading.name for reading in readings if reading.outcome is not Outcome.PASS]
    faults = [f"a player failed: {fault}" for fault in record.player_faults]
    outcome = Outcome.ERROR if faults else Outcome.FAIL if failed else Outcome.PASS
    return TrialResult(
        name=trial.name,
        says=trial.says,
        outcome=outcome,
        why="; ".join([*faults, *failed]),
        readings=tuple(readings),
        begun_ns=record.begun_ns,
        played_s=(record.ended_ns - record.begun_ns) / 1e9,
        happened=record.happened,
        series=series_of(record),
        log=record.daemon_log if outcome is not Outcome.PASS else "",
    )


def _nothing(name: str, says: str, outcome: Outcome, why: str, **more: object) -> TrialResult:
    """A trial that came to no reading."""
    return TrialResult(name=name, says=says, outcome=outcome, why=why, **more)  # type: ignore[arg-type]
