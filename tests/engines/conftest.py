"""Real networks, TensorRT for RTX where it is installed, and a GPU that computes with ONNX Runtime.

The fake GPU enters by the front door: it implements ``buffers.Device`` and the part of TensorRT that a runner uses. Its
memory is a table of addresses, its context reads and writes there and nowhere else, and it is as strict as CUDA about
what may happen inside a capture, so that a wrong address, a missing copy or a stale graph gives wrong numbers here too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.engines.profiles import profiles_of
from appliance.errors import EngineUnavailable

Array = np.ndarray[Any, Any]
BASE: dict[str, Any] = {
    "schema": "edge.manifest/1",
    "name": "bright",
    "task": "detection",
    "input": {
        "name": "image",
        "size": {"kind": "fixed", "width_px": 64, "height_px": 64},
        "layout": "NHWC",
        "dtype": "uint8",
        "pad": 0,
    },
    "decoder": {"kind": "detr", "boxes": "boxes", "scores": "scores", "box_format": "xyxy", "box_unit": "pixel"},
    "labels": ["bright"],
    "categories": {"labels": {"bright": "fire"}},
    "thresholds": {"score": 0.05},
    "max_batch": 4,
}


def page(**changes: Any) -> Manifest:
    return parse_manifest(json.dumps({**BASE, **changes}).encode())


def open_sized_page() -> Manifest:
    size = {"kind": "multiple", "multiple_px": 32, "max_width_px": 128, "max_height_px": 128}
    return page(input={**BASE["input"], "size": size})


@pytest.fixture
def manifest() -> Manifest:
    """The manifest of ``bright_network``: NHWC uint8, batches to 4."""
    return page()


def bright_network(*, gain: float = 1.0) -> bytes:
    """A network with an open batch and size, whose one box and score are the mean brightness of each picture."""
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["light"]),
        helper.make_node("Reshape", ["light", "one_by_one"], ["scores"]),
        helper.make_node("Mul", ["scores", "corner"], ["boxes"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(gain / 255), "scale"),
        numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "one_by_one"),
        numpy_helper.from_array(np.array([0, 0, 64, 64], np.float32), "corner"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", 1, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 1, 1]),
    ]
    graph = helper.make_graph(nodes, "bright", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def bright() -> bytes:
    return bright_network()


@pytest.fixture
def rtx() -> Any:
    """TensorRT for RTX's builder, which runs without a GPU; the extra ``rtx`` brings it."""
    return pytest.importorskip("tensorrt_rtx_bindings", reason="the extra `rtx` (TensorRT for RTX) is not installed")


@pytest.fixture
def shipped(repository: Path) -> tuple[bytes, Manifest]:
    folder = repository / "models" / "harbour"
    return (folder / "harbour.onnx").read_bytes(), parse_manifest((folder / "model.json").read_bytes())


# --- a GPU that computes with ONNX Runtime


class FakeGpu:
    """Memory by address, a stream that does everything at once, and captures."""

    def __init__(self, *, shared_memory: bool) -> None:
        self.shared_memory = shared_memory
        self.memory: dict[int, Array] = {}
        self.stream_handle = 7
        self.contexts = 0
        self.copies: list[str] = []
        self.captures = 0
        self.launches = 0
        self.refuse_capture = False
        self.capturing: list[Callable[[], None]] | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        self.contexts += 1
        try:
            yield
        finally:
            self.contexts -= 1

    def allocate_host(self, size_bytes: int) -> tuple[Array, int]:
        host = np.full(size_bytes, 0xEE, np.uint8)
        return host, self._address(host) if self.shared_memory else 0

    def allocate_device(self, size_bytes: int) -> tuple[Any, int]:
        memory = np.full(size_bytes, 0xDD, np.uint8)
        return memory, self._address(memory)

    def upload(self, address: int, host: Array) -> None:
        self.do(lambda: self._copy("up", self.memory[address], host))

    def download(self, host: Array, address: int) -> None:
        self.do(lambda: self._copy("down", host, self.memory[address]))

    def synchronize(self) -> None:
        assert self.capturing is None, "CUDA forbids waiting inside a capture"

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        if self.refuse_capture:
            raise EngineUnavailable("CUDA cuStreamEndCapture gave error 901")
        self.captures += 1
        self.capturing = []
        work()
        recorded, self.capturing = self.capturing, None

        def launch() -> None:
            self.launches += 1
            for step in recorded:
                step()

        return launch

    def do(self, step: Callable[[], None]) -> None:
        """In the stream: now, or when the graph is launched."""
        assert self.contexts > 0, "no CUDA context is active in this thread"
        if self.capturing is None:
            step()
        else:
            self.capturing.append(step)

    def _address(self, memory: Array) -> int:
        address = 0x1000 * (len(self.memory) + 1)
        self.memory[address] = memory
        return address

    def _copy(self, way: str, to: Array, source: Array) -> None:
        self.copies.append(way)
        to[: len(source)] = source[: len(to)]


