"""The ring in which frames lie: shared memory of one decoder, lent out slot by slot.

The parent makes it with its final size and seals that size, so that a decoder that was taken over cannot shrink it
under our feet (a SIGBUS would be the daemon's end). The parent maps it read-only: what a frame's consumer holds can
be written by nobody but the decoder, and that one writes only to slots which were given back.

A slot is given back when the last array that looks into it has been collected, whichever thread does that.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import weakref
from typing import Any, Final

import numpy as np

from appliance.domain import Pixels
from appliance.feeds.video_wire import RELEASE

PAGE_BYTES: Final = mmap.PAGESIZE


class _Lent:
    """Owner of one lent slot: numpy arrays, and views of them, keep it alive and nothing else does."""

    __slots__ = ("__array_interface__", "__weakref__", "_memory")

    def __init__(self, memory: mmap.mmap, address: int, shape: tuple[int, int, int]) -> None:
        self._memory = memory
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "shape": shape,
            "data": (address, True),  # True: read-only
        }


class Ring:
    """Shared memory of ``slots`` × ``slot_bytes``. Pages cost memory only once a frame has lain in them."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = -(-slot_bytes // PAGE_BYTES) * PAGE_BYTES
        self.fd = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, slots * self.slot_bytes)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._memory = mmap.mmap(self.fd, slots * self.slot_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
        self._base = int(np.frombuffer(self._memory, np.uint8).__array_interface__["data"][0])
        self._lent: set[int] = set()

    def close(self) -> None:
        """Close our descriptor; the memory itself lives as long as any frame in it."""
        os.close(self.fd)

    @property
    def exhausted(self) -> bool:
        """Whether every slot is lent: the decoder cannot go on, and it is not its fault."""
        return len(self._lent) >= self.slots

    def lend(self, slot: int, width_px: int, height_px: int, channel: socket.socket) -> Pixels:
        """A read-only (height, width, 3) view of a slot that goes back over ``channel`` when it is let go.

        Raises ``ValueError`` for what an honest decoder never offers: a slot that is lent, or a size that overflows.
        """
        fits = width_px > 0 and height_px > 0 and width_px * height_px * 3 <= self.slot_bytes
        if not (0 <= slot < self.slots and slot not in self._lent and fits):
            raise ValueError(f"slot {slot} with {width_px}×{height_px}")
        owner = _Lent(self._memory, self._base + slot * self.slot_bytes, (height_px, width_px, 3))
        self._lent.add(slot)
        weakref.finalize(owner, _give_back, self._lent, slot, channel).atexit = False
        pixels: Pixels = np.asarray(owner)
        return pixels


def _give_back(lent: set[int], slot: int, channel: socket.socket) -> None:
    """Runs wherever the last reference dies, so it takes no lock; one datagram never blocks for long."""
    lent.discard(slot)
    with contextlib.suppress(OSError):  # the decoder is gone, and its ring with it
        channel.send(RELEASE.pack(slot), socket.MSG_DONTWAIT)
