"""The error tree, split by what the caller will do about it.

Every exception that crosses a room's door is one of these; foreign exceptions are translated once, at the rim,
with ``from e``. Messages say what was expected, what was found and where.

    ApplianceError
    ├── Stop          the process cannot go on: bad usage or a bad mission file        exit 2
    │   └── ConfigError      carries every fault that was found, not just the first
    ├── Refused       trust said no; never retried, never downgraded                    exit 3
    │   ├── BundleRefused
    │   ├── EngineRefused
    │   ├── EnvelopeRefused
    │   └── IdentityRefused
    ├── Unavailable   an outside thing is away; retry with back-off                     exit 4
    │   ├── FeedUnavailable
    │   ├── BusUnavailable
    │   └── EngineUnavailable
    └── Drop          this one item is unusable; count it and go on
        ├── BadRecord        a sentence, row, datagram or frame that does not parse
        └── BadReport        a text that cannot be read within the limits

Tampering is a ``Refused``, never a ``ValueError``. A ``ValueError`` or ``TypeError`` from our own code is a
programming mistake and ends as exit 1.
"""

from __future__ import annotations

from dataclasses import dataclass


class ApplianceError(Exception):
    """Root of everything that this product raises on purpose."""

    exit_code = 1


class Stop(ApplianceError):
    """The process cannot go on as it was asked to."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong in a file a person wrote."""

    file: str
    key: str
    found: str
    expected: str
    line: int | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: expected {self.expected}; found {self.found}"


class ConfigError(Stop):
    """A mission file that cannot be run; ``faults`` lists every fault that was found."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class UsageError(Stop):
    """A command was called in a way that cannot mean anything."""


class Refused(ApplianceError):
    """Trust said no. ``reason`` is a stable code that scripts may match on."""

    exit_code = 3

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(f"{message} [{reason}]")


class BundleRefused(Refused):
    """A bundle, its metadata, its release policy or its payload failed verification."""


class EngineRefused(Refused):
    """A sealed engine is not the one that this device built, or its answers are not those of its network."""


class EnvelopeRefused(Refused):
    """A grant, frame or close failed verification, or came again."""


class IdentityRefused(Refused):
    """A key file is malformed, locked, or not of the kind that was asked for."""


class Unavailable(ApplianceError):
    """An outside thing is away; the same call may work later."""

    exit_code = 4


class FeedUnavailable(Unavailable):
    """A camera, receiver, socket or file of a feed cannot be opened or has gone."""


class BusUnavailable(Unavailable):
    """The broker cannot be reached, refused us, or does not acknowledge."""


class EngineUnavailable(Unavailable):
    """A model cannot be loaded or run on this machine."""


class Drop(ApplianceError):
    """This one item is unusable; count it under ``reason`` and go on."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(f"{message} [{reason}]")


class BadRecord(Drop):
    """A sentence, row, datagram or frame that does not parse or cannot be true."""


class BadReport(Drop):
    """A report that cannot be read within the limits."""
