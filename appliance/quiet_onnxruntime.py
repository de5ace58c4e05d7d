"""The one door through which ONNX Runtime is imported: without its telemetry.

Its wheels for Linux carry a telemetry client that is on by default (seen in 1.32.0): opening a session asks the
resolver for its maker's collector, again and again, and writes an identifier of the machine below HOME. An appliance
speaks to nobody that its mission does not name. ``disable_telemetry_events()`` comes too late for that; the variable
does it, and only where it is set before the first import. It is the library's switch, not one of ours.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

SWITCH: Final = "ORT_DISABLE_TELEMETRY"
MODULE: Final = "onnxruntime"


def import_onnxruntime() -> Any:
    """The module, silenced.

    Raises: ImportError where it is not installed.
    """
    if MODULE not in sys.modules:
        os.environ[SWITCH] = "1"
    return importlib.import_module(MODULE)
