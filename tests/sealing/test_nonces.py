"""No nonce is used twice under one key, whatever kills the unit: checked on what was on the wire.

The whole campaign: python -m pytest tests/sealing/test_nonces.py -s --crashes 1000
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.sealing import Granted, Opened, Opener, PrivateIdentity
from appliance.sealing.wire import split_frame

PROGRAM = Path(__file__).parent / "programs" / "crash_seals.py"


def on_the_wire(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every envelope of every start, in order; one whose write the kill has cut was never on a wire."""
    for path in sorted(folder.glob("wire-*")):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            size, topic = int.from_bytes(raw[at : at + 4], "big"), int.from_bytes(raw[at + 4 : at + 6], "big")
            if at + 6 + topic + size > len(raw):
                break
            yield raw[at + 6 : at + 6 + topic].decode(), raw[at + 6 + topic : at + 6 + topic + size]
            at += 6 + topic + size


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_unit_that_is_killed_again_and_again_never_uses_a_nonce_twice(
    tmp_path: Path, repository: Path, device: PrivateIdentity, reader: PrivateIdentity, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "device.json").write_text(device.to_json())
    (tmp_path / "recipient.json").write_text(reader.public.to_json())
    crashes = request.config.getoption("--crashes")
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, PROGRAM, tmp_path, str(crashes)], check=True, env=environment)
    opener = Opener(reader, [device.public])
    nonces: set[tuple[bytes, int, int]] = set()
    epochs: list[int] = []
    frames = 0
    for topic, data in on_the_wire(tmp_path):
        if "/grant/" in topic:
            epochs.append(int(topic.rpartition("/")[2]))
            granted = opener.accept(topic, data)
            assert isinstance(granted, Granted)
            continue
        parts = split_frame(data)
        nonces.add((parts.reference, parts.audience, parts.counter))
        frames += 1
        assert isinstance(opener.accept(topic, data), Opened)
    assert len(nonces) == frames, "key and nonce together never came again"
    assert epochs == sorted(set(epochs)), "each start is an epoch of its own, and they go forward"
    assert len(epochs) > crashes // 2, "most lived long enough to seal"
    print(f"{crashes} starts killed, {len(epochs)} epochs, {frames} frames, {len(nonces)} nonces")  # noqa: T201
