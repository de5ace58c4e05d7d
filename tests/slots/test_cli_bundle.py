"""``appliance bundle`` as a person and a script meet it: lines, one JSON object, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import call

PRODUCT = "acme/people"


def _run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = call(["bundle", *(str(word) for word in words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_from_a_new_device_to_a_release_in_service(capsys: Any, made: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    one, two = made.folder / "one", made.folder / "two"
    code, out, _ = _run(capsys, "trust", made.fleet.anchor, "--unit", "unit-1", "--group", "north", "--state", state)
    assert code == 0
    assert "2 of 3 keys signed, 2 needed" in out
    code, out, _ = _run(capsys, "verify", one, PRODUCT, "--state", state)
    assert code == 0
    assert out.count("  signers: ") == 5
    assert out.count("SHA-384") == 6
    code, out, err = _run(capsys, "install", one, PRODUCT, "--state", state)
    assert (code, out.splitlines()[-1].endswith("in slot a")) == (0, True)
    assert "100 %" in err
    code, out, _ = _run(capsys, "install", two, PRODUCT, "--state", state, "--json")
    assert code == 0
    body = json.loads(out)
    assert (body["installed"], body["slot"], body["version"], len(body["signers"])) == (True, "b", "2.0.0", 5)
    code, out, _ = _run(capsys, "list", "--state", state)
    assert out.splitlines() == [
        f"{PRODUCT} slot a: version 1.0.0 #1, inactive",
        f"{PRODUCT} slot b: version 2.0.0 #2, active",
    ]
    code, out, _ = _run(capsys, "rollback", PRODUCT, "--state", state)
    assert "version 1.0.0 #1 is in service in slot a" in out
    code, out, _ = _run(capsys, "activate", PRODUCT, "--state", state, "--json")
    assert json.loads(out)["version"] == "2.0.0"
    code, out, _ = _run(capsys, "confirm", PRODUCT, "--state", state, "--json")
    assert json.loads(out)["confirmed"]
    code, out, err = _run(capsys, "install", one, PRODUCT, "--state", state, "--json")
    assert (code, out) == (3, "")
    assert "[rollback]" in err


def test_a_stick_is_looked_into_without_believing_it(capsys: Any, bench: Any, two: Path) -> None:
    (two / "m" / "timestamp.json").write_bytes(b"{}")
    code, out, _ = _run(capsys, "inspect", two)
    assert code == 0
    assert "nothing of this is verified" in out
    assert f"claims {PRODUCT} version 2.0.0 #2" in out
    assert "unreadable m/timestamp.json" in out
    code, out, _ = _run(capsys, "inspect", two, "--json")
    assert [release["version"] for release in json.loads(out)["releases"]] == ["2.0.0"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("install", "nowhere", PRODUCT), 4, "no stick at"),
        (("verify", "nowhere", PRODUCT), 4, "no stick at"),
        (("inspect", "nowhere"), 4, "no stick at"),
        (("rollback", PRODUCT), 3, "[slot-empty]"),
        (("activate", PRODUCT), 3, "[slot-empty]"),
        (("confirm", PRODUCT), 3, "[slot-empty]"),
        (("activate", "nonsense"), 3, "[no-such-product]"),
        (("trust", "nowhere"), 2, "nowhere"),
        (("install",), 2, "[usage]"),
        (("juggle",), 2, "[usage]"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code(
    capsys: Any, made: Any, tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    call(["bundle", "trust", str(made.fleet.anchor), "--state", str(tmp_path / "state")])
    options = () if words[0] in ("inspect", "juggle") else ("--state", tmp_path / "state")
    found, _, err = _run(capsys, *words, *options)
    assert found == code
    assert says in err


def test_a_device_without_a_root_says_what_to_do(capsys: Any, two: Path, tmp_path: Path) -> None:
    code, _, err = _run(capsys, "install", two, PRODUCT, "--state", tmp_path / "state")
    assert code == 3
    assert "appliance bundle trust" in err


def test_a_state_folder_that_cannot_be_made_is_a_refusal_and_no_crash(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = _run(capsys, "list", "--state", tmp_path / "file" / "state")
    assert code == 3
    assert "[storage]" in err


def test_an_empty_device_lists_nothing(capsys: Any, tmp_path: Path) -> None:
    code, out, _ = _run(capsys, "list", "--state", tmp_path / "state")
    assert (code, out) == (0, "nothing is installed\n")


def test_a_unit_name_that_cannot_be_is_bad_usage(capsys: Any, made: Any, tmp_path: Path) -> None:
    code, _, err = _run(capsys, "trust", made.fleet.anchor, "--unit", "a/b", "--state", tmp_path / "state")
    assert code == 2
    assert "letters, digits" in err
