"""Makes a folder in which the missions of this directory run: keys, signed and installed models, links to the data.

Usage: python tests/missions/prepare.py FOLDER        then: appliance run FOLDER/people.toml --until-end

The models are third-party ones from the shared data, signed here as an integrator would sign them.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from appliance.sealing import generate
from appliance.slots import Slots
from export import desk

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DATA = REPOSITORY.parent / "shared" / "data"
UNITS = {"people": "room-01", "dashcam": "car-01", "drone": "post-07", "solent": "solent-01"}


def prepare(folder: Path, missions: tuple[str, ...] = tuple(UNITS)) -> Path:
    """Fill ``folder``, which must be new or empty; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").symlink_to(DATA)
    shutil.copy(HERE / "solent-reports.jsonl", folder)
    recipient = generate("recipient", "ops")
    stranger = generate("recipient", "stranger")
    (folder / "ops.json").write_text(recipient.to_json())
    (folder / "ops.public.json").write_text(recipient.public.to_json())
    (folder / "stranger.json").write_text(stranger.to_json())
    for name in missions:
        device = generate("device", UNITS[name])
        (folder / f"{name}.device.json").write_text(device.to_json())
        (folder / f"{name}.device.public.json").write_text(device.public.to_json())
        text = (HERE / f"{name}.toml").read_text(encoding="utf-8")
        text = text.replace('"device.json"', f'"{name}.device.json"\nstate = "{name}.state"')
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        _install(folder, name)
    return folder


def _install(folder: Path, name: str) -> None:
    """Sign what the mission runs and install it into the mission's state directory."""
    if name == "solent":
        return
    product = "acme/aerial" if name == "drone" else "acme/people"
    made = desk.make(
        model=DATA / "models" / "yolox_nano.onnx",
        manifest=_manifest(folder, product),
        product=product,
        keys=folder / "fleet",
        out=folder / f"stick-{name}",
    )
    slots = Slots(folder / f"{name}.state")
    slots.provision(made.anchor.read_bytes(), unit=UNITS[name])
    slots.install(made.stick, product, time.time_ns())


def _manifest(folder: Path, product: str) -> Path:
    """YOLOX-Nano as it is; for thermal pictures of the sky it may say no more than *aircraft*."""
    manifest = json.loads((REPOSITORY / "models" / "manifests" / "yolox_nano.json").read_bytes())
    if product == "acme/aerial":
        manifest["name"] = "yolox-nano-aerial"
        manifest["categories"] = {"labels": {"airplane": "aircraft"}, "default": None}
    path = folder / f"{product.replace('/', '-')}.manifest.json"
    path.write_text(json.dumps(manifest))
    return path


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1]), tuple(sys.argv[2:]) or tuple(UNITS)))  # noqa: T201 - a script says what it made
