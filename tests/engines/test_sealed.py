"""Sealed engines: what was sealed is opened, and nothing else ever is."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.engines.binding import Binding
from appliance.engines.build import Plan
from appliance.engines.devicekey import KEY_BYTES, device_key
from appliance.engines.nvidia import Gpu
from appliance.engines.sealed import MAGIC, PIECE_BYTES, TAG_BYTES
from appliance.engines.store import EngineStore, NotStored, StoredEngine
from appliance.errors import EngineRefused

ORIN = Gpu(name="Orin", sm="8.7", driver="cuda 13.2 kernel 580.1", integrated=True)
BOUND = Binding(
    model_sha384="a" * 96,
    flavour="tensorrt",
    tensorrt="10.16.2",
    sm="8.7",
    gpu="Orin",
    driver="cuda 13.2 kernel 580.1",
    options_sha384="b" * 96,
    unit="quay-01",
    product="acme/people",
    slot="a",
)
NOW_NS = 1_800_000_000_000_000_000
NAME = "acme.people.a.tensorrt.engine"


def plan_of(size: int) -> Plan:
    return Plan(data=os.urandom(size), version="10.16.2", warnings=("one",), seconds=12.5)


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "state")


def refused(store: EngineStore, binding: Binding = BOUND) -> NotStored:
    found = store.find(binding)
    assert isinstance(found, NotStored), "an engine was loaded that should not be"
    return found


@pytest.mark.parametrize("size", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 17])
def test_what_was_sealed_comes_back(store: EngineStore, size: int) -> None:
    plan = plan_of(size)
    put = store.put(plan, BOUND, NOW_NS)
    found = store.find(BOUND)
    assert isinstance(found, StoredEngine)
    assert bytes(found.plan) == plan.data == bytes(put.plan)
    assert found.digest == put.digest == hashlib.sha384(plan.data).hexdigest()
    assert (found.facts.seconds, found.facts.warnings, found.facts.built_ns) == (12.5, ("one",), NOW_NS)


def test_nothing_of_a_plan_lies_in_the_clear_and_all_is_for_us_alone(store: EngineStore) -> None:
    plan = Plan(data=b"a plan that can be recognised " * 1000, version="10.16.2", warnings=(), seconds=1.0)
    store.put(plan, BOUND, NOW_NS)
    for path in store.folder.rglob("*"):
        assert b"recognised" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o777 == 0o700


def test_two_sealings_of_one_plan_share_no_key(store: EngineStore) -> None:
    plan = plan_of(1000)
    store.put(plan, BOUND, NOW_NS)
    first = (store.folder / NAME).read_bytes()
    store.put(plan, BOUND, NOW_NS)
    assert first[-1000:] != (store.folder / NAME).read_bytes()[-1000:]


def test_an_engine_that_was_never_built_is_absent_and_not_suspicious(store: EngineStore) -> None:
    found = refused(store)
    assert (found.reason, found.suspicious) == ("engine-absent", False)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "an edited network": ({"model_sha384": "c" * 96}, "engine-model"),
    "another TensorRT": ({"tensorrt": "10.16.3"}, "engine-tensorrt"),
    "TensorRT 11": ({"tensorrt": "11.4.1"}, "engine-tensorrt"),
    "another compute capability": ({"sm": "11.0"}, "engine-gpu"),
    "another GPU of the same capability": ({"gpu": "Orin Nano"}, "engine-gpu"),
    "another driver": ({"driver": "cuda 13.2 kernel 580.2"}, "engine-driver"),
    "other options": ({"options_sha384": "d" * 96}, "engine-options"),
    "another unit": ({"unit": "quay-02"}, "engine-unit"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_engine_for_anything_else_is_not_loaded_and_the_reason_says_what_changed(
    store: EngineStore, change: str
) -> None:
    changes, reason = CHANGES[change]
    store.put(plan_of(1000), BOUND, NOW_NS)
    found = refused(store, msgspec.structs.replace(BOUND, **changes))
    assert found.reason == reason
    assert str(next(iter(changes.values()))) in found.says


def test_an_engine_under_another_slots_or_products_name_is_not_loaded(store: EngineStore) -> None:
    store.put(plan_of(1000), BOUND, NOW_NS)
    for name, changes, reason in (
        ("acme.people.b.tensorrt.engine", {"slot": "b"}, "engine-slot"),
        ("acme.boats.a.tensorrt.engine", {"product": "acme/boats"}, "engine-product"),
        ("acme.people.a.tensorrt-rtx.engine", {"flavour": "tensorrt-rtx"}, "engine-tensorrt"),
    ):
        (store.folder / name).write_bytes((store.folder / NAME).read_bytes())
        assert refused(store, msgspec.structs.replace(BOUND, **changes)).reason == reason


def test_an_engine_copied_from_another_unit_is_not_loaded_even_where_it_claims_to_be_ours(
    store: EngineStore, tmp_path: Path
) -> None:
    """The other device is the attacker's: its header says whatever he wants, its key is his."""
    other = EngineStore(tmp_path / "other")
    other.put(plan_of(1000), BOUND, NOW_NS)
    device_key(store.folder)
    (store.folder / NAME).write_bytes((other.folder / NAME).read_bytes())
    found = refused(store)
    assert (found.reason, found.suspicious) == ("engine-key", True)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_is_ever_loaded(store: EngineStore, place: float, bit: int) -> None:
    store.put(Plan(data=b"plan" * 50, version="1", warnings=(), seconds=1.0), BOUND, NOW_NS)
    raw = bytearray((store.folder / NAME).read_bytes())
    raw[int(place * len(raw))] ^= 1 << bit
    (store.folder / NAME).write_bytes(raw)
    assert refused(store).reason.startswith("engine-")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), extra=st.binary(max_size=40))
