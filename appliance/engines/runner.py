"""A loaded engine that answers: the same protocol as ONNX Runtime's runner (`inference.runner.Runner`).

    batch ─ shape known? ─ copy in ─ launch graph (or enqueue) ─ wait ─ copy out ─ outputs

Buffers and addresses are fixed when the engine is loaded. Each profile has a context of its own and at most one CUDA
graph: the work of the shape that it was last asked for, recorded when that shape comes a second time in a row (TensorRT
may allocate the first time, which a capture forbids) and dropped when another shape comes, because a graph is only good
for the shapes that its context was told. Where a graph cannot be recorded the runner goes on without, and says so in
``provider``.

Rules: one thread at a time; the answers are copies, so a caller may keep them; every failure is ``EngineUnavailable``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from appliance.bundles.manifest import Manifest, output_names
from appliance.engines.buffers import Buffer, Device, TensorPlan, allocate
from appliance.engines.profiles import Profile, Shape, profile_for, profiles_of
from appliance.engines.trt import Context, CudaEngine, TensorRt
from appliance.errors import EngineUnavailable
from appliance.inference.tensors import require_agreement

Tensor = npt.NDArray[Any]


@dataclass(slots=True, kw_only=True)
class _Course:
    """One profile: its context, the shapes that it was last told, and the graph of them once it is recorded."""

    context: Context
    batch: Shape = ()
    inputs: Mapping[str, Shape] = field(default_factory=dict)
    outputs: Mapping[str, Shape] = field(default_factory=dict)
    runs: int = 0
    launch: Callable[[], None] | None = None


class EngineRunner:
    """One engine on one device. ``name`` is what runs, with its versions and the plan's digest."""

    def __init__(
        self, trt: TensorRt, engine: CudaEngine, device: Device, manifest: Manifest, *, name: str, keep: Any = None
    ) -> None:
        """``keep`` is whatever must live as long as the engine: TensorRT's runtime. Raises ``EngineUnavailable``,
        ``BundleRefused`` (``model-mismatch``)."""
        self._manifest = manifest
        self._device = device
        self._engine = engine
        self._keep = keep
        self._name = name
        self._no_graphs: str | None = None
        self._profiles = profiles_of(manifest)
        self._constants = {c.name: np.asarray([c.values], dtype=c.dtype) for c in manifest.input.constants}
        plans = tensor_plans(trt, engine, self._profiles)
        _require_manifest(manifest, plans, engine)
        with device.active():
            contexts = tuple(self._context(index) for index in range(len(self._profiles)))
            self._buffers = allocate(device, _with_outputs(plans, contexts, self._profiles))
            for context in contexts:
                _set_addresses(context, self._buffers)
        self._courses = tuple(_Course(context=context) for context in contexts)

    @property
    def provider(self) -> str:
        return self._name if self._no_graphs is None else f"{self._name} (without CUDA graphs: {self._no_graphs})"

    def run(self, batch: Tensor) -> Mapping[str, Tensor]:
        with self._device.active():
            course = self._course(batch.shape)
            self._copy_in(course, batch)
            self._execute(course)
            self._device.synchronize()
            return {
                name: self._buffers[name].view(course.outputs[name]).copy()
                for name in output_names(self._manifest.decoder)
            }

    # --- once a shape

    def _course(self, batch: Shape) -> _Course:
        """The profile that takes this shape, told of it where it is another than last time."""
        image = self._manifest.input.name
        index = profile_for(self._profiles, image, batch)
        if index is None:
            allowed = "; ".join(f"{list(p[image].low)} to {list(p[image].high)}" for p in self._profiles)
            raise EngineUnavailable(f"{self._name}: expected a batch of {allowed}; found {list(batch)}")
        course = self._courses[index]
        if course.batch != batch:
            inputs = {image: batch, **{name: (batch[0], row.shape[1]) for name, row in self._constants.items()}}
            course.batch, course.launch, course.runs = (), None, 0
            course.outputs = _shapes(course.context, inputs, self._buffers)
            course.inputs, course.batch = inputs, batch
        return course

    def _context(self, profile: int) -> Context:
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineUnavailable(f"{self._name}: TensorRT gave no execution context; not enough memory?")
        if not context.set_optimization_profile_async(profile, self._device.stream_handle):
            raise EngineUnavailable(f"{self._name}: TensorRT has no profile {profile}")
        self._device.synchronize()
        return context

    # --- every run

    def _copy_in(self, course: _Course, batch: Tensor) -> None:
        image = self._manifest.input.name
        if batch.dtype != self._buffers[image].plan.dtype:
            expected = self._buffers[image].plan.dtype
            raise EngineUnavailable(f"{self._name}: input {image!r}: expected {expected}; found {batch.dtype}")
        np.copyto(self._buffers[image].view(course.batch), batch)
        for name, row in self._constants.items():
            np.copyto(self._buffers[name].view(course.inputs[name]), row)

    def _execute(self, course: _Course) -> None:
        course.runs += 1
        if course.launch is None and course.runs > 1 and self._no_graphs is None:
            try:
                course.launch = self._device.capture(lambda: self._submit(course))
            except EngineUnavailable as e:
                self._no_graphs = str(e)
        if course.launch is not None:
            course.launch()
        else:
            self._submit(course)

    def _submit(self, course: _Course) -> None:
        """All of one answer, in the stream: in, compute, out. On shared memory there is nothing to copy."""
        if not self._device.shared_memory:
            for name, shape in course.inputs.items():
                self._device.upload(self._buffers[name].address, self._buffers[name].used(shape))
        if not course.context.execute_async_v3(self._device.stream_handle):
            raise EngineUnavailable(f"{self._name}: TensorRT did not take the batch {list(course.batch)}")
        if not self._device.shared_memory:
            for name in output_names(self._manifest.decoder):
                self._device.download(self._buffers[name].used(course.outputs[name]), self._buffers[name].address)


