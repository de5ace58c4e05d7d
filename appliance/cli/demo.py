"""``appliance demo``: starts the demo as a process of its own and hands on how it ended.

The demo lives above this package, in the rig. Nothing of ``appliance`` imports it; an installation without it says so.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from appliance.errors import EngineUnavailable

DEFAULT_S: Final = 30.0
INTERRUPTED: Final = 130
_MODULE: Final = "hil.demo"


def demo(
    *,
    duration: float = DEFAULT_S,
    seed: int | None = None,
    keep: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show the whole chain on this machine, from an empty folder, with a simulated harbour.

    Parameters
    ----------
    duration
        Seconds of scene, 5 to 600.
    seed
        Another seed is another day in the harbour.
    keep
        An empty folder to work in and to leave everything in; a temporary one where not named.
    json
        End with one JSON object on standard output.
    """
    if importlib.util.find_spec("hil") is None:
        raise EngineUnavailable(
            "the demo is not part of this installation: expected the package `hil` beside `appliance`"
        )
    options = ["--duration", str(duration)]
    options += ["--seed", str(seed)] if seed is not None else []
    options += ["--keep", str(keep)] if keep is not None else []
    options += ["--json"] if json else []
    return _follow(subprocess.Popen([sys.executable, "-m", _MODULE, *options]))


def _follow(process: subprocess.Popen[bytes]) -> int:
    """Wait for the demo; hand on what interrupts us, once, and let it end in order."""
    asked: list[int] = []

    def hand_on(signum: int, _: object) -> None:
        if not asked:
            asked.append(signum)
            process.send_signal(signal.SIGTERM)

    before = {signum: signal.signal(signum, hand_on) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    return INTERRUPTED if asked or code < 0 else code
