"""A hostile client at the unit's broker. Counts what it was let do and should not have been."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from appliance.bus import TlsFiles
from hil.devices.device import Device
from hil.rig.stage import GUEST

_WAIT_S = 2.0


def intrusions(device: Device) -> float:
    """How many of the acts were allowed: no certificate, another's results, a forged result, the plugin's commands."""
    address = urlsplit(device.bus_url)
    where = (address.hostname or "", address.port or 0)
    guest = device.reader_tls(GUEST)
    unit = device.unit
    allowed = _connected(where, _context(guest.ca, None))
    allowed += _published(where, guest, f"edge/v1/{unit}/entity/01FORGED")
    allowed += _published(where, guest, "$CONTROL/dynamic-security/v1")
    allowed += _granted(where, guest, "#")
    return float(allowed)


def _context(ca: Path, own: TlsFiles | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def _client(context: ssl.SSLContext, answers: dict[str, object]) -> paho.Client:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, reconnect_on_failure=False)
    client.tls_set_context(context)
    client.on_connect = lambda _c, _u, _f, code, _p: answers.__setitem__("connected", not code.is_failure)
    client.on_subscribe = lambda _c, _u, _m, codes, _p: answers.__setitem__("granted", not codes[0].is_failure)
    client.on_publish = lambda _c, _u, _m, code, _p: answers.__setitem__("published", not code.is_failure)
    return client


def _asked(where: tuple[str, int], context: ssl.SSLContext, answer: str, act: object) -> bool:
    """Whether the broker said yes to ``act`` in time; a connection that it refuses or ends is a no."""
    answers: dict[str, object] = {}
    client = _client(context, answers)
    try:
        client.connect(*where, keepalive=10)
        client.loop_start()
        _until(answers, "connected")
        if answers.get("connected") and callable(act):
            act(client)
        _until(answers, answer)
    except OSError:
        return False
    finally:
        client.disconnect()
        client.loop_stop()
    return bool(answers.get(answer))


def _until(answers: dict[str, object], key: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while key not in answers and time.monotonic() < deadline:
        time.sleep(0.02)


def _connected(where: tuple[str, int], context: ssl.SSLContext) -> bool:
    return _asked(where, context, "connected", None)


def _published(where: tuple[str, int], own: TlsFiles, topic: str) -> bool:
    return _asked(where, _context(own.ca, own), "published", lambda c: c.publish(topic, b"{}", qos=1))


def _granted(where: tuple[str, int], own: TlsFiles, topic: str) -> bool:
    return _asked(where, _context(own.ca, own), "granted", lambda c: c.subscribe(topic, qos=1))
