"""The box itself: room on its disk, and how warm it is. Reads sysfs and statvfs; judges nothing."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import Unavailable

THERMAL: Final = Path("/sys/class/thermal")
MAX_ZONES: Final = 256
_MILLI: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A file system: bytes in all, bytes that we may still write, and whether it takes writes at all."""

    total_bytes: int
    free_bytes: int
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A thermal zone. ``critical_celsius``: where the kernel switches off; None where the zone names none."""

    name: str
    temperature_celsius: float
    critical_celsius: float | None


def room(path: Path) -> Room:
    """The file system that ``path``, or the nearest folder above it that exists, lies on.

    Raises: Unavailable.
    """
    there = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    try:
        facts = os.statvfs(there)
    except OSError as e:
        raise Unavailable(f"{there}: expected a file system; {e.strerror}") from e
    return Room(
        total_bytes=facts.f_frsize * facts.f_blocks,
        free_bytes=facts.f_frsize * facts.f_bavail,
        read_only=bool(facts.f_flag & os.ST_RDONLY),
    )


def thermal_zones(folder: Path = THERMAL) -> tuple[Zone, ...]:
    """Every zone that tells a temperature; one that is switched off answers with an error and is left out."""
    zones: list[Zone] = []
    for path in sorted(folder.glob("thermal_zone*"))[:MAX_ZONES]:
        temperature = _milli(path / "temp")
        if temperature is not None:
            name = _text(path / "type") or path.name
            zones.append(Zone(name=name, temperature_celsius=temperature, critical_celsius=_critical(path)))
    return tuple(zones)


def _critical(zone: Path) -> float | None:
    for kind in sorted(zone.glob("trip_point_*_type")):
        if _text(kind) == "critical":
            return _milli(kind.with_name(kind.name.replace("_type", "_temp")))
    return None


def _milli(path: Path) -> float | None:
    with contextlib.suppress(ValueError):
        return int(_text(path)) / _MILLI
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
