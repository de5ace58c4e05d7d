"""A unit that seals and sends under load until it is killed: URL, folder, identities, frames per second, first number.

Every payload is a running number. A number is printed once its frame is in the outbox; the listener must get those.
With a count as last argument it ends by itself when the broker has everything, with a close.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from appliance.bus import Link, Outbox, Priority
from appliance.sealing import PrivateIdentity, PublicIdentity, Sender


def main(url: str, folder: str, rate: str, first: str, count: str = "0") -> None:
    home = Path(folder)
    device = PrivateIdentity.from_json((home / "device.json").read_text())
    recipient = PublicIdentity.from_json((home / "recipient.json").read_text())
    outbox = Outbox(home / "outbox.sqlite")
    sender = Sender("alpha", outbox.next_epoch(time.time_ns()), device, [recipient], time.time_ns())
    outbox.put(sender.grant())
    link = Link(outbox, url, unit="alpha", settle_s=3)
    link.start()
    number, end = int(first), int(first) + int(count) if int(count) else sys.maxsize
    while number < end:
        outbox.put(sender.seal(f"edge/v1/alpha/entity/{number % 7}", b"%d" % number), priority=Priority.ENTITY)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1
        time.sleep(1 / float(rate))
    outbox.put(sender.close(shed=outbox.shed_runs(sender.epoch)))
    assert outbox.wait_acknowledged(60)
    link.stop()
    outbox.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
