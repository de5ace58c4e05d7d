from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.cli import call
from appliance.cli.keys import read_all, read_private
from appliance.sealing import PrivateIdentity, PublicIdentity, StoredIdentity
from appliance.sealing.succession import Successor
from tests.support.tokens import Hsm


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


def test_a_rotated_recipient_keeps_its_former_key_until_it_is_deleted(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = PrivateIdentity.from_json((made / "ops.json").read_text())
    numbers = []
    for _ in range(2):
        assert call(["keys", "rotate", str(made / "ops.json"), "--json"]) == 0
        numbers.append(int(json.loads(capsys.readouterr().out)["number"]))
    newest, *former = read_all(made / "ops.json", None)
    assert numbers[1] > numbers[0]
    assert len(former) == 2
    assert before in former
    assert newest.public == PublicIdentity.from_json((made / "ops.public.json").read_text())
    announced = Successor.from_json((made / "ops.successor.json").read_bytes(), before.public)
    assert announced.identity == newest.public
    assert {path.stat().st_mode & 0o777 for path in (made / "ops.former").iterdir()} == {0o600}


def test_a_locked_recipient_stays_locked_when_it_rotates(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("correct horse\n")
    key = ["--passphrase-file", str(tmp_path / "pass")]
    assert call(["keys", "new", "recipient", "ops", "--out", str(tmp_path / "o.json"), *key]) == 0
    assert call(["keys", "rotate", str(tmp_path / "o.json")]) == 3
    assert not (tmp_path / "o.former").exists()
    assert call(["keys", "rotate", str(tmp_path / "o.json"), *key]) == 0
    assert StoredIdentity.from_json((tmp_path / "o.json").read_text()).form == "argon2id"
    assert len(read_all(tmp_path / "o.json", tmp_path / "pass")) == 2


def test_an_identity_is_kept_in_a_token_from_its_first_day(hsm: Hsm, tmp_path: Path) -> None:
    out = tmp_path / "quay.json"
    assert call(["keys", "new", "device", "quay-02", "--out", str(out), "--token", hsm.uri("cli")]) == 0
    assert StoredIdentity.from_json(out.read_text()).form == "pkcs11"
    assert read_private(out, None).public == PublicIdentity.from_json((tmp_path / "quay.public.json").read_text())
    assert call(["keys", "show", str(out)]) == 0
    assert call(["keys", "show", str(out), "--json"]) == 0


def test_a_secret_in_plain_is_put_into_a_token_and_rotates_there(hsm: Hsm, made: Path) -> None:
    before = read_private(made / "ops.json", None)
    assert call(["keys", "lock", str(made / "ops.json"), "--token", hsm.uri("cli")]) == 0
    assert read_private(made / "ops.json", None) == before
    assert '"seeds"' not in (made / "ops.json").read_text()
    assert call(["keys", "rotate", str(made / "ops.json")]) == 0
    assert StoredIdentity.from_json((made / "ops.json").read_text()).form == "pkcs11"
    assert len(read_all(made / "ops.json", None)) == 2


def test_a_lock_is_put_on_by_a_passphrase(made: Path) -> None:
    (made / "pass").write_text("correct horse\n")
    assert call(["keys", "lock", str(made / "ops.json")]) == 2
    assert call(["keys", "lock", str(made / "ops.json"), "--new-passphrase-file", str(made / "pass")]) == 0
    assert StoredIdentity.from_json((made / "ops.json").read_text()).form == "argon2id"
    assert (made / "ops.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("pin", ["absent", "wrong-pin"])
def test_a_token_that_refuses_leaves_no_file(
    hsm: Hsm, tmp_path: Path, pin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hsm.pin_file("wrong-pin", "999999\n")
    out = tmp_path / "x.json"
    assert call(["keys", "new", "recipient", "x", "--out", str(out), "--token", hsm.uri("cli", pin=pin)]) == 3
    assert "[pin]" in capsys.readouterr().err
    assert not out.exists()
    assert not (tmp_path / "x.public.json").exists()
