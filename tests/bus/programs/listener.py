"""A listener that writes the number of every result to a file until it is killed: URL, folder."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.bus import Reader
from appliance.sealing import PrivateIdentity, PublicIdentity


def main(url: str, folder: str) -> None:
    home = Path(folder)
    recipient = PrivateIdentity.from_json((home / "recipient-private.json").read_text())
    device = PublicIdentity.from_json((home / "device-public.json").read_text())
    reader = Reader(url, recipient, [device], home / "inbox.sqlite")
    with (home / "heard").open("ab", buffering=0) as heard, reader:
        for result in reader:
            heard.write(b"%s\n" % result.payload)
            reader.done()


if __name__ == "__main__":
    main(*sys.argv[1:])
