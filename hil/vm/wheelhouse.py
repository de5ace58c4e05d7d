"""The wheels of an image: what the lock names for its architecture, fetched once by hash, and our own wheel.

The only step beside debootstrap that reaches a network. Wheels are laid out by ``pip install --target`` on the machine
that builds: no code of the image's architecture runs for it, and the image needs no pip.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import tomllib
import zlib
from pathlib import Path
from typing import Final

from hil.vm.recipe import PYTHON, Machine, read_lock, requirement_lines, runtime_part
from hil.vm.steps import run

LOCK: Final = "requirements.lock"
#: The extra that a machine without a GPU runs with.
EXTRA: Final = "desk"
#: 2001-09-09, and the ten years after it.
OLDEST_S: Final = 1_000_000_000
YEARS_S: Final = 315_360_000


def runtime_requirements(repository: Path, machine: Machine) -> str:
    """The requirements file of the image. Raises UsageError where lock and project do not fit."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"][EXTRA]]
    lock = read_lock((repository / LOCK).read_text(encoding="utf-8"))
    return requirement_lines(runtime_part(lock, asked, machine.markers))


def own_wheel(repository: Path, into: Path) -> Path:
    """Our own wheel, the same bytes for the same sources (hatchling builds reproducibly)."""
    into.mkdir(parents=True, exist_ok=True)
    done = run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
                "--wheel-dir", into, repository])  # fmt: skip
    wheels = sorted(into.glob("edge_appliance-*.whl"))
    if len(wheels) != 1:
        raise RuntimeError(f"{into}: expected one wheel of ours; found {len(wheels)}\n{done}")
    return wheels[0]


def fetch(requirements: str, machine: Machine, into: Path) -> None:
    """Download what ``requirements`` names into the folder ``into``, whole or not at all; done once."""
    if into.is_dir():
        return
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as work:
        listed = Path(work) / "requirements.txt"
        listed.write_text(requirements, encoding="utf-8")
        wheels = Path(work) / "wheels"
        run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
             *_platform(machine), "--dest", wheels, "--requirement", listed])  # fmt: skip
        wheels.rename(into)


def lay_out(requirements: str, wheels: Path, own: Path, machine: Machine, site: Path) -> None:
    """Unpack all wheels into the folder ``site``; the packages there are what the hashes say, and ours."""
    site.mkdir(parents=True, exist_ok=True)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile",
           *_platform(machine), "--target", site)  # fmt: skip
    with tempfile.TemporaryDirectory() as work:
        listed = Path(work) / "requirements.txt"
        listed.write_text(requirements, encoding="utf-8")
        run([*pip, "--require-hashes", "--find-links", wheels, "--requirement", listed])
        run([*pip, own])
    shutil.rmtree(site / "bin", ignore_errors=True)  # scripts for the builder's own Python
    date_by_content(site)


def date_by_content(site: Path) -> None:
    """Date each source by what it says: byte code and compiled code know a file again by its size and its time."""
    for path in site.rglob("*.py"):
        moment = OLDEST_S + zlib.crc32(path.read_bytes()) % YEARS_S
        os.utime(path, (moment, moment))


def _platform(machine: Machine) -> tuple[str, ...]:
    platforms = [word for name in machine.wheel_platforms for word in ("--platform", name)]
    abis = [word for name in (f"cp{PYTHON.replace('.', '')}", "abi3", "none") for word in ("--abi", name)]
    return ("--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, *abis, *platforms)
