"""A PKCS#11 token by its URI (RFC 7512): wraps a few secret bytes under an AES-256 key that never leaves the token.

    pkcs11:token=edge;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/keys/pin

What this is: the one file that imports ``pkcs11`` (python-pkcs11, the optional extra of that name). What it is not: a
place for ML-DSA or ML-KEM. Tokens of today have neither; our seeds are wrapped here and are in memory while in use. A
token with CKM_ML_DSA (PKCS#11 3.2) could sign by itself; until one can be tested against, nothing here pretends to.

Rules:

- The PIN stands in a file that its owner alone may read, or is typed; never in a URI, argument or environment.
- A module is code: it is loaded only from a file that nobody but root or ourselves can write.
- The wrapping key must be one that the token will not give out. AES-GCM binds what is wrapped to its owner.
- A session lasts for one operation, so that nothing stays logged in.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from appliance.errors import IdentityRefused

SCHEME: Final = "pkcs11:"
MAX_URI_CHARACTERS: Final = 1024
MAX_PIN_BYTES: Final = 256
NONCE_BYTES: Final = 12
TAG_BITS: Final = 128
_KEY_BITS: Final = 256
#: Path attributes that choose a token, and python-pkcs11's name for what they are compared with.
_CHOOSES: Final = {"token": "label", "serial": "serial", "manufacturer": "manufacturer_id", "model": "model"}
_PATH: Final = frozenset({*_CHOOSES, "object", "type"})
_QUERY: Final = frozenset({"module-path", "pin-source"})
_APPLICATION: Final = "edge-appliance"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUri:
    """A URI taken apart. ``chooses`` must all be as the token says; ``object`` is the label of a key or datum."""

    text: str
    chooses: dict[str, str]
    object: str
    module: Path
    pin: Path | None

    @classmethod
    def parse(cls, text: str) -> TokenUri:
        """Raises IdentityRefused (``token-uri``)."""
        if not text.startswith(SCHEME) or len(text) > MAX_URI_CHARACTERS or not text.isprintable():
            raise IdentityRefused("token-uri", f"expected pkcs11:token=…;object=…?module-path=…; found {text[:40]!r}")
        path, _, query = text.removeprefix(SCHEME).partition("?")
        named, how = _attributes(path, ";", _PATH), _attributes(query, "&", _QUERY)
        module = how.get("module-path", "")
        if "object" not in named or not named.keys() & _CHOOSES.keys() or not module.startswith("/"):
            raise IdentityRefused("token-uri", "pkcs11: expected a token, an object and an absolute module-path")
        if named.get("type", "secret-key") not in {"secret-key", "data"}:
            raise IdentityRefused("token-uri", "pkcs11: expected type=secret-key or type=data, or no type")
        chooses = {name: value for name, value in named.items() if name in _CHOOSES}
        return cls(text=text, chooses=chooses, object=named["object"], module=Path(module), pin=_pin_file(how))


class HostToken:
    """The key that a URI names, in its token."""

    def __init__(self, uri: str) -> None:
        """Raises IdentityRefused (``token-uri``). The token is first asked when something is done."""
        self._uri = TokenUri.parse(uri)

    @property
    def uri(self) -> str:
        return self._uri.text

    def make_key(self) -> bool:
        """Make the wrapping key where the token has none of that name yet; whether it was made.

        Raises IdentityRefused (``token-module``, ``token``, ``pin``).
        """
        with _session(self._uri, write=True) as (pkcs11, session):
            if list(session.get_objects(_key_template(pkcs11, self._uri.object))):
                return False
            attribute = pkcs11.Attribute
            kept = {attribute.SENSITIVE: True, attribute.EXTRACTABLE: False, attribute.PRIVATE: True}
            session.generate_key(pkcs11.KeyType.AES, _KEY_BITS, label=self._uri.object, store=True, template=kept)
            return True

    def wrap(self, secret: bytes, bind: bytes) -> tuple[bytes, bytes]:
        """Nonce and ciphertext of ``secret``; ``bind`` must be the same at ``unwrap``.

        Raises IdentityRefused (``token-module``, ``token``, ``pin``).
        """
        nonce = os.urandom(NONCE_BYTES)
        with _session(self._uri) as (pkcs11, session):
            parameters = pkcs11.GCMParams(nonce, bind, TAG_BITS)
            key = _key(pkcs11, session, self._uri)
            return nonce, key.encrypt(secret, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters)

    def unwrap(self, nonce: bytes, ciphertext: bytes, bind: bytes) -> bytes:
        """What was wrapped. Raises IdentityRefused (``token-module``, ``token``, ``pin``, ``wrapped``)."""
        with _session(self._uri) as (pkcs11, session):
            parameters = pkcs11.GCMParams(nonce, bind, TAG_BITS)
            key = _key(pkcs11, session, self._uri)
            try:
                secret = key.decrypt(ciphertext, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters)
            except pkcs11.PKCS11Error as e:  # tokens differ in what they call a tag that does not fit
                message = f"token: {self._uri.object} does not open this secret: it was changed, or is another's"
                raise IdentityRefused("wrapped", message) from e
            return bytes(secret)


def open_token(uri: str) -> HostToken:
    """The key that ``uri`` names. Raises IdentityRefused (``token-uri``)."""
    return HostToken(uri)


def put_datum(uri: str, datum: bytes) -> None:
    """Keep ``datum`` in the token under the URI's object name. Raises IdentityRefused, also where there is one."""
    where = TokenUri.parse(uri)
    with _session(where, write=True) as (pkcs11, session):
        template = _datum_template(pkcs11, where.object)
        if list(session.get_objects(template)):
            raise IdentityRefused("token", f"token: an object {where.object} is there already; nothing is overwritten")
        attribute = pkcs11.Attribute
        session.create_object(
            {
                **template,
                attribute.APPLICATION: _APPLICATION,
                attribute.TOKEN: True,
                attribute.PRIVATE: True,
                attribute.VALUE: datum,
            }
        )


