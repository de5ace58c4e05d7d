"""Random damage to whole bundles: none is ever accepted.

A few hundred mutations run with the ordinary tests; ``FUZZ_BUNDLES=100000`` in the environment of the test run asks for
more. The seed is fixed and printed with each failure.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from appliance.bundles.reasons import REASONS
from appliance.errors import BundleRefused

PRODUCT = "acme/people"
NOW_NS = 1_796_126_400_000_000_000
COUNT = int(os.environ.get("FUZZ_BUNDLES", "400"))


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    length = rng.randrange(1, 64)
    data[start : start + length] = rng.randbytes(min(length, len(data) - start))


def _insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.randrange(1, 64))


def _delete(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 64)]


def _digit(data: bytearray, rng: random.Random) -> None:
    places = [index for index, byte in enumerate(data) if 48 <= byte <= 57]
    if places:
        place = rng.choice(places)
        data[place] = 48 + (data[place] - 48 + rng.randrange(1, 10)) % 10
    else:
        _flip(data, rng)


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = bytes(data[start : start + rng.randrange(1, 128)])
    data[start:start] = piece


def _nothing_left(data: bytearray, rng: random.Random) -> None:
    data.clear()


MUTATIONS = [_flip, _flip, _digit, _overwrite, _insert, _delete, _repeat, _nothing_left]


def _must_refuse(device: Any, stick: Path, what: str) -> None:
    reason = "accepted"
    try:
        device.slots.verify(stick, PRODUCT, NOW_NS)
    except BundleRefused as e:
        reason = e.reason
    assert reason in REASONS, f"{reason}: {what}"


@pytest.mark.parametrize("seed", [1, 2])
def test_no_mutated_folder_is_accepted(new_device: Any, two: Path, seed: int) -> None:
    rng = random.Random(seed)
    files = sorted(path for path in two.rglob("*") if path.is_file())
    originals = {path: path.read_bytes() for path in files}
    for number in range(COUNT // 4):
        path = rng.choice(files)
        mutate = rng.choice(MUTATIONS)
        data = bytearray(originals[path])
        mutate(data, rng)
        if data == originals[path]:
            continue
        path.write_bytes(data)
        _must_refuse(new_device, two, f"seed {seed} number {number}: {mutate.__name__} of {path.name}")
        path.write_bytes(originals[path])
    new_device.install(two)


@pytest.mark.parametrize("seed", [3, 4])
def test_no_mutated_archive_is_accepted(new_device: Any, bench: Any, two: Path, seed: int) -> None:
    rng = random.Random(seed)
    archive = bench.as_tar(two)
    original = archive.read_bytes()
    for number in range(COUNT // 4):
        mutate = rng.choice(MUTATIONS[:-1])
        data = bytearray(original)
        mutate(data, rng)
        if bytes(data).rstrip(b"\0") == original.rstrip(b"\0"):
            continue  # more or fewer zeros at the end of an archive mean nothing
        archive.write_bytes(data)
        _must_refuse(new_device, archive, f"seed {seed} number {number}: {mutate.__name__}")
    archive.write_bytes(original)
    new_device.install(archive)


def test_no_file_may_stand_in_for_another(new_device: Any, one: Path, two: Path) -> None:
    """Every metadata file of two sticks under the name of every other."""
    files = sorted((two / "m").iterdir())
    for target in files:
        original = target.read_bytes()
        for source in [*files, *sorted((one / "m").iterdir())]:
            if source.read_bytes() == original:
                continue
            shutil.copyfile(source, target)
            _must_refuse(new_device, two, f"{source.parent.parent.name}/{source.name} as {target.name}")
            target.write_bytes(original)
    new_device.install(two)
