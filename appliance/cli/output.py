"""How commands speak: results on standard output, everything else on standard error.

With ``--json`` standard output holds JSON and nothing else. Progress is a bar on a terminal and plain lines elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from rich.console import Console

#: People read this one; scripts read standard output.
ERRORS: Final = Console(stderr=True, highlight=False, soft_wrap=True)
OUTPUT: Final = Console(highlight=False, soft_wrap=True)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


_encoder: Final = msgspec.json.Encoder(order="deterministic", enc_hook=_plain)


def print_json(body: Any) -> None:
    """One JSON value on one line of standard output, flushed, so that a reader sees it at once."""
    sys.stdout.write(_encoder.encode(body).decode() + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """One line for people on standard output."""
    OUTPUT.print(text, markup=False)


def note(text: str) -> None:
    """One line for people on standard error."""
    ERRORS.print(text, markup=False)


def say_failure(text: str, *, reason: str) -> None:
    """Why a command ends; the reason is a stable word for scripts."""
    ERRORS.print(f"appliance: {text}" if f"[{reason}]" in text else f"appliance: {text} [{reason}]", markup=False)
