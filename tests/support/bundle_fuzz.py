"""Damage to whole bundles, a hundred thousand times: none is ever accepted.

    python -m tests.support.bundle_fuzz [--count N] [--seed S] [--jobs J]

A good stick is made once, with real keys. Each round damages it in one way, asks the device's own verification and puts
it right again. The ways, by what the attacker has:

    bytes     the stick alone: bits, digits, pieces of one file; or one value of its JSON, spelt as it must be spelt
    sealed    the media station's key too: a damaged list, sealed by a snapshot and timestamp that verify
    archive   the stick as one tar, damaged anywhere, headers too
    files     the stick alone: a file gone, twice, under another's name, or one more

Everything lies in memory (``/dev/shm`` where there is one), so that the disk is not what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from appliance.bundles.metadata import HASH, to_canonical
from appliance.bundles.reasons import REASONS
from appliance.bundles.tuf7 import Metadata, MetaFile
from appliance.errors import BundleRefused
from appliance.slots import Slots
from export import desk
from export.golden import Choice
from export.keys import load_signer
from tests.support.networks import MANIFEST, small_network

PRODUCT: Final = "acme/people"
NOW: Final = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
NOW_NS: Final = int(NOW.timestamp()) * 1_000_000_000
SAY_EVERY_S: Final = 30.0

Bytes = Callable[[bytearray, random.Random], None]


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    length = rng.randrange(1, 64)
    data[start : start + length] = rng.randbytes(min(length, len(data) - start))


def insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.randrange(1, 64))


def delete(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 64)]


def digit(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    places = [index for index, byte in enumerate(data[start : start + 2000], start) if 48 <= byte <= 57]
    if not places:
        flip(data, rng)
        return
    place = rng.choice(places)
    data[place] = 48 + (data[place] - 48 + rng.randrange(1, 10)) % 10


def repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = bytes(data[start : start + rng.randrange(1, 128)])


def nothing_left(data: bytearray, rng: random.Random) -> None:
    data.clear()


def leaf(data: bytearray, rng: random.Random) -> None:
    """One value of a JSON file, or one key, in the canonical spelling: what only a signature can find."""
    try:
        body = json.loads(data)
    except ValueError:
        flip(data, rng)
        return
    holders = _holders(body)
    holder, key = rng.choice(holders)
    old = holder[key]
    if isinstance(holder, dict) and rng.random() < 0.15:
        del holder[key]
    else:
        holder[key] = _other(old, rng)
    data[:] = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _holders(body: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [body]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def _other(old: Any, rng: random.Random) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return rng.choice([old + 1, old - 1, 0, -old, 2**31, 2**63])
    if isinstance(old, str) and old:
        place = rng.randrange(len(old))
        return old[:place] + rng.choice("0123456789abcdefTZ/*.") + old[place + 1 :]
    return rng.choice([None, {}, [], "", 0])


DAMAGES: Final[tuple[Bytes, ...]] = (flip, flip, digit, leaf, leaf, leaf, overwrite, insert, delete, repeat)


class Target:
    """A good stick, a device that would take it, and the keys of the media station."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "model.onnx").write_bytes(small_network())
        (folder / "model.json").write_text(json.dumps(MANIFEST))
        made = desk.make(
            model=folder / "model.onnx",
            manifest=folder / "model.json",
            product=PRODUCT,
            keys=folder / "fleet",
            out=folder / "stick",
            now=NOW,
            golden=Choice(none=True),
        )
        self.stick = made.stick
        self.device = Slots(folder / "state", self_test=lambda folder, model, manifest: "nothing")
        self.device.provision(made.anchor.read_bytes(), unit="unit-1")
        self.files = sorted(path for path in self.stick.rglob("*") if path.is_file())
        self.originals = {path: path.read_bytes() for path in self.files}
        self.metadata = [path for path in self.files if path.parent.name == "m"]
        self.lists = [path for path in self.metadata if path.name.endswith((".targets.json", ".acme.json"))]
        self.signer = load_signer(folder / "fleet" / "keys" / "media.pem")
        self.archive = folder / "stick.tar"
        self.archived = _pack(self.stick, self.archive)

    def verdict(self, stick: Path) -> str:
        """The reason of the refusal, or ``accepted``."""
        try:
            self.device.verify(stick, PRODUCT, NOW_NS)
        except BundleRefused as e:
            return e.reason
        return "accepted"

    def restore(self) -> None:
        """Puts the stick right again."""
        for path in self.stick.rglob("*"):
            if path.is_file() and path not in self.originals:
                path.unlink()
        for path, raw in self.originals.items():
            if not path.exists() or path.read_bytes() != raw:
                path.write_bytes(raw)


def _pack(stick: Path, archive: Path) -> bytes:
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(stick.rglob("*")):
            member = tarfile.TarInfo(path.relative_to(stick).as_posix())
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            else:
                member.size = path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(member, file)
    return archive.read_bytes()


def damaged(original: bytes, rng: random.Random, ways: Sequence[Bytes] = DAMAGES) -> tuple[bytes, str]:
    """Other bytes than the original, and how they came about."""
    while True:
        way = rng.choice(ways)
        data = bytearray(original)
        way(data, rng)
        if data != original:
            return bytes(data), way.__name__


# --- the rounds: each damages, asks, and says what it did


