"""The driver's own words: asked by ctypes, before anything of TensorRT's runtime is touched."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from appliance.bundles.manifest import Manifest
from appliance.engines.nvidia import CudaDevice, Gpu, find_gpu, load_plan, open_driver, tensorrt_module
from appliance.engines.runner import EngineRunner
from appliance.errors import EngineUnavailable
from tests.engines.conftest import FakeEngine, FakeGpu, FakeTensorRt


class FakeCuda:
    """libcuda as ctypes sees it: integers back, results written where they were asked for."""

    def __init__(self, *, init: int = 0, devices: int = 1, fails: str = "", integrated: int = 1) -> None:
        self._init = init
        self._devices = devices
        self._fails = fails
        self._attributes = {18: integrated, 75: 8, 76: 7}

    def _answer(self, call: str) -> int:
        return 999 if call == self._fails else 0

    def cuInit(self, flags: int) -> int:
        return self._init

    def cuGetErrorString(self, code: int, text: Any) -> int:
        text._obj.value = {100: b"no CUDA-capable device is detected"}.get(code)
        return 0 if code == 100 else 1

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self._devices
        return self._answer("cuDeviceGetCount")

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13020
        return self._answer("cuDriverGetVersion")

    def cuDeviceGet(self, device: Any, number: int) -> int:
        device._obj.value = number
        return self._answer("cuDeviceGet")

    def cuDeviceGetName(self, name: Any, size: int, device: ctypes.c_int) -> int:
        name.value = b"Orin"
        return self._answer("cuDeviceGetName")

    def cuDeviceGetAttribute(self, value: Any, number: int, device: ctypes.c_int) -> int:
        value._obj.value = self._attributes[number]
        return self._answer("cuDeviceGetAttribute")


def test_a_gpu_is_found_with_its_capability_and_driver() -> None:
    gpu = find_gpu(FakeCuda())
    assert (gpu.name, gpu.sm, gpu.integrated) == ("Orin", "8.7", True)
    assert gpu.driver.startswith("cuda 13.2")
    assert not find_gpu(FakeCuda(integrated=0)).integrated
    assert isinstance(gpu, Gpu)


ABSENCES: dict[str, tuple[FakeCuda, str]] = {
    "a driver that does not start": (FakeCuda(init=100), "cuInit gave error 100 .no CUDA-capable device is detected."),
    "an error without words": (FakeCuda(init=804), "cuInit gave error 804$"),
    "no GPU": (FakeCuda(devices=0), "expected a GPU; the NVIDIA driver found none"),
    "a call that fails": (FakeCuda(fails="cuDeviceGetName"), "CUDA cuDeviceGetName gave error 999"),
}


@pytest.mark.parametrize("absence", ABSENCES)
def test_what_is_missing_is_named(absence: str) -> None:
    library, says = ABSENCES[absence]
    with pytest.raises(EngineUnavailable, match=says):
        find_gpu(library)


def without_driver() -> None:
    try:
        open_driver()
    except EngineUnavailable:
        return
    pytest.skip("this machine has an NVIDIA driver")


def test_no_driver_is_unavailable_and_never_a_crash(rtx: Any) -> None:
    """Touching TensorRT's runtime without a driver has ended the process; the driver is asked first."""
    without_driver()
    with pytest.raises(EngineUnavailable, match="expected an NVIDIA driver; found no libcuda"):
        load_plan(rtx, b"no plan", lambda _severity, _text: None)


def test_a_module_that_is_not_installed_says_what_was_tried() -> None:
    try:
        tensorrt_module("tensorrt")
    except EngineUnavailable as e:
        assert "tensorrt: No module named" in str(e) or "tensorrt" in str(e)  # noqa: PT017
    else:
        pytest.skip("TensorRT is installed here")


