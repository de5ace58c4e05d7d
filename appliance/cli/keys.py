"""``appliance keys``: identities of devices and recipients, as files.

    OPS.json             the private identity: its seeds in plain, locked by a passphrase, or wrapped by a token's key
    OPS.public.json      what others may know
    OPS.former/          recipients: what `rotate` replaced, which still opens what was sealed to it, until deleted
    OPS.successor.json   recipients: the signed announcement of the newest key, for the units
    OPS.trusted/         recipients: the units that are believed

Private identities are written with mode 0600 and never over an existing file. ``trust`` and ``show`` work on what is
public. Signing keys of integrators are made at the bench (``python -m export``), never here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from appliance.cli.output import note, print_json, print_line
from appliance.errors import IdentityRefused, UsageError
from appliance.host.clock import now_ns
from appliance.host.files import write_whole
from appliance.host.token import HostToken, open_token
from appliance.sealing.identity import (
    MAX_IDENTITY_BYTES,
    PrivateIdentity,
    PublicIdentity,
    StoredIdentity,
    generate,
)
from appliance.sealing.succession import Successor, announce, rotated, successor_name

keys_app = App(name="keys", help="Identities of devices and recipients.")

PRIVATE_MODE: Final = 0o600
MAX_PASSPHRASE_BYTES: Final = 1024


@keys_app.command
def new(
    kind: Literal["device", "recipient"],
    name: str,
    /,
    *,
    out: Path,
    passphrase_file: Path | None = None,
    token: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make an identity: OUT holds the secret, OUT with `.public.json` is for the others.

    Parameters
    ----------
    kind
        `device` for an appliance (its name is its unit id), `recipient` for a reader of results.
    name
        Letters, digits, dots, dashes and underscores.
    out
        The private identity file to write; it must not exist.
    passphrase_file
        A file whose first line locks the secret.
    token
        A PKCS#11 URI of a key that wraps the secret, pkcs11:token=…;object=…?module-path=…&pin-source=file:…;
        the key is made where the token has none of that name. The PIN never stands in the URI.
    json
        One JSON object on standard output.
    """
    public_path = public_name(out)
    for path in (out, public_path):
        if path.exists():
            raise UsageError(f"{path}: expected a new file; an identity is never written over")
    keep = _Keep.asked(passphrase_file, token)
    identity = generate(kind, name)
    keep.write(out, identity)
    write_whole(public_path, (identity.public.to_json() + "\n").encode())
    _tell(identity.public, {"private": str(out), "public": str(public_path)}, json=json)
    return 0