def bytes_round(target: Target, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(target.metadata if rng.random() < 0.9 else target.files)
    raw, way = damaged(target.originals[path], rng, (*DAMAGES, nothing_left))
    path.write_bytes(raw)
    verdict = target.verdict(target.stick)
    path.write_bytes(target.originals[path])
    return verdict, f"{way} of {path.name}"


def sealed_round(target: Target, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(target.lists)
    raw, way = damaged(target.originals[path], rng)
    path.write_bytes(raw)
    version, role = path.name.split(".")[:2]
    snapshot_path, timestamp_path = target.stick / "m" / "1.snapshot.json", target.stick / "m" / "timestamp.json"
    snapshot: Metadata[Any] = Metadata.from_bytes(target.originals[snapshot_path])
    snapshot.signed.meta[f"{role}.json"] = MetaFile.from_data(int(version), raw, [HASH])
    _write_signed(snapshot, snapshot_path, target)
    timestamp: Metadata[Any] = Metadata.from_bytes(target.originals[timestamp_path])
    timestamp.signed.snapshot_meta = MetaFile.from_data(1, snapshot_path.read_bytes(), [HASH])
    _write_signed(timestamp, timestamp_path, target)
    verdict = target.verdict(target.stick)
    for changed in (path, snapshot_path, timestamp_path):
        changed.write_bytes(target.originals[changed])
    return verdict, f"{way} of {path.name}, sealed again"


def _write_signed(metadata: Metadata[Any], path: Path, target: Target) -> None:
    metadata.signatures.clear()
    metadata.sign(target.signer)
    path.write_bytes(to_canonical(metadata))


def archive_round(target: Target, rng: random.Random) -> tuple[str, str]:
    while True:
        raw, way = damaged(target.archived, rng, (flip, overwrite, insert, delete, repeat))
        if raw.rstrip(b"\0") != target.archived.rstrip(b"\0"):
            break  # more or fewer zeros at the end of an archive mean nothing
    target.archive.write_bytes(raw)
    verdict = target.verdict(target.archive)
    target.archive.write_bytes(target.archived)
    return verdict, f"{way} of the archive"


def files_round(target: Target, rng: random.Random) -> tuple[str, str]:
    path, other = rng.sample(target.files, 2)
    what = rng.choice(["gone", "as another", "twice", "more"])
    if what == "gone":
        path.unlink()
    elif what == "as another":
        shutil.copyfile(path, other)
    elif what == "twice":
        shutil.copyfile(path, path.with_name("9" + path.name))
    else:
        (path.parent / f"{rng.randrange(10**6)}.json").write_bytes(target.originals[other])
    verdict = target.verdict(target.stick)
    target.restore()
    if verdict == "accepted" and what == "gone" and path.name == "1.root.json":
        verdict = "no loss"  # the device holds that root; a stick need not carry it
    return verdict, f"{path.name} {what} ({other.name})"


#: How often each way is taken. Most damage is to metadata: a payload has one check, and it is a digest.
ROUNDS: Final = ((bytes_round, 72), (sealed_round, 6), (archive_round, 17), (files_round, 5))


class Accepted(AssertionError):
    """A damaged bundle was accepted, or refused for a reason that is none."""


def fuzz(folder: Path, count: int, seed: int, say: Callable[[str], None] = lambda line: None) -> Counter[str]:
    """Damages ``count`` bundles; returns how often each reason was given. Raises: Accepted."""
    rng = random.Random(seed)
    target = Target(folder)
    if target.verdict(target.stick) != "accepted" or target.verdict(target.archive) != "accepted":
        raise Accepted("the good stick itself is refused")
    ways, weights = zip(*ROUNDS, strict=True)
    reasons: Counter[str] = Counter()
    begun = said = time.monotonic()
    for number in range(1, count + 1):
        verdict, what = rng.choices(ways, weights)[0](target, rng)
        if verdict not in REASONS and verdict != "no loss":
            raise Accepted(f"seed {seed}, round {number}: {verdict}: {what}")
        reasons[verdict] += 1
        if (now := time.monotonic()) - said > SAY_EVERY_S:
            said = now
            rate = number / (now - begun)
            say(f"{number} of {count}, {rate:.0f}/s, {(count - number) / rate / 60:.0f} min left, none accepted")
    if target.verdict(target.stick) != "accepted":
        raise Accepted("the good stick is refused after the last round")
    return reasons


def _job(count: int, seed: int) -> Counter[str]:
    """One process with a fleet of its own."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bundle-fuzz-", dir=memory if memory.is_dir() else None) as folder:
        return fuzz(Path(folder), count, seed, lambda line: _say(f"seed {seed}: {line}"))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    shares = [asked.count // asked.jobs + (job < asked.count % asked.jobs) for job in range(asked.jobs)]
    seeds = range(asked.seed, asked.seed + asked.jobs)
    begun = time.monotonic()
    try:
        with ProcessPoolExecutor(asked.jobs) as pool:
            reasons = sum(pool.map(_job, shares, seeds), Counter[str]())
    except Accepted as e:
        _say(f"FAIL: {e}")
        return 1
    took = time.monotonic() - begun
    for reason, number in reasons.most_common():
        _say(f"{number:8}  {reason}")
    rate = reasons.total() / took
    whole = reasons["no loss"]
    _say(
        f"{reasons.total() - whole} damaged bundles, seeds {asked.seed} to {seeds[-1]}: none accepted; {rate:.0f}/s; "
        f"{whole} more lacked only a root that the device holds, which is no damage"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
