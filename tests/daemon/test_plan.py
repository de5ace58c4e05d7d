"""What the rooms below are told follows from the mission."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.config import LoadedMission, Mission
from appliance.config.mission import FeedTable
from appliance.daemon.plan import LONGEST_HOLD_S, SHORTEST_HOLD_S, _hold_s, path_plan
from appliance.fusion import MOORINGS, Motion

AIS = {"name": "ais", "kind": "ais", "uri": "udp://127.0.0.1:1"}
RADAR = {"name": "radar", "kind": "radar", "uri": "udp://127.0.0.1:1"}


def camera(max_range_m: float) -> dict[str, Any]:
    lens = {"width_px": 64, "height_px": 64, "hfov_deg": 60, "max_range_m": max_range_m}
    return {"name": "camera", "kind": "video", "uri": "file:x", "lens": lens}


@pytest.mark.parametrize(
    ("feeds", "hold_s"),
    [
        ([camera(10)], SHORTEST_HOLD_S),
        ([camera(100)], 25.0),
        ([camera(10), RADAR], LONGEST_HOLD_S),
        ([camera(10), AIS], LONGEST_HOLD_S),
    ],
    ids=["a room", "a yard", "a room beside a radar", "a room beside AIS"],
)
def test_what_nobody_sees_is_kept_as_long_as_it_may_be_within_reach(feeds: list[dict[str, Any]], hold_s: float) -> None:
    assert _hold_s([msgspec.convert(feed, FeedTable) for feed in feeds]) == hold_s


MISSION = """
schema = "edge-mission/1"
[unit]
id = "quay-01"
origin = {{ latitude_deg = 50.8, longitude_deg = -1.1 }}
identity = "device.json"
demo = true
{more}
[bus]
url = "embedded"
recipients = ["ops.public.json"]
[[feeds]]
name = "ais"
kind = "ais"
uri = "file:harbour.csv"
"""


@pytest.mark.parametrize(("more", "motion"), [("", Motion()), ("moorings = true", MOORINGS)])
def test_things_stand_only_where_the_mission_says_that_there_are_moorings(
    more: str, motion: Motion, tmp_path: Path
) -> None:
    text = MISSION.format(more=more)
    mission = msgspec.convert(tomllib.loads(text), Mission)
    loaded = LoadedMission(mission=mission, path=tmp_path / "quay.toml", text=text)
    plan = path_plan(loaded, (), replayed=True)
    assert plan.fusion.motion == motion
    assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)).fusion.motion == motion, (
        "as recordings keep it"
    )
