"""The specification's table of attacks names tests that are there, and every reason to refuse is shown somewhere."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

#: What the table must have a row for.
ATTACKS = (
    *("bit flipped", "replay", "reorder past the window", "topic move", "insider forgery", "moved HPKE box"),
    *("bad grant", "stale grant", "roll-back", "jump", "removed recipient", "counter exhaustion", "downgrade"),
    *("CBOR bombs", "suppressed frames", "forged close", "malformed recipients", "nonce used twice"),
)


@pytest.fixture(scope="session")
def table(repository: Path) -> dict[str, list[str]]:
    """Attack → tests."""
    text = (repository / "docs" / "envelope.md").read_text(encoding="utf-8").partition("## What is refused, and")[2]
    rows = re.findall(r"^\| ([^|]+) \| (`.+`) \|$", text, re.MULTILINE)
    return {attack: re.findall(r"`([^`]+)`", tests) for attack, tests in rows}


def test_every_test_that_the_table_names_is_there(repository: Path, table: dict[str, list[str]]) -> None:
    named = {name for names in table.values() for name in names}
    there = set()
    for file in {name.partition("::")[0] for name in named}:
        tree = ast.parse((repository / "tests" / file).read_text(encoding="utf-8"))
        there |= {f"{file}::{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert len(named) > 40
    assert named - there == set()


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_has_a_row(table: dict[str, list[str]], attack: str) -> None:
    assert [row for row, tests in table.items() if attack in row and tests]


def test_every_reason_of_the_specification_is_refused_by_a_test_or_a_vector(repository: Path) -> None:
    text = (repository / "docs" / "envelope.md").read_text(encoding="utf-8")
    section = text.partition("## Outcomes and refusals")[2].partition("\n## ")[0]
    reasons = set(re.findall(r"^\| `([a-z]+)` \|", section, re.MULTILINE))
    shown = {
        step["refused"]
        for path in (repository / "tests" / "golden").glob("*/envelope/*.json")
        for case in json.loads(path.read_text())["cases"]
        for step in case["steps"]
        if "refused" in step
    }
    tests = "".join(path.read_text(encoding="utf-8") for path in (repository / "tests" / "sealing").glob("test_*.py"))
    assert len(reasons) == 15
    assert {reason for reason in reasons - shown if f'"{reason}"' not in tests} == set()
