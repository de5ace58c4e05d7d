"""One builder for TensorRT 10.16, TensorRT 11 and TensorRT for RTX. Runs in a child process (`child`), never in ours.

    onnx ─ parse ─ require every input in the profiles ─ configure ─ build ─ plan

The module is an argument. Networks are strongly typed: fp16 and INT8 come from the graph (casts, Q/DQ pairs) and from
nothing else, which TensorRT 11 demands and TensorRT 10 allows.

Rules: no error recorder is set before parsing (the parser's destructor has crashed on it); every failure is
``EngineUnavailable`` and says what TensorRT said, and ``BuildCancelled`` where it was asked to stop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from appliance.engines.profiles import Profile
from appliance.engines.trt import Builder, Config, Network, Parser, TensorRt, logger
from appliance.errors import EngineUnavailable

_ERROR_SEVERITIES: Final = ("ERROR", "INTERNAL_ERROR")
_OPEN: Final = -1
MAX_SAID: Final = 8
"""Of the last errors that TensorRT logged, how many are kept; the first of them is the cause."""
MAX_SAID_CHARS: Final = 600
_NO_OUTPUT: Final = "it has no output"


class BuildCancelled(EngineUnavailable):
    """Somebody asked this build to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who hears of a build. ``go_on`` is asked at each step; False cancels within a step."""

    start: Callable[[str, str | None, int], None]
    step: Callable[[str, int], None]
    end: Callable[[str], None]
    go_on: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A plan, and the timing cache as this build left it (empty where the flavour has none)."""

    plan: bytes
    timing_cache: bytes
    said: tuple[str, ...]
    """Warnings that TensorRT logged, bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is built and how. ``timing_cache`` may be empty; one of another version is ignored by TensorRT."""

    onnx: bytes
    profiles: Sequence[Profile]
    workspace_bytes: int
    timing_cache: bytes = b""


def build(trt: TensorRt, recipe: Recipe, listener: Listener, keep_cache: Callable[[bytes], None]) -> Built:
    """Build a plan. ``keep_cache`` is given the timing cache also where the build is cancelled or fails.

    Raises ``EngineUnavailable`` with what TensorRT said, ``BuildCancelled``.
    """
    log = _Log()
    sink = logger(trt, log.hear)  # one, and kept: the library holds no reference of its own
    builder = _builder(trt, sink, log)
    network = _parse(trt, builder, sink, log, recipe.onnx)
    _require_profiles(network, recipe.profiles)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_bytes)
    _add_profiles(builder, config, network, recipe.profiles)
    _use_cache(config, recipe.timing_cache)
    monitor = _monitor(trt, listener)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    cache = _cache_of(config)
    keep_cache(cache)
    if plan is None:
        if not listener.go_on():
            raise BuildCancelled("the build was cancelled")
        raise EngineUnavailable(f"TensorRT {trt.__version__} cannot build this network: {log.cause()}")
    return Built(plan=bytes(memoryview(plan)), timing_cache=cache, said=log.warnings())


class _Log:
    """What TensorRT says while it works; the newest errors and warnings, bounded."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=MAX_SAID)
        self._warnings: deque[str] = deque(maxlen=MAX_SAID)

    def hear(self, severity: str, text: str) -> None:
        if severity in _ERROR_SEVERITIES:
            self.errors.append(text[:MAX_SAID_CHARS])
        elif severity == "WARNING":
            self._warnings.append(text[:MAX_SAID_CHARS])

    def cause(self, otherwise: str = "it gave no reason") -> str:
        return self.errors[0] if self.errors else otherwise

    def warnings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._warnings))


def _builder(trt: TensorRt, sink: Any, log: _Log) -> Builder:
    try:
        return cast("Builder", trt.Builder(sink))
    except (RuntimeError, TypeError) as e:  # the bindings raise TypeError where the library's factory gives NULL
        raise EngineUnavailable(f"TensorRT {trt.__version__} has no builder here: {log.cause()}") from e


def _parse(trt: TensorRt, builder: Builder, sink: Any, log: _Log, onnx: bytes) -> Network:
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = cast("Parser", trt.OnnxParser(network, sink))
    if parser.parse(onnx) and network.num_outputs > 0:
        return network
    faults = [_parser_fault(parser.get_error(index)) for index in range(min(parser.num_errors, MAX_SAID))]
    raise EngineUnavailable(
        f"TensorRT {trt.__version__} cannot read this network: {'; '.join(faults) or log.cause(_NO_OUTPUT)}"
    )


def _parser_fault(error: Any) -> str:
    where = f"node {error.node_name()!r} ({error.node_operator()}): " if error.node_operator() else ""
    return f"{where}{error.desc()}"[:MAX_SAID_CHARS]


def _require_profiles(network: Network, profiles: Sequence[Profile]) -> None:
    """TensorRT would say 'no optimization profile has been defined'; this names the input and the shapes."""
    inputs = {tensor.name: tuple(tensor.shape) for tensor in map(network.get_input, range(network.num_inputs))}
    for name, shape in inputs.items():
        if _OPEN in shape and not (profiles and all(name in profile for profile in profiles)):
            raise EngineUnavailable(
                f"input {name!r} has open sides {list(shape)}: expected a profile with its smallest, best and largest "
                f"shape; found none (the manifest names {sorted({n for p in profiles for n in p})})"
            )
    for profile in profiles:
        for name in profile:
            if name in inputs and not _fits(inputs[name], profile[name].low, profile[name].high):
                raise EngineUnavailable(
                    f"input {name!r}: expected shapes within {list(inputs[name])}; the manifest asks for "
                    f"{list(profile[name].low)} to {list(profile[name].high)}"
                )


def _fits(found: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...]) -> bool:
    return len(found) == len(low) and all(
        side in (_OPEN, a) and (side == _OPEN or a == b) for side, a, b in zip(found, low, high, strict=True)
    )


def _add_profiles(builder: Builder, config: Config, network: Network, profiles: Sequence[Profile]) -> None:
    names = [network.get_input(index).name for index in range(network.num_inputs)]
    for wanted in profiles:
        profile = builder.create_optimization_profile()
        for name in (name for name in names if name in wanted):
            profile.set_shape(name, wanted[name].low, wanted[name].best, wanted[name].high)
        if config.add_optimization_profile(profile) < 0:
            raise EngineUnavailable(f"TensorRT takes no profile with the shapes {dict(wanted)}")


def _use_cache(config: Config, blob: bytes) -> None:
    """A cache of another version or GPU is refused by TensorRT itself; then an empty one is used."""
    cache = config.create_timing_cache(blob)
    if cache is not None and not config.set_timing_cache(cache, False) and blob:
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _cache_of(config: Config) -> bytes:
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(memoryview(cache.serialize()))


def _monitor(trt: TensorRt, listener: Listener) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            listener.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            listener.step(phase_name, int(step))
            return listener.go_on()

        def phase_finish(self, phase_name: str) -> None:
            listener.end(phase_name)

    return Monitor()
