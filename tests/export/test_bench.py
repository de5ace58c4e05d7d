"""The integrator's bench by its commands: from a ceremony to a stick, and everything that is refused on the way."""

from __future__ import annotations

import getpass
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from appliance.slots import Slots
from export import desk
from export.repository import Repository

BUNDLE = (
    "bundle --model model.onnx --manifest model.json --card card.md --product acme/people --version 1.0.0 --counter 1"
    " --keys fleet --out staging"
)
NOW_NS = 1_796_126_400_000_000_000


def _install(bench: Path, stick: Path, state: str = "state") -> Any:
    device = Slots(bench / state, self_test=lambda folder, model, manifest: "a test")
    device.provision((bench / "fleet" / "published" / "1.root.json").read_bytes())
    return device.install(stick, "acme/people", NOW_NS)


def test_from_nothing_to_an_installed_bundle_with_two_signers(bench: Path, run: Any) -> None:
    code, out, _ = run("trust init fleet")
    assert code == 0
    assert "made 9 ML-DSA-87 keys" in out
    code, out, _ = run(BUNDLE)
    assert code == 0
    assert "golden outputs of 2 cases" in out
    assert out.count("SHA-384") == 6
    code, out, _ = run("sign staging --key fleet/keys/acme-1.pem")
    assert "1 of 2 signatures needed" in out
    code, out, _ = run("sign staging --key fleet/keys/acme-2.pem")
    assert "2 of 2 signatures needed" in out
    code, out, err = run("media staging --keys fleet --out stick")
    assert code == 0
    assert out.count("verified signers") == 5
    assert "100 %" in err
    assert _install(bench, bench / "stick").version == "1.0.0"


def test_signers_on_their_own_machines_merge_their_signatures(bench: Path, run: Any) -> None:
    run("trust init fleet")
    run(BUNDLE)
    shutil.copytree("staging", "elsewhere")
    run("sign staging --key fleet/keys/acme-1.pem")
    run("sign elsewhere --key fleet/keys/acme-2.pem")
    code, out, _ = run("merge staging elsewhere --json")
    assert (code, json.loads(out)) == (0, {"signatures": 2})
    code, _, _ = run("media staging --keys fleet --out stick.tar --tar")
    assert code == 0
    assert _install(bench, bench / "stick.tar").counter == 1


def test_the_desk_does_it_all_in_one_command(bench: Path, run: Any) -> None:
    line = "desk --model model.onnx --manifest model.json --product acme/people --keys fleet"
    code, out, _ = run(f"{line} --out one")
    assert code == 0
    for word in ("ceremony", "staged", "signed as acme", "verified policy", "provision devices"):
        assert word in out
    code, out, _ = run(f"{line} --out two --version 2.0.0 --json")
    assert json.loads(out)["release"] == "acme/people#2"
    assert _install(bench, bench / "one").counter == 1
    assert _install(bench, bench / "two").counter == 2


