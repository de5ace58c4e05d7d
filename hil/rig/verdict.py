"""Readings and outcomes. A reading has a value, a unit and a limit; an outcome is one of five words and says why."""

from __future__ import annotations

import enum

import msgspec

from hil.rig.budgets import Limit


class Outcome(enum.StrEnum):
    """In the order of how much they take precedence over others: the last is the worst that can be said."""

    PASS = "PASS"  # noqa: S105 - a verdict, no word to pass by
    FAIL = "FAIL"
    """A reading is beyond its limit."""
    TIMEOUT = "TIMEOUT"
    """The device did not reach a state in time."""
    ERROR = "ERROR"
    """Rig or device failed in a way that is no reading: nothing is proved either way."""
    ABORTED = "ABORTED"
    """Somebody stopped it."""


_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}


def worst(outcomes: list[Outcome]) -> Outcome:
    """The one that the whole gets; of nothing, ERROR: a campaign that did nothing has proved nothing."""
    return max(outcomes, key=_RANK.__getitem__, default=Outcome.ERROR)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. ``value`` None: it could not be taken, and ``says`` tells why; that is a FAIL where judged."""

    name: str
    what: str
    value: float | None
    unit: str
    limit: Limit
    outcome: Outcome
    says: str = ""


def judged(name: str, what: str, value: float | None, unit: str, limit: Limit, says: str = "") -> Reading:
    """Hold a value against its limit. What cannot be taken fails, unless the limit asks nothing."""
    asks = limit.at_most is not None or limit.at_least is not None
    good = limit.holds(value) if value is not None and value == value else not asks  # noqa: PLR0124 - NaN is no value
    outcome = Outcome.PASS if good else Outcome.FAIL
    return Reading(name=name, what=what, value=value, unit=unit, limit=limit, outcome=outcome, says=says)
