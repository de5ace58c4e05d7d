"""Running the tools that build a disk, and saying plainly which one failed and how it ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError

LAST_WORDS: Final = 20
#: Debian's administration tools lie where an ordinary user's PATH does not look.
_SBIN: Final = "/usr/sbin:/sbin"


class BuildFailed(ApplianceError):
    """A step of the build ended badly, or a tool is missing; nothing is left in the cache under the step's name."""

    exit_code = 4


def run(words: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, may_fail: bool = False) -> str:
    """Run a tool to its end; what it said. Raises BuildFailed with its last words."""
    command = [str(word) for word in words]
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    path = f"{clean.get('PATH', '/usr/bin:/bin')}:{_SBIN}"
    if shutil.which(command[0], path=path) is None:
        raise BuildFailed(f"{command[0]}: not installed; `bash .ci/system vm` installs what the virtual device needs")
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**clean, **(environment or {}), "PATH": path},
    )
    if done.returncode != 0 and not may_fail:
        words_said = "\n".join(done.stdout.splitlines()[-LAST_WORDS:])
        raise BuildFailed(f"{' '.join(command[:6])} …: ended with {done.returncode}\n{words_said}")
    return done.stdout
