"""What a kind of device is: its processor, its links, who may speak on them, its clock and watchdogs.

The page that an integrator edits (``firmware_config/devices/*.toml``). Unknown keys are refused, and so is what cannot
make sense together; every fault is told at once, with its key.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from appliance.config.faults import faults_of
from appliance.errors import ConfigError, Fault
from appliance.host.files import read_at_most

_T = TypeVar("_T")
MAX_DEVICE_BYTES: Final = 64 * 1024
Port = Annotated[int, Meta(ge=1, le=65_535, description="a port, 1 to 65535")]
Interface = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,14}$(?!\n)", description="a network interface")]
LinkName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,15}$(?!\n)", description="1 to 16 of a-z, 0-9 and '-'")]
DeviceClass = Annotated[
    str,
    Meta(pattern=r"^(char-[a-zA-Z0-9-]{1,32}|/dev/[a-zA-Z0-9._/-]{1,64})$(?!\n)", description="char-NAME or /dev/NAME"),
]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the device file."""


class Link(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One network that the device stands on. ``address`` is its own, with the length of the network."""

    name: LinkName
    interface: Interface
    address: Annotated[str, Meta(description="an IPv4 address with its prefix, such as 10.20.0.2/24")]

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The network that the link stands on."""
        return ipaddress.IPv4Interface(self.address).network


class Listen(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Others on a link may speak to this port."""

    link: LinkName
    protocol: Literal["tcp", "udp"]
    port: Port


class Connect(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """This device may speak to that address on a link: a camera, a receiver, a broker elsewhere."""

    link: LinkName
    protocol: Literal["tcp", "udp"]
    address: Annotated[str, Meta(description="an IPv4 address on the link's network")]
    port: Port


class Time(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where time comes from: a receiver's pulse, servers on the device's own links, or nothing but the battery."""

    pps: Annotated[str, Meta(pattern=r"^(|/dev/pps[0-9])$(?!\n)", description="/dev/ppsN, or empty")] = ""
    servers: Annotated[tuple[str, ...], Meta(max_length=4, description="IPv4 addresses on the device's links")] = ()


class Jetson(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What only a Jetson has."""

    power_mode: Annotated[int, Meta(ge=0, le=15, description="a mode of nvpmodel, 0 to 15")]
    fan_profile: Literal["quiet", "cool"] = "cool"


class Device(Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole device file."""

    schema: Annotated[Literal["edge-device/1"], Meta(description="'edge-device/1'")]
    kind: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$(?!\n)", description="the kind's name")]
    architecture: Literal["amd64", "arm64"]
    base: Annotated[str, Meta(max_length=128, description="the stock image that this is laid over")]
    daemon_memory_bytes: Annotated[int, Meta(ge=512_000_000, description="bytes, at least 512000000")]
    watchdog_s: Annotated[int, Meta(ge=10, le=600, description="seconds, 10 to 600")] = 30
    hardware_watchdog_s: Annotated[int, Meta(ge=0, le=600, description="seconds, 0 (none) to 600")] = 30
    devices: Annotated[
        tuple[DeviceClass, ...], Meta(max_length=32, description="at most 32 of char-NAME or /dev/NAME")
    ] = ()
    links: Annotated[tuple[Link, ...], Meta(max_length=8)] = ()
    listen: Annotated[tuple[Listen, ...], Meta(max_length=64)] = ()
    connect: Annotated[tuple[Connect, ...], Meta(max_length=64)] = ()
    time: Time = Time()
    jetson: Jetson | None = None

    def link(self, name: str) -> Link:
        """The link of that name; there is one (checked when the file is read)."""
        return next(link for link in self.links if link.name == name)


def parse_device(raw: bytes, file: str) -> Device:
    """Reads a device file.

    Raises: ConfigError with every fault.
    """
    if len(raw) > MAX_DEVICE_BYTES:
        raise ConfigError((Fault(file=file, key="(file)", found=f"{len(raw)} bytes", expected="at most 65536"),))
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise ConfigError((Fault(file=file, key="(syntax)", found=str(e), expected="a TOML 1.0 file"),)) from e
    faults = faults_of(Device, table, file=file)
    if faults:
        raise ConfigError(tuple(faults))
    device = msgspec.convert(table, Device)
    senseless = tuple(Fault(file=file, key=key, found=found, expected=e) for key, found, e in _faults(device))
    if senseless:
        raise ConfigError(senseless)
    return device


def read_device(path: Path) -> Device:
    """Reads a device file from the disk. Raises: ConfigError."""
    try:
        return parse_device(read_at_most(path, MAX_DEVICE_BYTES), str(path))
    except OSError as e:
        fault = Fault(file=str(path), key="(file)", found=e.strerror or str(e), expected="a readable device file")
        raise ConfigError((fault,)) from e


def _faults(device: Device) -> Iterator[tuple[str, str, str]]:
    """Key, found, expected."""
    names = [link.name for link in device.links]
    if len(set(names)) != len(names):
        yield "links", "two links of one name", "names that differ"
    for index, link in enumerate(device.links):
        if _parsed(link.address, ipaddress.IPv4Interface) is None or "/" not in link.address:
            yield f"links[{index}].address", repr(link.address), "an IPv4 address with its prefix, such as 10.20.0.2/24"
    asked = [(f"listen[{index}].link", rule.link) for index, rule in enumerate(device.listen)]
    asked += [(f"connect[{index}].link", rule.link) for index, rule in enumerate(device.connect)]
    for key, name in asked:
        if name not in names:
            yield key, repr(name), f"one of {', '.join(names) or 'no links'}"
    for index, connect in enumerate(device.connect):
        yield from _off_link(device, f"connect[{index}].address", connect.address, connect.link)
    for index, server in enumerate(device.time.servers):
        yield from _off_link(device, f"time.servers[{index}]", server, None)


def _off_link(device: Device, key: str, address: str, link: str | None) -> Iterator[tuple[str, str, str]]:
    """There is no gateway, so whoever is spoken to stands on a link."""
    parsed = _parsed(address, ipaddress.IPv4Address)
    networks = [
        interface.network
        for each in device.links
        if link in (None, each.name) and (interface := _parsed(each.address, ipaddress.IPv4Interface)) is not None
    ]
    if parsed is None or not any(parsed in network for network in networks):
        where = ", ".join(map(str, networks)) or "a link"
        yield key, repr(address), f"an IPv4 address in {where}"


def _parsed(text: str, kind: Callable[[str], _T]) -> _T | None:
    try:
        return kind(text)
    except ValueError:
        return None
