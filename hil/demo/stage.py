"""Everything that must lie in the folder before the daemon starts: what an integrator and an operator would prepare.

Each step uses the product's own doors: identities as ``appliance keys`` makes them, the bundle as ``python -m export``
signs it, the installation as ``appliance bundle install`` does it. Nothing is taken from outside but the shipped model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.cli.keys import public_name
from appliance.host.files import write_whole
from appliance.sealing.identity import generate
from appliance.slots import Slots
from export import desk
from hil.scene.film import shoot
from hil.scene.harbour import LENS
from hil.scene.mission import PRODUCT, Plan, mission_text
from hil.scene.players import LOOPBACK, free_udp_port
from hil.scene.world import Scene

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL_FOLDER = REPOSITORY / "models" / "harbour"
UNIT = "havre-neuf-01"
RECIPIENT = "watch-desk"


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


def make_bundle(folder: Path, say: Callable[[str], None], *, out: str = "stick", version: str = "1.0.0") -> desk.Desk:
    """Keys of an integrator, and the shipped detector as a signed bundle on a stick, which is a new folder."""
    return desk.make(
        model=MODEL_FOLDER / "harbour.onnx",
        manifest=MODEL_FOLDER / "model.json",
        card=MODEL_FOLDER / "card.md",
        product=PRODUCT,
        keys=folder / "integrator",
        out=folder / out,
        version=version,
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
    text = mission_text(
        Plan(
            unit=UNIT,
            identity=device.name,
            recipients=(public_name(recipient).name,),
            bus=(("url", bus_url),),
            camera_uri=f"file:{film.name}",
            radar_uri=f"udp://{LOOPBACK}:{radar_port}",
            ais_uri=f"tcp://{LOOPBACK}:{ais_port}",
            gnss_uri=f"udp://{LOOPBACK}:{gnss_port}",
            demo=True,
        )
    )
    mission.write_text(text, encoding="utf-8")
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
