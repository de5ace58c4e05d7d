"""The part of TensorRT's Python interface that is used here, as protocols: the intersection of 10.16, 11 and RTX 1.x.

The names are NVIDIA's; they are written down from the bindings so that the type checker knows them, because the
packages ship no types. What 11 removed (precision flags, calibrators, bindings by index) does not stand here, and so
cannot be used by mistake. Precision comes from the graph: networks are strongly typed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Dims = Sequence[int]
Buffer = Any
"""Whatever ``memoryview`` takes; ``collections.abc.Buffer`` comes with Python 3.12."""


class Tensor(Protocol):
    """An input or output of a network. A side that is open is -1."""

    name: str
    shape: Dims
    dtype: Any


class Network(Protocol):
    """A network definition."""

    num_inputs: int
    num_outputs: int

    def get_input(self, index: int, /) -> Tensor: ...
    def get_output(self, index: int, /) -> Tensor: ...


class ParserError(Protocol):
    """One thing that the parser could not take."""

    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class Parser(Protocol):
    """Reads ONNX into a network."""

    num_errors: int

    def parse(self, model: bytes, /) -> bool: ...
    def get_error(self, index: int, /) -> ParserError: ...


class Profile(Protocol):
    """One optimisation profile."""

    def set_shape(self, name: str, low: Dims, opt: Dims, high: Dims, /) -> None: ...


class TimingCache(Protocol):
    """What earlier builds measured."""

    def serialize(self) -> Buffer: ...


class Config(Protocol):
    """How a network is built."""

    progress_monitor: Any

    def set_memory_pool_limit(self, pool: Any, size_bytes: int, /) -> None: ...
    def add_optimization_profile(self, profile: Profile, /) -> int: ...
    def create_timing_cache(self, blob: bytes, /) -> TimingCache: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool, /) -> bool: ...
    def get_timing_cache(self) -> TimingCache | None: ...


class Builder(Protocol):
    """Makes networks, configurations and plans."""

    def create_network(self, flags: int, /) -> Network: ...
    def create_builder_config(self) -> Config: ...
    def create_optimization_profile(self) -> Profile: ...
    def build_serialized_network(self, network: Network, config: Config, /) -> Buffer | None: ...


class Context(Protocol):
    """A place to run one engine in; belongs to one stream at a time."""

    def set_optimization_profile_async(self, index: int, stream_handle: int, /) -> bool: ...
    def set_input_shape(self, name: str, shape: Dims, /) -> bool: ...
    def infer_shapes(self) -> Sequence[str]: ...
    def get_tensor_shape(self, name: str, /) -> Dims: ...
    def set_tensor_address(self, name: str, address: int, /) -> bool: ...
    def execute_async_v3(self, stream_handle: int, /) -> bool: ...


class CudaEngine(Protocol):
    """A plan that has been loaded."""

    num_io_tensors: int
    num_optimization_profiles: int

    def get_tensor_name(self, index: int, /) -> str: ...
    def get_tensor_mode(self, name: str, /) -> Any: ...
    def get_tensor_shape(self, name: str, /) -> Dims: ...
    def get_tensor_dtype(self, name: str, /) -> Any: ...
    def get_tensor_profile_shape(self, name: str, profile: int, /) -> Sequence[Dims]: ...
    def create_execution_context(self) -> Context | None: ...


class Runtime(Protocol):
    """Loads plans."""

    def deserialize_cuda_engine(self, plan: Buffer, /) -> CudaEngine | None: ...


class TensorRt(Protocol):
    """The module: ``tensorrt`` or ``tensorrt_rtx``. Classes that are subclassed or called are ``Any``."""

    __version__: str
    ILogger: Any
    IProgressMonitor: Any
    Builder: Any
    OnnxParser: Any
    Runtime: Any
    MemoryPoolType: Any
    NetworkDefinitionCreationFlag: Any
    TensorIOMode: Any

    def nptype(self, dtype: Any, /) -> Any: ...


def logger(trt: TensorRt, hear: Callable[[str, str], None]) -> Any:
    """A TensorRT logger that gives each line with the name of its severity to ``hear``."""

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings demand their own constructor, by name

        def log(self, severity: Any, msg: str) -> None:
            hear(severity.name, msg)

    return Logger()
