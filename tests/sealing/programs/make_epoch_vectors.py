"""Writes the vectors of epochs that follow each other, of audiences and of rotated keys: once per release.

python -m tests.sealing.programs.make_epoch_vectors tests/golden/<release>/envelope/epochs.json
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from appliance.sealing import Sender
from appliance.sealing.succession import rotated
from tests.sealing.programs.make_vectors import TOPIC, Vectors, gives, opens, refused

POSITION = "edge/v1/alpha/position/01J00000000000000000000000"


class EpochVectors(Vectors):
    """Two epochs of three recipients, one of whom rotates."""

    def __init__(self) -> None:
        super().__init__()
        self.successor = rotated(self.recipient)
        publics = [self.recipient.public, self.stranger.public]
        self.first = Sender("alpha", 7, self.device, publics, 1_790_000_000_000_000_000)
        self.second = Sender("alpha", 8, self.device, [self.recipient.public], 1_790_000_060_000_000_000)
        self.views = Sender(
            "alpha",
            9,
            self.device,
            [self.recipient.public],
            1_790_000_120_000_000_000,
            audiences=[[self.stranger.public]],
        )
        self.after = Sender("alpha", 10, self.device, [self.successor.public], 1_790_000_180_000_000_000)

    def document(self) -> dict[str, Any]:
        return {**super().document(), "successor": json.loads(self.successor.to_json())}

    def seal(self) -> None:
        for sender in (self.first, self.second, self.after):
            self.add(f"grant-{sender.epoch}", sender.grant())
            self.add(f"frame-{sender.epoch}-0", sender.seal(TOPIC, b"%d" % sender.epoch))
            self.add(f"close-{sender.epoch}", sender.close())
        self.add("grant-9", self.views.grant())
        self.add("frame-9-full", self.views.seal(TOPIC, b"full"))
        self.add("frame-9-position", self.views.seal(POSITION, b"position", audience=1))
        self.add("close-9", self.views.close())

    def turns(self) -> None:
        first = [gives("grant-7", "Granted"), opens("frame-7-0", "7", 0), gives("close-7", "Closed", root="matches")]
        second = [gives("grant-8", "Granted"), opens("frame-8-0", "8", 0), gives("close-8", "Closed", root="matches")]
        self.case("the close of the old epoch, then the grant of the new", *first, *second)
        self.case("the new epoch first", *second, *first)
        self.case(
            "a recipient that was removed",
            *first,
            gives("grant-8", "NotForUs"),
            gives("frame-8-0", "NotForUs"),
            identity="stranger",
        )
        self.case(
            "the old epoch sent again",
            *first,
            *second,
            gives("grant-7", "Duplicate"),
            gives("frame-7-0", "Duplicate"),
            gives("close-7", "Duplicate"),
        )
        self.case(
            "the old epoch's close on the new one's topic",
            *first,
            second[0],
            refused("close-7", "topic", topic="edge/v1/alpha/close/8"),
        )
        moved = bytearray(base64.b64decode(self.envelopes["frame-7-0"]["data"]))
        moved[9:16] = base64.b64decode(self.envelopes["frame-8-0"]["data"])[9:16]
        self.envelope("frame-moved", TOPIC, bytes(moved))
        self.case(
            "a frame of the old epoch that names the new", first[0], second[0], refused("frame-moved", "signature")
        )

    def audiences(self) -> None:
        full, position = gives("frame-9-full", "NotForUs"), opens("frame-9-position", "position", 1)
        close = gives("close-9", "Closed", missing=[], root="matches")
        self.case("position-only", gives("grant-9", "Granted"), full, position, close, identity="stranger")
        full, position = opens("frame-9-full", "full", 0), gives("frame-9-position", "NotForUs")
        self.case("full", gives("grant-9", "Granted"), full, position, close)
        grant = gives("grant-9", "Granted")
        self.case(
            "a full frame said to be of the other audience",
            grant,
            refused("frame-9-full", "signature", flip=16),
            identity="stranger",
        )

    def rotation(self) -> None:
        new = [gives("grant-10", "Granted"), opens("frame-10-0", "10", 0)]
        old = [gives("grant-7", "Granted"), opens("frame-7-0", "7", 0)]
        self.case("the key before its rotation", *old, gives("grant-10", "NotForUs"), gives("frame-10-0", "NotForUs"))
        self.case("the key after its rotation", *new, gives("grant-7", "NotForUs"), identity="successor")
        self.case("both keys", *old, *new, identity="successor recipient")


def main(target: str) -> None:
    path = Path(target)
    if path.exists():
        sys.exit(f"{path} is there already, and what was released is never written again")
    vectors = EpochVectors()
    vectors.seal()
    vectors.turns()
    vectors.audiences()
    vectors.rotation()
    path.write_text(json.dumps(vectors.document(), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
