"""The self-test of a network, in its real child process with the real library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from appliance.bundles.golden import encode_golden
from appliance.errors import BundleRefused
from appliance.slots.selftest import run_self_test
from export import golden as goldens
from export.golden import Choice
from tests.support.networks import MANIFEST, small_network

pytest.importorskip("onnxruntime", reason="the desk's runtime is not installed")


def _write(folder: Path, model: bytes, manifest: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def manifest(made: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((made.folder / "model.json").read_text())
    return body


@pytest.fixture
def changed(made: Any) -> Callable[[Callable[[Any], object]], bytes]:
    """The small network after a change."""

    def change(deed: Callable[[Any], object]) -> bytes:
        model = onnx.load(made.folder / "model.onnx")
        deed(model)
        return bytes(model.SerializeToString())

    return change


def _refused(folder: Path) -> str:
    with pytest.raises(BundleRefused) as caught:
        run_self_test(folder, "model.onnx", "model.json")
    assert caught.value.reason == "self-test"
    return str(caught.value)


def test_a_good_network_says_what_ran_it(made: Any, manifest: dict[str, Any], tmp_path: Path) -> None:
    folder = _write(tmp_path / "m", (made.folder / "model.onnx").read_bytes(), manifest)
    assert run_self_test(folder, "model.onnx", "model.json").startswith("onnxruntime ")


def test_a_real_detector_passes(shared_data: Path, manifest: dict[str, Any], tmp_path: Path) -> None:
    manifest["input"]["size"] = {"kind": "fixed", "width_px": 416, "height_px": 416}
    folder = _write(tmp_path / "m", (shared_data / "models" / "yolox_nano.onnx").read_bytes(), manifest)
    assert "CPUExecutionProvider" in run_self_test(folder, "model.onnx", "model.json")


@pytest.mark.parametrize("raw", [b"", b"\x08", b"garbage" * 100, b"\x0a\xff\xff\xff\xff\x0f"])
def test_what_is_no_network_is_refused(manifest: dict[str, Any], tmp_path: Path, raw: bytes) -> None:
    _refused(_write(tmp_path / "m", raw, manifest))


def test_a_truncated_network_is_refused(made: Any, manifest: dict[str, Any], tmp_path: Path) -> None:
    raw = (made.folder / "model.onnx").read_bytes()
    _refused(_write(tmp_path / "m", raw[: len(raw) // 2], manifest))


def test_an_operator_that_nobody_knows_is_refused(changed: Any, manifest: dict[str, Any], tmp_path: Path) -> None:
    def deed(model: Any) -> None:
        model.graph.node[0].op_type = "RunThis"

    assert "RunThis" in _refused(_write(tmp_path / "m", changed(deed), manifest))


def test_a_gigantic_tensor_is_refused_and_takes_no_memory_of_ours(
    changed: Any, manifest: dict[str, Any], tmp_path: Path
) -> None:
    def deed(model: Any) -> None:
        shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "shape")
        model.graph.initializer.append(shape)
        model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["huge"]))
        model.graph.node.insert(1, helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
        model.graph.node.append(helper.make_node("Add", ["output0", "sum"], ["output"]))
        model.graph.node[3].output[0] = "output0"

    _refused(_write(tmp_path / "m", changed(deed), manifest))


@pytest.mark.parametrize("location", ["../outside.bin", "{absolute}", "sub/../../outside.bin", "link.bin"])
def test_weights_outside_the_folder_are_refused(
    changed: Any, manifest: dict[str, Any], tmp_path: Path, location: str
) -> None:
    """The file is there and fits: what is refused is that it lies outside."""
    (tmp_path / "outside.bin").write_bytes(bytes(21 * 6 * 4))
    location = location.format(absolute=tmp_path / "outside.bin")

    def deed(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    folder = _write(tmp_path / "m", changed(deed), manifest)
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    _refused(folder)


def test_an_input_or_output_that_the_manifest_names_and_the_network_lacks_is_refused(
    made: Any, manifest: dict[str, Any], tmp_path: Path
) -> None:
    raw = (made.folder / "model.onnx").read_bytes()
    wrong_output = {**manifest, "decoder": {**manifest["decoder"], "output": "boxes"}}
    assert "boxes" in _refused(_write(tmp_path / "a", raw, wrong_output))
    wrong_input = {**manifest, "input": {**manifest["input"], "name": "pixels"}}
    _refused(_write(tmp_path / "b", raw, wrong_input))
    wrong_size = {
        **manifest,
        "input": {**manifest["input"], "size": {"kind": "fixed", "width_px": 64, "height_px": 32}},
    }
    _refused(_write(tmp_path / "c", raw, wrong_size))


def test_a_network_that_answers_with_not_a_number_is_refused(
    changed: Any, manifest: dict[str, Any], tmp_path: Path
) -> None:
    def deed(model: Any) -> None:
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((1, 21, 6), np.nan, np.float32), "zeros"))

    assert "finite" in _refused(_write(tmp_path / "m", changed(deed), manifest))


def test_an_installation_is_refused_where_the_network_does_not_load(device: Any, bench: Any) -> None:
    real = type(device)(device.state, self_test=run_self_test)
    good = bench.make("good")
    bad = bench.make("bad", golden=Choice(none=True))
    bench.replace_file(bad, "model.onnx", _of_wrong_rank())
    real.refuses(bad, "self-test")
    real.install(good)
    assert real.slots.list()[1].active


# --- golden inputs and outputs


def _with_golden(folder: Path, served: bytes, exported: bytes | None = None) -> Path:
    """A network as it is served, beside golden outputs of the same or of another that bears its digest."""
    _write(folder, exported or served, MANIFEST)
    page = goldens.make(folder / "model.onnx", folder / "model.json", folder)
    if exported is not None:
        (folder / "model.onnx").write_bytes(served)
        claimed = msgspec.structs.replace(page, model_sha384=hashlib.sha384(served).hexdigest())
        (folder / "golden.json").write_bytes(encode_golden(claimed))
    return folder


def test_a_network_that_gives_its_golden_outputs_passes_and_says_how_near_it_came(tmp_path: Path) -> None:
    said = run_self_test(_with_golden(tmp_path / "m", small_network()), "model.onnx", "model.json")
    assert "2 golden cases within tolerance" in said
    assert "off by 0" in said


def test_a_network_that_answers_otherwise_than_at_the_desk_is_refused(tmp_path: Path) -> None:
    folder = _with_golden(tmp_path / "m", small_network(), small_network(1))
    message = _refused(folder)
    assert "case noise, output output: off by 1" in message or "case blocks, output output: off by 1" in message


def test_a_difference_within_the_tolerance_passes(tmp_path: Path) -> None:
    folder = _with_golden(tmp_path / "m", small_network(), small_network(1e-4))
    assert "within tolerance" in run_self_test(folder, "model.onnx", "model.json")


@pytest.mark.parametrize("victim", ["golden.json", "golden.bin"])
def test_golden_files_that_were_damaged_are_refused(tmp_path: Path, victim: str) -> None:
    folder = _with_golden(tmp_path / "m", small_network())
    raw = bytearray((folder / victim).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / victim).write_bytes(raw)
    _refused(folder)


def test_an_installation_is_refused_where_the_outputs_differ_and_the_slot_in_service_stays(
    device: Any, bench: Any, tmp_path: Path
) -> None:
    """Signed by everybody; what was exported is not what answers."""
    real = type(device)(device.state, self_test=run_self_test)
    good = bench.make("good")
    folder = _with_golden(tmp_path / "m", small_network(), small_network(1))
    bench.model.write_bytes(small_network())
    bad = bench.make("bad", golden=Choice(given=folder / "golden.json"))
    assert "not the golden ones" in real.refuses(bad, "self-test")
    assert real.slots.active("acme/people").version == "1.0.0"
    real.install(good)


def test_golden_outputs_of_another_network_are_refused_before_anything_is_loaded(device: Any, bench: Any) -> None:
    stick = bench.make("three")
    page = json.loads(next((stick / "t" / "acme" / "people").glob("*.golden.json")).read_bytes())
    page["model_sha384"] = "0" * 96
    bench.replace_file(stick, "golden.json", json.dumps(page).encode())
    device.refuses(stick, "golden")


def _of_wrong_rank() -> bytes:
    """Whole, of known operators and small; a convolution that no runtime can make."""
    model = onnx.load_from_string(small_network())
    model.graph.node[0].CopyFrom(helper.make_node("Conv", ["images", "zeros"], ["mean"]))
    return bytes(model.SerializeToString())