def test_no_shorter_or_longer_file_is_ever_loaded(store: EngineStore, place: float, extra: bytes) -> None:
    store.put(Plan(data=b"plan" * 50, version="1", warnings=(), seconds=1.0), BOUND, NOW_NS)
    raw = (store.folder / NAME).read_bytes()
    (store.folder / NAME).write_bytes(raw[: int(place * len(raw))] + extra)
    assert isinstance(store.find(BOUND), NotStored)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda tail: MAGIC + b"\x00\x00\x00\x40" + tail)))
def test_whatever_lies_there_a_lookup_answers(store: EngineStore, raw: bytes) -> None:
    store.folder.mkdir(parents=True, exist_ok=True)
    (store.folder / NAME).write_bytes(raw)
    assert refused(store).reason == "engine-format"
    assert store.listed()[0].header is None


def pieces(raw: bytes, size: int) -> tuple[bytes, list[bytes]]:
    sealed = size + TAG_BYTES * -(-size // PIECE_BYTES)
    front, body = raw[:-sealed], raw[-sealed:]
    step = PIECE_BYTES + TAG_BYTES
    return front, [body[at : at + step] for at in range(0, len(body), step)]


MOVES: dict[str, Callable[[list[bytes], list[bytes]], list[bytes]]] = {
    "two pieces swapped": lambda own, _: [own[1], own[0], own[2]],
    "a piece repeated": lambda own, _: [own[0], own[0], own[2]],
    "the last piece in the middle": lambda own, _: [own[0], own[2], own[1]],
    "a piece of another engine": lambda own, other: [own[0], other[1], own[2]],
    "all of another engine": lambda _, other: other,
}


@pytest.mark.parametrize("move", MOVES)
def test_pieces_cannot_be_moved_repeated_or_taken_from_another_engine(store: EngineStore, move: str) -> None:
    size = 3 * PIECE_BYTES
    store.put(plan_of(size), BOUND, NOW_NS)
    other = pieces((store.folder / NAME).read_bytes(), size)[1]
    store.put(plan_of(size), BOUND, NOW_NS)
    front, own = pieces((store.folder / NAME).read_bytes(), size)
    (store.folder / NAME).write_bytes(front + b"".join(MOVES[move](own, other)))
    assert refused(store).reason == "engine-sealed"


def test_a_header_of_another_engine_opens_nothing(store: EngineStore) -> None:
    """Both headers are ours and whole; the key in one does not open the other's pieces."""
    store.put(plan_of(1000), BOUND, NOW_NS)
    front = pieces((store.folder / NAME).read_bytes(), 1000)[0]
    store.put(plan_of(1000), BOUND, NOW_NS)
    body = pieces((store.folder / NAME).read_bytes(), 1000)[1]
    (store.folder / NAME).write_bytes(front + body[0])
    assert refused(store).reason == "engine-sealed"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_not_followed_and_not_waited_for(store: EngineStore, kind: str, tmp_path: Path) -> None:
    store.put(plan_of(1000), BOUND, NOW_NS)
    path = store.folder / NAME
    elsewhere = path.rename(tmp_path / "elsewhere")
    {"link": lambda: path.symlink_to(elsewhere), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    assert refused(store).reason == "engine-format"


# --- the device's key


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    device_key(tmp_path)
    (tmp_path / "device.key").chmod(0o644)
    with pytest.raises(EngineRefused, match="expected a file of mode 0600") as refusal:
        device_key(tmp_path)
    assert refusal.value.reason == "engine-key"


@pytest.mark.parametrize("raw", [b"", b"short", b"x" * (KEY_BYTES + 1)])
def test_a_key_of_another_length_is_refused_and_left_alone(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "device.key"
    path.touch(mode=0o600)
    path.write_bytes(raw)
    with pytest.raises(EngineRefused, match=f"expected {KEY_BYTES} bytes"):
        device_key(tmp_path)
    assert path.read_bytes() == raw


def test_a_key_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"k" * KEY_BYTES)
    (tmp_path / "device.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineRefused, match="expected a file of this device"):
        device_key(tmp_path)


def test_a_lost_key_costs_the_engines_and_nothing_more(store: EngineStore) -> None:
    store.put(plan_of(1000), BOUND, NOW_NS)
    (store.folder / "device.key").unlink()
    assert refused(store).reason == "engine-key"
    store.put(plan_of(1000), BOUND, NOW_NS)
    assert isinstance(store.find(BOUND), StoredEngine)


def test_a_wrapped_key_opens_only_in_its_context(tmp_path: Path) -> None:
    key = device_key(tmp_path)
    wrapped = key.wrap(b"k" * 32, b"one")
    assert key.unwrap(wrapped, b"one") == b"k" * 32
    for raw, context in ((wrapped, b"two"), (wrapped[:-1], b"one"), (b"", b"one")):
        with pytest.raises(EngineRefused):
            key.unwrap(raw, context)


# --- the bound


def test_the_oldest_engines_go_where_the_bound_is_reached(tmp_path: Path) -> None:
    store = EngineStore(tmp_path, max_bytes=10_000)
    names = []
    for number, slot in enumerate("abc"):
        store.put(plan_of(4000), msgspec.structs.replace(BOUND, slot=slot), NOW_NS)
        names.append(f"acme.people.{slot}.tensorrt.engine")
        if (store.folder / names[-1]).exists():
            os.utime(store.folder / names[-1], ns=(number, number))
    assert [each.name for each in store.listed()] == names[1:]


def test_what_a_power_cut_left_unfinished_is_removed(store: EngineStore) -> None:
    store.put(plan_of(100), BOUND, NOW_NS)
    (store.folder / f".{NAME}.new").write_bytes(b"half")
    assert store.gc() == (f".{NAME}.new",)
    assert isinstance(store.find(BOUND), StoredEngine)


def test_a_full_disk_is_told_and_the_engine_before_stays(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(plan_of(100), BOUND, NOW_NS)
    before = (store.folder / NAME).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left on device"):
        store.put(plan_of(100), BOUND, NOW_NS)
    assert (store.folder / NAME).read_bytes() == before
    assert not list(store.folder.glob(".*.new"))


def test_timing_caches_are_kept_apart_by_version_and_gpu(store: EngineStore) -> None:
    other = Gpu(name="Thor", sm="11.0", driver="", integrated=True)
    paths = {
        store.timing_cache("tensorrt", "10.16.2", ORIN),
        store.timing_cache("tensorrt", "10.16.2", other),
        store.timing_cache("tensorrt", "11.4.1", ORIN),
        store.timing_cache("tensorrt-rtx", "11.4.1", None),
        store.timing_cache("tensorrt", "../../etc/x", ORIN),
    }
    assert len(paths) == 5
    assert {path.parent for path in paths} == {store.folder / "timing"}


def test_the_format_is_what_its_page_says(store: EngineStore) -> None:
    """What a release wrote, later ones can tell apart: magic, length, header, pieces."""
    store.put(plan_of(10), BOUND, NOW_NS)
    raw = io.BytesIO((store.folder / NAME).read_bytes())
    assert raw.read(8) == b"EDGEENG1"
    header = msgspec.json.decode(raw.read(int.from_bytes(raw.read(4), "big")))
    assert set(header) == {"binding", "facts", "wrapped_key"}
    assert len(raw.read()) == 10 + TAG_BYTES
