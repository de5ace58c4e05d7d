"""YOLOX from its own ONNX exporter (Ge et al. 2021, arXiv 2107.08430): one output (batch, cells, 5 + classes).

Nothing in such a file says whether grid offsets are applied or scores are probabilities. Both show in what the network
answers: raw centres are small numbers, decoded ones follow the grid over the picture; probabilities stay in 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from appliance.errors import UsageError
from appliance.quiet_onnxruntime import import_onnxruntime
from export import golden
from export.facts import Facts, facts_of, read_model
from export.importers.common import Imported, finish, name_of
from export.importers.labels import categories, read_labels

Array = npt.NDArray[Any]

STRIDES: Final = (4, 8, 16, 32, 64, 128)
#: Preparation of YOLOX before release 0.1.1, which some old files still want.
LEGACY: Final = {"colour": "RGB", "scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_FATAL_ONLY: Final = 4


def import_yolox(
    model: Path,
    out: Path,
    *,
    labels: Path | None = None,
    category: Sequence[str] = (),
    name: str | None = None,
    licence: str = "",
    score: float = 0.25,
    legacy: bool = False,
    pictures: Sequence[Path] = (),
) -> Imported:
    """Makes the manifest, writes both, tries them out.

    Raises: UsageError where the file is no YOLOX; BundleRefused, EngineUnavailable where a device would not take it.
    """
    raw, _ = read_model(model)
    facts = facts_of(model)
    width, height = _size(model, facts)
    cells, channels = _cells(model, facts)
    strides = strides_of(width, height, cells)
    names = read_labels(labels, channels - 5)
    answers = _answers(raw, facts, height, width)
    page: dict[str, Any] = {
        "schema": "edge.manifest/1",
        "name": name_of(name or model.stem),
        "task": "detection",
        "description": f"YOLOX, imported from {model.name}.",
        "licence": licence,
        "input": {
            "name": facts.inputs[0].name,
            "size": {"kind": "fixed", "width_px": width, "height_px": height},
            "dtype": facts.inputs[0].dtype,
            **(LEGACY if legacy else {}),
        },
        "decoder": {
            "kind": "yolox",
            "output": facts.outputs[0].name,
            "strides": list(strides),
            "decoded": any(is_decoded(answer, strides, width, height) for answer in answers),
            "score_kind": "probability" if all(_in_unit(answer[:, 4:]) for answer in answers) else "sigmoid",
        },
        "labels": list(names),
        "categories": {"labels": categories(names, category), "default": None},
        "thresholds": {"score": score, "nms_iou": 0.45, "nms_scope": "all"},
    }
    return finish(raw, page, out, pictures)


def strides_of(width: int, height: int, cells: int) -> tuple[int, ...]:
    """The strides whose grids have ``cells`` cells together on a picture of this size.

    Raises: UsageError where none do, or several.
    """
    fitting = [stride for stride in STRIDES if width % stride == 0 and height % stride == 0]
    found = [
        chosen
        for count in range(1, len(fitting) + 1)
        for chosen in combinations(fitting, count)
        if sum((width // stride) * (height // stride) for stride in chosen) == cells
    ]
    if len(found) != 1:
        told = f"{len(found)} ways" if found else "no strides that do"
        raise UsageError(f"expected {cells} cells to be the grids of a {width} × {height} picture; found {told}")
    return found[0]


def is_decoded(answer: Array, strides: Sequence[int], width: int, height: int) -> bool:
    """Whether centres of ``answer`` (cells, 5 + classes) lie on the picture's grid, or are offsets within a cell."""
    columns, sizes = [], []
    for stride in strides:
        wide, high = width // stride, height // stride
        columns.append(np.tile(np.arange(wide), high))
        sizes.append(np.full(wide * high, stride))
    column, size = np.concatenate(columns), np.concatenate(sizes)
    as_offsets = np.median(np.abs(answer[:, 0]))
    as_pixels = np.median(np.abs(answer[:, 0] / size - column))
    return bool(as_pixels < as_offsets)


def _size(model: Path, facts: Facts) -> tuple[int, int]:
    if len(facts.inputs) == 1 and len(facts.inputs[0].shape) == 4:
        _, depth, height, width = facts.inputs[0].shape
        if depth == 3 and isinstance(height, int) and isinstance(width, int):
            return width, height
    raise UsageError(f"{model}: expected one input [batch, 3, height, width] of a fixed size; found {_told(facts)}")


def _cells(model: Path, facts: Facts) -> tuple[int, int]:
    if len(facts.outputs) == 1 and len(facts.outputs[0].shape) == 3:
        _, cells, channels = facts.outputs[0].shape
        if isinstance(cells, int) and isinstance(channels, int) and channels > 5:
            return cells, channels
    raise UsageError(f"{model}: expected one output [batch, cells, 5 + classes]; found {_told(facts)}")


def _told(facts: Facts) -> str:
    return f"{'; '.join(map(str, facts.inputs))} → {'; '.join(map(str, facts.outputs))}"


def _answers(raw: bytes, facts: Facts, height: int, width: int) -> list[Array]:
    """What the network says to drawn pictures. It may only be looked at after ``read_model`` has read it."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    try:
        session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        feeds = [drawn(height, width) for drawn in (golden.noise, golden.blocks)]
        return [
            session.run(None, {facts.inputs[0].name: feed.transpose(2, 0, 1)[None].astype(facts.inputs[0].dtype)})[0][0]
            for feed in feeds
        ]
    except Exception as e:  # boundary "ONNX Runtime": its error classes are private to its extension module
        raise UsageError(f"ONNX Runtime cannot run the network: {e}") from e


def _in_unit(scores: Array) -> bool:
    return bool((scores >= 0.0).all() and (scores <= 1.0 + 1e-6).all())