class FakeContext:
    """An execution context: shapes are told, then the work reads and writes at the addresses."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self.profile = -1

    def set_optimization_profile_async(self, index: int, handle: int, /) -> bool:
        self.profile = index
        return index < self._engine.num_optimization_profiles and handle == self._engine.gpu.stream_handle

    def set_input_shape(self, name: str, shape: Any, /) -> bool:
        assert self._engine.gpu.capturing is None, "shapes told inside a capture are not recorded"
        profile = self._engine.profiles[self.profile]
        if name not in profile or not profile[name].holds(tuple(shape)):
            return False
        self._shapes[name] = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine.inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str, /) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        feed = {n: np.zeros(self._shapes[n], self._engine.dtype(n)) for n in self._engine.inputs}
        return self._engine.answers(feed)[name].shape

    def set_tensor_address(self, name: str, address: int, /) -> bool:
        self._addresses[name] = address
        return address in self._engine.gpu.memory

    def execute_async_v3(self, handle: int, /) -> bool:
        if self._engine.broken:
            return False
        shapes = dict(self._shapes)
        self._engine.gpu.do(lambda: self._compute(shapes))
        return handle == self._engine.gpu.stream_handle

    def _compute(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        if self._engine.broken:
            raise EngineUnavailable("CUDA: an illegal memory access was encountered")
        assert shapes == self._shapes, "a graph was launched whose context was told other shapes since"
        memory = self._engine.gpu.memory
        feed = {}
        for name in self._engine.inputs:
            dtype = self._engine.dtype(name)
            size = int(np.prod(shapes[name])) * dtype.itemsize
            feed[name] = memory[self._addresses[name]][:size].view(dtype).reshape(shapes[name])
        for name, value in self._engine.answers(feed).items():
            raw = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
            memory[self._addresses[name]][: len(raw)] = raw


class FakeEngine:
    """A loaded plan that is an ONNX Runtime session."""

    def __init__(self, onnx_model: bytes, manifest: Manifest, gpu: FakeGpu) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"])
        self.gpu = gpu
        self.broken = False
        self.out_of_memory = False
        self.profiles = profiles_of(manifest)
        self.inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._described = {v.name: v for v in (*self._session.get_inputs(), *self._session.get_outputs())}
        self.num_io_tensors = len(self._described)
        self.num_optimization_profiles = len(self.profiles)

    def answers(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(feed)), strict=True))

    def dtype(self, name: str) -> np.dtype[Any]:
        names = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}
        return np.dtype(names[self._described[name].type])

    def get_tensor_name(self, index: int, /) -> str:
        return list(self._described)[index]

    def get_tensor_mode(self, name: str, /) -> str:
        return "in" if name in self.inputs else "out"

    def get_tensor_shape(self, name: str, /) -> tuple[int, ...]:
        return tuple(side if isinstance(side, int) else -1 for side in self._described[name].shape)

    def get_tensor_dtype(self, name: str, /) -> np.dtype[Any]:
        return self.dtype(name)

    def create_execution_context(self) -> FakeContext | None:
        return None if self.out_of_memory else FakeContext(self)


class FakeTensorRt:
    """As much of the module as a runner asks."""

    __version__ = "11.4.1"

    class TensorIOMode:
        INPUT = "in"
        OUTPUT = "out"

    @staticmethod
    def nptype(dtype: Any) -> Any:
        return dtype
