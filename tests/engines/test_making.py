"""On a device: built, sealed, found again, and built again whenever anything about it is no longer true.

The builder is real (TensorRT for RTX); the device has a signed release in service. Commands are called as scripts call
them. What needs a GPU says so and ends with 4 here.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.cli import call
from appliance.engines.making import Site, gate, look_around
from appliance.engines.nvidia import find_gpu
from appliance.engines.sealed import TAG_BYTES, read_header
from appliance.engines.store import NotStored, StoredEngine
from appliance.errors import BundleRefused, EngineRefused, EngineUnavailable
from appliance.inference.runner import open_runner
from appliance.slots import Slots
from export import desk
from export.repository import Repository
from tests.engines.conftest import BASE, bright_network
from tests.engines.test_parity import Changed

PRODUCT = "acme/bright"
ENGINE = "acme.bright.a.tensorrt-rtx.engine"
NOW_NS = 1_800_000_000_000_000_000


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device with a release in service and its engine built; copied for each test."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="the extra `rtx` (TensorRT for RTX) is not installed")
    if has_gpu():
        pytest.skip("this machine has a GPU: an engine of another one would be built")
    folder = tmp_path_factory.mktemp("device")
    model, manifest = folder / "model.onnx", folder / "model.json"
    model.write_bytes(bright_network())
    manifest.write_text(json.dumps(BASE))
    fleet = Repository(folder=folder / "fleet")
    desk.make(keys=fleet.folder, out=folder / "stick", model=model, manifest=manifest, product=PRODUCT)
    slots = Slots(folder / "state", self_test=lambda *_: "a test")
    slots.provision(fleet.anchor.read_bytes(), unit="quay-01")
    slots.install(folder / "stick", PRODUCT, time.time_ns())
    assert call(["engine", "build", "--state", str(folder / "state")]) == 0
    return folder / "state"


def has_gpu() -> bool:
    try:
        find_gpu()
    except EngineUnavailable:
        return False
    return True


@pytest.fixture
def state(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "state")
    return tmp_path / "state"


def engine(*words: object) -> int:
    return call(["engine", *map(str, words)])


def built(state: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert engine("build", "--state", state, "--json") == 0
    body: dict[str, Any] = json.loads(capsys.readouterr().out)["engines"][0]
    return body


def audit(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "audit" / "log.jsonl").read_bytes().splitlines()]


def site_of(state: Path) -> Site:
    return look_around(state, Slots(state), need_gpu=False)


def test_a_good_engine_is_found_again_and_not_built(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (state / "engines" / ENGINE).read_bytes()
    body = built(state, capsys)
    assert (body["built"], body["why"]) == (False, None)
    assert body["binding"]["unit"] == "quay-01"
    assert (body["binding"]["product"], body["binding"]["slot"], body["binding"]["sm"]) == (PRODUCT, "a", "none")
    assert (state / "engines" / ENGINE).read_bytes() == before
    assert [line["event"] for line in audit(state)].count("engine.built") == 1


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x" * TAG_BYTES)


def reheaded(path: Path, **changes: Any) -> None:
    """Edits the header as somebody can who has no key."""
    with path.open("rb") as file:
        header, front = read_header(file)
        rest = file.read()
    binding = msgspec.structs.replace(header.binding, **changes)
    encoded = msgspec.json.encode(msgspec.structs.replace(header, binding=binding))
    path.write_bytes(front[:8] + len(encoded).to_bytes(4, "big") + encoded + rest)


SPOILT: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "a flipped byte of the plan": (lambda s: flip(s / "engines" / ENGINE, -100), "engine-sealed", True),
    "a truncated file": (lambda s: os.truncate(s / "engines" / ENGINE, 5000), "engine-sealed", True),
    "a cut header": (lambda s: os.truncate(s / "engines" / ENGINE, 100), "engine-format", True),
    "a longer file": (lambda s: longer(s / "engines" / ENGINE), "engine-sealed", True),
    "another TensorRT": (lambda s: reheaded(s / "engines" / ENGINE, tensorrt="10.3.0"), "engine-tensorrt", False),
    "another driver": (lambda s: reheaded(s / "engines" / ENGINE, driver="cuda 12.6"), "engine-driver", False),
    "another network": (lambda s: reheaded(s / "engines" / ENGINE, model_sha384="0" * 96), "engine-model", False),
    "another device's key": (lambda s: flip(s / "engines" / "device.key", 3), "engine-key", True),
    "no engine": (lambda s: (s / "engines" / ENGINE).unlink(), "engine-absent", False),
    "a rubbish file": (lambda s: (s / "engines" / ENGINE).write_bytes(b"MZ\x90" * 99), "engine-format", True),
}


@pytest.mark.parametrize("way", SPOILT)
def test_a_spoilt_engine_is_never_loaded_and_the_reason_says_how_it_was_spoilt(state: Path, way: str) -> None:
    spoil, reason, suspicious = SPOILT[way]
    spoil(state)
    site = site_of(state)
    found = site.store.find(site.binding(site.slots.active(PRODUCT)))
    assert isinstance(found, NotStored)
    assert (found.reason, found.suspicious) == (reason, suspicious)


@pytest.mark.parametrize("way", ["a flipped byte of the plan", "another TensorRT", "another device's key"])
def test_a_spoilt_engine_is_built_again_and_an_edited_one_is_on_record(
    state: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    spoil, reason, suspicious = SPOILT[way]
    spoil(state)
    body = built(state, capsys)
    assert (body["built"], body["why"]) == (True, reason)
    site = site_of(state)
    assert isinstance(site.store.find(site.binding(site.slots.active(PRODUCT))), StoredEngine)
    refusals = [line for line in audit(state) if line["event"] == "engine.refused"]
    assert [line["reason"] for line in refusals] == ([reason] if suspicious else [])


def test_an_engine_of_another_unit_is_built_again_even_with_that_units_key(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole state copied to another unit, key and all: the name in the binding is what stops it."""
    site = site_of(state)
    model = site.slots.active(PRODUCT)
    other = msgspec.structs.replace(site.binding(model), unit="quay-02")
    found = site.store.find(other)
    assert isinstance(found, NotStored)
    assert (found.reason, found.suspicious) == ("engine-unit", True)


