"""What the demo prepares: real identities, a bundle that verifies, and a mission that the product finds right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from appliance.config import load_mission
from appliance.daemon.plan import feed_specs
from appliance.sealing.identity import PrivateIdentity
from appliance.slots import Slots
from hil.demo import stage
from hil.scene import mission
from hil.scene.harbour import LENS, ORIGIN


@pytest.fixture
def prepared(tmp_path: Path) -> stage.Stage:
    film = tmp_path / "camera.mp4"
    film.write_bytes(b"not played here")
    identities = stage.make_identities(tmp_path)
    return stage.make_mission(tmp_path, film, identities, bus_url="mqtt://127.0.0.1:1883", ais_port=4001)


def test_the_mission_is_right(prepared: stage.Stage) -> None:
    loaded = load_mission(prepared.mission)
    assert loaded.mission.unit.id == stage.UNIT
    assert [feed.kind for feed in loaded.mission.feeds] == ["video", "radar", "ais", "gnss", "reports"]
    assert {spec.name for spec in feed_specs(loaded)} == {
        mission.CAMERA,
        mission.RADAR,
        mission.AIS,
        mission.GNSS,
        mission.REPORTS,
    }


def test_the_mission_tells_the_camera_where_the_scene_has_put_it(prepared: stage.Stage) -> None:
    camera = load_mission(prepared.mission).mission.feeds[0]
    assert camera.pose is not None
    assert camera.lens is not None
    assert (camera.pose.latitude_deg, camera.pose.longitude_deg) == (ORIGIN.latitude_deg, ORIGIN.longitude_deg)
    assert camera.pose.altitude_m == LENS.up_m
    assert math.radians(camera.pose.heading_deg) == pytest.approx(LENS.heading_rad, abs=1e-7)
    assert math.radians(camera.pose.pitch_deg) == pytest.approx(LENS.pitch_rad, abs=1e-7)
    # A pixel's number is its centre in the scene; a box's edge is counted from the picture's edge in the product.
    assert camera.lens.cx_px == (LENS.width_px - 1) / 2 + 0.5
    assert camera.lens.cy_px == (LENS.height_px - 1) / 2 + 0.5


def test_identities_are_private_to_the_owner(tmp_path: Path) -> None:
    device, recipient = stage.make_identities(tmp_path)
    assert PrivateIdentity.from_json(device.read_bytes()).public.name == stage.UNIT
    assert PrivateIdentity.from_json(recipient.read_bytes()).public.kind == "recipient"
    assert {path.stat().st_mode & 0o777 for path in (device, recipient)} == {0o600}


def test_the_shipped_model_is_signed_verified_and_installed(tmp_path: Path) -> None:
    said: list[str] = []
    made = stage.make_bundle(tmp_path, said.append)
    stage.install(tmp_path, made)
    (view,) = Slots(tmp_path / "state").list()
    assert (view.product, view.active) == (mission.PRODUCT, True)
    assert any("2 of 2 needed" in line for line in said)
