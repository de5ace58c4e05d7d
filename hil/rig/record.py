"""What one trial leaves behind: everything that a verdict or a report may ask for, and nothing that is still alive.

Times are nanoseconds since 1970 by the rig's clock. It can be written to JSON and read again, so that a verdict can be
had a second time without the device.
"""

from __future__ import annotations

from typing import Any

import msgspec

Name = tuple[int, int]
"""Epoch and counter of a result."""


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """A value."""


class Sample(Frozen, frozen=True, kw_only=True):
    """One look, summed over the daemon and its children; ``own_bytes`` they have written and share with nobody."""

    at_ns: int
    pid: int
    own_bytes: int
    resident_bytes: int
    fds: int
    threads: int
    cpu_s: float
    processes: int
    watts: float | None


class Happened(Frozen, frozen=True, kw_only=True):
    """One fault: when it began and ended, and what the rig did and saw."""

    fault: str
    target: str
    from_ns: int
    to_ns: int
    says: str = ""
    facts: dict[str, float] = {}
    """What only the fault can know, by the name of the measurement: an exit code, the state of a slot."""


class Told(Frozen, frozen=True, kw_only=True):
    """One opened result as the judge needs it."""

    opened_ns: int
    body: dict[str, Any]


class Epoch(Frozen, frozen=True, kw_only=True):
    """An epoch that the unit has closed: results in it, and those that never came, which the unit did not give up."""

    epoch: int
    count: int
    missing: int
    given_up: int
    results: str


class Record(Frozen, frozen=True, kw_only=True):
    """One trial."""

    begun_ns: int
    """The scene's first moment."""
    ended_ns: int
    """When the feeds fell silent."""
    lap_s: float
    seed: int
    happened: tuple[Happened, ...] = ()
    told: tuple[Told, ...] = ()
    """Bodies of the results that were kept: all of a short trial, the last of a long one."""
    opened: int = 0
    names: tuple[Name, ...] | None = None
    """Of every result that was opened; left out of long trials, whose epochs close in order."""
    durable: tuple[Name, ...] | None = None
    """Results that were seen on the device's own disk, before each fault that may take them from it, and at the end."""
    shed: tuple[Name, ...] = ()
    said_twice: int = 0
    refused: dict[str, int] = {}
    epochs: tuple[Epoch, ...] = ()
    waited_ms: tuple[tuple[int, float], ...] = ()
    """When a result that rests on a new frame was opened, and how long after the frame's capture."""
    arrivals_s: dict[int, int] = {}
    samples: tuple[Sample, ...] = ()
    frames_sent: int = 0
    camera_connections: int = 0
    last_status: dict[str, Any] | None = None
    sick: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """What the unit said ailed it, whenever that changed."""
    exit_code: int | None = None
    daemon_log: str = ""
    player_faults: tuple[str, ...] = ()
    took_s: dict[str, float] = {}
    restarts: int = 0
    """How many processes the daemon has had, less one."""
