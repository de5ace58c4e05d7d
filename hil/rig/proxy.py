"""A TCP proxy between a device and a peer, which faults can delay, throttle, stall and cut: a bad link without root.

What is on the wire is not looked at: TLS goes through as it is. It is a stream's view of a bad link: loss shows as
delay, since TCP sends again what is lost.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from dataclasses import dataclass

from hil.scene.players import LOOPBACK, callers

_CHUNK_BYTES = 16 * 1024
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a link is. ``cut`` hangs up and takes no caller; ``stalled`` keeps the connection and passes nothing."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = float("inf")
    cut: bool = False
    stalled: bool = False


class Proxy:
    """Listens on loopback, passes on to ``upstream``. ``condition`` may be set at any time."""

    def __init__(self, upstream: tuple[str, int], seed: int = 0) -> None:
        self._upstream = upstream
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(_LOOK_S)
        self.port = int(self._listener.getsockname()[1])
        self._dice = random.Random(f"link {seed}")
        self._condition = Condition()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._spawn(self._welcome)

    @property
    def condition(self) -> Condition:
        return self._condition

    @condition.setter
    def condition(self, wanted: Condition) -> None:
        self._condition = wanted
        if wanted.cut:
            self._hang_up()

    def close(self) -> None:
        self._closed.set()
        self._hang_up()
        for thread in self._threads:
            thread.join(2.0)
        self._listener.close()

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="proxy", daemon=True)  # type: ignore[arg-type]
        self._threads = [*(t for t in self._threads if t.is_alive()), thread]
        thread.start()

    def _welcome(self) -> None:
        for caller in callers(self._listener, self._closed):
            self._join(caller)

    def _join(self, caller: socket.socket) -> None:
        if self._condition.cut:
            caller.close()
            return
        try:
            peer = socket.create_connection(self._upstream, timeout=5.0)
        except OSError:  # nobody there: the caller learns it as from a broker that is away
            caller.close()
            return
        for end in (caller, peer):
            end.settimeout(_LOOK_S)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.append((caller, peer))
        self._spawn(self._pass_on, caller, peer)
        self._spawn(self._pass_on, peer, caller)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while not self._closed.is_set():
                if self._condition.stalled:
                    time.sleep(_LOOK_S / 4)
                    continue
                try:
                    chunk = source.recv(_CHUNK_BYTES)
                except TimeoutError:
                    continue
                if not chunk:
                    break
                self._hold_up(len(chunk))
                target.settimeout(None)
                target.sendall(chunk)
        except OSError:  # one end is gone, or the link was cut
            pass
        finally:
            self._part(source, target)

    def _hold_up(self, size: int) -> None:
        now = self._condition
        wait_s = now.delay_s + self._dice.uniform(0.0, now.jitter_s) + size / now.bytes_per_s
        if wait_s > 0.0:
            self._closed.wait(wait_s)
        while self._condition.stalled and not self._closed.is_set():
            time.sleep(_LOOK_S / 4)

    def _hang_up(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self._part(*pair)

    def _part(self, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        with self._lock:
            self._pairs = [pair for pair in self._pairs if not set(pair) & set(ends)]
