"""Every way in which a mission file can be wrong is told with file, key and expectation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config import load_mission, mission_schema, parse_mission
from appliance.errors import ConfigError

GOOD = """\
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
name = "camera"
kind = "video"
uri = "file:clip.mp4"
model = "people"
pose = { latitude_deg = 50.8, longitude_deg = -1.1, altitude_m = 8, heading_deg = 90, pitch_deg = 10 }
lens = { width_px = 1280, height_px = 720, hfov_deg = 60 }

[[feeds]]
name = "ais"
kind = "ais"
uri = "udp:127.0.0.1:10110"

[[feeds]]
name = "inbox"
kind = "reports"
uri = "dir:inbox"
"""

#: name → (text to replace, replacement, key that must be named, word that the expectation must hold)
WRONG: dict[str, tuple[str, str, str, str]] = {
    "not TOML": ("[unit]", "[unit", "(syntax)", "TOML"),
    "no schema": ('schema = "edge-mission/1"\n', "", "schema", "edge-mission/1"),
    "another schema": ("edge-mission/1", "edge-mission/9", "schema", "edge-mission/1"),
    "a table missing": ('[bus]\nurl = "embedded"\nrecipients = ["ops.public.json"]\n', "", "bus", "table"),
    "an unknown table": ("[bus]", "[busses]\n[bus]", "busses", "bus"),
    "a misspelt key": ('kind = "ais"', 'knid = "ais"', "feeds[1].knid", "kind"),
    "unit id in capitals": ('id = "quay-01"', 'id = "Quay/#"', "unit.id", "a-z"),
    "unit id with a line feed": ('id = "quay-01"', 'id = "quay-01\\n"', "unit.id", "a-z"),
    "unit id a number": ('id = "quay-01"', "id = 7", "unit.id", "a-z"),
    "latitude past the pole": ("latitude_deg = 50.8, longitude_deg = -1.1 }", "latitude_deg = 91, longitude_deg = 0 }",
                               "unit.origin.latitude_deg", "-90 to 90"),
    "longitude a string": ("longitude_deg = -1.1 }", 'longitude_deg = "W1" }', "unit.origin.longitude_deg", "degrees"),
    "longitude missing": (", longitude_deg = -1.1 }", " }", "unit.origin.longitude_deg", "degrees"),
    "identity file absent": ('"device.json"', '"absent.json"', "unit.identity", "private identity"),
    "identity of a recipient": ('"device.json"', '"ops.json"', "unit.identity", "device"),
    "identity not a key file": ('"device.json"', '"clip.mp4"', "unit.identity", "private identity"),
    "position by an absent receiver": ('identity = "device.json"', 'identity = "device.json"\nposition = "gnss"',
                                       "unit.position", "gnss"),
    "bus url of another protocol": ('url = "embedded"', 'url = "http://broker"', "bus.url", "mqtts://"),
    "bus port too high": ('url = "embedded"', 'url = "mqtt://127.0.0.1:99999"', "bus.url", "65535"),
    "embedded broker outside a demo": ("demo = true\n", "", "bus.url", "demo = true"),
    "embedded broker, demo denied": ("demo = true", "demo = false", "bus.url", "demo = true"),
    "embedded port zero": ('url = "embedded"', 'url = "embedded:0"', "bus.url", "port"),
    "plain bus off this machine": ('url = "embedded"', 'url = "mqtt://10.0.0.9"', "bus.url", "mqtts://"),
    "mqtts without certificate": ('url = "embedded"', 'url = "mqtts://10.0.0.9"', "bus.certificate", "PEM"),
    "certificate without mqtts": ('url = "embedded"', 'url = "embedded"\nca = "ca.pem"', "bus.ca", "mqtts"),
    "no recipients": ('["ops.public.json"]', "[]", "bus.recipients", "1 to 64"),
    "recipient absent": ('["ops.public.json"]', '["nobody.json"]', "bus.recipients[0]", "public identity"),
    "recipient twice": ('["ops.public.json"]', '["ops.public.json", "ops.public.json"]', "bus.recipients[1]", "once"),
    "recipient in two views": (
        '["ops.public.json"]',
        '["ops.public.json"]\nposition_only = ["ops.public.json"]',
        "bus.position_only[0]",
        "once",
    ),
    "recipient by two ways": (
        '["ops.public.json"]',
        '["ops.public.json"]\nposition_only = ["./ops.public.json"]',
        "bus.position_only[0]",
        "once",
    ),
    "recipient of positions absent": (
        '["ops.public.json"]',
        '["ops.public.json"]\nposition_only = ["nobody.json"]',
        "bus.position_only[0]",
        "public identity",
    ),
    "an epoch of a second": ('["ops.public.json"]', '["ops.public.json"]\nepoch_max_s = 1', "bus.epoch_max_s", "60"),
    "recipient is a device": ('["ops.public.json"]', '["device.public.json"]', "bus.recipients[0]", "recipient"),
    "resend window negative": ('url = "embedded"', 'url = "embedded"\nresend_window_s = -1', "bus.resend_window_s",
                               "seconds"),
    "no feeds": (GOOD[GOOD.index("[[feeds]]"):], "", "feeds", "1 to 64"),
    "feeds a table": (GOOD[GOOD.index("[[feeds]]"):], "[feeds]\n", "feeds", "1 to 64"),
    "feed kind unknown": ('kind = "ais"', 'kind = "sonar"', "feeds[1].kind", "radar"),
    "feed name twice": ('name = "inbox"', 'name = "ais"', "feeds[2].name", "once"),
    "feed uri without scheme": ("udp:127.0.0.1:10110", "somewhere", "feeds[1].uri", ""),
    "feed uri of a wrong scheme": ("udp:127.0.0.1:10110", "rtsp://10.0.0.5/live", "feeds[1].uri", "udp:"),
    "feed uri port not a number": ("udp:127.0.0.1:10110", "udp:127.0.0.1:x", "feeds[1].uri", "port"),
    "video file absent": ("file:clip.mp4", "file:none.mp4", "feeds[0].uri", "file"),
    "inbox absent": ("dir:inbox", "dir:outbox", "feeds[2].uri", "directory"),
    "pace unknown": ('uri = "file:clip.mp4"', 'uri = "file:clip.mp4"\npace = "slow"', "feeds[0].pace", "fast"),
    "fast beside live": ('uri = "file:clip.mp4"', 'uri = "file:clip.mp4"\npace = "fast"', "feeds[1].uri", "file:"),
    "fast without a start": ('uri = "file:clip.mp4"', 'uri = "file:clip.mp4"\npace = "fast"', "feeds[0].start",
                             "date-time"),
    "start without an offset": ('uri = "file:clip.mp4"', 'uri = "file:clip.mp4"\nstart = 2026-01-31T12:00:00',
                                "feeds[0].start", "offset"),
    "start not a time": ('uri = "file:clip.mp4"', 'uri = "file:clip.mp4"\nstart = "soon"', "feeds[0].start",
                         "date-time"),
    "capacity zero": ('uri = "dir:inbox"', 'uri = "dir:inbox"\ncapacity = 0', "feeds[2].capacity", "1 to"),
    "video without a model": ('model = "people"\n', "", "feeds[0].model", "[[models]]"),
    "video with an unknown model": ('model = "people"', 'model = "cars"', "feeds[0].model", "[[models]]"),
    "model that nobody uses": ("[[models]]", '[[models]]\nname = "spare"\nbundle = "acme/spare"\n\n[[models]]',
                               "models[0].name", "video feed"),
    "model bundle without a slash": ('"acme/people"', '"people"', "models[0].bundle", "INTEGRATOR/PRODUCT"),
    "model provider unknown": ('bundle = "acme/people"', 'bundle = "acme/people"\nproviders = ["npu"]',
                               "models[0].providers", "cuda"),
    "model threads zero": ('bundle = "acme/people"', 'bundle = "acme/people"\nthreads = 0', "models[0].threads", "1"),
    "camera without a pose": ("pose = { latitude_deg = 50.8, longitude_deg = -1.1, altitude_m = 8, heading_deg = 90, "
                              "pitch_deg = 10 }\n", "", "feeds[0].pose", "camera"),
    "camera without a lens": ("lens = { width_px = 1280, height_px = 720, hfov_deg = 60 }\n", "", "feeds[0].lens",
                              "intrinsics"),
    "heading of 360": ("heading_deg = 90", "heading_deg = 360", "feeds[0].pose.heading_deg", "0 to 360"),
    "camera under ground": ("altitude_m = 8", "altitude_m = -8", "feeds[0].pose.altitude_m", "above"),
    "lens with neither view nor focal length": (", hfov_deg = 60", "", "feeds[0].lens", "hfov_deg"),
    "lens with both": ("hfov_deg = 60", "hfov_deg = 60, fx_px = 900, fy_px = 900", "feeds[0].lens", "hfov_deg"),
    "lens with one focal length": ("hfov_deg = 60", "fx_px = 900", "feeds[0].lens", "fy_px"),
    "lens centre outside": ("hfov_deg = 60", "hfov_deg = 60, cx_px = 5000", "feeds[0].lens.cx_px", "1280"),
    "lens width zero": ("width_px = 1280", "width_px = 0", "feeds[0].lens.width_px", "pixels"),
    "too many distortion terms": ("hfov_deg = 60", "hfov_deg = 60, distortion = [0, 0, 0, 0, 0, 0]",
                                  "feeds[0].lens.distortion", "five"),
    "a lens on an AIS receiver": ('uri = "udp:127.0.0.1:10110"',
                                  'uri = "udp:127.0.0.1:10110"\nlens = { width_px = 64, height_px = 64 }',
                                  "feeds[1].lens", "no lens"),
    "a site on an inbox": ('uri = "dir:inbox"', 'uri = "dir:inbox"\nsite = { latitude_deg = 1, longitude_deg = 1 }',
                           "feeds[2].site", "no site"),
    "a probability of one": ('uri = "udp:127.0.0.1:10110"',
                             'uri = "udp:127.0.0.1:10110"\nsensing = { detection_probability = 1 }',
                             "feeds[1].sensing.detection_probability", "between 0 and 1"),
    "picture interval zero": ("[bus]", "[picture]\ninterval_s = 0\n[bus]", "picture.interval_s", "seconds"),
    "recording into a file": ("[bus]", '[record]\npath = "clip.mp4"\n[bus]', "record.path", "directory"),
    "state in a file": ('identity = "device.json"', 'identity = "device.json"\nstate = "clip.mp4"', "unit.state",
                        "directory"),
    "a named place off the map": ("[bus]", "[places.mole]\nlatitude_deg = 95\nlongitude_deg = 0\n[bus]",
                                  "places.mole.latitude_deg", "-90 to 90"),
}  # fmt: skip


@pytest.fixture
def folder(mission_folder: Callable[[], Path]) -> Path:
    return mission_folder()


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_mission_is_refused_with_file_key_and_expectation(name: str, folder: Path) -> None:
    old, new, key, expected = WRONG[name]
    assert old in GOOD, "the fault must change the good mission"
    path = folder / "mission.toml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_mission(path)
    faults = {fault.key: fault for fault in caught.value.faults}
    assert key in faults, str(caught.value)
    assert faults[key].file == str(path)
    assert expected in faults[key].expected
    assert caught.value.exit_code == 2


def test_the_good_mission_is_accepted(folder: Path) -> None:
    path = folder / "mission.toml"
    path.write_text(GOOD, encoding="utf-8")
    loaded = load_mission(path)
    assert [feed.name for feed in loaded.mission.feeds] == ["camera", "ais", "inbox"]
    assert len(loaded.digest) == 96
    assert loaded.resolve("device.json") == folder / "device.json"


def test_every_fault_is_told_at_once(folder: Path) -> None:
    text = GOOD.replace("quay-01", "QUAY").replace("heading_deg = 90", "heading_deg = 999").replace("udp:", "carrier:")
    with pytest.raises(ConfigError) as caught:
        parse_mission(text, folder / "m.toml")
    assert {"unit.id", "feeds[0].pose.heading_deg"} <= {fault.key for fault in caught.value.faults}


def test_a_fault_names_the_line(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_mission(GOOD.replace('kind = "ais"', 'kind = "sonar"'), folder / "m.toml")
    line = 1 + GOOD.splitlines().index('kind = "ais"')
    assert [fault.line for fault in caught.value.faults] == [line]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * 1_000_001], ids=["not UTF-8", "too large"])
def test_a_file_that_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mission.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="mission file"):
        load_mission(path)


def test_an_absent_mission_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_mission(tmp_path / "none.toml")


def test_the_schema_names_every_table() -> None:
    schema = mission_schema()
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    assert {"Unit", "Bus", "FeedTable", "Model", "Pose", "Lens"} <= set(definitions)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('identity = "device.json"', 'identity = "a\\u0000b"', "unit.identity"),
        ('["ops.public.json"]', '["a\\u0000b"]', "bus.recipients"),
        ('identity = "device.json"', 'identity = "loop"', "unit.identity"),
        ("file:clip.mp4", "file:" + "a" * 1000, "feeds[0].uri"),
        ("file:clip.mp4", "file:loop", "feeds[0].uri"),
        ('url = "embedded"', 'url = "mqtts://h:²"', "bus.url"),
        ('url = "embedded"', 'url = "mqtts://:8883"', "bus.url"),
        ("hfov_deg = 60", "hfov_deg = 60, distortion = [nan]", "feeds[0].lens.distortion"),
        ("hfov_deg = 60", "fx_px = 1e-300, fy_px = 1e-300", "feeds[0].lens.fx_px"),
        ("width_px = 1280", "width_px = " + "9" * 5000, "(syntax)"),
        ("[unit]", "x = " + "[" * 20_000 + "\n[unit]", "(syntax)"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_no_file_system_or_parser_takes_is_a_fault_and_no_crash(
    old: str, new: str, key: str, mission_folder: Callable[[], Path]
) -> None:
    folder = mission_folder()
    (folder / "loop").symlink_to("loop")
    with pytest.raises(ConfigError) as caught:
        parse_mission(GOOD.replace(old, new, 1), folder / "m.toml")
    assert key in {fault.key for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("udp:127.0.0.1:10110", "rtsp://bob:hunter2@camera/x"),
        ('url = "embedded"', 'url = "mqtts://bob:hunter2@broker"'),
        ("file:clip.mp4", "rtsp://bob:hunter2@camera/" + "x" * 1100),
    ],
    ids=["scheme", "bus", "length"],
)
def test_no_fault_shows_a_password(old: str, new: str, mission_folder: Callable[[], Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_mission(GOOD.replace(old, new, 1), mission_folder() / "m.toml")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["mqtt://[::1]", "mqtt://[::1]:1883", "mqtt://localhost", "embedded:1884"])
def test_every_way_to_write_this_machine_is_right(url: str, mission_folder: Callable[[], Path]) -> None:
    parse_mission(GOOD.replace('url = "embedded"', f'url = "{url}"'), mission_folder() / "m.toml")


def test_a_key_of_thousands_of_parts_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dots"):
        parse_mission(".".join(["a"] * 50_000) + " = 1", tmp_path / "m.toml")
