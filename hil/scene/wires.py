"""The way of a sensor's words to the device, and what can go wrong on it: silence, garbage, everything twice, old words
again, another time. Nothing here sends; a bend is given what to make and how to send it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Make = Callable[[int], bytes]
"""The words as the sensor would say them were its clock off by so many nanoseconds."""
Send = Callable[[bytes], None]
Bend = Callable[[Make, Send], None]

GARBAGE_BYTES = (1, 1400)
"""From one byte to what fits into an Ethernet frame."""


def straight(make: Make, send: Send) -> None:
    """As it should be."""
    send(make(0))


def silent(make: Make, send: Send) -> None:
    """The sensor is there and says nothing."""


def twice(make: Make, send: Send) -> None:
    """Everything is said two times, as a switch with a loop does."""
    for _ in range(2):
        send(make(0))


def off_by(shift_ns: int) -> Bend:
    """The sensor's clock is wrong."""

    def bend(make: Make, send: Send) -> None:
        send(make(shift_ns))

    return bend


def stuck() -> Bend:
    """The first words from now on, again and again."""
    kept: list[bytes] = []

    def bend(make: Make, send: Send) -> None:
        kept[1:] = []
        if not kept:
            kept.append(make(0))
        send(kept[0])

    return bend


def garbage(seed: int) -> Bend:
    """Before the right words come wrong ones: noise, and the right words damaged."""
    dice = random.Random(f"garbage {seed}")

    def bend(make: Make, send: Send) -> None:
        right = make(0)
        send(dice.randbytes(dice.randint(*GARBAGE_BYTES)))
        damaged = bytearray(right)
        for _ in range(dice.randint(1, 6)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        send(bytes(damaged))
        send(right[: dice.randrange(len(right))])
        send(right)

    return bend


class Wire:
    """One sensor's way. ``bend`` is how it is at this moment; replaced whole, so that any thread may."""

    def __init__(self) -> None:
        self.bend: Bend = straight

    def carry(self, make: Make, send: Send) -> None:
        self.bend(make, send)
