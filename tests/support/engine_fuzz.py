"""Damages sealed engines at random and looks each one up: none may ever be loaded.

Usage: python -m tests.support.engine_fuzz [COUNT [SEED]]        (`make fuzz` runs 100,000)

Each is a good engine of this device, then flipped, cut, extended, spliced with another good engine of the same device
or with one of another device, or given another header. A damaged file that is by chance the good one does not count.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from appliance.engines.binding import Binding
from appliance.engines.build import Plan
from appliance.engines.sealed import Header
from appliance.engines.store import EngineStore, NotStored, file_name

BOUND = Binding(
    model_sha384="a" * 96,
    flavour="tensorrt",
    tensorrt="10.16.2",
    sm="8.7",
    gpu="Orin",
    driver="cuda 13.2",
    options_sha384="b" * 96,
    unit="quay-01",
    product="acme/people",
    slot="a",
)
_FRONT = 12


def sealed(folder: Path) -> bytes:
    """A good engine of the device whose state is ``folder``."""
    store = EngineStore(folder)
    store.put(Plan(data=os.urandom(500), version="10.16.2", warnings=(), seconds=1.0), BOUND, 1)
    return _path(store).read_bytes()


def campaign(folder: Path, count: int, seed: int) -> Counter[str]:
    """Looks up ``count`` damaged engines; the reasons by number. AssertionError where one was loaded."""
    chance = random.Random(seed)
    store = EngineStore(folder / "ours")
    good, other = sealed(folder / "ours"), sealed(folder / "ours")
    foreign = sealed(folder / "theirs")
    reasons: Counter[str] = Counter()
    while reasons.total() < count:
        raw = _damaged(chance, good, other, foreign)
        if raw in {good, other}:
            continue
        _path(store).write_bytes(raw)
        found = store.find(BOUND)
        assert isinstance(found, NotStored), f"seed {seed}, {reasons.total()}: a damaged engine was loaded: {raw.hex()}"
        reasons[found.reason] += 1
    return reasons


def _damaged(chance: random.Random, good: bytes, other: bytes, foreign: bytes) -> bytes:
    raw = bytearray(good)
    match chance.randrange(6):
        case 0:
            for _ in range(chance.randint(1, 4)):
                raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        case 1:
            del raw[chance.randrange(len(raw)) :]
        case 2:
            raw += chance.randbytes(chance.randint(1, 64))
        case 3:
            at = chance.randrange(len(raw))
            raw[at:] = chance.choice((other, foreign))[at:]
        case 4:
            at, length = chance.randrange(len(raw)), chance.randint(1, 40)
            raw[at : at + length] = chance.randbytes(length)
        case _:
            return _other_header(chance, good)
    return bytes(raw)


def _other_header(chance: random.Random, good: bytes) -> bytes:
    """A header that says what the attacker likes, in its one right form."""
    length = int.from_bytes(good[8:_FRONT], "big")
    header = msgspec.json.decode(good[_FRONT : _FRONT + length], type=Header)
    facts = msgspec.structs.replace(
        header.facts, plan_bytes=chance.randint(1, 600), seconds=chance.random(), built_ns=chance.randrange(2**60)
    )
    key = chance.choice((header.wrapped_key, chance.randbytes(len(header.wrapped_key))))
    encoded = msgspec.json.encode(Header(binding=header.binding, facts=facts, wrapped_key=key))
    return good[:8] + len(encoded).to_bytes(4, "big") + encoded + good[_FRONT + length :]


def _path(store: EngineStore) -> Path:
    return store.folder / file_name(BOUND.product, BOUND.slot, BOUND.flavour)


def main(words: list[str]) -> int:
    """Run the campaign and say what the refusals were."""
    count, seed = (int(word) for word in (*words, *("100000", "1")[len(words) :]))
    with tempfile.TemporaryDirectory() as folder:
        reasons = campaign(Path(folder), count, seed)
    sys.stdout.write(f"{reasons.total()} damaged engines, none loaded: {dict(reasons.most_common())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