@keys_app.command
def show(identity: Path, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Show whose identity a file holds, and its fingerprint to compare by voice.

    Parameters
    ----------
    identity
        A private or public identity file.
    json
        One JSON object on standard output.
    """
    _tell(read_public(identity), {"file": str(identity)}, json=json)
    return 0


@keys_app.command
def lock(
    identity: Path,
    /,
    *,
    passphrase_file: Path | None = None,
    new_passphrase_file: Path | None = None,
    token: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Keep the secret of an identity otherwise: locked by a passphrase, or wrapped by the key of a token.

    Parameters
    ----------
    identity
        A private identity file; it is replaced. Copies that were made before hold the secret as it was.
    passphrase_file
        A file whose first line unlocks it now.
    new_passphrase_file
        A file whose first line locks it from now on.
    token
        A PKCS#11 URI of the key that wraps it from now on; see `appliance keys new --help`.
    json
        One JSON object on standard output.
    """
    keep = _Keep.asked(new_passphrase_file, token)
    if keep.passphrase is None and keep.token is None:
        raise UsageError("expected --new-passphrase-file or --token")
    private = read_private(identity, passphrase_file)
    keep.write(identity, private)
    _tell(private.public, {"private": str(identity)}, json=json)
    return 0


@keys_app.command
def rotate(
    identity: Path,
    /,
    *,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Give a recipient a new key to receive with, and write the signed announcement that units take by themselves.

    Carry the announcement to each unit, beside the recipient's public identity file. The key before is kept in the
    folder of former ones, so that what was sealed to it still opens; once all of that was read, delete it: from then on
    nobody can open what was recorded of those days.

    Parameters
    ----------
    identity
        The recipient's private identity file; it is replaced, and kept as it was kept: locked, wrapped or in plain.
    passphrase_file
        A file whose first line unlocks it, and locks what replaces it.
    json
        One JSON object on standard output.
    """
    before = _read(identity)
    stored = StoredIdentity.from_json(before)
    old = read_private(identity, passphrase_file)
    new = rotated(old)
    number = _next_number(identity, new.public)
    kept = former_folder(identity) / f"{old.public.kid.hex()}.json"
    write_whole(kept, before, mode=PRIVATE_MODE)
    _Keep.as_stored(stored, passphrase_file).write(identity, new)
    write_whole(public_name(identity), (new.public.to_json() + "\n").encode())
    announcement = _announcement(identity)
    write_whole(announcement, announce(new, number))  # last: nobody is told of a key that is not on the disk
    _tell(new.public, {"former": str(kept), "announcement": str(announcement), "number": str(number)}, json=json)
    return 0


@keys_app.command
def trust(identity: Path, device: Path, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Believe a unit: keep its public identity beside a recipient's, for `appliance listen`.

    Parameters
    ----------
    identity
        The recipient's private identity file.
    device
        The unit's public identity file; compare its fingerprint with the unit's before you trust it.
    json
        One JSON object on standard output.
    """
    public = read_public(device)
    if public.kind != "device":
        raise IdentityRefused(
            "kind", f"{device}: expected a unit's identity; found that of {public.kind} {public.name}"
        )
    kept = trusted_folder(identity) / f"{public.name}.{public.fingerprint[:16]}.json"
    write_whole(kept, (public.to_json() + "\n").encode())
    _tell(public, {"kept": str(kept)}, json=json)
    return 0


def trusted_folder(identity: Path) -> Path:
    """Where the units that an identity believes stand."""
    return identity.with_name(identity.name.removesuffix(".json") + ".trusted")


def former_folder(identity: Path) -> Path:
    """Where the keys stand that a recipient had before."""
    return identity.with_name(identity.name.removesuffix(".json") + ".former")


def public_name(private: Path) -> Path:
    """Where the public half of a private identity file stands."""
    return private.with_name(private.name.removesuffix(".json") + ".public.json")


def read_public(path: Path) -> PublicIdentity:
    """The public half of either kind of file. Raises IdentityRefused, UsageError."""
    content = _read(path)
    try:
        return PublicIdentity.from_json(content)
    except IdentityRefused as refusal:
        try:
            return StoredIdentity.from_json(content).public
        except IdentityRefused:
            raise refusal from None


def read_private(path: Path, passphrase_file: Path | None) -> PrivateIdentity:
    """A private identity from its file. Raises IdentityRefused, UsageError."""
    return PrivateIdentity.from_json(_read(path), read_passphrase(passphrase_file), open_token=open_token)


def read_all(path: Path, passphrase_file: Path | None) -> tuple[PrivateIdentity, ...]:
    """A recipient as it is and as it was before its rotations. Raises IdentityRefused, UsageError."""
    folder = former_folder(path)
    former = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return tuple(read_private(each, passphrase_file) for each in (path, *former))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keep:
    """How a secret is kept in its file: in plain, under a passphrase, or under a token's key."""

    passphrase: str | None = None
    token: HostToken | None = None

    @classmethod
    def asked(cls, passphrase_file: Path | None, token: str | None) -> _Keep:
        """As the command line says; a key that the token lacks is made. Raises UsageError, IdentityRefused."""
        if passphrase_file is not None and token is not None:
            raise UsageError("expected a passphrase or a token, not both")
        if token is None:
            return cls(passphrase=read_passphrase(passphrase_file))
        opened = open_token(token)
        if opened.make_key():
            note("made an AES-256 key in the token, which will never leave it: without that token the secret is lost")
        return cls(token=opened)

    @classmethod
    def as_stored(cls, stored: StoredIdentity, passphrase_file: Path | None) -> _Keep:
        """As a file has it."""
        if stored.uri is not None:
            return cls(token=open_token(stored.uri))
        return cls(passphrase=read_passphrase(passphrase_file) if stored.form == "argon2id" else None)

    def write(self, path: Path, identity: PrivateIdentity) -> None:
        text = identity.to_json(self.passphrase, token=self.token) + "\n"
        write_whole(path, text.encode(), mode=PRIVATE_MODE)


def _announcement(identity: Path) -> Path:
    public = public_name(identity)
    return public.with_name(successor_name(public.name))


def _next_number(identity: Path, public: PublicIdentity) -> int:
    """Above the last announcement's, and at least the seconds since 1970, so that a lost file starts nothing anew."""
    path = _announcement(identity)
    last = Successor.from_json(_read(path), public).number if path.exists() else 0
    return max(last + 1, now_ns() // 1_000_000_000)


def read_passphrase(path: Path | None) -> str | None:
    """The first line of a passphrase file, or None where none was named."""
    if path is None:
        return None
    lines = _read_at_most(path, MAX_PASSPHRASE_BYTES).decode("utf-8", errors="replace").splitlines()
    if not lines or not lines[0]:
        raise UsageError(f"{path}: expected a passphrase on the first line")
    return lines[0]


def _read(path: Path) -> bytes:
    return _read_at_most(path, MAX_IDENTITY_BYTES + 1)


def _read_at_most(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(limit)
    except OSError as e:
        raise UsageError(f"{path}: expected a readable file; {e.strerror}") from e


def _tell(public: PublicIdentity, files: dict[str, str], *, json: bool) -> None:
    if json:
        print_json({"kind": public.kind, "name": public.name, "fingerprint": public.fingerprint, **files})
        return
    print_line(f"{public.kind} {public.name}")
    print_line(f"  fingerprint {spaced(public.fingerprint)}")
    for what, path in files.items():
        print_line(f"  {what}: {path}")


def spaced(fingerprint: str) -> str:
    """A fingerprint in groups of four, as people read it aloud."""
    return " ".join(fingerprint[i : i + 4] for i in range(0, len(fingerprint), 4))
