"""What every importer ends with: model and manifest written, read as a device reads them, and tried on a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.bundles.network import look_into
from appliance.errors import UsageError
from appliance.inference.runner import open_runner
from export import trial
from export.agreement import Box
from export.pictures import gather

MODEL: Final = "model.onnx"
MANIFEST: Final = "model.json"
MAX_TRIED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was made, and what the network reports on each picture that it was tried on."""

    manifest: Manifest
    folder: Path
    tried: tuple[tuple[str, tuple[Box, ...]], ...]


def finish(model: bytes, page: Mapping[str, Any], out: Path, pictures: Sequence[Path]) -> Imported:
    """Writes ``model.onnx`` and ``model.json`` into ``out`` where a device would take them.

    Raises: BundleRefused, EngineUnavailable where it would not; then nothing is written.
    """
    raw = (json.dumps(page, indent=2, ensure_ascii=False) + "\n").encode()
    manifest = parse_manifest(raw)
    look_into(model)
    open_runner(model, manifest)
    gathered = gather(pictures, MAX_TRIED, manifest)
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL).write_bytes(model)
    (out / MANIFEST).write_bytes(raw)
    found = trial.detect(out / MODEL, manifest, gathered)
    tried = ((picture.name, tuple(boxes)) for picture, boxes in zip(gathered, found, strict=True))
    return Imported(manifest=manifest, folder=out, tried=tuple(tried))


def name_of(text: str) -> str:
    """``text`` as a name that a manifest may have."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower()).strip("-")[:64]
    if not kept:
        raise UsageError(f"--name: expected lower-case letters and digits; found {text!r}")
    return kept
