"""Runners: a network that has been loaded and answers. One protocol; ONNX Runtime behind it here.

A runner knows tensors only: no pictures, no boxes. It is opened from bytes that were verified before, or from one file,
checks at once that the model is what its manifest says, and says truthfully what it runs on.

Rules: no silent fall-back from an accelerator to the CPU; one intra-op thread and no spinning unless asked (spinning
doubles the latency of two sessions on one box); no external data; ONNX Runtime is imported here alone, when opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from appliance.bundles.manifest import Constant, Manifest, output_names
from appliance.bundles.network import MAX_MODEL_BYTES, look_into
from appliance.errors import EngineUnavailable
from appliance.inference.tensors import Shape, require_agreement
from appliance.quiet_onnxruntime import import_onnxruntime

Tensor = npt.NDArray[Any]

CPU: Final = "CPUExecutionProvider"
_FATAL_ONLY: Final = 4
"""ONNX Runtime's log severity; what fails comes to us as an exception and is told once."""

_NUMPY_NAMES: Final[Mapping[str, str]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


class Runner(Protocol):
    """A loaded network."""

    @property
    def provider(self) -> str:
        """What really runs, with its version."""

    def run(self, batch: Tensor) -> Mapping[str, Tensor]:
        """The named outputs for ``batch``, which is not kept. Raises ``EngineUnavailable``."""


def open_runner(model: bytes | Path, manifest: Manifest, *, providers: Sequence[str] = (), threads: int = 1) -> Runner:
    """Load ``model`` in ONNX Runtime on the first of ``providers`` (none named: the CPU).

    The CPU stands in for a provider that is missing only where the caller lists the CPU too. Raises
    ``EngineUnavailable`` where the model cannot be loaded here, ``BundleRefused`` where it may not be loaded anywhere
    (``onnx``, ``external-data``) or is not what ``manifest`` says (``model-mismatch``).
    """
    raw = _read(model) if isinstance(model, Path) else model
    look_into(raw)
    runtime = _runtime()
    session = _open_session(runtime, raw, manifest.name, _choose(runtime, tuple(providers) or (CPU,)), threads)
    _require_asked(session, tuple(providers) or (CPU,))
    require_agreement(manifest, _described(session.get_inputs()), _described(session.get_outputs()))
    return _OnnxRunner(runtime.__version__, session, manifest)


class _OnnxRunner:
    """One ONNX Runtime session. ``run`` may be called from one thread at a time."""

    def __init__(self, version: str, session: Any, manifest: Manifest) -> None:
        self._session = session
        self._name = manifest.name
        self._input = manifest.input.name
        self._outputs = list(output_names(manifest.decoder))
        self._constants = {constant.name: _row(constant) for constant in manifest.input.constants}
        self._provider = f"onnxruntime {version} {'+'.join(session.get_providers())}"

    @property
    def provider(self) -> str:
        return self._provider

    def run(self, batch: Tensor) -> Mapping[str, Tensor]:
        feed = {name: np.repeat(row, len(batch), axis=0) for name, row in self._constants.items()}
        feed[self._input] = batch
        try:
            answers = self._session.run(self._outputs, feed)
        except Exception as error:  # boundary "ONNX Runtime": its error classes are private to its extension module
            raise EngineUnavailable(
                f"model {self._name}: {self._provider} did not answer: {_first_line(error)}"
            ) from error
        return dict(zip(self._outputs, answers, strict=True))


def _row(constant: Constant) -> Tensor:
    return np.asarray([constant.values], dtype=constant.dtype)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Room for what is there: asked for 2 GiB at once, a device with less memory gives none.
            raw = file.read(min(os.fstat(file.fileno()).st_size, MAX_MODEL_BYTES) + 1)
    except OSError as error:
        raise EngineUnavailable(f"model file {path}: expected a readable file; found: {error.strerror}") from error
    return raw


def _runtime() -> Any:
    try:
        return import_onnxruntime()
    except ImportError as error:
        raise EngineUnavailable(f"expected ONNX Runtime to be installed; found: {error}") from error


def _choose(runtime: Any, asked: tuple[str, ...]) -> list[str]:
    """The asked providers that this build has, in order; it is for the caller to allow the CPU by naming it."""
    built = set(runtime.get_available_providers())
    missing = [name for name in asked if name not in built]
    if missing and CPU not in asked:
        raise EngineUnavailable(
            f"ONNX Runtime: expected provider {', '.join(missing)}; found {', '.join(sorted(built))}"
        )
    return [name for name in asked if name in built]


def _open_session(runtime: Any, raw: bytes, name: str, providers: list[str], threads: int) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # On x86 without VNNI symmetric INT8 answers were wrong, unseen, until exact sums were asked for (docs/adr/0008).
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(raw, options, providers=providers)
    except Exception as error:  # boundary "ONNX Runtime", as in ``run``
        raise EngineUnavailable(f"model {name}: ONNX Runtime cannot load it: {_first_line(error)}") from error


def _require_asked(session: Any, asked: tuple[str, ...]) -> None:
    """ONNX Runtime drops a provider that fails to start and goes on with the CPU: find out, and say so."""
    running = session.get_providers()
    if asked[0] not in running and CPU not in asked:
        raise EngineUnavailable(f"ONNX Runtime: expected to run on {asked[0]}; found {', '.join(running)}")


def _described(values: Sequence[Any]) -> dict[str, tuple[str, Shape]]:
    return {
        value.name: (
            _NUMPY_NAMES.get(value.type, value.type),
            tuple(side if isinstance(side, int) else None for side in value.shape),
        )
        for value in values
    }


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]
