"""Where a broker is and how it is reached: the URL and the certificates that a person wrote.

Not here: connecting. ``mqtts`` is TLS 1.3 or nothing, checks the broker's name and certificate, and shows a certificate
of our own; a URL holds no user or password.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from appliance.errors import ConfigError, Fault

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the CA that signed the broker, our certificate, and its key."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A broker's address."""

    host: str
    port: int
    tls: TlsFiles | None


def endpoint(url: str, tls: TlsFiles | None) -> Endpoint:
    """Read ``mqtt://host[:port]`` or ``mqtts://host[:port]``. Raises ConfigError for anything else."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == -1 or not plain:
        found = url if "@" not in url else "a URL with a user or password"
        raise ConfigError((_fault("url", found, "mqtt://host[:port] or mqtts://host[:port]"),))
    if (parts.scheme == "mqtts") != (tls is not None):
        expected = "ca, certificate and key with mqtts://" if tls is None else "mqtts:// where certificates are given"
        raise ConfigError((_fault("tls", url, expected),))
    return Endpoint(host=parts.hostname, port=port or DEFAULT_PORTS[parts.scheme], tls=tls)


class Context(ssl.SSLContext):
    """A context that knows its last socket: paho lets go of a socket whose handshake failed without closing it."""

    last: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """As in ssl."""
        self.last = super().wrap_socket(*args, **options)
        return self.last

    def close_last(self) -> None:
        """Close the last socket, if there is one."""
        if self.last is not None:
            self.last.close()
            self.last = None


def tls_context(files: TlsFiles) -> Context:
    """TLS 1.3 only, broker checked against our CA, our certificate shown. Raises ConfigError for unusable files."""
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=files.ca)
        context.load_cert_chain(files.certificate, files.key, password=_no_passphrase)
    except (OSError, ssl.SSLError, ValueError) as e:
        found = f"{files.ca}, {files.certificate}, {files.key}: {e}"
        raise ConfigError((_fault("tls", found, "PEM files: CA, certificate, unlocked key"),)) from e
    return context


def _no_passphrase() -> str:
    return ""  # a locked key fails here instead of asking at a terminal that nobody watches


def _fault(key: str, found: str, expected: str) -> Fault:
    return Fault(file="bus", key=key, found=found, expected=expected)
