"""Recipients put in and out of a running unit, by the commands and files that a person uses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import call
from appliance.config import load_mission
from appliance.daemon.recipients import Roster
from appliance.errors import IdentityRefused
from appliance.sealing import generate
from tests.support.brokers import until

FEEDS = """
[[feeds]]
name = "beacons"
kind = "plots"
uri = "file:plots.jsonl"
"""
SECRETS = (b"evidence", b"identities", b"235000007", b"existence", b"receipt", b"says", b"sources")


@pytest.fixture
def mission(house: Any, plots: Any) -> Path:
    plots(house.folder, 20_000, 60.0)
    path: Path = house.write_mission("mqtt://127.0.0.1:1883", FEEDS)
    return path


def recipients(path: Path, value: str) -> None:
    """Replace the mission's recipients, whole or not at all."""
    text = path.read_text().splitlines()
    lines = [f"recipients = {value}" if line.startswith("recipients") else line for line in text]
    new = path.with_name("new")
    new.write_text("\n".join(lines) + "\n")
    new.replace(path)


def test_a_recipient_is_put_out_of_a_running_unit_and_no_result_is_lost(
    house: Any, mosquitto: Any, mission: Path
) -> None:
    house.write_mission(mosquitto.url, FEEDS)
    recipients(mission, '["ops.public.json", "stranger.public.json"]')
    ops, other = house.listen(mosquitto.url), house.listen(mosquitto.url, "stranger")
    until(lambda: all("listening" in house.log_of(reader) for reader in (ops, other)), 30)
    daemon = house.run_daemon()
    until(lambda: len(house.results(other)) > 5, 60)
    good = mission.read_text()
    mission.write_text(good[: len(good) // 2])
    until(lambda: any("those in force stay" in str(body["sick"]) for body in statuses(house, ops)), 30)
    mission.write_text(good)
    recipients(mission, '["ops.public.json"]')
    daemon.send_signal(signal.SIGHUP)
    until(lambda: "epoch" in house.log_of(daemon) and "(recipients)" in house.log_of(daemon), 30)
    until(lambda: len({body["epoch"] for body in house.results(ops)}) == 2, 30)
    summary = house.end(daemon)
    until(lambda: len(house.results(ops)) >= summary["sealed"], 60)
    until(lambda: house.log_of(ops).count("results came, as the unit signed") == 2, 30)
    epochs = sorted({body["epoch"] for body in house.results(ops)})
    assert {body["epoch"] for body in house.results(other)} == {epochs[0]}
    ops_only, both = (named(house, *names) for names in (("ops",), ("ops", "stranger")))
    lines = [json.loads(line) for line in (house.folder / "state" / "audit" / "log.jsonl").read_text().splitlines()]
    assert [line["recipients"] for line in lines if "recipients" in line] == [both, ops_only], "the audit log says who"


def named(house: Any, *names: str) -> list[str]:
    """How the audit log names these recipients."""
    files = ((house.folder / f"{name}.public.json").read_text() for name in names)
    return [f"full {json.loads(text)['fingerprint']}" for text in files]


def test_a_position_only_recipient_of_a_unit_never_gets_more(house: Any, mosquitto: Any, mission: Path) -> None:
    house.write_mission(mosquitto.url, FEEDS)
    mission.write_text(mission.read_text().replace("resend", 'position_only = ["stranger.public.json"]\nresend', 1))
    ops, tower = house.listen(mosquitto.url), house.listen(mosquitto.url, "stranger")
    until(lambda: all("listening" in house.log_of(reader) for reader in (ops, tower)), 30)
    daemon = house.run_daemon()
    until(lambda: len(house.results(tower)) > 25, 60)  # each of the twenty vessels was told
    summary = house.end(daemon)
    until(lambda: len(house.results(ops)) + len(house.results(tower)) >= summary["sealed"], 60)
    assert {body["schema"] for body in house.results(tower)} == {"edge/position/1"}
    seen = house.out_of(tower).encode()
    assert not [secret for secret in SECRETS if secret in seen]
    assert all(secret in house.out_of(ops).encode() for secret in SECRETS[:3])
    entities = [body for body in house.results(ops) if body["schema"] == "edge/entity/1"]
    assert len(entities) == len(house.results(tower)), "one position for each entity told"


@pytest.fixture
def roster(house: Any, mission: Path) -> Roster:
    made = Roster(load_mission(mission), house.folder / "state" / "recipients")
    made.read()
    return made


def names(roster: Roster) -> list[str] | None:
    members = roster.changed()
    return None if members is None else [who.name for who in members.by_view["full"]]


def test_files_that_stay_are_not_read_again_unless_somebody_asks(roster: Roster) -> None:
    assert names(roster) is None
    roster.look_again()
    assert names(roster) == ["ops"]
    assert names(roster) is None


def test_a_public_identity_that_was_replaced_is_seen(house: Any, roster: Roster) -> None:
    (house.folder / "ops.public.json").write_text(generate("recipient", "ops-2").public.to_json())
    assert names(roster) == ["ops-2"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("mission.toml", "schema ="),
        ("mission.toml", 'schema = "edge-mission/2"'),
        ("ops.public.json", "{}"),
        ("ops.public.json", "DEVICE"),
        ("ops.public.json", None),
    ],
    ids=["half a mission", "another mission", "no identity", "a device's", "absent"],
)
def test_what_cannot_be_read_changes_nothing_and_is_told(
    house: Any, mission: Path, roster: Roster, file: str, content: str | None
) -> None:
    path = house.folder / file
    before = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        device = (house.folder / "device.public.json").read_text()
        path.write_text(device if content == "DEVICE" else content)
    assert names(roster) is None
    assert roster.trouble is not None
    assert roster.trouble.startswith("recipients: not read again, those in force stay")
    path.write_bytes(before)
    os.utime(path, ns=(1, 1))
    assert names(roster) == ["ops"]
    assert roster.trouble is None


def test_two_keys_of_one_recipient_are_one_recipient_twice(house: Any, mission: Path) -> None:
    """A mission that names the identity before a rotation and the one after: both are sealed to as the newest."""
    before = (house.folder / "ops.public.json").read_bytes()
    announcement = rotate(house)
    (house.folder / "before.public.json").write_bytes(before)
    (house.folder / "before.successor.json").write_bytes(announcement)
    recipients(mission, '["before.public.json", "ops.public.json"]')
    roster = Roster(load_mission(mission), house.folder / "state" / "recipients")
    with pytest.raises(IdentityRefused, match="stands twice"):
        roster.read()


def test_a_recipient_that_cannot_be_read_at_the_start_stops_the_start(house: Any, mission: Path) -> None:
    roster = Roster(load_mission(mission), house.folder / "state" / "recipients")
    (house.folder / "ops.public.json").write_text("{}")
    with pytest.raises(IdentityRefused, match="malformed"):
        roster.read()


def statuses(house: Any, reader: Any) -> list[dict[str, Any]]:
    return [body for body in house.results(reader) if body["schema"] == "edge/status/1"]


# ---- the next key of a recipient


def rotate(house: Any, who: str = "ops") -> bytes:
    """Give a recipient its next key, in its own folder; the announcement."""
    assert call(["keys", "rotate", str(house.folder / f"{who}.json")]) == 0
    announcement: Path = house.folder / f"{who}.successor.json"
    return announcement.read_bytes()


@pytest.fixture
def unit(house: Any, mission: Path) -> Path:
    """The unit's own copy of what it was given when the recipient was put in."""
    public = house.folder / "given" / "ops.public.json"
    public.parent.mkdir()
    public.write_bytes((house.folder / "ops.public.json").read_bytes())
    recipients(mission, '["given/ops.public.json"]')
    return public.with_name("ops.successor.json")


def taken(house: Any, mission: Path) -> tuple[str, str | None]:
    """What a unit that starts now seals to, and what it says of the recipients' files."""
    roster = Roster(load_mission(mission), house.folder / "state" / "recipients")
    (who,) = roster.read().by_view["full"]
    return who.fingerprint, roster.trouble


def test_a_running_unit_takes_the_next_key_by_itself_and_the_listener_misses_nothing(
    house: Any, mosquitto: Any, mission: Path, unit: Path
) -> None:
    house.write_mission(mosquitto.url, FEEDS)
    recipients(mission, '["given/ops.public.json"]')
    first = house.listen(mosquitto.url)
    until(lambda: "listening" in house.log_of(first), 30)
    daemon = house.run_daemon()
    until(lambda: len(house.results(first)) > 5, 60)
    announcement = rotate(house)
    first.terminate()
    first.wait(30)
    unit.write_bytes(announcement)
    until(lambda: "(recipients)" in house.log_of(daemon), 30)
    both = house.listen(mosquitto.url)
    until(lambda: len({body["epoch"] for body in house.results(both)}) == 2, 30)
    summary = house.end(daemon)
    until(lambda: len(house.results(first)) + len(house.results(both)) >= summary["sealed"], 60)
    shown = [(body["epoch"], body["counter"]) for body in (*house.results(first), *house.results(both))]
    assert len(set(shown)) == len(shown) == summary["sealed"], "each result once, over both keys"


def test_an_old_announcement_brings_no_old_key_back(house: Any, mission: Path, unit: Path) -> None:
    given = taken(house, mission)
    old = rotate(house)
    unit.write_bytes(rotate(house))
    newest = json.loads((house.folder / "ops.public.json").read_text())["fingerprint"]
    assert taken(house, mission) == (newest, None)
    unit.write_bytes(old)
    found, trouble = taken(house, mission)
    assert found == newest
    assert trouble is not None
    assert "[stale]" in trouble
    unit.unlink()
    assert taken(house, mission) == (newest, None), "what was taken is kept"
    assert newest != given[0]


@pytest.mark.parametrize(
    ("who", "reason"), [("stranger", "successor"), ("device", "malformed"), ("garbage", "malformed")]
)
def test_an_announcement_of_somebody_else_changes_nothing_and_stops_nothing(
    house: Any, mission: Path, unit: Path, who: str, reason: str
) -> None:
    before = taken(house, mission)[0]
    if who == "stranger":
        unit.write_bytes(rotate(house, "stranger"))
    else:
        unit.write_bytes((house.folder / "device.public.json").read_bytes() if who == "device" else b"\xff" * 100_000)
    found, trouble = taken(house, mission)
    assert found == before
    assert trouble is not None
    assert f"[{reason}]" in trouble
    assert not (house.folder / "state" / "recipients").exists()


def test_a_damaged_record_of_what_was_taken_is_refused_rather_than_forgotten(
    house: Any, mission: Path, unit: Path
) -> None:
    unit.write_bytes(rotate(house))
    taken(house, mission)
    (record,) = (house.folder / "state" / "recipients").iterdir()
    record.write_bytes(record.read_bytes()[:-100])
    with pytest.raises(IdentityRefused, match="malformed"):
        taken(house, mission)


def test_a_device_does_not_rotate(house: Any) -> None:
    assert call(["keys", "rotate", str(house.folder / "device.json")]) == 3
    assert not (house.folder / "device.former").exists()
