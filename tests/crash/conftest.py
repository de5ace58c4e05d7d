"""Identities, and a small disk of one's own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.bus import TlsFiles
from appliance.sealing import PrivateIdentity, generate
from tests.crash.parts import UNIT, Place


@pytest.fixture(scope="session")
def device() -> PrivateIdentity:
    return generate("device", UNIT)


@pytest.fixture(scope="session")
def recipient() -> PrivateIdentity:
    return generate("recipient", "reader")


@pytest.fixture
def place_in(device: PrivateIdentity, recipient: PrivateIdentity) -> Callable[[Path, Any], Place]:
    """Where unit and listener keep their things, and the provisioned broker on which they meet."""

    def make(folder: Path, broker: Any) -> Place:
        unit_tls: TlsFiles = broker.tls_of(UNIT)
        return Place(
            url=broker.url,
            outbox=folder / "outbox.sqlite",
            inbox=folder / "inbox.sqlite",
            device=device.to_json(),
            recipient=recipient.to_json(),
            unit_tls=unit_tls,
            reader_tls=broker.tls_of("reader"),
        )

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
