"""The driver's own words: asked by ctypes, before anything of TensorRT's runtime is touched."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import pytest

from appliance.engines.nvidia import Gpu, find_gpu, load_plan, open_driver, tensorrt_module
from appliance.errors import EngineUnavailable


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
