"""A campaign file: what is played, what is broken when, what must hold. TOML → frozen values, every fault told.

It says nothing of how a device is made, so that one file runs on a desk, in a virtual machine and on a board.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from appliance.config.faults import faults_of
from appliance.config.lines import key_lines, line_of
from appliance.errors import ConfigError, Fault
from hil.rig.budgets import Limit, Limits, family

SCHEMA: Final = "edge-campaign/1"
MAX_CAMPAIGN_BYTES: Final = 1_000_000
"""A longer file is cut there, and is then no TOML file."""
TIMEOUT: Final = "timeout"
_T = TypeVar("_T", bound=msgspec.Struct)

Word = Annotated[
    str, Meta(pattern=r"^[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?$", description="1 to 40 of a-z, 0-9, '-' and '_'")
]
Seconds = Annotated[float, Meta(ge=0, le=604_800, description="seconds, 0 to 604800")]
Sentence = Annotated[str, Meta(min_length=1, max_length=400, description="a sentence for people, up to 400 characters")]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the campaign file."""


class Playing(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the world does: a harbour of a seed, which begins anew after each lap."""

    seed: Annotated[int, Meta(ge=0, le=2**31, description="a whole number; another seed is another harbour day")] = 7
    lap_s: Annotated[float, Meta(ge=10, le=3600, description="seconds, 10 to 3600")] = 60.0


class Step(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault: which, when, for how long. ``target`` and ``amount`` mean what the fault says they mean."""

    fault: Word
    at_s: Seconds
    for_s: Seconds = 0.0
    target: Annotated[str, Meta(max_length=60, description="up to 60 characters")] = ""
    amount: float | None = None


class Trial(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run of the device. ``measure`` names what is read afterwards; limits are the budget's.

    ``limits`` are this trial's own, where it promises more or less. ``catches`` are the builds that this trial must
    catch (``python -m hil selftest``), each with the measurement that must say so; "timeout" where the unit must not be
    heard again.
    """

    name: Word
    says: Sentence
    duration_s: Annotated[float, Meta(ge=5, le=604_800, description="seconds, 5 to 604800")]
    measure: tuple[Word, ...]
    steps: tuple[Step, ...] = ()
    limits: dict[str, Limit] = {}
    link: Annotated[Literal["direct", "proxy"], Meta(description="'direct' or 'proxy'")] = "direct"
    bus: dict[str, str | float | int] = {}
    record: bool = False
    clock: Annotated[Literal["own", "faked"], Meta(description="'own' or 'faked'")] = "own"
    sample_s: Annotated[float, Meta(ge=0.2, le=600, description="seconds, 0.2 to 600")] = 1.0
    warm_up_s: Seconds = 8.0
    keep_s: Annotated[float, Meta(ge=10, le=604_800, description="seconds, 10 to 604800")] = 600.0
    catches: dict[Word, Word] = {}


class Pace(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is different on a family of devices: ``calm_s`` is added after a trial's last fault, for one that comes back
    slowly.
    """

    calm_s: Seconds = 0.0


class Campaign(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole campaign file. ``on`` is by `family` of devices, as in the budget."""

    schema: Annotated[Literal["edge-campaign/1"], Meta(description="'edge-campaign/1'")]
    name: Word
    says: Sentence
    scene: Playing = Playing()
    budgets: str = "budgets.toml"
    on: dict[Word, Pace] = {}
    trials: Annotated[tuple[Trial, ...], Meta(min_length=1, max_length=100, description="1 to 100 [[trials]] tables")]


def trials_on(campaign: Campaign, kind: str) -> tuple[Trial, ...]:
    """The trials, those with faults as long as this kind of device needs."""
    calm_s = campaign.on.get(family(kind), Pace()).calm_s
    return tuple(
        msgspec.structs.replace(trial, duration_s=trial.duration_s + calm_s) if trial.steps else trial
        for trial in campaign.trials
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A campaign that makes sense, its budget, and the text that it was read from."""

    campaign: Campaign
    limits: Limits
    path: Path
    text: str


def load_campaign(path: Path, *, faults: Iterable[str], measures: Iterable[str], sabotages: Iterable[str]) -> Loaded:
    """Read and check a campaign and its budget. The last three are the names that there are.

    Raises ConfigError with every fault: file, line, key, what was found and expected.
    """
    campaign, text = read_table(path, Campaign)
    limits, _ = read_table(path.parent / campaign.budgets, Limits)
    known = {"fault": tuple(faults), "measure": tuple(measures), "sabotage": tuple(sabotages)}
    found = list(_sense(campaign, limits, known, str(path)))
    if found:
        lines = key_lines(text)
        raise ConfigError(tuple(dataclasses.replace(one, line=line_of(lines, one.key)) for one in found))
    return Loaded(campaign=campaign, limits=limits, path=path, text=text)


def read_table(path: Path, kind: type[_T]) -> tuple[_T, str]:
    """A TOML file as one of the rig's structs, and its text. Raises ConfigError with every fault."""
    file = str(path)
    try:
        with path.open("rb") as handle:
            text = handle.read(MAX_CAMPAIGN_BYTES).decode("utf-8")
        table = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as e:
        why = e.strerror or str(e) if isinstance(e, OSError) else str(e)
        raise ConfigError((Fault(file=file, key="(file)", found=why, expected="a TOML file in UTF-8"),)) from e
    found = faults_of(kind, table, file=file)
    if found:
        lines = key_lines(text)
        raise ConfigError(tuple(dataclasses.replace(one, line=line_of(lines, one.key)) for one in found))
    return msgspec.convert(table, kind), text


def _sense(campaign: Campaign, limits: Limits, known: dict[str, tuple[str, ...]], file: str) -> Iterable[Fault]:
    """Faults that no single key shows."""
    names = [trial.name for trial in campaign.trials]
    for index, trial in enumerate(campaign.trials):
        at = f"trials[{index}]"
        if names.index(trial.name) != index:
            yield Fault(file=file, key=f"{at}.name", found=trial.name, expected="a name that no trial before it has")
        yield from _unknown(trial, known, at, file)
        for name in trial.measure:
            if name not in limits.limits and name not in trial.limits:
                yield Fault(file=file, key=f"{at}.measure", found=name, expected="a measurement with a limit")
        for name in trial.catches.values():
            if name not in (*trial.measure, TIMEOUT):
                yield Fault(
                    file=file, key=f"{at}.catches", found=name, expected="one of the trial's measure, or timeout"
                )
        yield from _times(trial, at, file)


def _unknown(trial: Trial, known: dict[str, tuple[str, ...]], at: str, file: str) -> Iterable[Fault]:
    asked = [("measure", name, f"{at}.measure") for name in trial.measure]
    asked += [("fault", step.fault, f"{at}.steps[{k}].fault") for k, step in enumerate(trial.steps)]
    asked += [("sabotage", name, f"{at}.catches") for name in trial.catches]
    for what, name, key in asked:
        if name not in known[what]:
            yield Fault(file=file, key=key, found=name, expected="one of " + ", ".join(known[what]))


def _times(trial: Trial, at: str, file: str) -> Iterable[Fault]:
    """Faults come one after the other and inside the trial."""
    free_s = 0.0
    for k, step in enumerate(trial.steps):
        key = f"{at}.steps[{k}].at_s"
        if step.at_s < free_s:
            yield Fault(
                file=file, key=key, found=f"{step.at_s:g}", expected=f"{free_s:g} or later: after the one before"
            )
        if step.at_s + step.for_s > trial.duration_s:
            yield Fault(file=file, key=key, found=f"{step.at_s:g}", expected="an end before the trial's duration_s")
        free_s = step.at_s + step.for_s
