"""How commands speak: results on standard output, everything else on standard error.

With ``--json`` standard output holds JSON and nothing else. Progress is a bar on a terminal and plain lines elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from rich.console import Console


@cache
def errors() -> Console:
    """People read this one; scripts read standard output."""
    return _console(stderr=True)


@cache
def output() -> Console:
    """Standard output, for people."""
    return _console(stderr=False)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console  # noqa: PLC0415 - what prints JSON starts without it

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


_encoder: Final = msgspec.json.Encoder(order="deterministic", enc_hook=_plain)


def print_json(body: Any) -> None:
    """One JSON value on one line of standard output, flushed, so that a reader sees it at once."""
    sys.stdout.write(_encoder.encode(body).decode() + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """One line for people on standard output."""
    output().print(text, markup=False)


def note(text: str) -> None:
    """One line for people on standard error."""
    errors().print(text, markup=False)


def say_failure(text: str, *, reason: str) -> None:
    """Why a command ends; the reason is a stable word for scripts."""
    errors().print(f"appliance: {text}" if f"[{reason}]" in text else f"appliance: {text} [{reason}]", markup=False)
