"""Asks every question once, in order: the network, then what the unit rests on. A question that fails is a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from appliance.bus.endpoint import DEFAULT_PORTS as BUS_PORTS
from appliance.config import LoadedMission
from appliance.doctor import network as judged
from appliance.doctor import unit as units
from appliance.doctor.finding import Finding
from appliance.doctor.network import Allowed
from appliance.errors import ApplianceError
from appliance.feeds import parse_uri
from appliance.host import machine
from appliance.host import network as looked
from appliance.host.clock import clock_state, now_ns
from appliance.slots import Slots

Question = tuple[str, Callable[[], Finding | Iterable[Finding]]]

#: Schemes of feeds for which the unit listens; for all others it connects.
LISTENS: Final = frozenset({"udp"})


def examine(mission: LoadedMission | None, state: Path) -> Iterator[Finding]:
    """Every finding, as it is made. Without a mission, nothing but loopback is allowed to speak."""
    allowed = Allowed() if mission is None else allowed_by(mission)
    questions = [*_network(allowed), *_unit(mission, state)]
    for check, ask in questions:
        try:
            answer = ask()
            yield from (answer,) if isinstance(answer, Finding) else answer
        except (ApplianceError, OSError) as e:
            yield Finding(
                check=check, verdict="unknown", says=str(e), remedy="run as the user of the appliance, or root"
            )


def allowed_by(mission: LoadedMission) -> Allowed:
    """The peers and ports that a mission names."""
    peers: set[tuple[str, int]] = set()
    listening: set[tuple[str, int]] = set()
    bus = mission.mission.bus.url
    if not bus.startswith("embedded"):
        parts = urlsplit(bus)
        peers.add((parts.hostname or "", parts.port or BUS_PORTS[parts.scheme]))
    for feed in mission.mission.feeds:
        uri = parse_uri(feed.uri, feed.kind)
        if uri.scheme in LISTENS:
            listening.add(("udp", uri.port))
        elif uri.scheme == "tcp" and feed.kind == "reports":
            listening.add(("tcp", uri.port))
        elif uri.port:
            peers.add((uri.host, uri.port))
    return Allowed(peers=frozenset(peers), listening=frozenset(listening))


def _network(allowed: Allowed) -> list[Question]:
    return [
        ("routes", lambda: judged.judge_routes(looked.default_routes())),
        ("dns", lambda: judged.judge_resolvers(looked.resolvers(), allowed)),
        ("packet-filter", lambda: judged.judge_filter(looked.packet_filter())),
        ("listening", lambda: judged.judge_listening(looked.sockets(), allowed)),
        ("connections", lambda: judged.judge_connections(looked.sockets(), allowed)),
    ]


def _unit(mission: LoadedMission | None, state: Path) -> list[Question]:
    questions: list[Question] = [
        ("clock", lambda: units.judge_clock(now_ns(), clock_state(), _floor_ns(state))),
        ("disk", lambda: units.judge_disk(machine.room(state), state)),
        ("heat", lambda: units.judge_heat(machine.thermal_zones())),
    ]
    if mission is not None:
        unit, bus = mission.mission.unit, mission.mission.bus
        gnss = [feed.name for feed in mission.mission.feeds if feed.kind == "gnss"]
        questions += [
            ("position", lambda: units.judge_position(unit.position, gnss)),
            ("identity", lambda: units.judge_identity(mission.resolve(unit.identity))),
            (
                "recipients",
                lambda: units.judge_recipients(
                    (mission.resolve(name) for name in (*bus.recipients, *bus.position_only)), state / "recipients"
                ),
            ),
        ]
    if not (state / "trust").is_dir():  # `Slots` would make the folder; a doctor makes nothing
        remedy = "`appliance bundle trust ROOT.json`, once, before the first stick"
        says = f"{state}: no root of trust"
        return [*questions, ("trust", lambda: Finding(check="trust", verdict="unknown", says=says, remedy=remedy))]
    return [
        *questions,
        ("trust", lambda: units.judge_trust(Slots(state))),
        ("slots", lambda: units.judge_slots(Slots(state))),
        ("audit", lambda: units.judge_audit(state)),
    ]


def _floor_ns(state: Path) -> int:
    return Slots(state).trust.state().floor_ns if (state / "trust").is_dir() else 0
