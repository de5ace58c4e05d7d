"""Networks that may not be loaded at all, signed by everybody: refused before any runtime sees them."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.networks import small_network

PRODUCT = "acme/people"


def _never(folder: Path, model: str, manifest: str) -> str:
    raise AssertionError("a runtime was asked about a network that may not be loaded")


def _external(location: str) -> Any:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def _operator(name: str, domain: str) -> Any:
    return lambda model: model.graph.node.append(helper.make_node(name, ["images"], ["more"], domain=domain))


def _shape(*dims: int) -> Any:
    def change(model: Any) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return change


def _nested(model: Any) -> None:
    node = helper.make_node("Identity", ["images"], ["more"])
    for _ in range(30):
        branch = helper.make_graph([node], "b", [], [])
        node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=helper.make_graph([], "e", [], []))
    model.graph.node.append(node)


def _doubling(model: Any) -> None:
    for number in range(40):
        calls = [helper.make_node(f"F{number + 1}", ["x"], ["y"], domain="own") for _ in range(2)]
        model.functions.append(helper.make_function("own", f"F{number}", ["x"], ["y"], calls, model.opset_import))
    model.graph.node.append(helper.make_node("F0", ["images"], ["more"], domain="own"))


CASES = {
    "weights above the folder": (_external("../outside.bin"), "external-data"),
    "weights by an absolute path": (_external("/etc/passwd"), "external-data"),
    "weights in the bundle's own folder": (_external("golden.bin"), "external-data"),
    "an operator that nobody knows": (_operator("RunThis", ""), "onnx"),
    "an operator of a domain of its own": (_operator("Add", "evil.plugin"), "onnx"),
    "a parser of pictures": (_operator("ImageDecoder", ""), "onnx"),
    "a tensor of a tebibyte": (_shape(2**20, 2**20), "onnx"),
    "a tensor of a negative side": (_shape(-1, 126), "onnx"),
    "graphs in graphs in graphs": (_nested, "onnx"),
    "functions that double": (_doubling, "onnx"),
}


@pytest.mark.parametrize("what", CASES)
def test_a_network_that_may_not_be_loaded_is_refused_before_it_is(
    device: Any, bench: Any, two: Path, what: str
) -> None:
    change, reason = CASES[what]
    model = onnx.load_from_string(small_network())
    change(model)
    bench.replace_file(two, "model.onnx", model.SerializeToString())
    type(device)(device.state, self_test=_never).refuses(two, reason)


@pytest.mark.parametrize("raw", [b"\x08\x08 no network", b"garbage" * 100, b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_network_is_refused_before_it_is_loaded(device: Any, bench: Any, two: Path, raw: bytes) -> None:
    bench.replace_file(two, "model.onnx", raw)
    type(device)(device.state, self_test=_never).refuses(two, "onnx")


def test_a_hostile_network_costs_bounded_time_and_memory(tmp_path: Path) -> None:
    """256 MB that are nothing but fields: looked into by a process that may have 200 MB of its own and 60 s."""
    path = tmp_path / "fields.onnx"
    body = b"\x10\x00" * (128 << 20)
    with path.open("wb") as file:
        file.write(b"\x3a" + _varint(len(body) + 1 + len(_varint(len(body)))))
        file.write(b"\x2a" + _varint(len(body)) + body)
    program = (
        "import sys\nfrom pathlib import Path\nfrom appliance.bundles.network import look_into\n"
        "from appliance.errors import BundleRefused\nfrom appliance.slots.disk import mapped\n"
        "with mapped(Path(sys.argv[1])) as network:\n"
        "    try:\n        look_into(network)\n    except BundleRefused as e:\n        print(e.reason)\n"
    )

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (200 << 20, 200 << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    command = [sys.executable, "-c", program, str(path)]
    child = subprocess.run(command, capture_output=True, text=True, preexec_fn=limits, check=False)
    assert (child.returncode, child.stdout) == (0, "onnx\n"), child.stderr


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
