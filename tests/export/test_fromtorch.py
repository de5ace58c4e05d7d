"""Torch modules become networks that a device takes, or a reason why not. `make test-export` has all they need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import fromtorch
from export.facts import facts_of

MODULE = '''
import torch
from torch import nn


class Net(nn.Module):
    """(n, 32, 32, 3) bytes → boxes (n, 16, 4), scores (n, 16), labels (n, 16)."""

    def __init__(self, early=True):
        super().__init__()
        torch.manual_seed(3)
        self.early = early
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 8, 4, 2))

    def forward(self, picture):
        if self.early:
            x = picture.float().permute(0, 3, 1, 2)
        else:
            x = picture.permute(0, 3, 1, 2).float()
        rows = self.body(x * (1 / 255)).flatten(2).transpose(1, 2)
        classes = rows[..., 4:].sigmoid()
        return rows[..., :4].sigmoid() * 32, classes.amax(-1), classes.argmax(-1)


def make():
    return Net()


def late():
    return Net(early=False)


def weighed(weights):
    net = Net()
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net


def nothing():
    return "a string"


def broken():
    raise RuntimeError("no such layer")


class Dice(Net):
    def forward(self, picture):
        boxes, scores, labels = super().forward(picture)
        return boxes + torch.rand(()), scores, labels


def dice():
    return Dice()
'''
MANIFEST: dict[str, Any] = {
    "schema": "edge.manifest/1",
    "name": "bytes",
    "task": "detection",
    "input": {
        "name": "picture", "size": {"kind": "fixed", "width_px": 32, "height_px": 32}, "layout": "NHWC",
        "dtype": "uint8",
    },
    "decoder": {
        "kind": "detr", "boxes": "boxes", "scores": "scores", "labels": "labels", "box_format": "xyxy",
        "box_unit": "pixel",
    },
    "labels": ["person", "car"],
    "categories": {"labels": {"person": "person", "car": "vehicle/car"}},
    "thresholds": {"score": 0.3},
    "max_batch": 4,
}  # fmt: skip


@pytest.fixture
def torch_bench(bench: Path) -> Path:
    """A bench with a Python file of modules and their manifest."""
    pytest.importorskip("torch", reason="torch is not installed: `make test-export` brings it")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: `make test-export` brings it")
    (bench / "net.py").write_text(MODULE)
    (bench / "net.json").write_text(json.dumps(MANIFEST))
    return bench


LINE = "onnx net.py:make --manifest net.json --out net.onnx"


def test_a_module_becomes_what_its_manifest_promises(torch_bench: Path, run: Any) -> None:
    code, out, err = run(LINE)
    assert code == 0, err
    facts = facts_of(torch_bench / "net.onnx")
    assert facts.opset >= 20
    assert [str(value) for value in facts.inputs] == ["picture uint8 [batch, 32, 32, 3]"]
    assert [value.name for value in facts.outputs] == ["boxes", "scores", "labels"]
    assert facts.outputs[2].dtype == "int32"
    assert "BatchNormalization" not in facts.operators
    for name in ("checker", "opset", "device", "uint8", "int32", "manifest", "parity"):
        assert f"checked {name}" in out
    assert "5 of 5 steps" in err
    assert b"net.py" not in (torch_bench / "net.onnx").read_bytes()  # nothing of the desk stays in the file
    assert not list(torch_bench.glob("*.data"))


def test_weights_are_given_to_the_factory(torch_bench: Path, run: Any) -> None:
    import torch  # noqa: PLC0415 - the fixture skips where it is missing

    factory, _ = fromtorch.load_factory(f"{torch_bench / 'net.py'}:make")
    torch.save(factory().state_dict(), torch_bench / "w.pt")
    code, out, _ = run(f"{LINE.replace(':make', ':weighed')} --weights w.pt --json")
    assert (code, json.loads(out)["checks"]["int32"]) == (0, "no output is int64")


def test_weights_beside_the_file_are_for_those_who_ask(torch_bench: Path, run: Any) -> None:
    assert run(f"{LINE} --external-data")[0] == 0
    assert (torch_bench / "net.onnx.data").is_file()
    code, _, err = run("parity net.onnx net.onnx --manifest net.json")
    assert (code, "[external-data]" in err) == (3, True)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ((":make", ":late"), 3, "[uint8]"),
        ((":make", ":nothing"), 2, "torch.nn.Module; found str"),
        ((":make", ":broken"), 2, "no such layer"),
        ((":make", ":weighed"), 2, "the factory failed"),
        ((":make", ":nobody"), 2, "expected a function or class 'nobody'"),
        ((":make", ":dice"), 3, "[parity]"),
        (("net.py:make", "net.py"), 2, "PYTHON_FILE:FACTORY"),
        (("net.py", "nothing.py"), 2, "no such file"),
        (("net.py", "card.md"), 2, "expected a Python file"),
        (("--out", "--opset 17 --out"), 2, "at least 20"),
        (("--out", "--weights card.md --out"), 2, "takes no argument"),
        (("--manifest net.json", ""), 2, "expected the manifest"),
    ],
)
def test_a_module_that_makes_no_good_network_says_why(
    torch_bench: Path, run: Any, change: tuple[str, str], code: int, says: str
) -> None:
    found, _, err = run(LINE.replace(*change))
    assert (found, says in err) == (code, True), err
    assert not (torch_bench / "net.onnx").exists()


def test_the_shipped_recipe_can_be_made_again(torch_bench: Path, run: Any) -> None:
    """Untrained, for the weights are not kept; inputs, outputs, operators and parameters are those that are shipped.

    Untrained scores are nearly equal, so which forty are the best may hang on the last bit: always the same weights.
    """
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    harbour = Path(__file__).parents[2] / "models" / "harbour"
    code, _, err = run(f"onnx {harbour} --out {torch_bench / 'harbour.onnx'}")
    assert code == 0, err
    made, shipped = facts_of(torch_bench / "harbour.onnx"), facts_of(harbour / "harbour.onnx")
    assert made.inputs == shipped.inputs
    assert [value.name for value in made.outputs] == [value.name for value in shipped.outputs]
    assert made.operators["Conv"] == shipped.operators["Conv"]


def test_without_torch_the_command_says_what_to_install(bench: Path, run: Any) -> None:
    try:
        import torch  # noqa: F401, PLC0415
    except ImportError:
        (bench / "net.py").write_text("def make():\n    return None\n")
        code, _, err = run(LINE.replace("net.json", "model.json"))
        assert (code, "install the `export` extra" in err) == (2, True)
    else:
        pytest.skip("torch is installed")


def _bytes_network(first: str) -> onnx.ModelProto:
    nodes = [
        helper.make_node(first, ["x"], ["y"], **({"to": TensorProto.FLOAT} if first == "Cast" else {})),
        helper.make_node("Constant", [], ["labels"], value=numpy_helper.from_array(np.array([1], np.int64))),
    ]
    kind = TensorProto.FLOAT if first == "Cast" else TensorProto.UINT8
    outputs = [
        helper.make_tensor_value_info("y", kind, [1, 4]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, [1]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 4])]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs))


def test_bytes_must_meet_cast_first() -> None:
    fromtorch.first_of_bytes(_bytes_network("Cast"))
    with pytest.raises(fromtorch.ExportRefused, match=r"found Identity"):
        fromtorch.first_of_bytes(_bytes_network("Identity"))


def test_wide_labels_are_narrowed_and_keep_their_name() -> None:
    import onnxruntime  # noqa: PLC0415 - in the desk's wheel

    model = _bytes_network("Cast")
    model.ir_version = 9
    assert fromtorch.narrow_labels(model) == ["labels"]
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (labels,) = session.run(["labels"], {"x": np.zeros((1, 4), np.uint8)})
    assert (labels.dtype, labels.tolist()) == (np.int32, [1])
