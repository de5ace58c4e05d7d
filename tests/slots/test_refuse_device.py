"""Refusals that come from the device itself: really full, really busy, really out of time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import refusals

PRODUCT = "acme/people"


def _in_a_child(deed: Callable[[], object]) -> int:
    """Runs a deed in a process of its own, which may be limited; 0 where it did not raise."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            deed()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("room", [12_000, 150_000], ids=["in the metadata", "in the payload"])
def test_a_disk_that_is_full_in_the_middle_of_a_file_refuses(new_device: Any, bench: Any, room: int) -> None:
    """The kernel's own refusal (EFBIG, as a full disk's ENOSPC) in the middle of a root, or of a payload."""
    (bench.folder / "numbers.bin").write_bytes(bytes(200_000))
    stick = bench.make("three", extra={"calibration.bin": ("calibration", bench.folder / "numbers.bin")})

    def deed() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        new_device.refuses(stick, "storage")

    assert _in_a_child(deed) == 0
    new_device.install(stick)


def test_a_second_installer_is_refused_at_once_while_the_first_goes_on(device: Any, two: Path) -> None:
    """Two real processes: the second is the field's command."""
    answers: list[subprocess.CompletedProcess[str]] = []

    def meanwhile(name: str, done: int, total: int) -> None:
        if not answers:
            command = [sys.executable, "-m", "appliance", "bundle", "install", str(two), PRODUCT]
            command += ["--state", str(device.state)]
            answers.append(subprocess.run(command, capture_output=True, text=True, check=False))

    device.install(two, progress=meanwhile)
    assert (answers[0].returncode, "[busy]" in answers[0].stderr) == (3, True)
    assert device.slots.active(PRODUCT).version == "2.0.0"
    assert [line["reason"] for line in device.audit() if line["event"] == "bundle.refused"] == ["busy"]


def test_the_page_of_refusals_is_what_the_tests_say(repository: Path) -> None:
    page = (repository / "docs" / "refusals.md").read_text()
    assert page == refusals.page(), "make it anew: python -m tests.support.refusals > docs/refusals.md"
    found = list(refusals.cases())
    assert len(found) >= 60
    from_sticks = {code for code in refusals.REASONS if not code.startswith("audit-")}
    missing = from_sticks - {code for case in found for code in case.codes}
    assert not missing, f"no test names {sorted(missing)}"
