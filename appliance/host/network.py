"""What the kernel says of the network: routes, sockets, resolvers, packet filter. Reads; changes and judges nothing.

Formats: proc(5), resolv.conf(5), libnftables-json(5). Every reader takes the folder or file that it reads, so that a
test can lay its own. A line that cannot be read raises ``Unavailable``: what cannot be read proves nothing.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from appliance.errors import Unavailable

PROC_NET: Final = Path("/proc/self/net")
RESOLV_CONF: Final = Path("/etc/resolv.conf")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Protocol = Literal["tcp", "udp"]

_RTF_UP: Final = 0x0001
_RTF_REJECT: Final = 0x0200
_TCP_ESTABLISHED: Final = 0x01
_TCP_LISTEN: Final = 0x0A
#: Far more than a box has; a file that is longer is not read to its end and proves nothing.
MAX_LINES: Final = 100_000
NFT_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultRoute:
    """A way to everywhere."""

    interface: str
    gateway: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """One end of a connection, or a socket that waits for anybody (``peer`` None)."""

    protocol: Protocol
    address: Address
    port: int
    peer: Address | None
    peer_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketFilter:
    """What the packet filter does with what leaves. ``why_unknown`` says why it could not be asked."""

    output_denied: bool
    why_unknown: str | None = None


def default_routes(proc_net: Path = PROC_NET) -> tuple[DefaultRoute, ...]:
    """Every default route that is up, IPv4 and IPv6; refusing routes are none.

    Raises: Unavailable.
    """
    return (*_routes_v4(proc_net / "route"), *_routes_v6(proc_net / "ipv6_route"))


def sockets(proc_net: Path = PROC_NET) -> tuple[Socket, ...]:
    """Every TCP socket that listens or is connected, and every UDP socket.

    Raises: Unavailable.
    """
    found: list[Socket] = []
    for protocol in ("tcp", "udp"):
        for name in (protocol, f"{protocol}6"):
            found.extend(_sockets(proc_net / name, "tcp" if protocol == "tcp" else "udp"))
    return tuple(found)


def resolvers(path: Path = RESOLV_CONF) -> tuple[str, ...]:
    """The name servers that programs of this machine would ask; none where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[:MAX_LINES]
    except FileNotFoundError:
        return ()
    except OSError as e:
        raise Unavailable(f"{path}: expected a readable file; {e.strerror}") from e
    return tuple(words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver")


def packet_filter(nft: str = "nft") -> PacketFilter:
    """Asks nftables whether a chain at the output hook drops what no rule lets out."""
    program = shutil.which(nft) or shutil.which(nft, path="/usr/sbin:/sbin")
    if program is None:
        return PacketFilter(output_denied=False, why_unknown="nftables is not installed")
    try:
        done = subprocess.run(
            [program, "-j", "list", "ruleset"], capture_output=True, timeout=NFT_TIMEOUT_S, check=False
        )
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines()
            return PacketFilter(output_denied=False, why_unknown=reason[0] if reason else "nft failed")
        return PacketFilter(output_denied=denies_output(json.loads(done.stdout)))
    except (OSError, ValueError, subprocess.TimeoutExpired) as e:
        return PacketFilter(output_denied=False, why_unknown=str(e))


def denies_output(ruleset: Any) -> bool:
    """Whether a ruleset (libnftables-json) drops by policy at the output hook, for IPv4 and for IPv6."""
    families: set[str] = set()
    for entry in ruleset.get("nftables", ()):
        chain = entry.get("chain") if isinstance(entry, dict) else None
        if isinstance(chain, dict) and (chain.get("hook"), chain.get("policy")) == ("output", "drop"):
            families.add(str(chain.get("family")))
    return "inet" in families or {"ip", "ip6"} <= families


def _routes_v4(path: Path) -> Iterator[DefaultRoute]:
    for words in _table(path):
        if len(words) < 8:
            raise _unreadable(path, words)
        destination, gateway, flags, mask = (_number(path, words, i) for i in (1, 2, 3, 7))
        if destination == mask == 0 and flags & _RTF_UP and not flags & _RTF_REJECT:
            yield DefaultRoute(interface=words[0], gateway=ipaddress.IPv4Address(struct.pack("=I", gateway)))


def _routes_v6(path: Path) -> Iterator[DefaultRoute]:
    """This table has no heading, and lists the refusing routes of ``lo`` too."""
    for words in _table(path, heading=False):
        if len(words) < 10:
            raise _unreadable(path, words)
        length, flags = _number(path, words, 1), _number(path, words, 8)
        if length == 0 and flags & _RTF_UP and not flags & _RTF_REJECT and words[9] != "lo":
            yield DefaultRoute(interface=words[9], gateway=ipaddress.IPv6Address(_number(path, words, 4)))


def _sockets(path: Path, protocol: Protocol) -> Iterator[Socket]:
    for words in _table(path):
        if len(words) < 4:
            raise _unreadable(path, words)
        state = _number(path, words, 3)
        if protocol == "tcp" and state not in {_TCP_LISTEN, _TCP_ESTABLISHED}:
            continue
        address, port = _end(path, words, 1)
        peer, peer_port = _end(path, words, 2)
        waits = peer_port == 0
        yield Socket(protocol=protocol, address=address, port=port, peer=None if waits else peer, peer_port=peer_port)


def _end(path: Path, words: list[str], index: int) -> tuple[Address, int]:
    """``0100007F:0277``: words of the address in the machine's byte order, then the port."""
    digits, _, port = words[index].partition(":")
    try:
        packed = b"".join(struct.pack("=I", int(digits[at : at + 8], 16)) for at in range(0, len(digits), 8))
        return _plain(ipaddress.ip_address(packed)), int(port, 16)
    except (ValueError, struct.error) as e:
        raise _unreadable(path, words) from e


def _plain(address: Address) -> Address:
    """An IPv4 address in IPv6 clothes is an IPv4 address."""
    return getattr(address, "ipv4_mapped", None) or address


def _table(path: Path, *, heading: bool = True) -> Iterator[list[str]]:
    """The lines of a table as words; nothing where the kernel does not have that protocol."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError as e:
        raise Unavailable(f"{path}: expected a readable table; {e.strerror}") from e
    if len(lines) > MAX_LINES:
        raise Unavailable(f"{path}: expected at most {MAX_LINES} lines; found {len(lines)}")
    yield from (line.split() for line in lines[int(heading) :] if line.strip())


def _number(path: Path, words: list[str], index: int) -> int:
    try:
        return int(words[index], 16)
    except ValueError as e:
        raise _unreadable(path, words) from e


def _unreadable(path: Path, words: list[str]) -> Unavailable:
    return Unavailable(f"{path}: expected a line as proc(5) describes; found {' '.join(words)[:80]!r}")