def test_an_edited_network_is_refused_before_anything_is_built(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = next((state / "slots" / "acme" / "bright" / "a").glob("*.onnx"))
    flip(network, -3)
    before = (state / "engines" / ENGINE).read_bytes()
    assert engine("build", "--state", state) == 3
    assert "[slot-damaged]" in capsys.readouterr().err
    assert (state / "engines" / ENGINE).read_bytes() == before


def test_the_list_says_of_each_file_whether_it_would_be_loaded(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "engines" / "acme.bright.b.tensorrt-rtx.engine").write_bytes((state / "engines" / ENGINE).read_bytes())
    (state / "engines" / "junk.engine").write_bytes(b"junk")
    assert engine("list", "--state", state, "--json") == 0
    rows = {row["file"]: row for row in json.loads(capsys.readouterr().out)["engines"]}
    assert {name: (row["good"], row["reason"]) for name, row in rows.items()} == {
        ENGINE: (True, None),
        "acme.bright.b.tensorrt-rtx.engine": (False, "engine-product"),
        "junk.engine": (False, "engine-format"),
    }
    assert engine("list", "--state", state) == 0
    assert "good, but built without a GPU: it runs nowhere" in capsys.readouterr().out
    assert engine("gc", "--state", state, "--json") == 0
    assert json.loads(capsys.readouterr().out)["removed"] == ["acme.bright.b.tensorrt-rtx.engine", "junk.engine"]


@pytest.mark.parametrize("command", ["parity", "bench"])
def test_what_needs_a_gpu_is_unavailable_without_one(
    state: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert engine(command, "--state", state) == 4
    assert "expected an NVIDIA driver" in capsys.readouterr().err


def test_a_device_without_a_model_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], template: Path) -> None:
    shutil.copytree(template / "trust", tmp_path / "state" / "trust")
    assert engine("build", "--state", tmp_path / "state") == 3
    assert "[slot-empty]" in capsys.readouterr().err


