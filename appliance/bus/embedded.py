"""A broker inside this process, for the demo and for desks: amqtt, loopback only, anonymous, nothing on the disk.

Not for the field, where Mosquitto runs beside the daemon with certificates. It speaks MQTT 3.1.1.

The listening socket is ours and amqtt is given each connection through its interface for external listeners. So the
real port is known when port 0 was asked for, and a client that asks for MQTT 5 is told at once that it cannot have it:
amqtt reads such a request as a longer one and waits for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import Any, Final

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from appliance.errors import BusUnavailable

_LOOPBACK: Final = "127.0.0.1"
_LISTENER: Final = "default"
_START_S: Final = 10.0
_STOP_S: Final = 10.0
_FIRST_PACKET_S: Final = 10.0
_FORGET_AFTER_S: Final = 600
"""How long messages are kept, in memory and without bound, for a reader that is away."""
_PLUGINS: Final[dict[str, Any]] = {f"{__name__}.Everybody": {}}

_PROTOCOL_NAME: Final = b"\x00\x04MQTT"
_MOST_LENGTH_BYTES: Final = 4
_MQTT_5: Final = 5
_UNSUPPORTED: Final = bytes.fromhex("2003008400")
"""MQTT 5 §3.2: CONNACK, reason 0x84 unsupported protocol version, no properties."""


class Everybody(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Lets every client of this machine in, and, unlike amqtt's anonymous plugin, keeps messages for those away."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Always yes."""
        return session is not None


class EmbeddedBroker:
    """``start``, read ``url``, ``stop``; not to be started again. What it holds is gone when it stops."""

    def __init__(self, port: int = 0) -> None:
        """``port`` 0 takes a free one."""
        self.port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bus-broker", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, once started."""
        return f"mqtt://{_LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start and wait until it listens. Raises BusUnavailable where it cannot."""
        self._thread.start()
        if not self._started.wait(_START_S) or self._error is not None:
            raise BusUnavailable(f"the embedded broker did not start: {self._error}") from self._error

    def stop(self) -> None:
        """Close every connection and end."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            asyncio.run(self._main())
        except (OSError, AMQTTError) as e:
            self._error = e
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config = BrokerConfig(
            listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)},
            plugins=_PLUGINS,
            session_expiry_interval=_FORGET_AFTER_S,
        )
        broker = Broker(config, loop=self._loop)
        await broker.start()
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(_serve(broker, reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        try:
            async with await asyncio.start_server(connected, _LOOPBACK, self.port) as server:
                self.port = server.sockets[0].getsockname()[1]
                self._started.set()
                await self._stop.wait()
        finally:
            await broker.shutdown()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(broker: Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client, from its first byte to its last."""
    try:
        # A client may vanish at any point, and amqtt may still be writing to it; neither concerns anybody else.
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            start, level = await asyncio.wait_for(_connect_start(reader), _FIRST_PACKET_S)
            if level == _MQTT_5:
                writer.write(_UNSUPPORTED)
                await writer.drain()
                return
            await broker.external_connected(_Resumed(start, reader), StreamWriterAdapter(writer), _LISTENER)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _connect_start(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """The first bytes of a CONNECT (MQTT 3.1.1 §3.1) up to its protocol level, and that level; 0 where it is none."""
    start = await reader.readexactly(2)
    while start[-1] & 0x80 and len(start) <= _MOST_LENGTH_BYTES:
        start += await reader.readexactly(1)
    name = await reader.readexactly(len(_PROTOCOL_NAME) + 1)
    return start + name, name[-1] if name.startswith(_PROTOCOL_NAME) else 0


class _Resumed(ReaderAdapter):  # type: ignore[misc]  # amqtt ships no types
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, reader: asyncio.StreamReader) -> None:
        self._start = start
        self._reader = reader

    async def read(self, n: int = -1) -> bytes:
        if n < 0:
            start, self._start = self._start, b""
            return start + await self._reader.read(n)
        start, self._start = self._start[:n], self._start[n:]
        return start + await self._reader.readexactly(n - len(start)) if len(start) < n else start

    def feed_eof(self) -> None:
        self._reader.feed_eof()
