"""Everything round one device for the length of one trial: camera, players, link, ear, sampler. Faults get this.

The device reaches the rig's camera and AIS server at ``seen_at``; radar and GNSS go to the device as datagrams;
reports are put into its inbox. The scene goes on whatever becomes of the device, as the world does.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hil.demo.score import nanoseconds
from hil.devices.device import CannotDo, Device, DeviceBus
from hil.rig.books import read_books
from hil.rig.ear import Ear
from hil.rig.proxy import Proxy
from hil.rig.record import Name
from hil.rig.sampler import Sampler
from hil.rig.stage import MISSION, RECIPIENT, Kit, refresh
from hil.rig.strategy import Strategy
from hil.scene.camera import RtspCamera
from hil.scene.mission import Plan, mission_text
from hil.scene.players import LineServer, Players
from hil.scene.world import Scene

EAR_LIMIT_S = 30.0
START_AHEAD_NS = 500_000_000
"""Between the unit's first word and the scene's first moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What a trial asks of its bench. ``bus`` are further keys of the mission's ``[bus]``; ``more`` is TOML."""

    scene: Scene
    film: Path
    lap_s: float
    sample_s: float
    keep_s: float
    bus: tuple[tuple[str, str | float], ...] = ()
    more: str = ""
    through_proxy: bool = False


class Bench:
    """Use as a context. Leaves nothing running but the device's power."""

    def __init__(self, device: Device, kit: Kit, folder: Path, wants: Wants) -> None:
        self.device, self.kit, self.folder, self.wants = device, kit, folder, wants
        self._house = ExitStack()
        self.proxy: Proxy | None = None
        self.scene = wants.scene
        self.durable: frozenset[Name] = frozenset()
        """Results that were seen on the device's own disk; what a fault may take from it is noted before."""
        self.shed: frozenset[Name] = frozenset()

    def __enter__(self) -> Bench:
        with ExitStack() as house:
            self.strategy = Strategy(self.device, MISSION, self.heard_since)
            self.strategy.to("booted")
            if self.device.pid("daemon") is not None:  # of a trial that ended before its end
                self.device.stop()
            refresh(self.device)
            camera_at, lines_at = self.device.serve_at
            self.camera = RtspCamera(self.wants.film, camera_at)
            house.callback(self.camera.close)
            self.lines = LineServer(lines_at)
            house.callback(self.lines.close)
            self.ear = self._ear()
            house.callback(self.ear.stop)
            self.sampler = Sampler(self.device, self.wants.sample_s)
            house.callback(self.sampler.stop)
            radar, gnss = self.device.udp_ports[:2]
            at = self.device.udp_at
            self.players = house.enter_context(
                Players(self.wants.lap_s, self._deliver, self.lines, at(radar), at(gnss))
            )
            self.device.put(MISSION, self._mission(house, radar, gnss).encode())
            self._house = house.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._house.close()

    def start(self, laps: int) -> None:
        """Run the device and let the world begin. Raises DeviceTimeout, DeviceFailed."""
        self.ear.start()
        deadline = time.monotonic() + EAR_LIMIT_S
        while not self.ear.connected():
            if time.monotonic() > deadline:
                raise CannotDo(f"the rig's reader does not reach {self.device.bus_url}")
            time.sleep(0.05)
        self.strategy.to("running")
        self.sampler.start()
        self.scene = self.wants.scene.started(time.time_ns() + START_AHEAD_NS)
        self.camera.begin(self.scene.start_ns)
        self.players.start(self.scene, laps)

    def note_books(self) -> None:
        """Take down what is on the device's disk now. Raises DeviceFailed."""
        durable, shed = read_books(self.device)
        self.durable, self.shed = self.durable | durable, self.shed | shed

    def heard_since(self, began_ns: int) -> bool:
        """Whether a status was opened that the unit has made after ``began_ns``, by its own clock."""
        status = self.ear.newest_status()
        return status is not None and nanoseconds(status.body["time"]) > began_ns

    @contextlib.contextmanager
    def linked_as(self, name: str) -> Iterator[Proxy]:
        """The proxy between the daemon and its broker. Raises CannotDo where the trial has none."""
        if self.proxy is None:
            raise CannotDo(f"{name}: this kind of device lets no proxy between the daemon and its broker")
        yield self.proxy

    def _ear(self) -> Ear:
        tls = self.device.reader_tls(RECIPIENT)
        state = self.folder / "reader.sqlite"
        kit = self.kit
        return Ear(self.device.bus_url, kit.recipient, kit.device.public, state, tls, self.wants.keep_s)

    def _deliver(self, name: str, raw: bytes) -> None:
        with contextlib.suppress(Exception):  # a device without power takes no report: its writer will say it again
            self.device.put(f"inbox/{name}", raw)

    def _bus(self, house: ExitStack) -> DeviceBus:
        if not self.wants.through_proxy:
            return self.device.bus
        upstream = urlsplit(self.device.bus_url)
        self.proxy = Proxy((upstream.hostname or "", upstream.port or 0))
        house.callback(self.proxy.close)
        return self.device.bus_through(self.proxy.port)

    def _mission(self, house: ExitStack, radar: int, gnss: int) -> str:
        device, bus = self.device, self._bus(house)
        url = f"mqtts://{bus.host}:{bus.port}"
        camera, ais = (device.seen_at(server.address) for server in (self.camera, self.lines))
        files = (("ca", bus.ca), ("certificate", bus.certificate), ("key", bus.key))
        return mission_text(
            Plan(
                unit=device.unit,
                identity="device.json",
                recipients=(f"{RECIPIENT}.public.json",),
                bus=(("url", url), *files, *self.wants.bus),
                camera_uri=f"rtsp://{camera[0]}:{camera[1]}/live",
                radar_uri=f"udp://{device.udp_bind}:{radar}",
                ais_uri=f"tcp://{ais[0]}:{ais[1]}",
                gnss_uri=f"udp://{device.udp_bind}:{gnss}",
                more=self.wants.more,
            )
        )
