"""What the device's sensors send it over the network, from the rig: radar and AIS as datagrams, in real time.

The scene goes on while the device is off: nobody holds the ships still for a power cut. What is sent then is lost, as
in the field.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Self

from hil.scene import ais, radar
from hil.scene.asterix import datagram
from hil.scene.players import Cue, Player
from hil.scene.world import Scene

Address = tuple[str, int]


class Air:
    """Sends for the length of a block."""

    def __init__(self, scene: Scene, duration_s: float, radar_at: Address, ais_at: Address) -> None:
        """``scene`` is started at the block's beginning, and told for ``duration_s``."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._scene, self._duration_s = scene, duration_s
        self._radar_at, self._ais_at = radar_at, ais_at
        self._players: list[Player] = []

    def __enter__(self) -> Self:
        started = self._scene.started(time.time_ns())
        self._players = [Player("radar", self._radar(started)), Player("ais", self._ais(started))]
        for player in self._players:
            player.start()
        return self

    def __exit__(self, *_: object) -> None:
        for player in self._players:
            player.stop()
        self._socket.close()

    def _radar(self, scene: Scene) -> list[Cue]:
        return [
            (plots[-1].observed_ns, self._send(datagram(plots), self._radar_at))
            for plots in radar.turns(scene, self._duration_s)
        ]

    def _ais(self, scene: Scene) -> list[Cue]:
        return [
            (scene.time_ns(one.time_s), self._send("".join(f"{s}\r\n" for s in one.sentences).encode(), self._ais_at))
            for one in ais.transmissions(scene, self._duration_s)
        ]

    def _send(self, raw: bytes, at: Address) -> Callable[[], None]:
        def act() -> None:
            self._socket.sendto(raw, at)

        return act
