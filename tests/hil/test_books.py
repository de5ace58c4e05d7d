"""What lies on a device's disk: read while it is in use, and gone when the next trial begins."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from appliance.bus import Outbox
from appliance.sealing import Envelope
from hil.devices.device import DeviceFailed, Ran
from hil.rig.books import OUTBOX, read_books
from hil.rig.stage import FURNISHED, refresh


class Home:
    """A device that is a folder and a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def shell(self, command: str, timeout_s: float = 60.0) -> Ran:
        words = ["/bin/sh", "-c", command]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=timeout_s, check=False)
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr)

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(content)


@pytest.fixture
def home(tmp_path: Path) -> Any:
    (tmp_path / FURNISHED).mkdir()
    (tmp_path / FURNISHED / "trust").write_text("root")
    return Home(tmp_path)


def frame(counter: int) -> Envelope:
    return Envelope(topic="edge/v1/u/status", kind="frame", epoch=5, counter=counter, data=b"x")


def test_an_outbox_that_is_in_use_tells_what_is_durable_in_it(home: Any) -> None:
    outbox = Outbox(home.folder / OUTBOX)
    for counter in range(3):
        outbox.put(frame(counter))
    assert read_books(home) == ({(5, 0), (5, 1), (5, 2)}, frozenset())
    outbox.close()
    assert read_books(home)[0] == {(5, 0), (5, 1), (5, 2)}


def test_no_outbox_is_told_and_not_taken_for_an_empty_one(home: Any) -> None:
    with pytest.raises(DeviceFailed, match=r"outbox\.sqlite: expected an outbox"):
        read_books(home)


def test_a_trial_begins_with_what_was_furnished_and_nothing_of_the_one_before(home: Any) -> None:
    refresh(home)
    outbox = Outbox(home.folder / OUTBOX)
    outbox.put(frame(0))
    outbox.close()
    (home.folder / "inbox" / "report.json").write_text("{}")
    (home.folder / "recordings").mkdir()
    refresh(home)
    assert (home.folder / "state" / "trust").read_text() == "root"
    assert not (home.folder / OUTBOX).exists()
    assert not (home.folder / "recordings").exists()
    assert [path.name for path in (home.folder / "inbox").iterdir()] == [".keep"]


def test_what_cannot_be_made_fresh_ends_the_trial(home: Any) -> None:
    (home.folder / FURNISHED / "trust").unlink()
    (home.folder / FURNISHED).rmdir()
    with pytest.raises(DeviceFailed, match="furnished"):
        refresh(home)
