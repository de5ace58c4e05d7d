"""The files that are laid over a stock image: templates with their ``@NAMES@`` filled in from the device file.

A template's path is its place on the device. What only some kinds have stands in a folder of its own beside
``overlay/`` (``jetson/``). A name without a value, or a value without a name, is a mistake of ours and fails the build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import UsageError
from appliance.image.device import Connect, Device, Link, Listen

_NAME: Final = re.compile(r"@([A-Z][A-Z0-9_]*)@")
MAX_TEMPLATE_BYTES: Final = 256 * 1024
#: What must be executable on the device; everything else is a text to read.
_EXECUTABLE: Final = (b"#!/",)
_NETWORK_FILE: Final = """\
# {kind}: the link '{name}'. Its address is fixed, and there is no gateway: nothing here leads anywhere else.
[Match]
Name={interface}

[Network]
Address={address}
LinkLocalAddressing=no
IPv6AcceptRA=no
LLMNR=no
MulticastDNS=no
LLDP=no
EmitLLDP=no
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One file of the overlay. ``path`` is absolute on the device, without the leading slash."""

    path: str
    content: bytes
    mode: int


def render(device: Device, templates: Path) -> tuple[ImageFile, ...]:
    """Every file of the overlay for this device, by path.

    Raises: UsageError where the templates are missing or do not fit.
    """
    folders = [templates / "overlay", *([templates / "jetson"] if device.jetson else [])]
    values = _values(device)
    files: dict[str, ImageFile] = {}
    used: set[str] = set()
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: expected the templates of the device image")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                made, names = _filled(path, path.relative_to(folder).as_posix(), values)
                files[made.path] = made
                used |= names
    if unused := sorted(set(values) - used - set(_JETSON_ONLY)):
        raise UsageError(f"{templates}: no template asks for {', '.join(unused)}")
    for link in device.links:
        made = _network(device, link)
        files[made.path] = made
    return tuple(files[path] for path in sorted(files))


_JETSON_ONLY: Final = frozenset({"POWER_MODE", "FAN_PROFILE"})


def _values(device: Device) -> Mapping[str, str]:
    return {
        "KIND": device.kind,
        "WATCHDOG_S": str(device.watchdog_s),
        "HARDWARE_WATCHDOG_S": str(device.hardware_watchdog_s) if device.hardware_watchdog_s else "off",
        "DAEMON_MEMORY": str(device.daemon_memory_bytes),
        "DEVICE_ALLOW": "\n".join(f"DeviceAllow={name} rw" for name in device.devices) or "PrivateDevices=yes",
        "NETWORKS": " ".join(dict.fromkeys(str(link.network) for link in device.links)),
        "INPUT_RULES": "\n".join(_input(device, rule) for rule in device.listen),
        "OUTPUT_RULES": "\n".join([*(_output(device, rule) for rule in device.connect), *_time_rules(device)]),
        "TIME_SOURCES": "\n".join(_time_sources(device)) or "# none: the clock runs free, and every result says so",
        **(
            {"POWER_MODE": str(device.jetson.power_mode), "FAN_PROFILE": device.jetson.fan_profile}
            if device.jetson
            else {}
        ),
    }


def _input(device: Device, rule: Listen) -> str:
    link = device.link(rule.link)
    return f'        iifname "{link.interface}" ip saddr {link.network} {rule.protocol} dport {rule.port} accept'


def _output(device: Device, rule: Connect) -> str:
    interface = device.link(rule.link).interface
    return f'        oifname "{interface}" ip daddr {rule.address} {rule.protocol} dport {rule.port} accept'


def _time_rules(device: Device) -> list[str]:
    return [f"        ip daddr {server} udp dport 123 accept" for server in device.time.servers]


def _time_sources(device: Device) -> list[str]:
    pulse = [f"refclock PPS {device.time.pps} refid PPS lock NMEA"] if device.time.pps else []
    return [*pulse, *(f"server {server} iburst" for server in device.time.servers)]


def _network(device: Device, link: Link) -> ImageFile:
    text = _NETWORK_FILE.format(kind=device.kind, name=link.name, interface=link.interface, address=link.address)
    return ImageFile(path=f"etc/systemd/network/60-edge-{link.name}.network", content=text.encode(), mode=0o644)


def _filled(path: Path, name: str, values: Mapping[str, str]) -> tuple[ImageFile, set[str]]:
    raw = path.read_bytes()
    if len(raw) > MAX_TEMPLATE_BYTES:
        raise UsageError(f"{path}: expected a template of at most {MAX_TEMPLATE_BYTES} bytes")
    text = raw.decode("utf-8")
    names = set(_NAME.findall(text))
    if unknown := sorted(names - set(values)):
        raise UsageError(f"{path}: nothing fills @{'@, @'.join(unknown)}@")
    filled = _NAME.sub(lambda match: values[match.group(1)], text)
    mode = 0o755 if raw.startswith(_EXECUTABLE) else 0o644
    return ImageFile(path=name, content=filled.encode(), mode=mode), names