def test_two_builds_at_once_are_one_too_many(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (state / "engines" / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert engine("build", "--again", "--state", state) == 4
    assert "another build is running on this device" in capsys.readouterr().err


def test_limits_that_cannot_be_are_bad_usage(state: Path) -> None:
    assert engine("build", "--time-limit-s", "0", "--state", state) == 2
    assert engine("build", "--memory-limit-mib", "-1", "--state", state) == 2


def test_a_build_over_its_limit_ends_as_unavailable_and_the_engine_before_stays(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (state / "engines" / ENGINE).read_bytes()
    assert engine("build", "--again", "--memory-limit-mib", "1", "--state", state) == 4
    assert "its limit is 1 MiB" in capsys.readouterr().err
    assert (state / "engines" / ENGINE).read_bytes() == before


def test_progress_is_told_as_lines_where_there_is_no_terminal(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine("build", "--again", "--state", state) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("building")]
    shares = [int(line.split(": ")[1].split(" %")[0]) for line in said]
    assert shares == sorted(shares)
    assert (shares[0] < 100, shares[-1]) == (True, 100)


def test_ctrl_c_ends_a_build_with_130_and_leaves_nothing_behind(
    template: Path, repository: Path, shared_data: Path, tmp_path: Path
) -> None:
    words = ["engine", "try", shared_data / "models/yolox_nano.onnx", repository / "models/manifests/yolox_nano.json"]
    command = [sys.executable, "-m", "appliance", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=repository) as child:
        assert child.stderr is not None
        assert child.stderr.readline().startswith("building yolox-nano-coco")
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
        assert child.wait(20) == 130
    assert "cancelled after" in rest
    assert time.monotonic() - begun < 5.0


def test_a_network_can_be_tried_and_a_bad_one_says_why(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], template: Path
) -> None:
    manifest = tmp_path / "model.json"
    manifest.write_text(json.dumps(BASE))
    (tmp_path / "good.onnx").write_bytes(bright_network())
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    assert engine("try", tmp_path / "good.onnx", manifest, "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["model"], body["plan_bytes"] > 1000) == ("bright", True)
    assert engine("try", tmp_path / "bad.onnx", manifest) == 3
    assert "[onnx]" in capsys.readouterr().err
    assert engine("try", tmp_path / "missing.onnx", manifest) == 2


# --- the gate on a device


def test_an_engine_that_passes_is_kept_with_how_near_it_came_to_the_golden_answers(state: Path) -> None:
    site = site_of(state)
    model = site.slots.active(PRODUCT)
    stored = site.store.find(site.binding(model))
    assert isinstance(stored, StoredEngine)
    runner = open_runner(model.model, model.manifest)
    parity = gate(site, model, stored, runner, runner, NOW_NS)
    assert parity.passed
    assert parity.golden.startswith("case ")
    assert (state / "engines" / ENGINE).exists()


def test_an_engine_that_answers_otherwise_is_removed_refused_and_on_record(state: Path) -> None:
    site = site_of(state)
    model = site.slots.active(PRODUCT)
    stored = site.store.find(site.binding(model))
    assert isinstance(stored, StoredEngine)
    runner = open_runner(model.model, model.manifest)
    wrong = Changed(runner, lambda a: {**a, "scores": a["scores"] * 0.5})
    with pytest.raises(EngineRefused, match=r"answers are not its network's: .*'scores'") as refusal:
        gate(site, model, stored, runner, wrong, NOW_NS)
    assert (refusal.value.reason, refusal.value.exit_code) == ("engine-parity", 3)
    assert not (state / "engines" / ENGINE).exists()
    line = audit(state)[-1]
    assert (line["event"], line["reason"], line["plan"]) == ("engine.refused", "engine-parity", stored.digest)


def test_both_right_for_each_other_but_not_golden_is_refused(state: Path) -> None:
    """Should ONNX Runtime itself answer otherwise here than at the desk, agreeing with it is not enough."""
    site = site_of(state)
    model = site.slots.active(PRODUCT)
    stored = site.store.find(site.binding(model))
    assert isinstance(stored, StoredEngine)
    wrong = Changed(open_runner(model.model, model.manifest), lambda a: {**a, "scores": a["scores"] * 0.5})
    with pytest.raises(EngineRefused, match="not the golden answer"):
        gate(site, model, stored, wrong, wrong, NOW_NS)


def test_golden_files_that_were_edited_are_refused_and_prove_nothing(state: Path) -> None:
    site = site_of(state)
    model = site.slots.active(PRODUCT)
    stored = site.store.find(site.binding(model))
    assert isinstance(stored, StoredEngine)
    flip(model.model.parent / "golden.bin", -1)
    runner = open_runner(model.model, model.manifest)
    with pytest.raises(BundleRefused, match="golden"):
        gate(site, model, stored, runner, runner, NOW_NS)
