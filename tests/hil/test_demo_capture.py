"""Every packet of a whole demo: on loopback alone, between the parts that it names, and nothing of a result in plain.

The demo's broker is the embedded one, without TLS, so here sealing alone keeps results from who reads the wire; what a
unit and its listener send over mutual TLS is captured in ``tests/daemon/test_capture.py``.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hil.demo.play import OPENED
from tests.support.capture import Capture, captured

IN_TOPICS = frozenset({"unit", "entity_id", "topic"})
"""Fields whose values a broker sees: they stand in the topic, as docs/envelope.md says."""
SHORTEST_WORD = 6
"""Shorter words come up by chance, or in what the sensors say."""
TELLING = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z|-?\d+\.\d{5,}")
"""Times and numbers with so many digits that they are nobody else's."""
PORTS = re.compile(r"(?:mqtt|tcp|udp)://[^/\"]+:\d+")


def leaks(seen: Capture, results: list[bytes], ports: frozenset[int]) -> list[str]:
    """What should not have been on the wire: packets to elsewhere, to other ports, with a word of a result."""
    found = [f"{packet.protocol} from {packet.source} to {packet.target}" for packet in seen.abroad]
    found += [f"{p.protocol} between ports {sorted(p.ports)}" for p in seen.packets if not p.ports & ports]
    wire = b"\n".join(seen.streams().values())
    found += [f"in plain: {word!r}" for word in words(results) if word in wire]
    told = {value for result in results for value in TELLING.findall(result)}
    return found + [f"in plain: {value!r}" for value in sorted(told & set(TELLING.findall(wire)))]


def words(results: list[bytes]) -> set[bytes]:
    """Every name and every text that stands in the results, those left out that are in topics."""
    all_words = {word for result in results for word in _words(json.loads(result))}
    return {word.encode() for word in all_words if len(word) >= SHORTEST_WORD}


def _words(body: Any, name: str = "") -> Iterator[str]:
    if isinstance(body, dict):
        for key, value in body.items():
            yield f'"{key}"'
            yield from _words(value, key)
    elif isinstance(body, list):
        for value in body:
            yield from _words(value, name)
    elif isinstance(body, str) and name not in IN_TOPICS:
        yield body


def test_each_kind_of_leak_would_be_found(tmp_path: Path) -> None:
    """Without this, the test below could not fail."""
    result = b'{"entity_id": "01J8", "position": {"lat": 49.501234567}, "says": "a grey trawler"}'
    send = (
        "import socket\n"
        "out = socket.socket(type=socket.SOCK_DGRAM)\n"
        "out.sendto(b'stray', ('198.51.100.7', 9))\n"
        "out.sendto(b'who?', ('127.0.0.1', 53))\n"
        "out.sendto(b'01J8 at 49.501234567: a grey trawler', ('127.0.0.1', 1883))\n"
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'stray', ('2001:db8:7::7', 1883))\n"
    )
    (tmp_path / "send.py").write_text(send)
    seen = captured(f'"{sys.executable}" send.py', tmp_path, {})
    assert seen.exit_code == 0, seen.output
    found = leaks(seen, [result], frozenset({1883}))
    for leak in ("to 198.51.100.7", "udp from 2001:db8::2", "ports [53, ", "b'a grey trawler'", "b'49.501234567'"):
        assert [line for line in found if leak in line], (leak, found)
    assert not [line for line in found if "01J8" in line], "an entity's name is in its topic"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_whole_demo_sends_nothing_elsewhere_and_nothing_of_a_result_in_plain(
    repository: Path, tmp_path: Path
) -> None:
    environment = {"PYTHONPATH": str(repository), "PYTHON": sys.executable}
    script = '"$PYTHON" -m appliance demo --json --keep kept > told.json'
    seen = captured(script, tmp_path, environment, timeout_s=380)
    assert seen.exit_code == 0, seen.output
    told = json.loads((tmp_path / "told.json").read_text())
    results = (tmp_path / "kept" / OPENED).read_bytes().splitlines()
    assert len(results) == told["counts"]["sealed"] > 100
    mission = (tmp_path / "kept" / "mission.toml").read_text()
    ports = frozenset(urlsplit(uri).port or 0 for uri in PORTS.findall(mission))
    assert len(ports) == 4, "broker, radar, AIS and GNSS"
    broker = urlsplit(tomllib.loads(mission)["bus"]["url"]).port
    carried = b"".join(stream for pair, stream in seen.streams().items() if broker in pair)
    assert b"edge/v1/" in carried, "the capture heard the traffic"
    assert leaks(seen, results, ports) == []
    print(  # noqa: T201
        f"\n{len(seen.packets)} packets of a whole demo, {sum(len(p.payload) for p in seen.packets)} bytes, none lost: "
        f"{len(seen.abroad)} to elsewhere; {len(results)} results with {len(words(results))} words, none on the wire"
    )