def get_datum(uri: str) -> bytes:
    """What ``put_datum`` kept. Raises IdentityRefused."""
    where = TokenUri.parse(uri)
    with _session(where) as (pkcs11, session):
        found = list(session.get_objects(_datum_template(pkcs11, where.object)))
        if len(found) != 1:
            raise IdentityRefused("token", f"token: expected one datum {where.object}; found {len(found)}")
        return bytes(found[0][pkcs11.Attribute.VALUE])


@contextmanager
def _session(uri: TokenUri, *, write: bool = False) -> Iterator[tuple[Any, Any]]:
    """python-pkcs11 and a session that is logged in, for one operation."""
    pkcs11, library = _library(uri.module)
    try:
        found = [token for token in library.get_tokens() if _is_chosen(token, uri)]
        if len(found) != 1:
            raise IdentityRefused("token", f"token: expected one with {_said(uri)}; found {len(found)}")
        with _logged_in(pkcs11, found[0], uri, write=write) as session:
            yield pkcs11, session
    except pkcs11.PKCS11Error as e:
        message = f"token: {_said(uri)} failed: {type(e).__name__} {e}".rstrip()
        raise IdentityRefused("token", message) from e


@contextmanager
def _logged_in(pkcs11: Any, token: Any, uri: TokenUri, *, write: bool) -> Iterator[Any]:
    if token.flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY:
        # A service that is started again and again would lock the token with a PIN file that is wrong.
        raise IdentityRefused("pin", f"token: {_said(uri)} has one try left before it locks; log in by its own tool")
    pin = _read_pin(uri)
    try:
        session = token.open(rw=write, user_pin=pin)
    except (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinExpired) as e:
        raise IdentityRefused("pin", f"token: {_said(uri)} refuses the PIN: {type(e).__name__}") from e
    try:
        yield session
    finally:
        session.close()


