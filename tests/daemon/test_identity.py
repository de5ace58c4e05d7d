"""A unit whose secret is in a token: checked without the token, run with it, refused without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.cli import call
from appliance.config import load_mission
from appliance.daemon import Daemon
from appliance.errors import ConfigError, IdentityRefused, UsageError
from appliance.sealing import generate
from tests.support.tokens import Hsm

FEED = '\n[[feeds]]\nname = "reports"\nkind = "reports"\nuri = "dir:inbox"\n'


@pytest.fixture
def mission(house: Any) -> Path:
    path: Path = house.write_mission("mqtt://127.0.0.1:1883", FEED)
    return path


def test_a_unit_signs_with_the_secret_of_its_token(hsm: Hsm, house: Any, mission: Path) -> None:
    before = Daemon(load_mission(mission))._identity()
    assert call(["keys", "lock", str(house.folder / "device.json"), "--token", hsm.uri("unit")]) == 0
    assert '"seeds"' not in (house.folder / "device.json").read_text()
    assert Daemon(load_mission(mission))._identity() == before


def test_a_mission_is_checked_where_the_token_is_not_and_does_not_run_there(
    hsm: Hsm, house: Any, mission: Path
) -> None:
    call(["keys", "lock", str(house.folder / "device.json"), "--token", hsm.uri("unit")])
    path = house.folder / "device.json"
    path.write_text(path.read_text().replace("token=edge", "token=away"))
    assert call(["check", str(mission)]) == 0
    with pytest.raises(IdentityRefused, match="expected one with token 'away'; found 0"):
        Daemon(load_mission(mission))._identity()


def test_a_unit_whose_secret_asks_for_a_passphrase_is_a_fault_of_the_mission(house: Any, mission: Path) -> None:
    (house.folder / "device.json").write_text(generate("device", "quay-01").to_json("correct horse"))
    with pytest.raises(ConfigError, match="which a daemon has nobody to ask for"):
        load_mission(mission)


def test_an_identity_that_goes_away_between_the_check_and_the_start_is_told_by_its_path(
    house: Any, mission: Path
) -> None:
    daemon = Daemon(load_mission(mission))
    (house.folder / "device.json").unlink()
    with pytest.raises(
        UsageError, match=r"device\.json: expected the unit's identity, readable by the daemon; No such"
    ):
        daemon._identity()
