"""Does the network load and answer here, and give its golden outputs? Asked in a child process, before the slot is
touched.

A signed network may still be broken, and a broken one may crash the library that loads it: the child takes the fall.
The child has a time limit and an address-space limit; what it says is one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from appliance.errors import BundleRefused

TIMEOUT_S: Final = 120
MAX_ANSWER_BYTES: Final = 64 * 1024


def run_self_test(folder: Path, model: str, manifest: str) -> str:
    """Loads the network as the manifest says, runs it on an empty picture and on the golden inputs that lie beside it;
    returns what ran it and how near to the golden outputs it came.

    Raises: BundleRefused ("self-test").
    """
    command = [sys.executable, "-m", "appliance.slots.selftest_child", str(folder / model), str(folder / manifest)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as e:
        raise BundleRefused("self-test", f"the network did not load within {TIMEOUT_S} s") from e
    try:
        answer = json.loads(child.stdout[-MAX_ANSWER_BYTES:].splitlines()[-1])
    except (ValueError, IndexError) as e:
        tail = child.stderr[-500:].decode(errors="replace").strip()
        raise BundleRefused("self-test", f"the network ended the test process ({child.returncode}): {tail}") from e
    if not answer.get("ok"):
        raise BundleRefused("self-test", f"the network does not serve: {answer.get('why')}")
    return f"{answer.get('runs_on')}; {answer.get('golden')}"