def _library(module: Path) -> tuple[Any, Any]:
    try:
        import pkcs11  # noqa: PLC0415 - the extra is optional
    except ImportError as e:
        raise IdentityRefused("token-module", "expected the optional extra: pip install edge-appliance[pkcs11]") from e
    _require_ours(module)
    try:
        return pkcs11, pkcs11.lib(str(module))
    except pkcs11.PKCS11Error as e:
        raise IdentityRefused("token-module", f"{module}: expected a PKCS#11 module; {e}") from e


def _require_ours(module: Path) -> None:
    """Whoever can write the file could run code in ours (its folders are the system's own business)."""
    try:
        found = module.stat()
    except OSError as e:
        raise IdentityRefused("token-module", f"{module}: expected a PKCS#11 module; {e.strerror}") from e
    others = stat.S_IWGRP | stat.S_IWOTH
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in {0, os.geteuid()} or found.st_mode & others:
        raise IdentityRefused("token-module", f"{module}: expected a file that only root or its owner, us, can write")


def _is_chosen(token: Any, uri: TokenUri) -> bool:
    return all(_text(getattr(token, _CHOOSES[name])) == value for name, value in uri.chooses.items())


def _text(value: str | bytes) -> str:
    """Token labels and serials are padded with blanks to a fixed length (PKCS#11 2.40 §3.2)."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip(" \0")


def _key(pkcs11: Any, session: Any, uri: TokenUri) -> Any:
    found = list(session.get_objects(_key_template(pkcs11, uri.object)))
    if len(found) != 1:
        raise IdentityRefused("token", f"token: expected one AES-256 key {uri.object}; found {len(found)}")
    if found[0][pkcs11.Attribute.EXTRACTABLE] or not found[0][pkcs11.Attribute.SENSITIVE]:
        raise IdentityRefused("token", f"token: key {uri.object} may leave the token; expected one that cannot")
    return found[0]


def _key_template(pkcs11: Any, label: str) -> dict[Any, Any]:
    attribute = pkcs11.Attribute
    return {
        attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
        attribute.KEY_TYPE: pkcs11.KeyType.AES,
        attribute.VALUE_LEN: _KEY_BITS // 8,
        attribute.LABEL: label,
    }


def _datum_template(pkcs11: Any, label: str) -> dict[Any, Any]:
    return {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.DATA, pkcs11.Attribute.LABEL: label}


def _read_pin(uri: TokenUri) -> str:
    if uri.pin is None:
        if not sys.stdin.isatty():
            raise IdentityRefused("pin", f"token: {_said(uri)}: expected pin-source=file:…, as nobody is here to ask")
        return getpass.getpass(f"PIN of the token with {_said(uri)}: ")
    try:
        with uri.pin.open("rb") as handle:
            mode, raw = os.fstat(handle.fileno()).st_mode, handle.read(MAX_PIN_BYTES + 1)
    except OSError as e:
        raise IdentityRefused("pin", f"{uri.pin}: expected a file with the PIN; {e.strerror}") from e
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise IdentityRefused("pin", f"{uri.pin}: expected a PIN that its owner alone can read (chmod 600)")
    lines = raw.decode("utf-8", "replace").splitlines()
    if len(raw) > MAX_PIN_BYTES or not lines or not lines[0]:
        raise IdentityRefused("pin", f"{uri.pin}: expected a PIN on the first line")
    return lines[0]


def _attributes(text: str, separator: str, known: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if name in {"pin-value", "pin"}:
            raise IdentityRefused("token-uri", "pkcs11: a PIN never stands in a URI; expected pin-source=file:…")
        if name not in known or name in found or not equals or not value:
            raise IdentityRefused("token-uri", f"pkcs11: expected each of {', '.join(sorted(known))} at most once")
        found[name] = unquote(value)
    return found


def _pin_file(query: dict[str, str]) -> Path | None:
    if "pin-source" not in query:
        return None
    path = query["pin-source"].removeprefix("file://").removeprefix("file:")
    if not query["pin-source"].startswith("file:") or not path.startswith("/"):
        raise IdentityRefused("token-uri", "pkcs11: expected pin-source=file:/ABSOLUTE/PATH")
    return Path(path)


def _said(uri: TokenUri) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in uri.chooses.items())