def test_two_products_of_two_integrators_share_a_fleet(bench: Path, run: Any) -> None:
    run("trust init fleet --integrator acme --integrator beta --integrator-keys 3 --integrator-threshold 2")
    line = "desk --model model.onnx --manifest model.json --keys fleet"
    assert run(f"{line} --product acme/people --out one")[0] == 0
    assert run(f"{line} --product beta/boats --out two")[0] == 0
    assert run(f"{line} --product acme/people --out three")[0] == 0
    assert _install(bench, bench / "three").counter == 2
    names = {path.name for path in (bench / "three" / "m").iterdir()}
    assert {"2.acme.json", "1.beta.json", "3.snapshot.json"} <= names
    assert len(json.loads((bench / "three" / "m" / "2.acme.json").read_bytes())["signatures"]) == 2


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("trust init fleet", 2, "already"),
        ("trust init other --integrator-keys 1 --integrator-threshold 2", 2, "threshold"),
        (BUNDLE.replace("model.onnx", "nothing.onnx"), 2, "no such file"),
        (BUNDLE.replace("acme/people", "beta/people"), 2, "delegated nothing"),
        (BUNDLE.replace("--keys fleet", "--keys nowhere"), 2, "no ceremony"),
        (BUNDLE + " --add golden=evil.so", 3, "[file-type]"),
        (BUNDLE + " --add labels=evil.txt", 3, "[file-type]"),
        (BUNDLE + " --add nonsense", 2, "ROLE=PATH"),
        (BUNDLE.replace("--manifest model.json", "--manifest card.md"), 3, "[manifest]"),
        (BUNDLE.replace("acme/people", "ACME"), 3, "[release]"),
        (BUNDLE.replace("--counter 1", "--counter 0"), 3, "[release]"),
        ("sign nowhere --key fleet/keys/acme-1.pem", 2, "staging folder"),
        ("media nowhere --keys fleet --out stick", 2, "staging folder"),
        ("trust rotate nobody-1 --keys fleet", 2, "no such key"),
        ("juggle", 2, "[usage]"),
        ("bundle", 2, "[usage]"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code(bench: Path, run: Any, line: str, code: int, says: str) -> None:
    run("trust init fleet")
    (bench / "evil.so").write_bytes(b"harmless")
    (bench / "evil.txt").write_bytes(b"\x7fELF")
    found, _, err = run(line)
    assert (found, says in err) == (code, True), err
    assert not (bench / "stick").exists()
    assert not (bench / "staging").exists()


def test_a_key_that_may_not_sign_is_refused(bench: Path, run: Any) -> None:
    run("trust init fleet")
    run(BUNDLE)
    for name in ("media", "vendor-1", "root-1"):
        code, _, err = run(f"sign staging --key fleet/keys/{name}.pem")
        assert (code, "[key-role]" in err) == (3, True)


def test_nothing_is_signed_that_is_not_what_is_listed(bench: Path, run: Any) -> None:
    run("trust init fleet")
    run(BUNDLE)
    path = next((bench / "staging" / "t" / "acme" / "people").glob("*.model.onnx"))
    path.unlink()
    path.write_bytes(b"something else")
    code, _, err = run("sign staging --key fleet/keys/acme-1.pem")
    assert (code, "not what would be signed" in err) == (2, True)


def test_too_few_signatures_make_no_stick_and_publish_nothing(bench: Path, run: Any) -> None:
    run("trust init fleet")
    run(BUNDLE)
    run("sign staging --key fleet/keys/acme-1.pem")
    before = sorted(path.name for path in (bench / "fleet" / "published").iterdir())
    code, _, err = run("media staging --keys fleet --out stick")
    assert (code, "[signature]" in err) == (3, True)
    assert sorted(path.name for path in (bench / "fleet" / "published").iterdir()) == before
    assert sorted(path.name for path in bench.glob("stick*")) == []


def test_a_stick_that_is_in_use_is_not_written_over(bench: Path, run: Any) -> None:
    run("trust init fleet")
    (bench / "stick").mkdir()
    (bench / "stick" / "holiday.jpg").touch()
    run(BUNDLE)
    for key in ("acme-1", "acme-2"):
        run(f"sign staging --key fleet/keys/{key}.pem")
    code, _, err = run("media staging --keys fleet --out stick")
    assert (code, "empty folder" in err) == (2, True)
    assert (bench / "stick" / "holiday.jpg").exists()


def test_a_staging_folder_that_was_overtaken_must_be_made_again(bench: Path, run: Any) -> None:
    run("trust init fleet")
    run(BUNDLE)
    run("desk --model model.onnx --manifest model.json --product acme/people --keys fleet --out other")
    for key in ("acme-1", "acme-2"):
        run(f"sign staging --key fleet/keys/{key}.pem")
    code, _, err = run("media staging --keys fleet --out stick")
    assert (code, "stage it again" in err) == (2, True)


def test_two_different_stagings_do_not_merge(bench: Path, run: Any) -> None:
    run("trust init fleet")
    run(BUNDLE)
    run(BUNDLE.replace("1.0.0", "9.9.9").replace("--out staging", "--out other"))
    code, _, err = run("merge staging other")
    assert (code, "something else" in err) == (2, True)


def test_keys_are_encrypted_under_a_passphrase(bench: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "correct horse")
    assert run("trust init fleet --passphrase")[0] == 0
    assert b"ENCRYPTED" in (bench / "fleet" / "keys" / "root-1.pem").read_bytes()
    run(BUNDLE)
    code, _, err = run("sign staging --key fleet/keys/acme-1.pem")
    assert (code, "[key-locked]" in err) == (3, True)
    assert run("sign staging --key fleet/keys/acme-1.pem --passphrase")[0] == 0
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "wrong")
    code, _, err = run("sign staging --key fleet/keys/acme-2.pem --passphrase")
    assert (code, "[key-locked]" in err) == (3, True)


def test_two_different_passphrases_make_no_keys(bench: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one", "two"])
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    code, _, _ = run("trust init fleet --passphrase")
    assert code == 2
    assert not (bench / "fleet").exists()


def test_private_keys_are_for_their_holder_alone(bench: Path, run: Any) -> None:
    run("trust init fleet")
    modes = {path.stat().st_mode & 0o777 for path in (bench / "fleet" / "keys").glob("*.pem")}
    assert modes == {0o600}


@pytest.mark.parametrize("raw", [b"", b"-----BEGIN PRIVATE KEY-----\n", b"x" * 100_000])
def test_a_file_that_is_no_key_is_refused(bench: Path, run: Any, raw: bytes) -> None:
    run("trust init fleet")
    run(BUNDLE)
    (bench / "odd.pem").write_bytes(raw)
    code, _, err = run("sign staging --key odd.pem")
    assert (code, "[key]" in err) == (3, True)


def test_a_rotation_and_a_stick_without_a_payload(bench: Path, run: Any) -> None:
    line = "desk --model model.onnx --manifest model.json --product acme/people --keys fleet"
    run(f"{line} --out one")
    _install(bench, bench / "one")
    code, out, _ = run("trust rotate acme-2 --keys fleet")
    assert (code, "is replaced by" in out) == (0, True)
    code, out, _ = run("trust stick --keys fleet --out revocation")
    assert (code, "verified signers" in out) == (0, True)
    device = Slots(bench / "state")
    device.refresh(bench / "revocation", NOW_NS)
    run(f"{line} --out two")
    assert _install(bench, bench / "two").counter == 2


def test_the_same_files_make_the_same_archive_up_to_signatures(bench: Path) -> None:
    """Nothing of the desk goes into a stick: no times, owners or modes."""
    stick = desk.make(
        model=bench / "model.onnx",
        manifest=bench / "model.json",
        product="acme/people",
        keys=bench / "fleet",
        out=bench / "stick.tar",
        tar=True,
    ).stick
    header = stick.read_bytes()[:512]
    assert header[108:124] == b"0000000\x000000000\x00"
    assert header[136:147] == b"00000000000"
    assert header[265:329].strip(b"\0") == b""


def test_a_repository_knows_its_newest_metadata(bench: Path, run: Any) -> None:
    fleet = Repository(folder=bench / "fleet")
    assert not fleet.exists()
    assert fleet.newest("timestamp") is None
    run("desk --model model.onnx --manifest model.json --product acme/people --keys fleet --out one")
    assert fleet.exists()
    assert fleet.root().version == 1
    assert fleet.newest("acme").signed.version == 1
