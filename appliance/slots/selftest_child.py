"""The child of ``selftest``: loads one network with ONNX Runtime, has it answer, and says one line of JSON.

Run as ``python -m appliance.slots.selftest_child MODEL MANIFEST``. It asks whether the network loads, takes what the
manifest says it takes, and gives the outputs that the manifest names; and where golden files lie beside it, whether it
gives the golden outputs for the golden inputs. Not a detector and no measure of accuracy.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import resource
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from appliance.bundles.answers import Worst, check_data, compare, inputs_of, worst_of
from appliance.bundles.golden import GOLDEN_DATA_FILE, GOLDEN_FILE, MAX_GOLDEN_BYTES, parse_golden
from appliance.bundles.manifest import (
    MAX_MANIFEST_BYTES,
    FixedSize,
    Manifest,
    channels,
    output_names,
    parse_manifest,
)
from appliance.errors import ApplianceError
from appliance.quiet_onnxruntime import import_onnxruntime

#: ONNX Runtime maps arenas generously; a network needs a few times its own size beyond that.
BASE_MEMORY_BYTES: Final = 8 * 1024**3
MEMORY_PER_MODEL: Final = 4
CPU_SECONDS: Final = 240


def main(model: Path, manifest_path: Path) -> dict[str, Any]:
    """Loads and runs; the answer says ``ok`` and either ``runs_on`` or ``why``."""
    limit = BASE_MEMORY_BYTES + MEMORY_PER_MODEL * model.stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    onnxruntime = import_onnxruntime()  # only after the limits are set

    with manifest_path.open("rb") as file:
        manifest = parse_manifest(file.read(MAX_MANIFEST_BYTES + 1))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    expected = list(output_names(manifest.decoder))
    missing = [name for name in expected if name not in {output.name for output in session.get_outputs()}]
    if missing:
        return {"ok": False, "why": f"the network has no output {missing[0]!r} that the manifest names"}
    outputs = session.run(expected, empty_inputs(manifest))
    if not all(np.isfinite(output).all() for output in outputs if np.issubdtype(output.dtype, np.floating)):
        return {"ok": False, "why": "an output for an empty picture is not finite"}
    runs_on = f"onnxruntime {onnxruntime.__version__} {session.get_providers()[0]}"
    if not (model.parent / GOLDEN_FILE).exists():
        return {"ok": True, "runs_on": runs_on, "golden": "no golden outputs to compare with"}
    worst, cases = golden_answers(session, model, manifest)
    if not worst.ok:
        return {"ok": False, "why": f"its outputs are not the golden ones on {runs_on}: {worst}"}
    return {"ok": True, "runs_on": runs_on, "golden": f"{cases} golden cases within tolerance; nearest: {worst}"}


def golden_answers(session: Any, model: Path, manifest: Manifest) -> tuple[Worst, int]:
    """The worst of all golden outputs, and how many cases were run."""
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha384").hexdigest()
    with (model.parent / GOLDEN_FILE).open("rb") as file:
        golden = parse_golden(file.read(MAX_GOLDEN_BYTES + 1), model_sha384=digest, manifest=manifest)
    with (model.parent / GOLDEN_DATA_FILE).open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    check_data(golden, data)
    names = list(output_names(manifest.decoder))
    found: list[Worst] = []
    for case in golden.cases:
        answer = dict(zip(names, session.run(names, inputs_of(case, data)), strict=True))
        found.append(compare(golden, case, answer, data, runs="runtime"))
    return worst_of(found), len(golden.cases)


def empty_inputs(manifest: Manifest) -> dict[str, npt.NDArray[Any]]:
    """One picture of padding, in the shape and type that the manifest states, and its constants."""
    size = manifest.input.size
    if isinstance(size, FixedSize):
        height, width = size.height_px, size.width_px
    else:
        height = width = size.multiple_px * max(1, 64 // size.multiple_px)
    depth = channels(manifest.input.colour)
    shape = (1, depth, height, width) if manifest.input.layout == "NCHW" else (1, height, width, depth)
    inputs: dict[str, npt.NDArray[Any]] = {manifest.input.name: np.zeros(shape, dtype=manifest.input.dtype)}
    for constant in manifest.input.constants:
        inputs[constant.name] = np.array([constant.values], dtype=constant.dtype)
    return inputs


if __name__ == "__main__":
    try:
        answer = main(Path(sys.argv[1]), Path(sys.argv[2]))
    except ApplianceError as error:
        answer = {"ok": False, "why": str(error)}
    except Exception as error:  # noqa: BLE001 - the boundary of the test process: whatever the library raises is the answer
        answer = {"ok": False, "why": f"{type(error).__name__}: {str(error)[:500]}"}
    sys.stdout.write(json.dumps(answer) + "\n")
