"""What people bring to a new device: the site's folder and a stick with a signed bundle, as raw disks.

site/mission.toml, watch-desk.public.json, watch-desk.csr, 1.root.json     for the first boot
stick/ (a TUF repository)                                                  for `appliance bundle install`
film.mp4                                                                   what the camera will see
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.cli.keys import public_name
from appliance.host.files import write_whole
from appliance.sealing.identity import PrivateIdentity, generate
from export import desk
from hil.scene import radar
from hil.scene.film import shoot
from hil.scene.harbour import LENS, MAST_HEIGHT_M, ORIGIN
from hil.scene.world import Scene
from hil.vm.steps import run

REPOSITORY: Final = Path(__file__).resolve().parents[2]
MODEL_FOLDER: Final = REPOSITORY / "models" / "harbour"
PRODUCT: Final = "demo/harbour"
RECIPIENT: Final = "watch-desk"
FILM_FRAMES_PER_S: Final = 1
"""What an emulated processor can look at. The demo's own camera takes ten."""
STICK_BYTES: Final = 256 * 1024**2
CAMERA, RADAR, AIS = "mast-camera", "mast-radar", "ais-receiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What was prepared, and where on the rig."""

    folder: Path
    stick: Path
    """A raw ext4 disk: ``site/``, ``bundle/``, ``film.mp4``."""
    reader: PrivateIdentity


def prepare(folder: Path, scene: Scene, *, unit: str, film_s: float, say: Callable[[str], None]) -> Site:
    """Identities, a signed bundle, a film, the mission: all on one raw disk. Raises as ``export.desk.make`` does."""
    content = folder / "content"
    site = content / "site"
    site.mkdir(parents=True)
    reader = generate("recipient", RECIPIENT)
    private = folder / f"{RECIPIENT}.json"
    write_whole(private, (reader.to_json(None) + "\n").encode(), mode=0o600)
    write_whole(site / public_name(private).name, (reader.public.to_json() + "\n").encode())
    say("signed bundle")
    made = desk.make(
        model=MODEL_FOLDER / "harbour.onnx",
        manifest=MODEL_FOLDER / "model.json",
        card=MODEL_FOLDER / "card.md",
        product=PRODUCT,
        keys=folder / "integrator",
        out=content / "bundle",
    )
    (site / "1.root.json").write_bytes(made.anchor.read_bytes())
    (site / "mission.toml").write_text(mission(unit), encoding="utf-8")
    say(f"film of {film_s:.0f} s")
    shoot(scene, LENS, content / "film.mp4", film_s, frames_per_s=FILM_FRAMES_PER_S)
    stick = folder / "stick.raw"
    with stick.open("wb") as file:
        file.truncate(STICK_BYTES)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "stick", "-d", content, stick])
    return Site(folder=folder, stick=stick, reader=reader)


def mission(unit: str) -> str:
    """The mission: a film, a radar and AIS over the sensors' link, results on the bus link."""
    place = f"{{ latitude_deg = {ORIGIN.latitude_deg}, longitude_deg = {ORIGIN.longitude_deg} }}"
    return f"""\
# A mast in a harbour that does not exist, watched by a virtual device.
schema = "edge-mission/1"

[unit]
id = "{unit}"
origin = {place}
identity = "/run/credentials/edge-appliance.service/device.json"
state = "/var/lib/edge-appliance"

[bus]
url = "mqtts://10.30.0.2:8883"
recipients = ["{RECIPIENT}.public.json"]
ca = "bus/ca.pem"
certificate = "bus/{unit}.pem"
key = "bus/{unit}.key"

[picture]
interval_s = 1.0
entity_interval_s = 1.0
status_interval_s = 2.0

[[models]]
name = "harbour"
bundle = "{PRODUCT}"

[[feeds]]
name = "{CAMERA}"
kind = "video"
uri = "file:/var/lib/edge-appliance/film.mp4"
model = "harbour"

[feeds.pose]
latitude_deg = {ORIGIN.latitude_deg}
longitude_deg = {ORIGIN.longitude_deg}
altitude_m = {MAST_HEIGHT_M}
heading_deg = {math.degrees(LENS.heading_rad):.6f}
pitch_deg = {math.degrees(LENS.pitch_rad):.6f}
sigma_heading_deg = 0.1
sigma_pitch_deg = 0.06
sigma_position_m = 0.5

[feeds.lens]
width_px = {LENS.width_px}
height_px = {LENS.height_px}
fx_px = {LENS.focal_px}
fy_px = {LENS.focal_px}
cx_px = {LENS.width_px / 2.0}
cy_px = {LENS.height_px / 2.0}
terrain_sigma_m = 0.2
max_range_m = 700

[[feeds]]
name = "{RADAR}"
kind = "radar"
uri = "udp://10.20.0.2:8600"
site = {place}

[feeds.sensing]
range_m = {radar.RANGE_SIGMA_M * 1.5}
bearing_deg = {math.degrees(radar.BEARING_SIGMA_RAD) * 1.2:.4f}
detection_probability = 0.9
false_plots_per_scan = {radar.CLUTTER_PER_TURN}
max_range_m = {radar.MAX_RANGE_M}
scan_s = {radar.TURN_S * 0.96}

[[feeds]]
name = "{AIS}"
kind = "ais"
uri = "udp://10.20.0.2:10110"
"""
