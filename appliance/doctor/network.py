"""No way out: what routes, sockets, resolvers and the packet filter say, judged. Values in, findings out.

An appliance talks to its broker and its sensors, on networks that its mission names, and to nothing else. Each of the
four checks can fail by itself: a route is a way out even where nothing uses it today.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.doctor.finding import Finding, listed
from appliance.host.network import Address, DefaultRoute, PacketFilter, Socket


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What the mission names: peers as (host, port) to connect to, and ports to listen on.

    Hosts that are names, not addresses, cannot be judged without asking a resolver, and are told as such.
    """

    peers: frozenset[tuple[str, int]] = frozenset()
    listening: frozenset[tuple[str, int]] = frozenset()
    """Protocol and port."""

    def has_peer(self, address: Address, port: int) -> bool:
        return (str(address), port) in self.peers

    def serves(self, socket: Socket) -> bool:
        """Whether this box may be spoken to there: at a port that the mission listens on, or at its own broker."""
        port_of_feed = (socket.protocol, socket.port) in self.listening
        return port_of_feed or (socket.protocol == "tcp" and self.has_peer(socket.address, socket.port))

    @property
    def names(self) -> tuple[str, ...]:
        """Hosts that are not addresses."""
        return tuple(sorted({host for host, _ in self.peers if not _is_address(host)}))


def judge_routes(routes: Sequence[DefaultRoute]) -> Finding:
    """A default route is a way to everywhere."""
    if not routes:
        return Finding(check="routes", verdict="good", says="no default route: only networks on this box's own links")
    ways = listed(f"{route.gateway} by {route.interface}" for route in routes)
    return Finding(
        check="routes",
        verdict="bad",
        says=f"a default route: {ways}",
        remedy="remove the gateway from the interface's configuration; the bus and sensors need none",
    )


def judge_resolvers(servers: Sequence[str], allowed: Allowed) -> Finding:
    """A resolver is a way out for data that is put into names."""
    if servers:
        return Finding(
            check="dns",
            verdict="bad",
            says=f"programs may ask {listed(servers)} for names",
            remedy="empty /etc/resolv.conf; write addresses, not names, into the mission",
        )
    if allowed.names:
        return Finding(
            check="dns",
            verdict="warning",
            says=f"the mission names hosts, not addresses: {listed(allowed.names)}; no resolver is asked",
            remedy="write addresses into the mission, or the names into /etc/hosts",
        )
    return Finding(check="dns", verdict="good", says="no resolver is asked for names")


def judge_filter(state: PacketFilter) -> Finding:
    """The packet filter denies what no rule lets out."""
    if state.why_unknown is not None:
        return Finding(
            check="packet-filter",
            verdict="unknown",
            says=f"the packet filter could not be asked: {state.why_unknown}",
            remedy="run as root on a device whose image carries the filter",
        )
    if not state.output_denied:
        return Finding(
            check="packet-filter",
            verdict="bad",
            says="nothing denies what leaves: no output chain with policy drop for IPv4 and IPv6",
            remedy="load the image's nftables rules",
        )
    return Finding(check="packet-filter", verdict="good", says="what no rule lets out is dropped")


def judge_listening(sockets: Sequence[Socket], allowed: Allowed) -> Finding:
    """Who may speak to this box: on loopback, or on a port that the mission names."""
    waiting = [socket for socket in sockets if socket.peer is None and not socket.address.is_loopback]
    strange = [socket for socket in waiting if not allowed.serves(socket)]
    if strange:
        return Finding(
            check="listening",
            verdict="bad",
            says=f"open to others, and no part of the mission: {listed(sorted(map(_shown, strange)))}",
            remedy="stop the service, or bind it to loopback; `ss -lntup` names it",
        )
    if waiting:
        return Finding(
            check="listening",
            verdict="good",
            says=f"open to others, as the mission says: {listed(sorted(map(_shown, waiting)))}",
        )
    return Finding(check="listening", verdict="good", says="nothing is open to others")


def judge_connections(sockets: Sequence[Socket], allowed: Allowed) -> Finding:
    """Whom this box speaks to: itself, a peer that the mission names, or who came to a port that it serves."""
    strange = [
        socket
        for socket in sockets
        if socket.peer is not None
        and not socket.peer.is_loopback
        and not allowed.has_peer(socket.peer, socket.peer_port)
        and not allowed.serves(socket)
    ]
    if strange:
        peers = sorted(f"{socket.protocol} {_place(socket.peer, socket.peer_port)}" for socket in strange)
        return Finding(
            check="connections",
            verdict="bad",
            says=f"connected to whom the mission does not name: {listed(peers)}",
            remedy="find the program with `ss -ntup`, and stop it",
        )
    return Finding(check="connections", verdict="good", says="connected to nobody but itself and the mission's peers")


def _shown(socket: Socket) -> str:
    return f"{socket.protocol} {_place(socket.address, socket.port)}"


def _place(address: Address | None, port: int) -> str:
    return f"[{address}]:{port}" if address is not None and address.version == 6 else f"{address}:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