def test_nothing_of_nvidias_is_imported_by_importing_this_house() -> None:
    program = (
        "import sys, appliance.engines.making, appliance.daemon, appliance.cli.engine;"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorrt', 'pycuda', 'onnxruntime')"
        " or m.startswith('tensorrt')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# --- the device of a runner, on a pycuda and a libcuda of plain Python


class FakePycuda:
    """``pycuda.driver`` as far as it is used: contexts are pushed and popped, memory has addresses, streams order."""

    class Error(Exception):
        pass

    class host_alloc_flags:
        DEVICEMAP = 2

    def __init__(self) -> None:
        self.pushed = 0
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.refuses = ""
        fake = self

        class Context:
            def push(self) -> None:
                fake.pushed += 1

            @staticmethod
            def pop() -> None:
                fake.pushed -= 1

        class Device:
            def __init__(self, number: int) -> None:
                fake.refuse("Device")

            def retain_primary_context(self) -> Context:
                return Context()

        class Stream:
            handle = 0xABC

            def __init__(self) -> None:
                assert fake.pushed > 0

            def synchronize(self) -> None:
                fake.refuse("synchronize")

        self.Context, self.Device, self.Stream = Context, Device, Stream

    def refuse(self, call: str) -> None:
        if call == self.refuses:
            raise self.Error(f"{call} failed: an illegal memory access was encountered")

    def init(self) -> None:
        self.refuse("init")

    def pagelocked_empty(self, size: int, dtype: Any, *, mem_flags: int) -> np.ndarray[Any, Any]:
        self.refuse("pagelocked_empty")
        address = self._address(np.zeros(size, dtype))
        owner = type("HostAllocation", (np.ndarray,), {"get_device_pointer": lambda _: address})
        mapped = mem_flags == self.host_alloc_flags.DEVICEMAP
        return self.memory[address].view(owner)[:] if mapped else self.memory[address]

    def mem_alloc(self, size: int) -> Any:
        self.refuse("mem_alloc")
        address = self._address(np.zeros(size, np.uint8))
        return type("DeviceAllocation", (), {"__int__": lambda _: address})()

    def memcpy_htod_async(self, address: int, host: np.ndarray[Any, Any], stream: Any) -> None:
        self.refuse("memcpy_htod_async")
        self.memory[address][: len(host)] = host

    def memcpy_dtoh_async(self, host: np.ndarray[Any, Any], address: int, stream: Any) -> None:
        host[:] = self.memory[address][: len(host)]

    def _address(self, array: np.ndarray[Any, Any]) -> int:
        address = 0x1000 * (1 + len(self.memory))
        self.memory[address] = array
        return address


class GraphCuda(FakeCuda):
    """libcuda with graphs: every call in its order."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[str] = []

    def cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: int) -> int:
        assert (stream.value, mode) == (0xABC, 1)
        self.calls.append("begin")
        return self._answer("begin")

    def cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:
        self.calls.append("end")
        graph._obj.value = 0x1
        return self._answer("end")

    def cuGraphInstantiateWithFlags(self, ready: Any, graph: ctypes.c_void_p, flags: Any) -> int:
        ready._obj.value = 0x2
        self.calls.append("instantiate")
        return self._answer("instantiate")

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:
        self.calls.append("destroy graph")
        return 0

    def cuGraphLaunch(self, ready: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:
        assert (ready.value, stream.value) == (0x2, 0xABC)
        self.calls.append("launch")
        return self._answer("launch")

    def cuGraphExecDestroy(self, ready: ctypes.c_void_p) -> int:
        self.calls.append("destroy ready")
        return 0


def device(*, integrated: bool = False, fails: str = "") -> tuple[CudaDevice, FakePycuda, GraphCuda]:
    pycuda, cuda = FakePycuda(), GraphCuda(fails=fails)
    gpu = Gpu(name="Orin", sm="8.7", driver="cuda 13.2", integrated=integrated)
    return CudaDevice(gpu, pycuda=pycuda, library=cuda), pycuda, cuda


def test_a_card_has_buffers_of_two_halves_and_copies_between_them() -> None:
    made, pycuda, _ = device()
    with made.active():
        host, none = made.allocate_host(8)
        owner, address = made.allocate_device(8)
        host[:] = 7
        made.upload(address, host)
        host[:] = 0
        made.download(host, address)
        made.synchronize()
    assert none == 0
    assert int(owner) == address
    assert host.tolist() == [7] * 8
    assert pycuda.pushed == 0


def test_on_an_integrated_gpu_what_the_host_writes_lies_where_the_gpu_reads() -> None:
    made, pycuda, _ = device(integrated=True)
    with made.active():
        host, address = made.allocate_host(8)
    host[:] = 9
    assert made.shared_memory
    assert pycuda.memory[address].tolist() == [9] * 8


def test_a_graph_is_recorded_launched_and_destroyed_in_order() -> None:
    made, _, cuda = device()
    launch = made.capture(lambda: cuda.calls.append("work"))
    launch()
    launch()
    del launch
    expected = ["begin", "work", "end", "instantiate", "destroy graph", "launch", "launch", "destroy ready"]
    assert cuda.calls == expected


@pytest.mark.parametrize("step", ["begin", "end", "instantiate"])
def test_a_graph_that_cannot_be_recorded_is_unavailable_and_leaves_the_stream_usable(step: str) -> None:
    made, _, cuda = device(fails=step)
    with pytest.raises(EngineUnavailable, match="gave error 999"):
        made.capture(lambda: None)
    assert cuda.calls.count("begin") == 1
    assert ("end" in cuda.calls) == (step != "begin")


def test_work_that_fails_inside_a_capture_ends_the_capture_and_says_why() -> None:
    made, pycuda, cuda = device()
    pycuda.refuses = "memcpy_htod_async"
    with pytest.raises(EngineUnavailable, match="CUDA does not record this: memcpy_htod_async failed"):
        made.capture(lambda: made.upload(0x1000, np.zeros(1, np.uint8)))
    assert cuda.calls == ["begin", "end"]


def test_a_launch_that_fails_is_unavailable() -> None:
    made, _, _ = device(fails="launch")
    with pytest.raises(EngineUnavailable, match="CUDA cuGraphLaunch gave error 999"):
        made.capture(lambda: None)()


@pytest.mark.parametrize("call", ["mem_alloc", "pagelocked_empty", "synchronize"])
def test_cudas_errors_become_ours_and_the_context_is_given_back(call: str) -> None:
    made, pycuda, _ = device()
    pycuda.refuses = call
    work = {
        "mem_alloc": lambda: made.allocate_device(8),
        "pagelocked_empty": lambda: made.allocate_host(8),
        "synchronize": made.synchronize,
    }[call]
    with pytest.raises(EngineUnavailable, match=f"CUDA: {call} failed: an illegal memory access"), made.active():
        work()
    assert pycuda.pushed == 0


@pytest.mark.parametrize("call", ["init", "Device"])
def test_a_device_that_cannot_be_opened_is_unavailable(call: str) -> None:
    pycuda = FakePycuda()
    pycuda.refuses = call
    with pytest.raises(EngineUnavailable, match=f"CUDA: {call} failed"):
        CudaDevice(Gpu(name="", sm="8.7", driver="", integrated=True), pycuda=pycuda, library=GraphCuda())


@pytest.mark.parametrize("integrated", [True, False])
def test_a_runner_on_this_device_moves_every_byte(integrated: bool, bright: bytes, manifest: Manifest) -> None:
    """The runner, the device and pycuda's calls together; only the arithmetic is ONNX Runtime's."""
    made, pycuda, _ = device(integrated=integrated)
    gpu = FakeGpu(shared_memory=integrated)
    gpu.memory, gpu.stream_handle, gpu.contexts = pycuda.memory, made.stream_handle, 1
    engine = FakeEngine(bright, manifest, gpu)
    runner = EngineRunner(FakeTensorRt, engine, made, manifest, name="tensorrt")  # type: ignore[arg-type]
    for level in (255, 51):
        answer = runner.run(np.full((1, 64, 64, 3), level, np.uint8))
        if level == 255:
            assert answer["scores"].item() == pytest.approx(1.0)
    assert pycuda.pushed == 0
