"""What lies on the device before a trial: identities, root of trust, installed bundle; and the film of the scene.

Made once for a campaign, through the product's own doors, and put on the device as an integrator would carry it there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.sealing import PrivateIdentity
from appliance.sealing.identity import generate
from export import desk
from hil.demo.stage import MODEL_FOLDER, make_bundle
from hil.devices.device import Device, DeviceFailed
from hil.scene.film import shoot
from hil.scene.harbour import LENS
from hil.scene.mission import PRODUCT
from hil.scene.world import Scene

RECIPIENT, GUEST = "rig-desk", "rig-guest"
MISSION = "mission.toml"
KEY_EVERY = 10
"""Frames: a watcher comes in within a second."""
STICK = "stick"
STATE, FURNISHED = "state", "furnished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """The identities and the signed bundle of one campaign, on the rig's disk."""

    folder: Path
    device: PrivateIdentity
    recipient: PrivateIdentity
    made: desk.Desk


def make_kit(folder: Path, unit: str) -> Kit:
    """New keys and a bundle of the shipped detector, signed with them."""
    folder.mkdir(parents=True, exist_ok=True)
    made = make_bundle(folder, lambda _: None)
    return Kit(folder=folder, device=generate("device", unit), recipient=generate("recipient", RECIPIENT), made=made)


def furnish(device: Device, kit: Kit) -> None:
    """Put it all on a booted device and install the bundle. Raises DeviceFailed where the device refuses it."""
    device.put("device.json", (kit.device.to_json() + "\n").encode(), 0o600)
    device.put(f"{RECIPIENT}.public.json", (kit.recipient.public.to_json() + "\n").encode())
    for name in (RECIPIENT, GUEST):
        device.reader_tls(name)
    device.put("1.root.json", kit.made.anchor.read_bytes())
    put_folder(device, kit.made.stick, STICK)
    must(device, "bundle", "trust", "1.root.json", "--unit", device.unit, "--state", STATE)
    must(device, "bundle", "install", STICK, PRODUCT, "--state", STATE)
    # The power goes after this, and a machine's disk has only what it was given.
    _shell(device, f"cp -a {STATE} {FURNISHED} && sync")


def refresh(device: Device) -> None:
    """Back to what `furnish` left: nothing of one trial is in the next. Raises DeviceFailed."""
    _shell(device, f"rm -rf {STATE} recordings inbox && cp -a {FURNISHED} {STATE} && sync")
    device.put("inbox/.keep", b"")


def _shell(device: Device, command: str) -> None:
    ran = device.shell(command)
    if ran.code != 0:
        raise DeviceFailed(f"`{command}` ended with {ran.code}: {ran.err.strip()[-300:]}")


def put_folder(device: Device, source: Path, target: str) -> None:
    """A folder as it is, file by file."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            device.put(f"{target}/{path.relative_to(source)}", path.read_bytes())


def must(device: Device, *arguments: str) -> str:
    """Run ``appliance ARGUMENTS`` and hand on what it said. Raises DeviceFailed where it did not end with 0."""
    ran = device.appliance(*arguments)
    if ran.code != 0:
        raise DeviceFailed(f"`appliance {' '.join(arguments[:2])}` ended with {ran.code}: {ran.err.strip()[-600:]}")
    return ran.out


def film_of(scene: Scene, lap_s: float, told: Callable[[int, int], None]) -> Path:
    """The film of one lap, from the cache of this user where it was made before.

    The same scene, lens and length give the same film on the same machine, so a name of their digest is enough.
    """
    recipe = repr((scene.started(0), LENS, lap_s, KEY_EVERY, _painted_by())).encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-appliance-rig"
    film = cache / f"{hashlib.sha256(recipe).hexdigest()[:24]}.mp4"
    if not film.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = cache / f".{film.name}.{os.getpid()}"
        try:
            shoot(scene, LENS, part, lap_s, told, key_every=KEY_EVERY)
            part.rename(film)
        finally:
            part.unlink(missing_ok=True)
    return film


def _painted_by() -> str:
    """A digest of what draws: another brush paints another film."""
    digest = hashlib.sha256()
    for path in sorted((MODEL_FOLDER.parents[1] / "hil" / "scene").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
