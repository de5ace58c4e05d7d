"""A secret in a file opens with the one token and the one PIN that wrapped it, for the one identity it belongs to."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pkcs11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import IdentityRefused
from appliance.host.token import HostToken, TokenUri, _logged_in, get_datum, open_token, put_datum
from appliance.sealing import PrivateIdentity, StoredIdentity, generate
from tests.support.tokens import Hsm

SECRET, BIND = b"s" * 96, b"b" * 48


def refused(uri: str, *, nonce: bytes = bytes(12), ciphertext: bytes = bytes(112)) -> str:
    with pytest.raises(IdentityRefused) as refusal:
        open_token(uri).unwrap(nonce, ciphertext, BIND)
    return refusal.value.reason


@pytest.fixture(scope="session")
def token(hsm: Hsm) -> HostToken:
    made = open_token(hsm.uri("kek"))
    assert made.make_key()
    return made


def test_what_a_token_wrapped_it_unwraps(token: HostToken) -> None:
    nonce, ciphertext = token.wrap(SECRET, BIND)
    assert SECRET not in ciphertext
    assert token.unwrap(nonce, ciphertext, BIND) == SECRET
    assert token.wrap(SECRET, BIND)[0] != nonce


def test_a_key_is_made_once(token: HostToken) -> None:
    assert not token.make_key()


def test_the_wrapping_key_does_not_leave_the_token(hsm: Hsm, token: HostToken) -> None:
    found = next(t for t in pkcs11.lib(hsm.module).get_tokens() if t.label == "edge")
    with found.open(user_pin=(hsm.folder / "pin").read_text().strip()) as session:
        key = session.get_key(label="kek")
        with pytest.raises(pkcs11.AttributeSensitive):
            _ = key[pkcs11.Attribute.VALUE]


def test_a_key_that_may_leave_its_token_is_refused(hsm: Hsm, token: HostToken) -> None:
    found = next(t for t in pkcs11.lib(hsm.module).get_tokens() if t.label == "edge")
    with found.open(rw=True, user_pin=(hsm.folder / "pin").read_text().strip()) as session:
        loose = {pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: False}
        session.generate_key(pkcs11.KeyType.AES, 256, label="loose", store=True, template=loose)
    assert refused(hsm.uri("loose")) == "token"


@pytest.mark.parametrize("part", ["nonce", "ciphertext", "tag", "bind", "cut", "empty"])
def test_what_was_changed_or_belongs_to_another_does_not_open(token: HostToken, part: str) -> None:
    nonce, ciphertext = token.wrap(SECRET, BIND)
    bind = BIND
    match part:
        case "nonce":
            nonce = bytes((nonce[0] ^ 1,)) + nonce[1:]
        case "ciphertext":
            ciphertext = bytes((ciphertext[0] ^ 1,)) + ciphertext[1:]
        case "tag":
            ciphertext = ciphertext[:-1] + bytes((ciphertext[-1] ^ 1,))
        case "bind":
            bind = b"c" * 48
        case "cut":
            ciphertext = ciphertext[:-1]
        case _:
            ciphertext = b""
    with pytest.raises(IdentityRefused) as refusal:
        token.unwrap(nonce, ciphertext, bind)
    assert refusal.value.reason == "wrapped"


def test_each_wrong_token_pin_and_module_has_its_reason(hsm: Hsm, token: HostToken, tmp_path: Path) -> None:
    nonce, ciphertext = token.wrap(SECRET, BIND)
    wrapped = {"nonce": nonce, "ciphertext": ciphertext}
    open_token(hsm.uri("kek", token="other", pin="other-pin")).make_key()
    hsm.pin_file("wrong", "000000\n")
    hsm.pin_file("empty", "\n")
    hsm.pin_file("open", "739201\n", 0o644)
    writable = tmp_path / "module.so"
    writable.write_bytes(b"no module")
    assert refused(hsm.uri("kek", token="other", pin="other-pin"), **wrapped) == "wrapped", "a key of the same name"
    assert refused(hsm.uri("kek", token="absent"), **wrapped) == "token"
    assert refused(hsm.uri("absent"), **wrapped) == "token"
    assert refused(hsm.uri("kek", pin="wrong"), **wrapped) == "pin"
    assert refused(hsm.uri("kek", pin="empty"), **wrapped) == "pin"
    assert refused(hsm.uri("kek", pin="absent"), **wrapped) == "pin"
    assert refused(hsm.uri("kek", pin="open"), **wrapped) == "pin", "others could read it"
    assert refused(hsm.uri("kek", module="/absent.so"), **wrapped) == "token-module"
    assert refused(hsm.uri("kek", module=str(writable)), **wrapped) == "token-module", "no module"
    writable.chmod(0o666)
    assert refused(hsm.uri("kek", module=str(writable)), **wrapped) == "token-module", "others could write it"
    assert refused(hsm.uri("kek", module="/usr/lib"), **wrapped) == "token-module", "no file"
    assert refused(hsm.uri("kek").partition("&pin")[0], **wrapped) == "pin", "nobody to ask"
    assert token.unwrap(nonce, ciphertext, BIND) == SECRET, "nothing of that locked the token"


def test_the_last_try_of_a_pin_is_left_to_a_person() -> None:
    opened: list[object] = []
    flags = pkcs11.TokenFlag.USER_PIN_FINAL_TRY | pkcs11.TokenFlag.LOGIN_REQUIRED
    token = SimpleNamespace(flags=flags, open=lambda **_: opened.append(1))
    uri = TokenUri.parse("pkcs11:token=a;object=b?module-path=/m.so&pin-source=file:/run/pin")
    with pytest.raises(IdentityRefused, match="one try left"), _logged_in(pkcs11, token, uri, write=False):
        pass
    assert opened == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_module_of_another_user_is_not_loaded(hsm: Hsm, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.so"
    theirs.write_bytes(Path(hsm.module).read_bytes())
    os.chown(theirs, 65534, 65534)
    assert refused(hsm.uri("kek", module=str(theirs))) == "token-module"


def test_a_datum_is_kept_in_the_token_and_never_written_over(hsm: Hsm, token: HostToken) -> None:
    put_datum(hsm.uri("datum"), b"kept")
    assert get_datum(hsm.uri("datum")) == b"kept"
    with pytest.raises(IdentityRefused, match="there already"):
        put_datum(hsm.uri("datum"), b"other")
    with pytest.raises(IdentityRefused, match="expected one datum absent"):
        get_datum(hsm.uri("absent"))


# ---- URIs


def test_a_uri_is_taken_apart() -> None:
    uri = TokenUri.parse(
        "pkcs11:token=My%20token;serial=af1;object=kek;type=secret-key?module-path=/m.so&pin-source=file:///run/pin"
    )
    assert uri.chooses == {"token": "My token", "serial": "af1"}
    assert (uri.object, uri.module, uri.pin) == ("kek", Path("/m.so"), Path("/run/pin"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pkcs11:",
        "file:/x",
        "PKCS11:token=a;object=b?module-path=/m.so",
        "pkcs11:token=a?module-path=/m.so",
        "pkcs11:object=b?module-path=/m.so",
        "pkcs11:token=a;object=b",
        "pkcs11:token=a;object=b?module-path=m.so",
        "pkcs11:token=a;object=b?module-path=/m.so&module-path=/n.so",
        "pkcs11:token=a;token=c;object=b?module-path=/m.so",
        "pkcs11:token=a;object=b;slot-id=1?module-path=/m.so",
        "pkcs11:token=a;object=b;type=private?module-path=/m.so",
        "pkcs11:token=a;object=b?module-path=/m.so&pin-value=1234",
        "pkcs11:token=a;object=b;pin=1234?module-path=/m.so",
        "pkcs11:token=a;object=b?module-path=/m.so&pin-source=|cat /pin",
        "pkcs11:token=a;object=b?module-path=/m.so&pin-source=file:pin",
        "pkcs11:token=a;object=?module-path=/m.so",
        "pkcs11:token=a;object=b\n?module-path=/m.so",
        "pkcs11:token=" + "a" * 2000 + ";object=b?module-path=/m.so",
    ],
)
def test_a_uri_that_does_not_say_enough_or_says_too_much_is_refused(text: str) -> None:
    with pytest.raises(IdentityRefused) as refusal:
        TokenUri.parse(text)
    assert refusal.value.reason == "token-uri"
    assert "1234" not in str(refusal.value), "a PIN is not repeated"


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_whatever_follows_the_scheme_is_a_uri_or_refused(text: str) -> None:
    with contextlib.suppress(IdentityRefused):  # anything else would be a crash on somebody's file
        TokenUri.parse("pkcs11:" + text)


# ---- identities


@pytest.fixture(scope="session")
def wrapped(token: HostToken) -> tuple[PrivateIdentity, str]:
    identity = generate("recipient", "ops")
    return identity, identity.to_json(token=token)


def test_an_identity_comes_back_from_its_token(wrapped: tuple[PrivateIdentity, str]) -> None:
    identity, text = wrapped
    assert PrivateIdentity.from_json(text, open_token=open_token) == identity
    assert "seeds" not in text
    assert json.loads(text)["secret"].keys() == {"form", "uri", "nonce", "ciphertext"}
    stored = StoredIdentity.from_json(text)
    assert (stored.public, stored.form) == (identity.public, "pkcs11")


def _edit(text: str, **fields: Any) -> str:
    document = json.loads(text)
    document["secret"].update(fields)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ciphertext": "AAAA"}, "wrapped"),
        ({"ciphertext": "no base64"}, "malformed"),
        ({"nonce": "AAAA"}, "malformed"),
        ({"uri": "pkcs11:token=a"}, "token-uri"),
        ({"uri": "x" * 2000}, "malformed"),
        ({"pin": "1234"}, "malformed"),
    ],
)
def test_a_wrapped_identity_that_was_changed_is_refused(
    wrapped: tuple[PrivateIdentity, str], fields: dict[str, str], reason: str
) -> None:
    with pytest.raises(IdentityRefused) as refusal:
        PrivateIdentity.from_json(_edit(wrapped[1], **fields), open_token=open_token)
    assert refusal.value.reason == reason


def test_a_secret_wrapped_for_another_identity_is_refused(
    token: HostToken, wrapped: tuple[PrivateIdentity, str]
) -> None:
    other = json.loads(generate("recipient", "ops").to_json(token=token))
    with pytest.raises(IdentityRefused) as refusal:
        PrivateIdentity.from_json(_edit(wrapped[1], **other["secret"]), open_token=open_token)
    assert refusal.value.reason == "wrapped"


def test_a_wrapped_identity_is_locked_where_no_token_is_asked(wrapped: tuple[PrivateIdentity, str]) -> None:
    with pytest.raises(IdentityRefused) as refusal:
        PrivateIdentity.from_json(wrapped[1])
    assert refusal.value.reason == "locked"
