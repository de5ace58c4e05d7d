"""Every reason with which the product refuses a bundle stands in the table, and every reason of the table is used."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.bundles.reasons import REASONS

FOLDERS = ("appliance/bundles", "appliance/slots", "appliance/audit")


def test_the_table_and_the_code_agree(repository: Path) -> None:
    sources = [path for folder in FOLDERS for path in (repository / folder).glob("*.py") if path.name != "reasons.py"]
    text = "\n".join(path.read_text() for path in sources)
    named = set(re.findall(r"Refused\(\s*\"([a-z-]+)\"", text))
    assert named - set(REASONS) == set()
    unused = {reason for reason in REASONS if f'"{reason}"' not in text}
    assert unused == set()


def test_the_page_for_people_lists_every_reason_with_its_meaning(repository: Path) -> None:
    page = (repository / "docs" / "bundles.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", page, re.MULTILINE))
    assert {reason: rows.get(reason) for reason in REASONS} == REASONS
