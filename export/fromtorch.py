"""From a torch module to an ONNX file that a device takes. Needs torch; runs the integrator's own Python, at the desk.

A module is named as ``FILE.py:FACTORY``, or as a folder with ``network.py`` that has a ``deployed`` factory (as
``models/harbour``). The factory gives an ``nn.Module`` in its deployed form: it takes what the manifest says is fed and
gives, in order or by name, what the manifest's decoder reads. The manifest decides names, types, sizes and whether the
batch and the size are open.

Rules: what is written has been checked, each check with a name (``CHECKS``): nothing is believed of the exporter.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxslim
from onnx import TensorProto, helper

from appliance.bundles.manifest import FixedSize, Manifest, output_names
from appliance.bundles.network import look_into
from appliance.engines.parity import Tolerance, compare
from appliance.errors import Refused, UsageError
from appliance.inference.prepare import Preparer, lay_out
from appliance.inference.runner import Runner, open_runner
from export import parity
from export.facts import opset_of
from export.pictures import drawn
from export.progress import Progress, no_progress

LEAST_OPSET: Final = 20
FOLDER_FILE: Final = "network.py"
FOLDER_FACTORY: Final = "deployed"
BATCH_TRACED: Final = 2
"""A batch of one would be taken for a constant."""
CHOOSING: Final = frozenset({"TopK", "NonMaxSuppression", "ArgMax", "ArgMin", "NonZero"})
#: For those: sums in another order, no more. ``spread`` leaves room for rows whose scores are equal.
CHOSEN: Final = Tolerance(score=1e-4, score_share=1e-3, box_px=0.1, box_share=0.002, spread=0.05)
STEPS: Final = 5

Factory = Callable[..., Any]


class ExportRefused(Refused):
    """A network was made that a device would refuse, or that does not compute what torch computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at, and what was found."""

    name: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The network, and what is known of it."""

    model: onnx.ModelProto
    checks: tuple[Check, ...]


def load_factory(name: str) -> tuple[Factory, Path | None]:
    """The factory that ``name`` stands for, and the manifest beside it where ``name`` is a folder.

    Raises: UsageError.
    """
    path, _, attribute = name.rpartition(":") if not Path(name).is_dir() else (name, "", "")
    if Path(name).is_dir():
        folder = Path(name)
        manifest = folder / "model.json"
        return _attribute(folder / FOLDER_FILE, FOLDER_FACTORY), manifest if manifest.is_file() else None
    if not path or not attribute:
        raise UsageError(f"{name}: expected PYTHON_FILE:FACTORY, or a folder with {FOLDER_FILE}:{FOLDER_FACTORY}")
    return _attribute(Path(path), attribute), None


def export(
    factory: Factory,
    manifest: Manifest,
    *,
    weights: Path | None = None,
    opset: int = LEAST_OPSET,
    progress: Progress = no_progress,
) -> Exported:
    """Builds, exports, simplifies and checks.

    Raises: UsageError where torch is missing or the module cannot be built or exported; ExportRefused where the result
    does not hold; BundleRefused, EngineUnavailable where a device would not take it.
    """
    if opset < LEAST_OPSET:
        raise UsageError(f"--opset: expected at least {LEAST_OPSET}; found {opset}")
    _torch()
    steps = _steps(progress)
    module = _module(factory, weights)
    next(steps)
    feeds = list(_feeds(manifest))
    model = _exported(module, manifest, feeds[0], opset)
    next(steps)
    model = _simplified(model, manifest)
    next(steps)
    checks = list(_checks(model, manifest, opset))
    next(steps)
    checks.append(_equal(module, model, manifest, feeds))
    next(steps)
    return Exported(model=model, checks=tuple(checks))


def save(model: onnx.ModelProto, out: Path, *, external_data: bool = False) -> None:
    """Writes one file; with ``external_data`` the weights lie beside it, in ``<name>.data``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if external_data:
        beside = f"{out.name}.data"
        (out.parent / beside).unlink(missing_ok=True)  # ONNX would add to it
        onnx.save(model, out, save_as_external_data=True, location=beside, size_threshold=0)
    else:
        out.write_bytes(model.SerializeToString())


def first_of_bytes(model: onnx.ModelProto) -> None:
    """Raise ``ExportRefused`` unless every uint8 input meets a Cast first, as TensorRT's parser wants it."""
    for value in model.graph.input:
        if value.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        for node in model.graph.node:
            if value.name in node.input and node.op_type != "Cast":
                raise ExportRefused(
                    "uint8", f"input {value.name}: expected Cast as its first operator; found {node.op_type}: "
                    "write picture.float() before anything else"
                )  # fmt: skip


