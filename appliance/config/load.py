"""Reads a mission file into frozen values, or says everything that is wrong with it.

What this is: the only door through which a mission enters; ``load_mission`` reads, checks shape, then sense. What it
is not: it starts nothing. Relative paths are relative to the mission file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from appliance.config.check import sense_faults
from appliance.config.faults import faults_of
from appliance.config.lines import key_lines, line_of
from appliance.config.mission import Mission
from appliance.errors import ConfigError, Fault
from appliance.host.files import read_at_most

#: A mission is written by hand; anything larger is not one.
MAX_MISSION_BYTES: Final = 1_000_000
MAX_DOTS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedMission:
    """A mission that makes sense, where it stands, and what it was read from."""

    mission: Mission
    path: Path
    text: str

    @property
    def digest(self) -> str:
        """SHA-384 of the mission file as read, lower-case hex."""
        return hashlib.sha384(self.text.encode()).hexdigest()

    def resolve(self, path: str) -> Path:
        """A path of the mission, relative to the mission file."""
        return Path(os.path.realpath(self.path.parent / path))  # a loop of links is told when it is opened


def load_mission(path: Path) -> LoadedMission:
    """Read and check a mission file.

    Raises ConfigError with every fault that was found: file, key, line, what was expected.
    """
    text = _read(path)
    return parse_mission(text, path)


def parse_mission(text: str, path: Path) -> LoadedMission:
    """Check a mission's text as if it stood at ``path``."""
    file = str(path)
    try:
        _require_short_keys(text)
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as e:  # beside syntax: numbers of thousands of digits, thousands of brackets
        raise ConfigError((Fault(file=file, key="(syntax)", found=str(e), expected="a TOML 1.0 file"),)) from e
    lines = key_lines(text)
    faults = faults_of(Mission, raw, file=file)
    if faults:
        raise ConfigError(_placed(faults, lines))
    mission = msgspec.convert(raw, Mission)
    loaded = LoadedMission(mission=mission, path=path, text=text)
    faults = sense_faults(mission, file=file, resolve=loaded.resolve)
    if faults:
        raise ConfigError(_placed(faults, lines))
    return loaded


def _require_short_keys(text: str) -> None:
    """The parser takes memory by the square of a dotted key's parts; a mission needs three."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".") > MAX_DOTS:
            raise ValueError(f"line {number} holds {line.count('.')} dots; at most {MAX_DOTS} are read")


def _read(path: Path) -> str:
    fault: str
    try:
        raw = read_at_most(path, MAX_MISSION_BYTES)
        if len(raw) <= MAX_MISSION_BYTES:
            return raw.decode("utf-8")
        fault = f"more than {MAX_MISSION_BYTES} bytes"
    except OSError as e:
        fault = e.strerror or str(e)
    except UnicodeDecodeError as e:
        fault = f"bytes that are not UTF-8 at offset {e.start}"
    raise ConfigError((Fault(file=str(path), key="(file)", found=fault, expected="a readable UTF-8 mission file"),))


def _placed(faults: list[Fault], lines: dict[str, int]) -> tuple[Fault, ...]:
    return tuple(dataclasses.replace(fault, line=line_of(lines, fault.key)) for fault in faults)
