"""What the commands share: how they speak, and the options that several of them have.

Results go to standard output (with ``--json`` one object and nothing else), everything else to standard error.
"""

from __future__ import annotations

import getpass
import json as jsonlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from appliance.errors import UsageError

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object instead of lines for people.")]
Ask = Annotated[bool, Parameter(name="--passphrase", negative="", help="Ask for the passphrase of the key files.")]
Keys = Annotated[Path, Parameter(name="--keys", help="The fleet's folder, made by `trust init`.")]


def passphrase(ask: bool, *, twice: bool = False) -> str | None:
    """Asks on the terminal; a passphrase never stands in a command line or an environment."""
    if not ask:
        return None
    text = getpass.getpass("passphrase of the key files: ")
    if not text or (twice and getpass.getpass("once more: ") != text):
        raise UsageError("expected the same passphrase twice, and not an empty one")
    return text


def now() -> datetime:
    """The bench's clock, UTC."""
    return datetime.now(UTC)


def line(text: str) -> None:
    """One line of the result, for people."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """One line that is no result."""
    sys.stderr.write(text + "\n")


def print_json(fields: dict[str, Any]) -> None:
    """The result, for scripts."""
    sys.stdout.write(jsonlib.dumps(fields, sort_keys=True) + "\n")