def narrow_labels(model: onnx.ModelProto) -> list[str]:
    """Makes int64 outputs int32, which is what TensorRT binds without complaint; returns their names."""
    narrowed = []
    for value in model.graph.output:
        if value.type.tensor_type.elem_type != TensorProto.INT64:
            continue
        wide = f"{value.name}_int64"
        for node in model.graph.node:
            node.output[:] = [wide if name == value.name else name for name in node.output]
            node.input[:] = [wide if name == value.name else name for name in node.input]
        cast = helper.make_node("Cast", [wide], [value.name], name=f"narrow_{value.name}", to=TensorProto.INT32)
        model.graph.node.append(cast)
        value.type.tensor_type.elem_type = TensorProto.INT32
        narrowed.append(value.name)
    return narrowed


def _torch() -> Any:
    try:
        import torch  # noqa: PLC0415 - heavy, and nothing else here needs it
    except ImportError as e:
        raise UsageError("export onnx needs torch and onnxscript: install the `export` extra") from e
    return torch


def _attribute(path: Path, name: str) -> Factory:
    """Runs the integrator's file. Its folder, and the working folder, can be imported from, as with ``python FILE``."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    for folder in (str(path.resolve().parent), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(f"_exported_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as e:  # boundary "the integrator's Python"
        raise UsageError(f"{path}: {type(e).__name__}: {e}") from e
    factory = getattr(module, name, None)
    if not callable(factory):
        raise UsageError(f"{path}: expected a function or class {name!r}; found none")
    return factory  # type: ignore[no-any-return]


def _module(factory: Factory, weights: Path | None) -> Any:
    torch = _torch()
    takes = bool(inspect.signature(factory).parameters)
    if weights is not None and not takes:
        raise UsageError("--weights: the factory takes no argument, so it would not look at them")
    try:
        module = factory(weights) if takes else factory()
    except Exception as e:  # boundary "the integrator's Python"
        raise UsageError(f"the factory failed: {type(e).__name__}: {e}") from e
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"the factory: expected a torch.nn.Module; found {type(module).__name__}")
    return module.eval()


def _feeds(manifest: Manifest) -> Iterator[tuple[Any, ...]]:
    """Prepared drawn pictures as the module is fed: a batch to trace with, then every picture alone."""
    pictures = [picture.pixels for picture in drawn(manifest)]
    geometries = [lay_out(manifest.input, *pixels.shape[:2]) for pixels in pictures]
    count = min(BATCH_TRACED, manifest.max_batch)
    both = Preparer(manifest.input, count).prepare(pictures[:count], geometries[:count])
    yield _with_constants(both, manifest)
    alone = Preparer(manifest.input, 1)
    for pixels, geometry in zip(pictures, geometries, strict=True):
        yield _with_constants(alone.prepare([pixels], [geometry]), manifest)


def _with_constants(batch: Any, manifest: Manifest) -> tuple[Any, ...]:
    rows = (np.repeat(np.asarray([each.values], each.dtype), len(batch), axis=0) for each in manifest.input.constants)
    return (batch.copy(), *rows)


def _exported(module: Any, manifest: Manifest, feed: tuple[Any, ...], opset: int) -> onnx.ModelProto:
    torch = _torch()
    names = [manifest.input.name, *(each.name for each in manifest.input.constants)]
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                tuple(map(torch.from_numpy, feed)),
                dynamo=True,
                opset_version=opset,
                input_names=names,
                output_names=list(output_names(manifest.decoder)),
                dynamic_shapes=_open_axes(manifest, len(names)),
                external_data=False,
                verbose=False,
            )
    except Exception as e:  # boundary "torch": the exporter raises whatever its passes raise
        root = e.__cause__ or e  # the exporter wraps what happened in advice
        reason = (str(root).strip() or type(root).__name__).splitlines()[0]
        raise UsageError(f"torch cannot export the module: {reason}") from e
    finally:
        logging.disable(level)
    return program.model_proto  # type: ignore[no-any-return]


def _open_axes(manifest: Manifest, inputs: int) -> tuple[dict[int, Any], ...] | None:
    """Which axes stay open: the batch where the manifest allows more than one, and the sides where sizes vary."""
    dim = _torch().export.Dim
    axes: dict[int, Any] = {}
    if manifest.max_batch > 1:
        axes[0] = dim("batch", min=1, max=manifest.max_batch)
    sides = {}
    size = manifest.input.size
    if not isinstance(size, FixedSize):
        first = 2 if manifest.input.layout == "NCHW" else 1
        step = size.multiple_px
        sides[first] = step * dim("rows", min=1, max=size.max_height_px // step)
        sides[first + 1] = step * dim("columns", min=1, max=size.max_width_px // step)
    if not axes and not sides:
        return None
    return ({**axes, **sides}, *(dict(axes) for _ in range(inputs - 1)))


def _simplified(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """onnxslim folds what the exporter left; then nothing of the desk's paths and source lines stays in the file."""
    slim = onnxslim.slim(model)
    narrow_labels(slim)
    del slim.metadata_props[:]
    for node in slim.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*slim.graph.value_info, *slim.graph.input, *slim.graph.output, *slim.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    slim.graph.doc_string = ""
    slim.graph.name = manifest.name
    return slim  # type: ignore[no-any-return]


