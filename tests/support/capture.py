"""A network of one's own, of which every packet is kept: a namespace whose every route leads into the capture.

In it, loopback also carries the default routes, so a packet to anywhere in the world is sent, seen by tshark, and goes
nowhere; of IPv6 the kernel's refusal is what is seen. Nothing else runs there, so whatever is captured is of the
commands that were given. A capture that missed a packet is none.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_WORLD = """
set -eu
ip link set lo up
ip addr add 192.0.2.2/32 dev lo
ip route add default dev lo src 192.0.2.2
ip -6 addr add 2001:db8::2/128 dev lo
ip -6 route add default dev lo
dumpcap -i any -q -w "$CAPTURE" 2> "$CAPTURE.log" &
tap=$!
for _ in $(seq 600); do grep -q 'File:' "$CAPTURE.log" && break; sleep 0.05; done
grep -q 'File:' "$CAPTURE.log" || exit 77
sleep 0.5
code=0
bash -eu -c "$SCRIPT" || code=$?
sleep 1
kill -TERM $tap
wait $tap || true
exit $code
"""
_NO_CAPTURE = 77
_FIELDS = ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport",
           "tcp.payload", "udp.payload")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One packet: addresses, ports (None where it is neither TCP nor UDP) and what it carries."""

    source: str
    target: str
    protocol: str
    ports: frozenset[int]
    payload: bytes

    @property
    def is_local(self) -> bool:
        """Whether it goes from this machine to this machine."""
        return all(ipaddress.ip_address(address).is_loopback for address in (self.source, self.target))


@dataclass(frozen=True, kw_only=True)
class Capture:
    """What passed, and what the commands said."""

    packets: tuple[Packet, ...]
    output: str
    exit_code: int

    @property
    def abroad(self) -> tuple[Packet, ...]:
        """Packets from or to anything but this machine."""
        return tuple(packet for packet in self.packets if not packet.is_local)

    def streams(self) -> dict[frozenset[int], bytes]:
        """What each pair of ports carried, one packet after the other."""
        carried: dict[frozenset[int], list[bytes]] = {}
        for packet in self.packets:
            carried.setdefault(packet.ports, []).append(packet.payload)
        return {ports: b"".join(payloads) for ports, payloads in carried.items()}

    def ports_with(self, words: bytes) -> set[int]:
        """Ports of packets that carry ``words``."""
        return {port for packet in self.packets if words in packet.payload for port in packet.ports}


def captured(script: str, folder: Path, environment: dict[str, str], *, timeout_s: float = 170) -> Capture:
    """Run a bash script in a network of its own. Skips where that or the capture is not possible here."""
    _skip_without_means()
    path = folder / "capture.pcapng"
    more = {"CAPTURE": str(path), "SCRIPT": script, **environment}
    command = ["unshare", "--net", "bash", "-c", _WORLD]
    ran = subprocess.run(
        command, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    said = path.with_name(path.name + ".log").read_text()
    if ran.returncode == _NO_CAPTURE:
        pytest.skip(f"packets cannot be captured here: {said[-200:]}")
    assert re.search(r"received/dropped on interface .*: \d+/0 ", said), said
    return Capture(packets=_packets(path), output=ran.stdout + ran.stderr, exit_code=ran.returncode)


def _skip_without_means() -> None:
    for program in ("tshark", "dumpcap", "unshare", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here")
    tried = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("a network of one's own cannot be made here")


def _packets(path: Path) -> tuple[Packet, ...]:
    fields = [word for field in _FIELDS for word in ("-e", field)]
    read = ["tshark", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-o", "tcp.desegment_tcp_streams:FALSE"]
    lines = subprocess.run([*read, *fields], capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(_packet(line.split("\t")) for line in lines if line.strip())


def _packet(values: Sequence[str]) -> Packet:
    source, target, source6, target6, *ports, of_tcp, of_udp = values
    kind = "tcp" if any(ports[:2]) else "udp" if any(ports[2:]) else "other"
    return Packet(
        source=source or source6,
        target=target or target6,
        protocol=kind,
        ports=frozenset(int(port) for port in ports if port),
        payload=bytes.fromhex(of_tcp or of_udp),
    )
