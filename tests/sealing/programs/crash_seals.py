"""A unit that starts, seals and is killed, so many times over one outbox: folder, starts.

Each start is a process of its own, killed with -9 at a moment of its own chance while it seals and stores. Beside the
outbox, ``wire-<start>`` holds every envelope that it made, stored or not: a length, the topic's length, topic, bytes.
The last one is cut where the kill came in the middle of its write.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from appliance.bus import Outbox, Priority
from appliance.sealing import Envelope, PrivateIdentity, PublicIdentity, Sender


def main(folder: str, starts: str) -> None:
    home = Path(folder)
    device = PrivateIdentity.from_json((home / "device.json").read_text())
    recipient = PublicIdentity.from_json((home / "recipient.json").read_text())
    chance = random.Random(31)
    for start in range(int(starts)):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            unit(home, home / f"wire-{start:05d}", device, recipient, writing)
        os.close(writing)
        if start % 8:  # of eight starts one is killed before or while its epoch begins
            os.read(reading, 1)
        time.sleep(chance.uniform(0.0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)


def unit(home: Path, out: Path, device: PrivateIdentity, recipient: PublicIdentity, began: int) -> None:
    wire = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    outbox = Outbox(home / "outbox.sqlite")
    sender = Sender("alpha", outbox.next_epoch(1_790_000_000 * 10**9), device, [recipient], 1)
    tell(wire, sender.grant())
    outbox.put(sender.grant())
    os.write(began, b"1")
    for number in range(10**9):
        frame = sender.seal(f"edge/v1/alpha/entity/{number % 7}", b"%d" % number)
        tell(wire, frame)
        if number % 16 == 0:
            outbox.put(frame, priority=Priority.ENTITY)


def tell(wire: int, envelope: Envelope) -> None:
    topic = envelope.topic.encode()
    os.write(wire, len(envelope.data).to_bytes(4, "big") + len(topic).to_bytes(2, "big") + topic + envelope.data)


if __name__ == "__main__":
    main(*sys.argv[1:])
