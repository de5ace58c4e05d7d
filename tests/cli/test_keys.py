from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.cli import call
from appliance.sealing import PrivateIdentity, PublicIdentity


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert call(["keys", "new", "device", "quay-01", "--out", str(tmp_path / "device.json")]) == 0
    assert call(["keys", "new", "recipient", "ops", "--out", str(tmp_path / "ops.json")]) == 0
    capsys.readouterr()
    return tmp_path


def test_a_new_identity_has_a_secret_for_us_and_a_public_half_for_others(made: Path) -> None:
    private = PrivateIdentity.from_json((made / "device.json").read_text())
    public = PublicIdentity.from_json((made / "device.public.json").read_text())
    assert private.public == public
    assert (made / "device.json").stat().st_mode & 0o777 == 0o600


def test_an_identity_is_never_written_over(made: Path) -> None:
    before = (made / "device.json").read_bytes()
    assert call(["keys", "new", "device", "quay-01", "--out", str(made / "device.json")]) == 2
    assert (made / "device.json").read_bytes() == before


def test_show_tells_the_fingerprint_of_either_half(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prints = set()
    for name in ("device.json", "device.public.json"):
        assert call(["keys", "show", str(made / name), "--json"]) == 0
        prints.add(json.loads(capsys.readouterr().out)["fingerprint"])
    assert len(prints) == 1


def test_a_secret_is_locked_by_a_passphrase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pass").write_text("correct horse\n")
    arguments = ["keys", "new", "recipient", "ops", "--out", str(tmp_path / "o.json")]
    assert call([*arguments, "--passphrase-file", str(tmp_path / "pass")]) == 0
    locked = (tmp_path / "o.json").read_text()
    assert PrivateIdentity.from_json(locked, "correct horse").public.name == "ops"
    assert '"seeds"' not in locked


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xff", b"[" * 9000], ids=["empty", "no keys", "binary", "deep"])
def test_a_file_that_is_no_identity_is_refused_with_exit_3(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert call(["keys", "show", str(tmp_path / "x.json")]) == 3


def test_an_absent_file_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["keys", "show", str(tmp_path / "none.json")]) == 2
    assert "expected a readable file" in capsys.readouterr().err


def test_trust_keeps_a_unit_beside_the_identity(made: Path) -> None:
    assert call(["keys", "trust", str(made / "ops.json"), str(made / "device.public.json")]) == 0
    (kept,) = (made / "ops.trusted").iterdir()
    assert PublicIdentity.from_json(kept.read_text()).name == "quay-01"


def test_only_units_are_trusted(made: Path) -> None:
    assert call(["keys", "trust", str(made / "ops.json"), str(made / "ops.public.json")]) == 3
    assert not (made / "ops.trusted").exists()
