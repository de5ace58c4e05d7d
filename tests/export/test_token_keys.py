"""Signing keys that need their holder's token: made there, carried there, rotated there, and refused without it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import IdentityRefused
from appliance.host.token import HostToken
from export.keys import load_public, load_signer, public_path, token_of
from tests.support.tokens import Hsm

STAGE = "bundle --model model.onnx --manifest model.json --product acme/people --version 1.0.0 --counter 1"


def test_a_ceremony_in_a_token_and_a_release_signed_by_it(hsm: Hsm, bench: Path, run: Any) -> None:
    assert run("trust init fleet --token", hsm.uri("ceremony"))[0] == 0
    for path in (bench / "fleet" / "keys").glob("*.pem"):
        assert path.read_text().startswith("-----BEGIN EDGE TOKEN-WRAPPED KEY-----")
        assert path.stat().st_mode & 0o777 == 0o600
    assert run(f"{STAGE} --keys fleet --out staged")[0] == 0
    assert run("sign staged --key fleet/keys/acme-1.pem")[0] == 0
    assert run("sign staged --key fleet/keys/acme-2.pem")[0] == 0
    code, out, _ = run("media staged --keys fleet --out stick")
    assert (code, "verified" in out) == (0, True)


def test_a_signer_signs_with_the_token_alone(hsm: Hsm, bench: Path, run: Any) -> None:
    run("trust init fleet")
    for number in (1, 2):
        key = bench / "fleet" / "keys" / f"acme-{number}.pem"
        code, out, _ = run(f"trust carry {key} --token", hsm.uri(f"acme-{number}"))
        assert (code, "destroy" in out) == (0, True)
        key.unlink()
    run(f"{STAGE} --keys fleet --out staged")
    for number in (1, 2):
        assert run("sign staged --key", hsm.uri(f"acme-{number}"))[0] == 0
    assert run("media staged --keys fleet --out stick")[0] == 0
    public = load_public(bench / "fleet" / "keys" / "acme-1.pub.json")
    assert load_signer(Path(hsm.uri("acme-1"))).public_key.keyid == public.keyid


def test_a_key_of_a_token_that_may_not_sign_is_refused(hsm: Hsm, bench: Path, run: Any) -> None:
    run("trust init fleet")
    run("trust carry fleet/keys/vendor-1.pem --token", hsm.uri("vendor-1"))
    run(f"{STAGE} --keys fleet --out staged")
    code, _, err = run("sign staged --key", hsm.uri("vendor-1"))
    assert (code, "[key-role]" in err) == (3, True)


def test_a_key_is_not_carried_over_another(hsm: Hsm, bench: Path, run: Any) -> None:
    run("trust init fleet")
    assert run("trust carry fleet/keys/root-1.pem --token", hsm.uri("root"))[0] == 0
    code, _, err = run("trust carry fleet/keys/root-2.pem --token", hsm.uri("root"))
    assert (code, "nothing is overwritten" in err) == (3, True)
    first = load_public(bench / "fleet" / "keys" / "root-1.pub.json")
    assert load_signer(Path(hsm.uri("root"))).public_key.keyid == first.keyid


def test_a_rotated_key_is_kept_as_the_one_before(hsm: Hsm, bench: Path, run: Any) -> None:
    run("trust init fleet --token", hsm.uri("rotating"))
    before = load_public(bench / "fleet" / "keys" / "acme-1.pub.json").keyid
    assert run("trust rotate acme-1 --keys fleet")[0] == 0
    path = bench / "fleet" / "keys" / "acme-1.pem"
    assert token_of(path) == hsm.uri("rotating")
    assert load_signer(path).public_key.keyid == load_public(public_path(path)).keyid != before


def test_a_passphrase_and_a_token_are_one_too_many(
    hsm: Hsm, bench: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getpass", lambda _: "correct horse")
    code, _, err = run("trust init fleet --passphrase --token", hsm.uri("x"))
    assert (code, "not both" in err) == (2, True)
    assert not (bench / "fleet" / "published").exists()


@pytest.fixture
def key(hsm: Hsm, bench: Path, run: Any) -> Path:
    run("trust init fleet --token", hsm.uri("one"))
    return bench / "fleet" / "keys" / "acme-1.pem"


def refused(path: Path) -> str:
    with pytest.raises(IdentityRefused) as refusal:
        load_signer(path)
    return refusal.value.reason


@pytest.mark.parametrize(("before", "after"), [("BEGIN", "BEGAN"), ("END", "AND"), ("\n-----END", "?\n-----END")])
def test_a_key_file_of_another_form_is_refused(key: Path, before: str, after: str) -> None:
    key.write_text(key.read_text().replace(before, after, 1))
    assert refused(key) == "key"


def test_a_secret_moved_under_another_public_key_is_refused(key: Path) -> None:
    mine, theirs = (_inside(path) for path in (key, key.with_name("acme-2.pem")))
    _write(key, {**mine, "secret": theirs["secret"]})
    assert refused(key) == "wrapped"
    _write(key, {**mine, "keyid": theirs["keyid"]})
    assert refused(key) == "wrapped"


def test_a_key_whose_token_is_not_here_is_refused(hsm: Hsm, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = _inside(key)
    _write(key, {**inside, "secret": {**inside["secret"], "uri": hsm.uri("one", token="absent")}})
    assert refused(key) == "token"


def test_a_seed_of_another_length_is_refused(key: Path) -> None:
    inside = _inside(key)
    token = HostToken(inside["secret"]["uri"])
    nonce, ciphertext = token.wrap(b"short", b"edge/signing-key/v1" + inside["keyid"].encode())
    secret = {**inside["secret"], "nonce": _b64(nonce), "ciphertext": _b64(ciphertext)}
    _write(key, {**inside, "secret": secret})
    assert refused(key) == "key"


def _inside(path: Path) -> dict[str, Any]:
    lines = path.read_text().splitlines()[1:-1]
    found: dict[str, Any] = json.loads(base64.b64decode("".join(lines)))
    return found


def _write(path: Path, inside: dict[str, Any]) -> None:
    first, last = path.read_text().splitlines()[0], path.read_text().splitlines()[-1]
    path.write_text(f"{first}\n{_b64(json.dumps(inside).encode())}\n{last}\n")


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
