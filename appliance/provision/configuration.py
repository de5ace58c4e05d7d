"""What Mosquitto is told at its start: one text, from settings. Pure. ``docs/broker.md`` says what each line is for."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from appliance.bus.link import MOST_IN_FLIGHT
from appliance.bus.mqtt import MAX_PACKET_BYTES, SESSION_EXPIRY_S
from appliance.bus.outbox import MAX_BYTES

MAX_CONNECTIONS: Final = 64
"""A unit, its recipients and the administrator, with room for those who come back before the broker has missed them."""
MAX_KEEPALIVE_S: Final = 60
MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""Four recipients that are away with full queues, if they share nothing; as a rule they share every message."""
PLUGIN: Final = "/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so"
_SECONDS_PER_DAY: Final = 24 * 3600

Port = Annotated[int, Meta(ge=1, le=65535)]
_PathText = Annotated[str, Meta(min_length=2, max_length=1024, pattern=r"^/[^\x00-\x1f]*$(?!\n)")]


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the broker listens and what it may use. ``home`` is its folder as the broker sees it."""

    listen: Annotated[str, Meta(min_length=2, max_length=64)]
    port: Port = 8883
    interface: Annotated[str, Meta(max_length=15, pattern=r"^[A-Za-z0-9._@-]*$(?!\n)")] = ""
    names: tuple[str, ...] = ()
    """Further host names under which recipients reach it; they stand in its certificate."""
    run_as: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_-]{0,31}$(?!\n)")] = "mosquitto"
    home: _PathText = "/etc/mosquitto"
    plugin: _PathText = PLUGIN
    max_connections: Annotated[int, Meta(ge=3, le=10_000)] = MAX_CONNECTIONS
    memory_bytes: Annotated[int, Meta(ge=16 * 1024 * 1024, le=2**40)] = MEMORY_BYTES


def configuration(settings: BrokerSettings) -> str:
    """The whole of mosquitto.conf."""
    own = PurePosixPath(settings.home) / "broker"
    return "\n".join(
        [
            "# Written by `appliance provision broker`, which writes over changes. docs/broker.md says why each line.",
            f"user {settings.run_as}",
            f"pid_file {own / 'mosquitto.pid'}",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type notice",
            "",
            "# Who may do what",
            "per_listener_settings false",
            "allow_anonymous false",
            f"plugin {settings.plugin}",
            f"plugin_opt_config_file {own / 'dynamic-security.json'}",
            "",
            "# Nothing is kept here: a unit keeps what it has sealed, and sends it again",
            "persistence false",
            "sys_interval 0",
            "",
            "# Size, flow, queues, memory",
            f"max_packet_size {MAX_PACKET_BYTES}",
            f"max_inflight_messages {MOST_IN_FLIGHT}",
            "max_queued_messages 0",
            f"max_queued_bytes {MAX_BYTES}",
            "queue_qos0_messages false",
            f"persistent_client_expiration {SESSION_EXPIRY_S // _SECONDS_PER_DAY}d",
            f"max_keepalive {MAX_KEEPALIVE_S}",
            f"memory_limit {settings.memory_bytes}",
            "set_tcp_nodelay true",
            "",
            "# One door: MQTT over TLS 1.3 with certificates, no websockets",
            f"listener {settings.port} {settings.listen}",
            *([f"bind_interface {settings.interface}"] if settings.interface else []),
            "protocol mqtt",
            f"max_connections {settings.max_connections}",
            "tls_version tlsv1.3",
            f"cafile {own / 'ca.pem'}",
            f"certfile {own / 'broker.pem'}",
            f"keyfile {own / 'broker.key'}",
            f"crlfile {own / 'crl.pem'}",
            "require_certificate true",
            "use_identity_as_username true",
            "use_username_as_clientid true",
            "",
        ]
    )