def _checks(model: onnx.ModelProto, manifest: Manifest, opset: int) -> Iterator[Check]:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ExportRefused("onnx", f"ONNX's own checker refuses the network: {e}") from e
    yield Check(name="checker", says="ONNX's own checker accepts it, shapes too")
    if opset_of(model) < opset:
        raise ExportRefused("opset", f"expected opset {opset}; found {opset_of(model)}")
    yield Check(name="opset", says=f"{opset_of(model)}")
    seen = look_into(model.SerializeToString())
    yield Check(name="device", says=f"{seen.nodes} nodes, {seen.tensors} tensors, nothing outside the file")
    first_of_bytes(model)
    yield Check(name="uint8", says="bytes meet Cast first, or there are none")
    wide = [value.name for value in model.graph.output if value.type.tensor_type.elem_type == TensorProto.INT64]
    if wide:
        raise ExportRefused("int64", f"outputs: expected int32 labels; found int64 in {', '.join(wide)}")
    yield Check(name="int32", says="no output is int64")
    runner = open_runner(model.SerializeToString(), manifest)
    yield Check(name="manifest", says=f"inputs and outputs are what the manifest says; runs on {runner.provider}")


def _equal(module: Any, model: onnx.ModelProto, manifest: Manifest, feeds: Sequence[tuple[Any, ...]]) -> Check:
    """The same answers as torch for a batch and for single pictures, which shows that open axes are open."""
    runner = open_runner(model.SerializeToString(), manifest)
    if any(node.op_type in CHOOSING for node in model.graph.node):
        return _equal_boxes(module, runner, manifest, feeds)
    rows = []
    for number, feed in enumerate(feeds):
        found = runner.run(feed[0])
        for name, value in _answer(module, manifest, feed).items():
            rows.append(parity.compare(name, f"feed {number}", value, found[name], parity.Tolerance()))
    try:
        parity.require_parity(rows)
    except parity.ParityRefused as e:
        raise ExportRefused("parity", f"the network is not what torch computes: {e}") from e
    worst = max(rows, key=lambda row: row.worst)
    return Check(name="parity", says=f"{len(feeds)} feeds as torch answers; worst {worst.worst:.2g} in {worst.output}")


def _equal_boxes(module: Any, runner: Runner, manifest: Manifest, feeds: Sequence[tuple[Any, ...]]) -> Check:
    """A graph that chooses may order equal scores otherwise: its best candidates are matched by label and place."""
    torch = _Torch(module, manifest, {id(feed[0]): feed for feed in feeds})
    found = compare(manifest, torch, runner, (feed[0] for feed in feeds), CHOSEN)
    if not found.passed:
        raise ExportRefused("parity", f"the network is not what torch computes: {'; '.join(found.faults)}")
    says = f"{found.matched} candidates in {len(feeds)} feeds as torch answers"
    return Check(
        name="parity", says=f"{says}; worst score {found.worst_score:.2g}, worst box {found.worst_box_px:.2g} px"
    )


class _Torch:
    """The module as a runner."""

    def __init__(self, module: Any, manifest: Manifest, feeds: Mapping[int, tuple[Any, ...]]) -> None:
        self._module, self._manifest, self._feeds = module, manifest, feeds
        self.provider = "torch"

    def run(self, batch: Any) -> Mapping[str, Any]:
        return _answer(self._module, self._manifest, self._feeds[id(batch)])


def _answer(module: Any, manifest: Manifest, feed: tuple[Any, ...]) -> Mapping[str, Any]:
    torch = _torch()
    names = output_names(manifest.decoder)
    with torch.no_grad():
        answer = module(*map(torch.from_numpy, feed))
    if isinstance(answer, torch.Tensor):
        answer = (answer,)
    values = [answer[name] for name in names] if isinstance(answer, Mapping) else list(answer)
    arrays = {name: value.detach().numpy() for name, value in zip(names, values, strict=False)}
    return {name: value.astype(np.int32) if value.dtype == np.int64 else value for name, value in arrays.items()}


def _steps(progress: Progress) -> Iterator[None]:
    for done in range(1, STEPS + 1):
        progress("exporting", done, STEPS)
        yield
