"""Aircraft heard by a 1090 MHz receiver become entities: from recorded Beast frames to what is told, by the command."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.feeds import KINDS
from appliance.sealing import generate
from tests.missions.conftest import Run, run
from tests.support import adsb

MISSION = """\
schema = "edge-mission/1"

[unit]
id = "roof-01"
origin = { latitude_deg = 49.6, longitude_deg = 6.1 }
identity = "device.json"
state = "state"
demo = true

[bus]
url = "embedded"
recipients = ["ops.public.json"]

[picture]
interval_s = 10.0
entity_interval_s = 5.0

[[feeds]]
name = "roof"
kind = "adsb"
uri = "file:roof.beast"
pace = "fast"
start = 2026-11-01T12:00:00Z

[record]
path = "recordings"
"""
#: ICAO → (callsign, type code, category, degrees north and east, knots east and north, feet).
AIRLINER, HELICOPTER = 0x4D0221, 0x4D03AB
FLIGHTS = {
    AIRLINER: ("LGL8302", 4, 3, 49.70, 5.90, 250, -120, 12_000),
    HELICOPTER: ("LXPOL2", 4, 7, 49.55, 6.20, -60, 60, 1_500),
}
DURATION_S = 60
BEGAN = datetime(2026, 11, 1, 12, tzinfo=UTC)
HEIGHT_OVER_PRESSURE_FT = 300


def at(icao: int, second: float) -> tuple[float, float]:
    _, _, _, latitude, longitude, east, north, _ = FLIGHTS[icao]
    metres = 1852.0 / 3600.0 * second
    return (
        latitude + north * metres / 111_200.0,
        longitude + east * metres / (111_320.0 * math.cos(math.radians(latitude))),
    )


def recording() -> bytes:
    """A position of either parity by turns twice a second, a velocity every second, who it is every five."""
    heard: list[tuple[float, bytes]] = []
    for icao, (callsign, kind, category, _, _, east, north, feet) in FLIGHTS.items():
        for step in range(2 * DURATION_S):
            second = step / 2
            messages = [adsb.airborne(*at(icao, second), feet, step % 2)]
            if step % 2 == 0:
                messages.append(adsb.velocity(east, north, HEIGHT_OVER_PRESSURE_FT))
            if step % 10 == 0:
                messages += [adsb.identification(callsign, kind, category), adsb.operational_status(9)]
            heard += [(second, adsb.squitter(message, icao)) for message in messages]
    heard.sort(key=lambda one: one[0])
    return b"".join(adsb.beast(frame, 1 + round(second * adsb.COUNTER_HZ)) for second, frame in heard)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("roof")
    (folder / "device.json").write_text(generate("device", "roof-01").to_json())
    (folder / "ops.public.json").write_text(generate("recipient", "ops").public.to_json())
    (folder / "roof.beast").write_bytes(recording())
    (folder / "mission.toml").write_text(MISSION)
    return run(folder, "mission")


def test_each_aircraft_is_one_entity_with_address_name_category_and_height(told: Run) -> None:
    assert told.code == 0, told.log
    newest = [bodies[-1] for bodies in told.entities().values()]
    assert len(newest) == len(FLIGHTS)
    found = {body["identities"]["icao"]: body for body in newest}
    for icao, (callsign, _, category, *_, feet) in FLIGHTS.items():
        body = found[f"{icao:06X}"]
        assert body["identities"]["name"] == callsign
        assert body["category"] == ("aircraft/helicopter" if category == 7 else "aircraft/aeroplane")
        assert body["position"]["alt_m"] == pytest.approx((feet + HEIGHT_OVER_PRESSURE_FT) * 0.3048, abs=1.0)
        assert body["existence"] > 0.9


def test_it_is_told_where_it_is(told: Run) -> None:
    errors_m = [error_m(body) for bodies in told.entities().values() for body in bodies[2:]]
    assert len(errors_m) > 2 * DURATION_S / 5 / 2
    assert max(errors_m) < 60.0


def error_m(body: dict[str, Any]) -> float:
    second = (datetime.fromisoformat(body["time"]) - BEGAN).total_seconds()
    latitude, longitude = at(int(body["identities"]["icao"], 16), second)
    north = (body["position"]["lat"] - latitude) * 111_200.0
    east = (body["position"]["lon"] - longitude) * 111_320.0 * math.cos(math.radians(latitude))
    return math.hypot(north, east)


def test_every_kind_of_feed_is_documented(repository: Path) -> None:
    text = (repository / "docs" / "mission.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"| `{kind}` |" not in text] == []
