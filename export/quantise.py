"""INT8 twice from one float network: what TensorRT wants is not what a CPU wants.

    tensorrt   symmetric int8 for activations and weights, every zero point 0, explicit Q/DQ pairs on weights too;
               TensorRT's parser refuses any other zero point, and strongly typed builds read precision from the graph
    cpu        asymmetric uint8 activations and int8 weights per channel, which ONNX Runtime's kernels run on (U8S8)

The numbers come from a calibration set, prepared as the device prepares frames. The last convolution before each output
stays in float unless asked otherwise: one step of an 8-bit box distance is several pixels.

Rules: inputs, outputs and manifest stay as they are; what comes out must pass what the device holds networks to; one
file each, weights inside. Accuracy is measured by the caller (``export.trial``), on pictures that calibrated nothing.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from appliance.bundles.manifest import Manifest
from appliance.bundles.network import look_into
from appliance.errors import BundleRefused, UsageError
from appliance.inference.prepare import Preparer, lay_out
from appliance.inference.runner import open_runner
from appliance.quiet_onnxruntime import import_onnxruntime
from export.facts import QUANTISED_OPS, graphs, opset_of, read_model
from export.pictures import Picture
from export.progress import Progress, no_progress

Target = Literal["tensorrt", "cpu"]
Method = Literal["minmax", "entropy", "percentile"]

TARGETS: Final[tuple[Target, ...]] = ("tensorrt", "cpu")
#: Q/DQ per channel came with opset 13; networks that are older are converted.
LEAST_OPSET: Final = 17
#: Where nearly all the arithmetic is.
OPERATORS: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to quantise. ``heads`` quantises the last convolution before an output too; ``exclude`` names nodes."""

    method: Method = "minmax"
    heads: bool = False
    exclude: tuple[str, ...] = ()
    reduce_range: bool = False


def quantise(
    model: Path,
    manifest: Manifest,
    pictures: Sequence[Picture],
    target: Target,
    out: Path,
    options: Options,
    progress: Progress = no_progress,
) -> None:
    """Writes the INT8 network for ``target`` to ``out``.

    Raises: UsageError for a network that is quantised already, has nothing to quantise or that ONNX Runtime cannot
    quantise; BundleRefused, EngineUnavailable where what came out would not run on a device.
    """
    with tempfile.TemporaryDirectory(prefix="export-quantise-") as work:
        plain = Path(work) / "plain.onnx"
        _plain(model, plain)
        network = onnx.load(plain)
        excluded = tuple(options.exclude) + (() if options.heads else heads(network))
        _require_something(model, network, excluded)
        made = Path(work) / "int8.onnx"
        reader = _Reader(manifest, pictures, progress, f"calibrating for {target}")
        _run(plain, made, reader, target, options, excluded)
        raw = made.read_bytes()
    network = onnx.load_model_from_string(raw)
    if target == "tensorrt":
        require_symmetric(network)
    look_into(raw)
    open_runner(raw, manifest)
    out.write_bytes(raw)


def heads(network: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the nodes of ``OPERATORS`` that reach an output of the graph without passing another one."""
    makers = {name: node for node in network.graph.node for name in node.output}
    waiting = [value.name for value in network.graph.output]
    seen: set[str] = set()
    found: list[str] = []
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in OPERATORS:
            found.append(node.name)
        else:
            waiting.extend(node.input)
    return tuple(sorted(set(found)))


def require_symmetric(network: onnx.ModelProto) -> None:
    """Raise ``UsageError`` unless every zero point in the graph is zero, which TensorRT's parser asks for."""
    constants = {tensor.name: tensor for tensor in network.graph.initializer}
    for node in network.graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"} or len(node.input) < 3:
            continue
        zero = constants.get(node.input[2])
        if zero is None or np.any(numpy_helper.to_array(zero)):
            raise UsageError(f"node {node.name}: expected a zero point of zero for TensorRT; found another")


def _plain(model: Path, out: Path) -> None:
    """A copy that can be quantised: opset new enough, every node named, shapes known, batch norm folded."""
    import_onnxruntime()  # first, so that it is silent
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415 - imports half of onnx

    _, network = read_model(model)
    if any(node.op_type in QUANTISED_OPS for graph in graphs(network.graph) for node in graph.node):
        raise UsageError(f"{model}: expected a float network; found one that is quantised already")
    if opset_of(network) < LEAST_OPSET:
        network = version_converter.convert_version(network, LEAST_OPSET)
    for number, node in enumerate(network.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    named = out.with_name("named.onnx")
    onnx.save(network, named)
    with _quiet():
        try:
            # Symbolic shape inference crashes on TopK; ONNX's own is enough.
            quant_pre_process(str(named), str(out), skip_symbolic_shape=True)
        except Exception as e:  # boundary "ONNX Runtime": it raises bare exceptions
            raise UsageError(f"{model}: ONNX Runtime cannot prepare it for quantisation: {e}") from e


def _require_something(model: Path, network: onnx.ModelProto, excluded: Sequence[str]) -> None:
    names = {node.name for node in network.graph.node}
    unknown = sorted(set(excluded) - names)
    if unknown:
        raise UsageError(f"{model}: no node named {unknown[0]!r} to leave out")
    left = [node for node in network.graph.node if node.op_type in OPERATORS and node.name not in set(excluded)]
    if not left:
        raise UsageError(f"{model}: expected nodes to quantise ({', '.join(OPERATORS)}); found none beside the heads")


def _run(plain: Path, made: Path, reader: _Reader, target: Target, options: Options, excluded: Sequence[str]) -> None:
    import_onnxruntime()  # first, so that it is silent
    from onnxruntime.quantization import (  # noqa: PLC0415 - as above
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    symmetric = target == "tensorrt"
    extra = {"ActivationSymmetric": symmetric, "WeightSymmetric": True}
    if symmetric:
        extra |= {"QuantizeBias": False, "AddQDQPairToWeight": True}
    with _quiet():
        try:
            quantize_static(
                str(plain),
                str(made),
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                reduce_range=options.reduce_range,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(excluded),
                calibrate_method=methods[options.method],
                extra_options=extra,
            )
        except BundleRefused:
            raise
        except Exception as e:  # boundary "ONNX Runtime", as above
            raise UsageError(f"ONNX Runtime cannot quantise it for {target}: {e}") from e


class _Reader:
    """ONNX Runtime asks for one input after the other, and for None at the end."""

    def __init__(self, manifest: Manifest, pictures: Sequence[Picture], progress: Progress, name: str) -> None:
        self._fed = self._feeds(manifest, pictures)
        self._progress, self._name = progress, name
        self._done, self._count = 0, len(pictures)

    def get_next(self) -> dict[str, Any] | None:
        """The next prepared picture, by input name."""
        self._progress(self._name, self._done, self._count)
        self._done += 1
        return next(self._fed, None)

    def __len__(self) -> int:
        return self._count

    @staticmethod
    def _feeds(manifest: Manifest, pictures: Sequence[Picture]) -> Iterator[dict[str, Any]]:
        preparer = Preparer(manifest.input, 1)
        constants = {each.name: np.asarray([each.values], each.dtype) for each in manifest.input.constants}
        for picture in pictures:
            geometry = lay_out(manifest.input, *picture.pixels.shape[:2])
            yield {manifest.input.name: preparer.prepare([picture.pixels], [geometry]).copy(), **constants}


class _quiet:  # noqa: N801 - used as a word: with _quiet()
    """ONNX Runtime's quantiser logs and warns about what was chosen here on purpose."""

    def __enter__(self) -> None:
        self._level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        self._caught.__exit__(None, None, None)
        logging.disable(self._level)
