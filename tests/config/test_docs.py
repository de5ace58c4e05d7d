"""The mission in the manual is one that the check accepts, but for the files that it names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from appliance.config.check import sense_faults
from appliance.config.faults import faults_of
from appliance.config.mission import FeedTable, Mission
from appliance.feeds.uris import SCHEMES


def manual(repository: Path) -> str:
    return (repository / "docs" / "mission.md").read_text(encoding="utf-8")


def test_the_example_of_the_manual_is_right(repository: Path, tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", manual(repository), re.DOTALL)
    assert example is not None
    raw = tomllib.loads(example[1])
    assert faults_of(Mission, raw, file="docs/mission.md") == []
    mission = msgspec.convert(raw, Mission)
    faults = sense_faults(mission, file="docs/mission.md", resolve=lambda name: tmp_path / name)
    assert {fault.key for fault in faults} == {
        "unit.identity",
        "bus.recipients[0]",
        "bus.position_only[0]",
        "bus.ca",
        "bus.certificate",
        "bus.key",
        "feeds[3].uri",
    }, "only files that are not there"


def test_the_manual_lists_every_kind_of_feed_with_its_schemes(repository: Path) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", manual(repository), re.MULTILINE))
    assert set(rows) == set(SCHEMES)
    for kind, schemes in SCHEMES.items():
        assert re.findall(r"`(\w+):`", rows[kind]) == list(schemes)


def test_the_manual_names_every_key_of_a_feed(repository: Path) -> None:
    text = manual(repository)
    assert [name for name in FeedTable.__struct_fields__ if f"`{name}`" not in text and f"{name} =" not in text] == []