def tensor_plans(trt: TensorRt, engine: CudaEngine, profiles: Sequence[Profile]) -> tuple[TensorPlan, ...]:
    """Every tensor of an engine; inputs with their largest shape, outputs still as open as the engine has them."""
    plans = []
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        shape = tuple(engine.get_tensor_shape(name))
        if is_input:
            shape = max((p[name].high for p in profiles if name in p), default=shape)
        plans.append(
            TensorPlan(
                name=name, is_input=is_input, dtype=np.dtype(trt.nptype(engine.get_tensor_dtype(name))), largest=shape
            )
        )
    return tuple(plans)


def _with_outputs(
    plans: tuple[TensorPlan, ...], contexts: tuple[Context, ...], profiles: tuple[Profile, ...]
) -> tuple[TensorPlan, ...]:
    """Outputs get the largest shape that any profile's largest inputs give them."""
    sized: dict[str, Shape] = {}
    for context, profile in zip(contexts, profiles, strict=True):
        _tell_shapes(context, {name: each.high for name, each in profile.items()})
        for plan in plans:
            if not plan.is_input:
                shape = tuple(context.get_tensor_shape(plan.name))
                sized[plan.name] = max(sized.get(plan.name, shape), shape, key=lambda s: abs(int(np.prod(s))))
    return tuple(
        plan
        if plan.is_input
        else TensorPlan(name=plan.name, is_input=False, dtype=plan.dtype, largest=sized[plan.name])
        for plan in plans
    )


def _require_manifest(manifest: Manifest, plans: tuple[TensorPlan, ...], engine: CudaEngine) -> None:
    described = {
        plan.name: (str(plan.dtype), tuple(None if s < 0 else int(s) for s in engine.get_tensor_shape(plan.name)))
        for plan in plans
    }
    inputs = {plan.name for plan in plans if plan.is_input}
    require_agreement(
        manifest,
        {name: each for name, each in described.items() if name in inputs},
        {name: each for name, each in described.items() if name not in inputs},
    )
    if engine.num_optimization_profiles < len(profiles_of(manifest)):
        found = engine.num_optimization_profiles
        raise EngineUnavailable(f"expected an engine of {len(profiles_of(manifest))} profiles; found {found}")


def _tell_shapes(context: Context, inputs: Mapping[str, Shape]) -> None:
    for name, shape in inputs.items():
        if not context.set_input_shape(name, shape):
            raise EngineUnavailable(f"input {name!r}: the engine does not take {list(shape)}")
    if missing := list(context.infer_shapes()):
        raise EngineUnavailable(f"the engine cannot tell its shapes: nothing is known of {', '.join(missing)}")


def _shapes(context: Context, inputs: Mapping[str, Shape], buffers: Mapping[str, Buffer]) -> dict[str, Shape]:
    """The outputs' shapes for these inputs, each checked against its buffer."""
    _tell_shapes(context, inputs)
    found = {n: cast("Shape", tuple(context.get_tensor_shape(n))) for n, b in buffers.items() if not b.plan.is_input}
    for name, shape in found.items():
        buffers[name].view(shape)
    return found


def _set_addresses(context: Context, buffers: Mapping[str, Buffer]) -> None:
    for name, buffer in buffers.items():
        if not context.set_tensor_address(name, buffer.address):
            raise EngineUnavailable(f"tensor {name!r}: TensorRT does not take its address")
