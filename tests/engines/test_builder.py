"""The builder's own decisions, against a TensorRT of plain Python: what it asks for, what it keeps of a stopped build.

The fake has what TensorRT 10, 11 and RTX have in common and nothing else: what 11 removed is an AttributeError here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from appliance.bundles.manifest import Manifest
from appliance.engines.builder import BuildCancelled, Listener, Recipe, build
from appliance.engines.profiles import profiles_of
from appliance.errors import EngineUnavailable


class Severity:
    def __init__(self, name: str) -> None:
        self.name = name


class FakeCache:
    def __init__(self, blob: bytes) -> None:
        self.blob = bytearray(blob)

    def serialize(self) -> bytes:
        return bytes(self.blob)


class FakeBuilder:
    """One builder, its network and its configuration; ``script`` is what it does when it builds."""

    def __init__(self, script: Callable[[FakeBuilder], bytes | None], *, takes_cache: bool = True) -> None:
        self.script = script
        self.takes_cache = takes_cache
        self.flags = 0
        self.workspace = 0
        self.profiles: list[dict[str, Any]] = []
        self.cache: FakeCache | None = None
        self.offered: list[bytes] = []
        self.progress_monitor: Any = None
        self.log: Any = None
        self.num_inputs = self.num_outputs = 1

    # the network
    def get_input(self, index: int) -> Any:
        return type("Tensor", (), {"name": "image", "shape": (-1, 64, 64, 3)})()

    # the configuration
    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        assert pool == "workspace"
        self.workspace = size

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, blob: bytes) -> FakeCache:
        self.offered.append(blob)
        return FakeCache(blob)

    def set_timing_cache(self, cache: FakeCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch, "timings of another GPU are no timings"
        if cache.blob and not self.takes_cache:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> FakeCache | None:
        return self.cache

    # the builder
    def create_network(self, flags: int) -> FakeBuilder:
        self.flags = flags
        return self

    def create_builder_config(self) -> FakeBuilder:
        return self

    def create_optimization_profile(self) -> Any:
        class Profile:
            def __init__(self) -> None:
                self.shapes: dict[str, Any] = {}

            def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
                self.shapes[name] = (low, best, high)

        return Profile()

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        assert network is config is self
        return self.script(self)


class FakeModule:
    __version__ = "11.4.1"

    class ILogger:
        pass

    class IProgressMonitor:
        pass

    class NetworkDefinitionCreationFlag:
        STRONGLY_TYPED = 1

    class MemoryPoolType:
        WORKSPACE = "workspace"

    def __init__(self, builder: FakeBuilder, *, parses: bool = True) -> None:
        self._builder = builder
        self._parses = parses

    def Builder(self, log: Any) -> FakeBuilder:
        self._builder.log = log
        return self._builder

    def OnnxParser(self, network: Any, log: Any) -> Any:
        parses = self._parses
        assert log is self._builder.log, "one logger, which lives as long as the build"

        class Parser:
            num_errors = 0

            def parse(self, model: bytes) -> bool:
                return parses

        return Parser()


class Heard:
    """A listener that remembers, and lets the build go on until it is told otherwise."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.stop_after = 1_000_000
        self.kept: list[bytes] = []

    def listener(self) -> Listener:
        return Listener(
            start=lambda *told: self.events.append(("start", *told)),
            step=lambda *told: self.events.append(("step", *told)),
            end=lambda *told: self.events.append(("end", *told)),
            go_on=lambda: len(self.events) < self.stop_after,
        )


@pytest.fixture
def heard() -> Heard:
    return Heard()


def recipe(manifest: Manifest, cache: bytes = b"") -> Recipe:
    return Recipe(onnx=b"network", profiles=profiles_of(manifest), workspace_bytes=1 << 28, timing_cache=cache)


def times_tactics(builder: FakeBuilder) -> bytes | None:
    """As TensorRT: each timed tactic goes into the cache; a step that is not to go on ends the build."""
    monitor = builder.progress_monitor
    monitor.phase_start("Building engine", None, 3)
    for step in range(3):
        assert builder.cache is not None
        builder.cache.blob += b"t%d" % step
        if not monitor.step_complete("Building engine", step):
            return None
    monitor.phase_finish("Building engine")
    return b"plan"


