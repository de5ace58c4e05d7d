"""Carries one TCP connection of a virtual device to a server on the rig's loopback: ``relay.py PORT``.

QEMU starts one for each connection that the guest opens to a camera's address (``guestfwd``); standard input and output
are the guest's side. Standard library alone, so that it is up at once.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

PIECE_BYTES = 64 * 1024


def main(port: int) -> None:
    """Until either side ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=5.0) as server:
        server.settimeout(None)
        threading.Thread(target=_outward, args=(server,), daemon=True).start()
        while got := server.recv(PIECE_BYTES):
            os.write(1, got)


def _outward(server: socket.socket) -> None:
    while got := os.read(0, PIECE_BYTES):
        server.sendall(got)
    server.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main(int(sys.argv[1]))
