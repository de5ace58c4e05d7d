"""A real Mosquitto that runs what ``appliance provision`` has generated, and a bare MQTT client to attack it with."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance.bus import TlsFiles
from appliance.bus.endpoint import Context
from appliance.provision import ADMIN, BrokerSettings, Provisioned, enrol, provision, read_provisioned
from tests.support.brokers import _listens, _mosquitto, free_port, until

UNIT = "alpha"
RESULTS = f"edge/v1/{UNIT}/entity/01J"


class ProvisionedBroker:
    """Provisioned in ``folder``, started as its configuration says; seen as the other brokers of the tests."""

    def __init__(self, folder: Path, unit: str = UNIT, **settings: Any) -> None:
        self.folder = folder
        self.unit = unit
        self.settings = settings_here(folder, **settings)
        self.process: subprocess.Popen[bytes] | None = None
        self.url = provision(folder, unit, self.settings).url

    @property
    def port(self) -> int:
        return self.settings.port

    def start(self, *wrapper: str) -> None:
        program = _mosquitto()
        assert program is not None
        with (self.folder / "log").open("ab") as log:
            command = [*wrapper, program, "-c", str(self.folder / "mosquitto.conf")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until(lambda: _listens(self.port), 60)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)  # a wrapper passes no signal on
            self.process.wait(10)
            self.process = None

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def tls_of(self, name: str) -> TlsFiles:
        """The files of a member; a recipient that is not there yet is enrolled."""
        now: Provisioned = read_provisioned(self.folder)
        if name not in now.record.members:
            now = enrol(self.folder, name)
        return now.tls(name)

    @property
    def admin(self) -> TlsFiles:
        return self.tls_of(ADMIN)


def settings_here(folder: Path, **changes: Any) -> BrokerSettings:
    """Settings for a broker of this machine and this user."""
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if _mosquitto() is None or plugin is None:
        pytest.skip("Mosquitto or its dynamic-security plugin is not installed here")
    own = {"listen": "127.0.0.1", "port": free_port(), "run_as": "root", "home": str(folder), "plugin": str(plugin)}
    return BrokerSettings(**{**own, **changes})


class Client:
    """One bare MQTT 5 client: what it was answered, what it heard, and whether it is still connected."""

    def __init__(self, port: int, tls: TlsFiles | Context | None, client_id: str = "", **options: Any) -> None:
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        self.heard: list[tuple[str, bytes, bool]] = []
        self.granted: list[bool] = []
        self.refused: list[str] = []
        self.acknowledged = 0
        self.connected = threading.Event()
        self.lost = threading.Event()
        self._context = context_of(tls) if isinstance(tls, TlsFiles) else tls
        if self._context is not None:
            self.client.tls_set_context(self._context)
        if "will" in options:
            topic, payload = options["will"]
            self.client.will_set(topic, payload, qos=1, retain=True)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = lambda *_: self.lost.set()
        self.client.on_message = lambda _c, _u, m: self.heard.append((m.topic, bytes(m.payload), m.retain))
        self.client.on_subscribe = lambda _c, _u, _m, codes, _p: self.granted.extend(not c.is_failure for c in codes)
        self.client.on_publish = self._on_publish
        if "password" in options:
            self.client.username_pw_set(*options["password"])
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = options.get("expiry_s", 0)
        try:
            self.client.connect("127.0.0.1", port, keepalive=options.get("keepalive_s", 30), properties=properties)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect, and let go of a socket whose handshake failed, which paho forgets to do."""
        self.client.disconnect()
        self.client.loop_stop()
        if self._context is not None:
            self._context.close_last()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        if not code.is_failure:
            self.connected.set()

    def _on_publish(self, _c: Any, _u: Any, _mid: int, code: Any, _p: Any) -> None:
        if code.is_failure:
            self.refused.append(str(code))
        else:
            self.acknowledged += 1

    def subscribe(self, topic: str) -> bool:
        """Whether the broker grants it."""
        before = len(self.granted)
        self.client.subscribe(topic, qos=1)
        until(lambda: len(self.granted) > before, 5)
        return self.granted[-1]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str | None:
        """What the broker says against it, or None."""
        before = len(self.refused) + self.acknowledged
        self.client.publish(topic, payload, qos=1, retain=retain)
        until(lambda: len(self.refused) + self.acknowledged > before, 5)
        return self.refused[-1] if self.refused else None


@contextmanager
def connected(port: int, tls: TlsFiles | Context | None, client_id: str = "", **options: Any) -> Iterator[Client]:
    """A client whose connection the broker has accepted."""
    made = Client(port, tls, client_id, **options)
    made.client.loop_start()
    try:
        assert made.connected.wait(5), "the broker did not let the client in"
        yield made
    finally:
        made.close()


def is_let_in(port: int, tls: TlsFiles | Context | None, wait_s: float = 1.5, **options: Any) -> bool:
    """Whether the broker accepts a connection: TLS 1.3 refuses a client's certificate only after the handshake."""
    try:
        client = Client(port, tls, **options)
    except OSError:  # ssl.SSLError is one
        return False
    client.client.loop_start()
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline and not client.connected.is_set() and not client.lost.is_set():
        time.sleep(0.02)
    client.close()
    return client.connected.is_set()


def context_of(files: TlsFiles) -> Context:
    """As the product's own clients have it, but without their lower bound of TLS 1.3."""
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.certificate, files.key)
    return context


def has_faketime() -> bool:
    return shutil.which("faketime") is not None


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisionedBroker]:
    """One provisioned broker for the tests of a file; at the end it must be the same process still."""
    broker = ProvisionedBroker(tmp_path_factory.mktemp("guarded"))
    broker.start()
    yield broker
    assert broker.process is not None
    assert broker.process.poll() is None, (broker.process.returncode, broker.log()[-3000:])
    broker.stop()


@pytest.fixture
def make_provisioned(tmp_path: Path) -> Iterator[Callable[..., ProvisionedBroker]]:
    """Provision and start a broker of one's own; it is stopped at the end."""
    made: list[ProvisionedBroker] = []

    def make(unit: str = UNIT, **settings: Any) -> ProvisionedBroker:
        made.append(ProvisionedBroker(tmp_path / f"provisioned-{len(made)}", unit, **settings))
        made[-1].start()
        return made[-1]

    yield make
    for broker in made:
        broker.stop()
