"""The one file that imports TensorRT and pycuda, and only when asked. What is missing is told, never guessed.

A driver is asked for by ``cuInit`` through ctypes before anything of TensorRT's runtime is touched: without a driver
``Runtime`` has been seen to be an object around NULL whose first use ends the process.

Rules: importing this file imports nothing of NVIDIA's; every absence is ``EngineUnavailable`` and names what was
expected. pycuda has no CUDA graphs and no types: graphs go through ctypes on the stream's handle.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from appliance.engines.trt import CudaEngine, Runtime, TensorRt, logger
from appliance.errors import EngineUnavailable

Flavour = Literal["tensorrt", "tensorrt-rtx"]
FLAVOURS: Final[tuple[Flavour, ...]] = ("tensorrt", "tensorrt-rtx")

#: The package proper, or the bindings alone where only the wheels with the libraries are installed.
_MODULES: Final[dict[Flavour, tuple[str, ...]]] = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_CUDA: Final = "libcuda.so.1"
_MAX_NAME_BYTES: Final = 256

#: CUdevice_attribute (cuda.h): integrated with the host's memory, compute capability major and minor.
_INTEGRATED: Final = 18
_MAJOR: Final = 75
_MINOR: Final = 76
_CAPTURE_THREAD_LOCAL: Final = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other lanes' threads may allocate while this one captures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU and its driver. ``sm`` is the compute capability as ``8.7``; ``integrated`` shares the host's memory."""

    name: str
    sm: str
    driver: str
    integrated: bool


def tensorrt_module(flavour: Flavour) -> TensorRt:
    """TensorRT's module. Raises ``EngineUnavailable`` where it is not installed or does not load."""
    reasons = []
    for name in _MODULES[flavour]:
        try:
            return cast("TensorRt", importlib.import_module(name))
        except (ImportError, OSError) as e:  # a package without its libraries, or libraries without their driver
            reasons.append(f"{name}: {e}")
    raise EngineUnavailable(f"expected {flavour} to be installed; found {'; '.join(reasons)[:600]}")


def installed_flavour() -> Flavour:
    """The first flavour whose module can be found; nothing is imported. Raises ``EngineUnavailable`` where none is."""
    for flavour in FLAVOURS:
        if any(importlib.util.find_spec(name) is not None for name in _MODULES[flavour]):
            return flavour
    raise EngineUnavailable(f"expected TensorRT to be installed; found none of {', '.join(FLAVOURS)}")


def open_driver(library: Any = None) -> Any:
    """The CUDA driver, initialised. ``library`` stands in for libcuda in tests. Raises ``EngineUnavailable``."""
    if library is None:
        try:
            library = ctypes.CDLL(_CUDA)
        except OSError as e:
            raise EngineUnavailable(f"expected an NVIDIA driver; found no {_CUDA}") from e
    code = library.cuInit(0)
    if code != 0:
        raise EngineUnavailable(f"expected an NVIDIA driver that starts; cuInit gave {_said(library, code)}")
    return library