def test_a_network_is_strongly_typed_with_the_manifests_profiles_and_a_bounded_workspace(
    manifest: Manifest, heard: Heard
) -> None:
    builder = FakeBuilder(times_tactics)
    built = build(FakeModule(builder), recipe(manifest), heard.listener(), heard.kept.append)  # type: ignore[arg-type]
    assert built.plan == b"plan"
    assert (builder.flags, builder.workspace) == (1 << 1, 1 << 28)
    one, many = (1, 64, 64, 3), (4, 64, 64, 3)
    assert builder.profiles == [{"image": (one, one, one)}, {"image": ((2, 64, 64, 3), many, many)}]
    assert [event[0] for event in heard.events] == ["start", "step", "step", "step", "end"]


def test_what_was_timed_is_kept_of_a_build_that_was_cancelled_and_the_next_goes_on_from_it(
    manifest: Manifest, heard: Heard
) -> None:
    heard.stop_after = 2
    builder = FakeBuilder(times_tactics)
    with pytest.raises(BuildCancelled):
        build(FakeModule(builder), recipe(manifest), heard.listener(), heard.kept.append)  # type: ignore[arg-type]
    assert heard.kept == [b"t0"]
    again = Heard()
    builder = FakeBuilder(times_tactics)
    build(FakeModule(builder), recipe(manifest, heard.kept[0]), again.listener(), again.kept.append)  # type: ignore[arg-type]
    assert builder.offered == [b"t0"]
    assert again.kept == [b"t0t0t1t2"]


def test_timings_of_another_gpu_are_set_aside(manifest: Manifest, heard: Heard) -> None:
    builder = FakeBuilder(times_tactics, takes_cache=False)
    build(FakeModule(builder), recipe(manifest, b"foreign"), heard.listener(), heard.kept.append)  # type: ignore[arg-type]
    assert builder.offered == [b"foreign", b""]
    assert heard.kept == [b"t0t1t2"]


def test_a_build_that_fails_gives_the_first_error_that_tensorrt_logged(manifest: Manifest, heard: Heard) -> None:
    def fails(builder: FakeBuilder) -> None:
        builder.log.log(Severity("WARNING"), "a warning")
        builder.log.log(Severity("ERROR"), "Could not find any implementation for node conv1")
        builder.log.log(Severity("INTERNAL_ERROR"), "what follows from it")

    with pytest.raises(EngineUnavailable, match=r"11\.4\.1 cannot build this network: Could not find any impl"):
        build(FakeModule(FakeBuilder(fails)), recipe(manifest), heard.listener(), heard.kept.append)  # type: ignore[arg-type]


def test_a_builder_that_cannot_be_made_is_unavailable(manifest: Manifest, heard: Heard) -> None:
    class Broken(FakeModule):
        def Builder(self, log: Any) -> FakeBuilder:
            log.log(Severity("ERROR"), "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(EngineUnavailable, match="has no builder here: CUDA initialization failure with error: 35"):
        build(Broken(FakeBuilder(times_tactics)), recipe(manifest), heard.listener(), heard.kept.append)  # type: ignore[arg-type]


def test_an_endless_log_is_bounded(manifest: Manifest, heard: Heard) -> None:
    def chats(builder: FakeBuilder) -> bytes:
        for number in range(10_000):
            builder.log.log(Severity("WARNING"), f"{number} " + "x" * 10_000)
        return b"plan"

    built = build(FakeModule(FakeBuilder(chats)), recipe(manifest), heard.listener(), heard.kept.append)  # type: ignore[arg-type]
    assert len(built.said) == 8
    assert max(map(len, built.said)) <= 600


def test_a_network_that_does_not_parse_says_so_without_a_reason(manifest: Manifest, heard: Heard) -> None:
    module = FakeModule(FakeBuilder(times_tactics), parses=False)
    with pytest.raises(EngineUnavailable, match="cannot read this network: it has no output"):
        build(module, recipe(manifest), heard.listener(), heard.kept.append)  # type: ignore[arg-type]
