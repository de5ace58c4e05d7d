"""``appliance keys``: identities of devices and recipients, as files.

Private identities are written with mode 0600 and never over an existing file. ``trust`` and ``show`` work on what is
public. Signing keys of integrators are made at the bench (``python -m export``), never here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from appliance.cli.output import print_json, print_line
from appliance.errors import IdentityRefused, UsageError
from appliance.host.files import write_whole
from appliance.sealing.identity import MAX_IDENTITY_BYTES, PrivateIdentity, PublicIdentity, generate

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
    json
        One JSON object on standard output.
    """
    public_path = public_name(out)
    for path in (out, public_path):
        if path.exists():
            raise UsageError(f"{path}: expected a new file; an identity is never written over")
    identity = generate(kind, name)
    write_whole(out, (identity.to_json(read_passphrase(passphrase_file)) + "\n").encode(), mode=PRIVATE_MODE)
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
            return PrivateIdentity.from_json(content).public
        except IdentityRefused:
            raise refusal from None


def read_private(path: Path, passphrase_file: Path | None) -> PrivateIdentity:
    """A private identity from its file. Raises IdentityRefused, UsageError."""
    return PrivateIdentity.from_json(_read(path), read_passphrase(passphrase_file))


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
