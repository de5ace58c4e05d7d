"""``appliance camera calibrate``: from a table of points, from a recording, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from appliance.cli import call
from appliance.config import load_mission
from appliance.daemon.plan import camera_model
from appliance.geodesy import offset
from appliance.tracking.camera import CameraModel, project

MISSION = """
schema = "edge-mission/1"
[unit]
id = "quay-01"
origin = { latitude_deg = 50.8, longitude_deg = -1.1 }
identity = "device.json"
demo = true
[bus]
url = "embedded"
recipients = ["ops.public.json"]
[[models]]
name = "people"
bundle = "acme/people"
[[feeds]]
name = "mast"
kind = "video"
uri = "rtsp://10.0.0.21/stream"
model = "people"
pose = { latitude_deg = 50.8, longitude_deg = -1.1, altitude_m = 18, heading_deg = HEADING, pitch_deg = PITCH, roll_deg = ROLL, sigma_position_m = 0.2 }
lens = { width_px = 1280, height_px = 720, hfov_deg = 60 }
"""  # noqa: E501 - a mission as people write it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert call(["keys", "new", "device", "quay-01", "--out", str(tmp_path / "device.json")]) == 0
    assert call(["keys", "new", "recipient", "ops", "--out", str(tmp_path / "ops.json")]) == 0
    for name, numbers in (("truth", ("80", "6", "1.5")), ("mission", ("0", "0", "0"))):
        text = MISSION
        for word, number in zip(("HEADING", "PITCH", "ROLL"), numbers, strict=True):
            text = text.replace(word, number)
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def camera_of(path: Path) -> CameraModel:
    (feed,) = load_mission(path).mission.feeds
    assert feed.pose is not None
    assert feed.lens is not None
    return camera_model(feed.pose, feed.lens)


def points(folder: Path) -> Path:
    truth, rows = camera_of(folder / "truth.toml"), ["x_px,y_px,latitude_deg,longitude_deg,sigma_m,name"]
    for i in range(10):
        place = offset(truth.pose, math.radians(62 + 4 * i), 110.0 + 90.0 * (i * 7 % 10))
        ((x, y),), _ = project(place.latitude_deg, place.longitude_deg, 0.0, truth)
        rows.append(f"{x:.2f},{y:.2f},{place.latitude_deg:.7f},{place.longitude_deg:.7f},0.1,buoy {i}")
    (folder / "points.csv").write_text("\n".join(rows) + "\n")
    return folder / "points.csv"


def test_known_points_give_a_pose_that_the_mission_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(["camera", "calibrate", "mast", "--mission", str(folder / "mission.toml"), "--points", str(points(folder))])
    out = capsys.readouterr()
    line = next(line for line in out.out.splitlines() if line.startswith("pose = "))
    text = (folder / "mission.toml").read_text().splitlines()
    pasted = "\n".join(line if row.startswith("pose = ") else row for row in text)
    (folder / "again.toml").write_text(pasted)
    again, truth = camera_of(folder / "again.toml"), camera_of(folder / "truth.toml")
    assert math.degrees(again.heading_rad) == pytest.approx(80.0, abs=0.01)
    assert math.degrees(again.pitch_rad) == pytest.approx(6.0, abs=0.01)
    assert math.degrees(again.roll_rad) == pytest.approx(1.5, abs=0.02)
    assert again.sigma_heading_rad < math.radians(0.3) < truth.sigma_heading_rad * 1.01
    assert "10 of 10 points agree" in out.err


def test_with_json_it_gives_covariance_and_residuals(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--mission", str(folder / "mission.toml"), "--points", str(points(folder)), "--json", "--focal"]
    capsys.readouterr()
    assert call(["camera", "calibrate", "mast", *arguments]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["schema"] == "edge/calibration/1"
    assert [len(row) for row in body["covariance"]] == [4] * 4
    assert len(body["residuals_px"]) == body["points"] == body["used"] == 10
    assert body["lens"]["fx_px"] == pytest.approx(camera_of(folder / "truth.toml").fx_px, rel=1e-3)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("x_px,y_px,latitude_deg,longitude_deg\n1,2,50.8,-1.1\n", "geometry"),
        ("x_px,y_px,latitude_deg\n1,2,50.8\n", "longitude_deg"),
        ("x_px,y_px,latitude_deg,longitude_deg\n1,2,95,-1.1\n", "points.csv:2"),
        ("x_px,y_px,latitude_deg,longitude_deg,hight_m\n1,2,50,-1.1,3\n", "hight_m"),
        ("x_px,y_px,latitude_deg,longitude_deg\n1,2,50,-1.1,3\n", "points.csv:2"),
    ],
)
def test_a_bad_table_is_bad_usage_with_its_line(
    rows: str, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "points.csv").write_text(rows)
    code = call(["camera", "calibrate", "mast", "--mission", str(folder / "mission.toml"), "--points",
                 str(folder / "points.csv")])  # fmt: skip
    assert code == 2
    assert says in capsys.readouterr().err


def test_it_wants_points_or_a_recording_and_a_camera_that_is_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["camera", "calibrate", "mast"]) == 2
    assert "expected --mission with --points, or --recording" in capsys.readouterr().err
    mission = str(folder / "mission.toml")
    assert call(["camera", "calibrate", "bow", "--mission", mission, "--points", str(points(folder))]) == 2
    assert "named 'bow'" in capsys.readouterr().err
