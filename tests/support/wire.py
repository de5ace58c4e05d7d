"""A proxy that passes bytes between MQTT clients and a broker, and keeps every one of them."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wiretap:
    """Listens on ``port``; everything that passes in either direction is in ``heard``."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._lock = threading.Lock()
        self._heard = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def heard(self) -> bytes:
        with self._lock:
            return bytes(self._heard)

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self._target))
                for source, sink in ((client, broker), (broker, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(65536):
                with self._lock:
                    self._heard += data
                sink.sendall(data)
