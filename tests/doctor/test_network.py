"""No way out: the kernel's tables are read as proc(5) has them, and each way out is told."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.doctor.network import (
    Allowed,
    judge_connections,
    judge_filter,
    judge_listening,
    judge_resolvers,
    judge_routes,
)
from appliance.errors import Unavailable
from appliance.host.network import (
    DefaultRoute,
    PacketFilter,
    Socket,
    default_routes,
    denies_output,
    packet_filter,
    resolvers,
    sockets,
)

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
WAY_OUT = "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
REFUSING_V6 = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200 lo\n"
WAY_OUT_V6 = f"{'0' * 32} 00 {'0' * 32} 00 fd{'0' * 29}1 00000400 00000001 00000000 00000003 wlan0\n"


@contextmanager
def listening(kind: socket.SocketKind, address: str) -> Iterator[int]:
    with socket.socket(socket.AF_INET, kind) as ear:
        ear.bind((address, 0))
        if kind is socket.SOCK_STREAM:
            ear.listen()
        yield ear.getsockname()[1]


def tables(folder: Path, v4: str = ROUTES, v6: str = "") -> Path:
    (folder / "route").write_text(v4)
    (folder / "ipv6_route").write_text(v6)
    return folder


def test_a_box_with_links_and_no_gateway_has_no_way_out(tmp_path: Path) -> None:
    routes = default_routes(tables(tmp_path, ROUTES, REFUSING_V6))
    assert routes == ()
    assert judge_routes(routes).verdict == "good"


def test_a_default_route_is_told_with_its_gateway_for_both_protocols(tmp_path: Path) -> None:
    routes = default_routes(tables(tmp_path, ROUTES + WAY_OUT, WAY_OUT_V6))
    assert routes == (
        DefaultRoute(interface="eth0", gateway=ipaddress.IPv4Address("192.168.2.1")),
        DefaultRoute(interface="wlan0", gateway=ipaddress.IPv6Address("fd00::1")),
    )
    finding = judge_routes(routes)
    assert finding.verdict == "bad"
    assert "192.168.2.1 by eth0, fd00::1 by wlan0" in finding.says
    assert finding.remedy


def test_a_table_that_cannot_be_read_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="as proc"):
        default_routes(tables(tmp_path, ROUTES + "eth0 zz\n"))


@given(st.text(alphabet="0123456789ABCDEF:\t gz\n", max_size=300))
def test_a_table_is_read_or_refused_whatever_it_holds(text: str) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis and function-scoped fixtures do not go together

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for table in ("route", "ipv6_route", "tcp", "tcp6", "udp", "udp6"):
            (folder / table).write_text(text)
        for read in (default_routes, sockets):
            with contextlib.suppress(Unavailable):
                read(folder)


def test_this_machines_own_sockets_are_read(tmp_path: Path) -> None:
    with listening(socket.SOCK_STREAM, "127.0.0.1") as port, listening(socket.SOCK_DGRAM, "0.0.0.0") as other:
        found = sockets()
    home, everywhere = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("0.0.0.0")
    assert Socket(protocol="tcp", address=home, port=port, peer=None, peer_port=0) in found
    assert Socket(protocol="udp", address=everywhere, port=other, peer=None, peer_port=0) in found


def test_a_connection_of_this_machine_has_both_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        port, mine = server.getsockname()[1], client.getsockname()[1]
        found = {(s.port, s.peer_port) for s in sockets() if s.peer is not None}
    assert {(mine, port), (port, mine)} <= found


def sock(address: str, port: int, peer: str | None = None, peer_port: int = 0, protocol: str = "tcp") -> Socket:
    return Socket(
        protocol="tcp" if protocol == "tcp" else "udp",
        address=ipaddress.ip_address(address),
        port=port,
        peer=None if peer is None else ipaddress.ip_address(peer),
        peer_port=peer_port,
    )


MISSION = Allowed(peers=frozenset({("10.0.0.2", 8883)}), listening=frozenset({("udp", 4001)}))


def test_only_loopback_and_the_missions_ports_may_be_open() -> None:
    mine = [sock("127.0.0.1", 1883), sock("::1", 9), sock("0.0.0.0", 4001, protocol="udp")]
    assert judge_listening(mine, MISSION).verdict == "good"
    finding = judge_listening([*mine, sock("0.0.0.0", 22), sock("0.0.0.0", 4001)], MISSION)
    assert finding.verdict == "bad"
    assert "tcp 0.0.0.0:22, tcp 0.0.0.0:4001" in finding.says


def test_only_the_missions_peers_may_be_spoken_to() -> None:
    mine = [sock("10.0.0.1", 50_000, "10.0.0.2", 8883), sock("127.0.0.1", 1, "127.0.0.1", 2)]
    assert judge_connections(mine, MISSION).verdict == "good"
    finding = judge_connections([*mine, sock("10.0.0.1", 50_001, "203.0.113.9", 443)], MISSION)
    assert finding.verdict == "bad"
    assert "203.0.113.9:443" in finding.says


def test_a_units_own_broker_is_open_to_its_readers_at_the_missions_address_and_nowhere_else() -> None:
    broker, reader = sock("10.0.0.2", 8883), sock("10.0.0.2", 8883, "10.0.0.77", 50_000)
    assert judge_listening([broker], MISSION).verdict == "good"
    assert judge_connections([reader], MISSION).verdict == "good"
    for stranger in (sock("0.0.0.0", 8883), sock("10.0.0.1", 8883), sock("10.0.0.2", 8884)):
        assert judge_listening([stranger], MISSION).verdict == "bad"
    assert judge_listening([sock("10.0.0.2", 8883, protocol="udp")], MISSION).verdict == "bad"
    assert judge_connections([sock("10.0.0.2", 8884, "10.0.0.77", 50_000)], MISSION).verdict == "bad"


def test_the_missions_peer_on_another_port_is_a_stranger() -> None:
    assert judge_connections([sock("10.0.0.1", 50_000, "10.0.0.2", 22)], MISSION).verdict == "bad"


def test_resolvers_are_read_and_are_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# by hand\nsearch local\nnameserver 9.9.9.9\nnameserver\n")
    assert resolvers(path) == ("9.9.9.9",)
    assert judge_resolvers(resolvers(path), MISSION).verdict == "bad"
    assert resolvers(tmp_path / "none") == ()
    assert judge_resolvers((), MISSION).verdict == "good"


def test_a_mission_that_names_hosts_is_warned_of() -> None:
    finding = judge_resolvers((), Allowed(peers=frozenset({("broker.local", 8883)})))
    assert (finding.verdict, "broker.local" in finding.says) == ("warning", True)


def chain(family: str, hook: str = "output", policy: str = "drop") -> dict[str, object]:
    return {"chain": {"family": family, "table": "t", "name": "c", "type": "filter", "hook": hook, "policy": policy}}


@pytest.mark.parametrize(
    ("chains", "denies"),
    [
        ([chain("inet")], True),
        ([chain("ip"), chain("ip6")], True),
        ([chain("ip")], False),
        ([chain("inet", policy="accept")], False),
        ([chain("inet", hook="input")], False),
        ([], False),
    ],
)
def test_only_a_filter_that_denies_both_protocols_denies(chains: list[object], denies: bool) -> None:
    ruleset = {"nftables": [{"metainfo": {"version": "1.0.6"}}, *chains]}
    assert denies_output(ruleset) is denies
    assert judge_filter(PacketFilter(output_denied=denies)).verdict == ("good" if denies else "bad")


def test_a_filter_that_cannot_be_asked_is_unknown(tmp_path: Path) -> None:
    assert judge_filter(packet_filter(str(tmp_path / "no-nft"))).verdict == "unknown"
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    program.chmod(0o755)
    assert packet_filter(str(program)).why_unknown == "Operation not permitted"
    program.write_text("#!/bin/sh\necho 'not json'\n")
    assert judge_filter(packet_filter(str(program))).verdict == "unknown"
    program.write_text(f"#!/bin/sh\necho '{json.dumps({'nftables': [chain('inet')]})}'\n")
    assert packet_filter(str(program)) == PacketFilter(output_denied=True)
