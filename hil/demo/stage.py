"""Everything that must lie in the folder before the daemon starts: what an integrator and an operator would prepare.

Each step uses the product's own doors: identities as ``appliance keys`` makes them, the bundle as ``python -m export``
signs it, the installation as ``appliance bundle install`` does it. Nothing is taken from outside but the shipped model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.cli.keys import public_name
from appliance.host.files import write_whole
from appliance.sealing.identity import generate
from appliance.slots import Slots
from export import desk
from hil.scene import radar
from hil.scene.film import shoot
from hil.scene.harbour import LENS, MAST_HEIGHT_M, ORIGIN, place
from hil.scene.players import LOOPBACK, free_udp_port
from hil.scene.world import Ground, Scene

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL_FOLDER = REPOSITORY / "models" / "harbour"
UNIT = "havre-neuf-01"
RECIPIENT = "watch-desk"
PRODUCT = "demo/harbour"

CAMERA, RADAR, AIS, GNSS, REPORTS = "mast-camera", "mast-radar", "ais-receiver", "own-gnss", "reports"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What was prepared, and where."""

    folder: Path
    mission: Path
    listener_identity: Path
    listener_state: Path
    device_public: Path
    bus_url: str
    inbox: Path
    film: Path
    radar_port: int
    gnss_port: int


def make_identities(folder: Path) -> tuple[Path, Path]:
    """A device's and a recipient's identity, as private and public files. Returns the two private ones."""
    paths = []
    for kind, name in (("device", UNIT), ("recipient", RECIPIENT)):
        identity = generate(kind, name)  # type: ignore[arg-type]
        private = folder / f"{kind}.json"
        write_whole(private, (identity.to_json(None) + "\n").encode(), mode=0o600)
        write_whole(public_name(private), (identity.public.to_json() + "\n").encode())
        paths.append(private)
    return paths[0], paths[1]


def make_bundle(folder: Path, say: Callable[[str], None]) -> desk.Desk:
    """Keys of an integrator, and the shipped detector as a signed bundle on a stick."""
    return desk.make(
        model=MODEL_FOLDER / "harbour.onnx",
        manifest=MODEL_FOLDER / "model.json",
        card=MODEL_FOLDER / "card.md",
        product=PRODUCT,
        keys=folder / "integrator",
        out=folder / "stick",
        say=say,
    )


def install(folder: Path, made: desk.Desk) -> None:
    """Provision the device with the root of trust and install the bundle into a slot."""
    slots = Slots(folder / "state")
    slots.provision(made.anchor.read_bytes(), unit=UNIT)
    slots.install(made.stick, PRODUCT, time.time_ns())


def make_film(folder: Path, scene: Scene, duration_s: float, told: Callable[[int, int], None]) -> Path:
    """What the camera will see."""
    film = folder / "camera.mp4"
    shoot(scene, LENS, film, duration_s, told)
    return film


def make_mission(folder: Path, film: Path, identities: tuple[Path, Path], *, bus_url: str, ais_port: int) -> Stage:
    """The mission file, and the ports that it names."""
    device, recipient = identities
    inbox = folder / "inbox"
    inbox.mkdir()
    radar_port, gnss_port = free_udp_port(), free_udp_port()
    mission = folder / "mission.toml"
    names = {"device": device.name, "recipient": public_name(recipient).name, "film": film.name, "bus_url": bus_url}
    ports = {"radar_port": radar_port, "gnss_port": gnss_port, "ais_port": ais_port}
    mission.write_text(_MISSION.format(**names, **ports, **_fixed()), encoding="utf-8")
    return Stage(
        folder=folder,
        mission=mission,
        listener_identity=recipient,
        listener_state=folder / "listener.seen.sqlite",
        device_public=public_name(device),
        bus_url=bus_url,
        inbox=inbox,
        film=film,
        radar_port=radar_port,
        gnss_port=gnss_port,
    )


def _fixed() -> dict[str, object]:
    """What the mission says in every demo: the unit, its sensors and how well they measure."""
    return {
        "unit": UNIT,
        "lat": ORIGIN.latitude_deg,
        "lon": ORIGIN.longitude_deg,
        "product": PRODUCT,
        "camera": CAMERA,
        "height": MAST_HEIGHT_M,
        "heading": math.degrees(LENS.heading_rad),
        "pitch": math.degrees(LENS.pitch_rad),
        "width_px": LENS.width_px,
        "height_px": LENS.height_px,
        "focal": LENS.focal_px,
        "centre_x": LENS.width_px / 2.0,
        "centre_y": LENS.height_px / 2.0,
        "radar": RADAR,
        "radar_range_m": radar.RANGE_SIGMA_M * 1.5,
        "radar_bearing_deg": math.degrees(radar.BEARING_SIGMA_RAD) * 1.2,
        "clutter": radar.CLUTTER_PER_TURN,
        "radar_max_m": radar.MAX_RANGE_M,
        "scan_s": radar.TURN_S * 0.96,
        "ais": AIS,
        "gnss": GNSS,
        "reports": REPORTS,
        "host": LOOPBACK,
        "places": _places(),
    }


def _places() -> str:
    """Names that people use in their reports, for the mission's gazetteer."""
    ground = Ground(ORIGIN)
    lines = []
    for name, at in (("breakwater", (0.0, 520.0)), ("entrance", (184.0, 540.0))):
        here = ground.to_geodetic(*place(*at))
        lines.append(
            f'"{name}" = {{ latitude_deg = {here.latitude_deg:.6f}, longitude_deg = {here.longitude_deg:.6f} }}'
        )
    return "\n".join(lines)


_MISSION = """\
# The demo's mission: a mast in a harbour that does not exist.
schema = "edge-mission/1"

[unit]
id = "{unit}"
origin = {{ latitude_deg = {lat}, longitude_deg = {lon} }}
identity = "{device}"
state = "state"
demo = true

[bus]
url = "{bus_url}"
recipients = ["{recipient}"]

[picture]
interval_s = 1.0
entity_interval_s = 0.2
status_interval_s = 1.0

[[models]]
name = "harbour"
bundle = "{product}"

[[feeds]]
name = "{camera}"
kind = "video"
uri = "file:{film}"
model = "harbour"

[feeds.pose]
latitude_deg = {lat}
longitude_deg = {lon}
altitude_m = {height}
heading_deg = {heading:.6f}
pitch_deg = {pitch:.6f}
sigma_heading_deg = 0.1
sigma_pitch_deg = 0.06
sigma_position_m = 0.5

[feeds.lens]
width_px = {width_px}
height_px = {height_px}
fx_px = {focal}
fy_px = {focal}
cx_px = {centre_x}
cy_px = {centre_y}
terrain_sigma_m = 0.2
max_range_m = 700

[[feeds]]
name = "{radar}"
kind = "radar"
uri = "udp://{host}:{radar_port}"
site = {{ latitude_deg = {lat}, longitude_deg = {lon} }}

[feeds.sensing]
range_m = {radar_range_m}
bearing_deg = {radar_bearing_deg:.4f}
detection_probability = 0.9
false_plots_per_scan = {clutter}
max_range_m = {radar_max_m}
scan_s = {scan_s}

[[feeds]]
name = "{ais}"
kind = "ais"
uri = "tcp://{host}:{ais_port}"

[[feeds]]
name = "{gnss}"
kind = "gnss"
uri = "udp://{host}:{gnss_port}"

[[feeds]]
name = "{reports}"
kind = "reports"
uri = "dir:inbox"

[places]
{places}
"""
