"""Brokers to test against: a real Mosquitto, plain or with certificates of a CA made here.

The CA is for tests alone: it signs for a day, and its key lies beside its certificates.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.bus import TlsFiles


class LocalCa:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP384R1())
        builder = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), True
        )
        self.certificate.write_bytes(self._pem(builder.sign(self._key, hashes.SHA384())))

    def issue(self, name: str, *, server: bool = False) -> TlsFiles:
        """Certificate and key for ``name``, and the CA's certificate beside them."""
        key = ec.generate_private_key(ec.SECP384R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(self._pem(builder.sign(self._key, hashes.SHA384())))
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        private.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        return TlsFiles(ca=self.certificate, certificate=certificate, key=private)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        )

    @staticmethod
    def _pem(certificate: x509.Certificate) -> bytes:
        return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class Mosquitto:
    """A Mosquitto of our own, on loopback, that keeps nothing on the disk."""

    folder: Path
    ca: LocalCa | None = None
    extra: str = ""
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.ca else 'mqtt'}://127.0.0.1:{self.port}"

    @property
    def tls(self) -> TlsFiles | None:
        return self.ca.issue("client") if self.ca else None

    def start(self) -> None:
        self.port = self.port or free_port()
        config = self.folder / "mosquitto.conf"
        config.write_text(self._config(), "ascii")
        with (self.folder / "mosquitto.log").open("ab") as log:
            program = _mosquitto()
            assert program is not None
            self.process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
        until(lambda: _listens(self.port), 60)

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(10)
            self.process = None

    def stop(self) -> None:
        self.kill(signal.SIGTERM)

    def _config(self) -> str:
        lines = [
            "persistence false",
            "set_tcp_nodelay true",
            *_as_root(),
            f"listener {self.port} 127.0.0.1",
            self.extra,
        ]
        if self.ca is None:
            return "\n".join([*lines, "allow_anonymous true", ""])
        server = self.ca.issue("broker", server=True)
        tls = [f"cafile {server.ca}", f"certfile {server.certificate}", f"keyfile {server.key}", "tls_version tlsv1.3"]
        return "\n".join([*lines, *tls, "require_certificate true", "use_identity_as_username true", ""])


def _as_root() -> list[str]:
    """Mosquitto started by root becomes another user, who cannot read the files of a test."""
    return ["user root"] if os.geteuid() == 0 else []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait for ``condition``; fail where it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _mosquitto() -> str | None:
    return shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool], float], None]:
    return until


@pytest.fixture
def make_ca() -> type[LocalCa]:
    return LocalCa


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start a Mosquitto; it is stopped at the end."""
    if _mosquitto() is None:
        pytest.skip("Mosquitto is not installed here")
    started: list[Mosquitto] = []

    def make(ca: LocalCa | None = None, extra: str = "") -> Mosquitto:
        folder = tmp_path / f"mosquitto-{len(started)}"
        folder.mkdir()
        started.append(Mosquitto(folder, ca, extra))
        started[-1].start()
        return started[-1]

    yield make
    for broker in started:
        broker.stop()


@pytest.fixture
def mosquitto(make_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    return make_mosquitto()
