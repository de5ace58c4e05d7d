"""D-FINE and RT-DETR from a local folder of Hugging Face transformers (config.json, weights), without a network.

The folder's own preparation (preprocessor_config.json) goes into the graph: the device feeds bytes, RGB, stretched to
the size, and the graph casts, scales and normalises. Boxes come out as the model gives them (centre and size, shares of
the picture), scores after the sigmoid that these models are trained with (arXiv 2304.08069, 2410.13842).

Rules: ``local_files_only``, safetensors only (a pickle is code); needs torch and transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from appliance.bundles.manifest import parse_manifest
from appliance.errors import UsageError
from export import fromtorch
from export.importers.common import Imported, finish, name_of
from export.importers.labels import categories
from export.progress import Progress, no_progress

#: Families that score with a sigmoid and have no background class; others would be read wrongly.
FAMILIES: Final = frozenset({"d_fine", "rt_detr", "rt_detr_v2"})
DEFAULT_SIDE_PX: Final = 640
MAX_CONFIG_BYTES: Final = 4 * 1024**2


def import_detr(
    folder: Path,
    out: Path,
    *,
    category: Sequence[str] = (),
    name: str | None = None,
    licence: str = "",
    score: float = 0.4,
    pictures: Sequence[Path] = (),
    progress: Progress = no_progress,
) -> Imported:
    """Exports the network, makes the manifest, writes both, tries them out.

    Raises: UsageError, ExportRefused, BundleRefused, EngineUnavailable.
    """
    config = _json(folder / "config.json")
    if config.get("model_type") not in FAMILIES:
        raise UsageError(f"{folder}: expected a model_type of {', '.join(sorted(FAMILIES))}; found {_type(config)!r}")
    if not list(folder.glob("*.safetensors")):
        raise UsageError(f"{folder}: expected weights in .safetensors; found none (pickles are not loaded)")
    prepared = _preparation(folder)
    labels = _labels(folder, config)
    page: dict[str, Any] = {
        "schema": "edge.manifest/1",
        "name": name_of(name or folder.name),
        "task": "detection",
        "description": f"{_type(config)}, imported from transformers.",
        "licence": licence,
        "input": {
            "name": "picture",
            "size": {"kind": "fixed", "width_px": prepared["width"], "height_px": prepared["height"]},
            "layout": "NHWC",
            "dtype": "uint8",
            "colour": "RGB",
            "fit": "stretch",
        },
        "decoder": {"kind": "detr", "boxes": "boxes", "scores": "scores"},
        "labels": list(labels),
        "categories": {"labels": categories(labels, category), "default": None},
        "thresholds": {"score": score, "nms_iou": None},
    }
    manifest = parse_manifest(json.dumps(page).encode())
    made = fromtorch.export(lambda: _deployed(folder, prepared), manifest, progress=progress)
    return finish(made.model.SerializeToString(), page, out, pictures)


def _deployed(folder: Path, prepared: Mapping[str, Any]) -> Any:
    """The network with its preparation in front and its sigmoid behind."""
    try:
        import torch  # noqa: PLC0415 - heavy
        import transformers  # noqa: PLC0415
    except ImportError as e:
        raise UsageError("import detr needs torch and transformers: install the `export` extra") from e

    class Deployed(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner
            self.register_buffer("mean", torch.tensor(prepared["mean"]).reshape(1, -1, 1, 1))
            self.register_buffer("std", torch.tensor(prepared["std"]).reshape(1, -1, 1, 1))

        def forward(self, picture: Any) -> tuple[Any, Any]:
            pixels = (picture.float().permute(0, 3, 1, 2) * prepared["scale"] - self.mean) / self.std
            answer = self.inner(pixel_values=pixels, return_dict=True)
            return answer.pred_boxes, answer.logits.sigmoid()

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    inner = transformers.AutoModelForObjectDetection.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    _untraceable_checks_off(inner)
    return Deployed(inner.eval())


def _untraceable_checks_off(inner: Any) -> None:
    """transformers asks at run time whether its tensors are sane; that cannot be exported (``aten._is_all_true``)."""
    import sys  # noqa: PLC0415 - the module that the class came from

    module = sys.modules[type(inner).__module__]
    if hasattr(module, "torch_compilable_check"):
        module.torch_compilable_check = lambda *_, **__: None  # type: ignore[attr-defined]


def _preparation(folder: Path) -> dict[str, Any]:
    """Size and normalisation, from the folder's own preprocessor; RT-DETR's where there is none."""
    path = folder / "preprocessor_config.json"
    page = _json(path) if path.is_file() else {}
    size = page.get("size", {"height": DEFAULT_SIDE_PX, "width": DEFAULT_SIDE_PX})
    if not isinstance(size, dict) or not {"height", "width"} <= size.keys():
        raise UsageError(f"{path}: expected a size with height and width; found {size!r}")
    if page.get("do_pad"):
        raise UsageError(f"{path}: expected pictures that are stretched; found do_pad, which is not imported")
    normalised = bool(page.get("do_normalize", False))
    return {
        "height": int(size["height"]),
        "width": int(size["width"]),
        "scale": float(page.get("rescale_factor", 1 / 255)) if page.get("do_rescale", True) else 1.0,
        "mean": [float(each) for each in page["image_mean"]] if normalised else [0.0],
        "std": [float(each) for each in page["image_std"]] if normalised else [1.0],
    }


def _labels(folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label")
    if not isinstance(named, dict) or sorted(map(int, named)) != list(range(len(named))) or not named:
        raise UsageError(f"{folder / 'config.json'}: expected id2label with a name for each class from 0; found none")
    return tuple(str(named[key]) for key in sorted(named, key=int))


def _type(config: Mapping[str, Any]) -> str:
    return str(config.get("model_type", ""))[:64]


def _json(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        page = json.loads(raw) if len(raw) <= MAX_CONFIG_BYTES else None
    except (OSError, ValueError) as e:
        raise UsageError(f"{path}: expected a JSON file; found: {e}") from e
    if not isinstance(page, dict):
        raise UsageError(f"{path}: expected one JSON object")
    return page