def find_gpu(library: Any = None) -> Gpu:
    """The first GPU. Raises ``EngineUnavailable`` where there is no driver or no GPU."""
    cuda = open_driver(library)
    count, version, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _check(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if count.value < 1:
        raise EngineUnavailable("expected a GPU; the NVIDIA driver found none")
    _check(cuda, "cuDriverGetVersion", ctypes.byref(version))
    _check(cuda, "cuDeviceGet", ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(_MAX_NAME_BYTES)
    _check(cuda, "cuDeviceGetName", name, _MAX_NAME_BYTES, device)
    major, minor, integrated = (_attribute(cuda, device, number) for number in (_MAJOR, _MINOR, _INTEGRATED))
    return Gpu(
        name=name.value.decode(errors="replace"),
        sm=f"{major}.{minor}",
        driver=f"cuda {version.value // 1000}.{version.value % 1000 // 10}{_kernel_driver()}",
        integrated=bool(integrated),
    )


def _kernel_driver() -> str:
    """The kernel module's own version, which changes without the CUDA version; empty where the kernel tells none."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            words = file.read(4096).split()
    except OSError:
        return ""
    return next((f" kernel {word}" for word in words if word[:1].isdigit() and "." in word), "")


def _attribute(cuda: Any, device: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int()
    _check(cuda, "cuDeviceGetAttribute", ctypes.byref(value), number, device)
    return value.value


def _check(cuda: Any, call: str, *arguments: Any) -> None:
    code = getattr(cuda, call)(*arguments)
    if code != 0:
        raise EngineUnavailable(f"CUDA {call} gave {_said(cuda, code)}")


def _said(cuda: Any, code: int) -> str:
    """CUDA's own words for an error, where the driver has any."""
    text = ctypes.c_char_p()
    if cuda.cuGetErrorString(code, ctypes.byref(text)) != 0 or not text.value:
        return f"error {code}"
    return f"error {code} ({text.value.decode(errors='replace')})"


# --- the device of a runner


class CudaDevice:
    """Implements ``buffers.Device`` with pycuda: one primary context, one stream, buffers that the host may touch.

    On an integrated GPU a buffer is pinned host memory mapped into the GPU's addresses, and nothing is ever copied. On
    a card it is a pinned half and a half on the card. Every call that touches CUDA pushes the context for its thread.
    """

    def __init__(self, gpu: Gpu, *, pycuda: Any = None, library: Any = None) -> None:
        """``pycuda`` and ``library`` stand in for ``pycuda.driver`` and libcuda. Raises ``EngineUnavailable``."""
        self._cuda = open_driver(library)
        self._drv = pycuda if pycuda is not None else _pycuda()
        try:
            self._drv.init()
            self._context = self._drv.Device(0).retain_primary_context()
        except self._drv.Error as e:
            raise EngineUnavailable(f"CUDA: {e}") from e
        self.shared_memory = gpu.integrated
        with self.active():
            self._stream = self._drv.Stream()

    @contextmanager
    def active(self) -> Iterator[None]:
        """The context belongs to the calling thread inside this block; CUDA's errors become ours."""
        self._context.push()
        try:
            yield
        except self._drv.Error as e:
            raise EngineUnavailable(f"CUDA: {e}") from e
        finally:
            self._drv.Context.pop()

    @property
    def stream_handle(self) -> int:
        """The lane's stream, as TensorRT takes it."""
        return int(self._stream.handle)

    def allocate_host(self, size_bytes: int) -> tuple[npt.NDArray[np.uint8], int]:
        """Pinned host bytes and, on an integrated GPU, their address there (else 0)."""
        flags = self._drv.host_alloc_flags.DEVICEMAP if self.shared_memory else 0
        array = self._drv.pagelocked_empty(size_bytes, np.uint8, mem_flags=flags)
        address = int(array.base.get_device_pointer()) if self.shared_memory else 0
        return array, address

    def allocate_device(self, size_bytes: int) -> tuple[Any, int]:
        """Bytes on the card: an owner that frees them when it goes, and the address."""
        memory = self._drv.mem_alloc(size_bytes)
        return memory, int(memory)

    def upload(self, address: int, host: npt.NDArray[np.uint8]) -> None:
        """Host to card, in the stream."""
        self._drv.memcpy_htod_async(address, host, self._stream)

    def download(self, host: npt.NDArray[np.uint8], address: int) -> None:
        """Card to host, in the stream."""
        self._drv.memcpy_dtoh_async(host, address, self._stream)

    def synchronize(self) -> None:
        """Wait until the stream has done everything."""
        self._stream.synchronize()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` as a CUDA graph; the result launches it into the stream. Raises ``EngineUnavailable``."""
        handle = ctypes.c_void_p(self.stream_handle)
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        _check(self._cuda, "cuStreamBeginCapture_v2", handle, _CAPTURE_THREAD_LOCAL)
        try:
            work()
        except self._drv.Error as e:
            raise EngineUnavailable(f"CUDA does not record this: {e}") from e
        finally:  # a capture that is not ended leaves the stream unusable
            code = self._cuda.cuStreamEndCapture(handle, ctypes.byref(graph))
        if code != 0 or not graph:
            raise EngineUnavailable(f"CUDA cuStreamEndCapture gave {_said(self._cuda, code)}")
        try:
            _check(self._cuda, "cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_ulonglong(0))
        finally:
            self._cuda.cuGraphDestroy(graph)
        return _Graph(self._cuda, ready, handle)


def _pycuda() -> Any:
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError as e:
        raise EngineUnavailable(f"expected pycuda to be installed; found {e}") from e


class _Graph:
    """A recorded CUDA graph. Calling it launches it; it is destroyed when nobody holds it any longer."""

    def __init__(self, cuda: Any, ready: ctypes.c_void_p, stream: ctypes.c_void_p) -> None:
        self._cuda = cuda
        self._ready = ready
        self._stream = stream

    def __call__(self) -> None:
        _check(self._cuda, "cuGraphLaunch", self._ready, self._stream)

    def __del__(self) -> None:
        self._cuda.cuGraphExecDestroy(self._ready)  # nothing can be done about a failure here, and nobody could use it


def load_plan(trt: TensorRt, plan: bytes | bytearray, hear: Callable[[str, str], None]) -> tuple[Runtime, CudaEngine]:
    """Deserialise a plan that this device built. The runtime must outlive the engine. Raises ``EngineUnavailable``."""
    open_driver()
    errors: list[str] = []

    def keep(severity: str, text: str) -> None:
        if severity in {"ERROR", "INTERNAL_ERROR"} and len(errors) < 8:
            errors.append(text[:600])
        hear(severity, text)

    try:
        runtime = cast("Runtime", trt.Runtime(logger(trt, keep)))
        engine = runtime.deserialize_cuda_engine(plan)
    except (RuntimeError, TypeError) as e:
        raise EngineUnavailable(f"TensorRT {trt.__version__} has no runtime here: {(errors or [str(e)])[0]}") from e
    if engine is None:
        raise EngineUnavailable(f"TensorRT {trt.__version__} does not load this plan: {(errors or ['no reason'])[0]}")
    return runtime, engine
