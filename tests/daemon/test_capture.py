"""Every packet of a unit, its broker and a listener: TLS alone, no word of a result, nothing to anywhere else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import _mosquitto
from tests.support.capture import captured
from tests.support.provisioned import ProvisionedBroker

#: Words that stand in every opened result, and in nothing that a sensor says.
RESULT_WORDS = (b'"entity_id"', b'"existence"', b'"covariance_m2"', b'"evidence"', b'"receipt"', b'"categories"')
TLS_RECORDS = frozenset({20, 21, 22, 23})
"""RFC 8446 §5.1: change cipher spec, alert, handshake, application data."""
SCRIPT = """
$BROKER 2> mosquitto.log &
broker=$!
$APPLIANCE listen --identity ops.json --trust device.public.json --json $WHERE > heard 2> listen.log &
listener=$!
for _ in $(seq 300); do grep -q 'listening on' listen.log && break; sleep 0.1; done
$APPLIANCE run mission.toml --until-end --json > summary
sealed=$(grep -o '"sealed": *[0-9]*' summary | head -1 | grep -o '[0-9]*')
for _ in $(seq 100); do [ "$(wc -l < heard)" -ge "$sealed" ] && break; sleep 0.1; done
kill $listener $broker
wait
"""
FEEDS = """
[[feeds]]
name = "beacons"
kind = "plots"
uri = "file:plots.jsonl"
"""


def test_the_capture_would_see_a_packet_that_leaves(tmp_path: Path) -> None:
    """Without this, the test below could not fail."""
    send = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'out', ('198.51.100.7', 9)); s.close()"
    seen = captured(f'"{sys.executable}" -c "{send}"', tmp_path, {})
    assert seen.exit_code == 0, seen.output
    assert [(p.target, p.payload) for p in seen.packets if not p.is_local] == [("198.51.100.7", b"out")]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_over_mutual_tls_there_is_nothing_but_tls_to_the_broker(
    house: Any, plots: Any, make_provisioned: Callable[..., ProvisionedBroker], repository: Path, tmp_path: Path
) -> None:
    """Daemon and `appliance listen` over the generated broker: every packet is TLS on its port."""
    broker = make_provisioned("quay-01")
    unit, ops = broker.tls_of("quay-01"), broker.tls_of("ops")
    broker.stop()  # it starts again inside
    plots(house.folder, 300, 100.0)
    mission = house.write_mission(broker.url, FEEDS)
    tls = f'ca = "{unit.ca}"\ncertificate = "{unit.certificate}"\nkey = "{unit.key}"\n'
    mission.write_text(mission.read_text().replace("resend_window_s", tls + "resend_window_s"))
    environment = {
        "PYTHONPATH": str(repository),
        "OMP_NUM_THREADS": "1",
        "APPLIANCE": f"{sys.executable} -m appliance",
        "BROKER": f"{_mosquitto()} -c {broker.folder}/mosquitto.conf",
        "WHERE": f"--bus {broker.url} --ca {ops.ca} --certificate {ops.certificate} --key {ops.key}",
    }
    seen = captured(SCRIPT, house.folder, environment)
    heard = [json.loads(line) for line in (house.folder / "heard").read_text().splitlines()]
    assert len(heard) == json.loads((house.folder / "summary").read_text())["sealed"], seen.output
    assert len(heard) > 50
    assert {(packet.protocol, broker.port in packet.ports, packet.is_local) for packet in seen.packets} == {
        ("tcp", True, True)
    }
    for word in (*RESULT_WORDS, b"edge/v1/", b"quay-01", b"235000007", b"MQTT"):
        assert seen.ports_with(word) == set(), word
    firsts = first_bytes(seen.packets)
    assert firsts
    assert firsts <= TLS_RECORDS


def first_bytes(packets: Any) -> set[int]:
    """The first byte of what each side of each connection sends."""
    firsts: dict[frozenset[int], list[bytes]] = {}
    for packet in packets:
        if packet.payload:
            firsts.setdefault(packet.ports, []).append(packet.payload[:1])
    return {payloads[0][0] for payloads in firsts.values()}
