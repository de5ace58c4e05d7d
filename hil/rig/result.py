"""What a campaign ends with: one value that holds everything a report says, signed as JSON and read again.

Reports are made from this alone, so that whoever has the signed file can make them without the device or the rig.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey, MLDSA87PublicKey

from appliance.errors import Refused
from appliance.host.files import read_at_most, write_whole
from hil.rig.record import Happened
from hil.rig.verdict import Outcome, Reading

SCHEMA: Final = "edge-rig-result/1"
CONTEXT: Final = b"edge-rig-result/1"
MAX_RESULT_BYTES: Final = 64 * 1024 * 1024
RIG_KEY: Final = Path.home() / ".config" / "edge-appliance-rig" / "rig.key"


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a plot: seconds into the scene, values, unit."""

    name: str
    unit: str
    points: tuple[tuple[float, float], ...]


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """One trial. ``begun_ns`` is the scene's first moment, 0 where it never came to that."""

    name: str
    says: str
    outcome: Outcome
    why: str = ""
    readings: tuple[Reading, ...] = ()
    begun_ns: int = 0
    played_s: float = 0.0
    happened: tuple[Happened, ...] = ()
    series: tuple[Series, ...] = ()
    log: str = ""
    """What the device said, in plain text."""
    not_run: bool = False
    """This kind of device has no way to be broken like this; ``why`` says what is missing. It counts for nothing."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A whole campaign."""

    schema: str = SCHEMA
    campaign: str
    says: str
    digest: str
    """SHA-384 of the campaign file."""
    outcome: Outcome
    device: str
    facts: dict[str, str]
    began: str
    took_s: float
    trials: tuple[TrialResult, ...]


def write_signed(result: Result, key: MLDSA87PrivateKey, path: Path) -> bytes:
    """The result as JSON, and beside it its ML-DSA-87 signature (``.sig``) and the rig's public key (``.pub``)."""
    raw = msgspec.json.format(msgspec.json.encode(result), indent=1)
    write_whole(path, raw)
    write_whole(path.with_name(path.name + ".sig"), key.sign(raw, context=CONTEXT))
    write_whole(path.with_name(path.name + ".pub"), key.public_key().public_bytes_raw())
    return raw


def read_signed(path: Path, key: MLDSA87PublicKey | None = None) -> Result:
    """Read and verify a result, with the key beside it where none is given: that shows damage, not who signed.

    Raises Refused ("rig-result") for another content, key or form.
    """
    try:
        raw = read_at_most(path, MAX_RESULT_BYTES)
        signature = path.with_name(path.name + ".sig").read_bytes()
        beside = MLDSA87PublicKey.from_public_bytes(path.with_name(path.name + ".pub").read_bytes())
        (key or beside).verify(signature, raw, context=CONTEXT)
        return msgspec.json.decode(raw, type=Result)
    except (OSError, ValueError) as e:  # msgspec's errors are ValueErrors
        raise Refused("rig-result", f"{path}: expected a signed result of the rig; {e}") from e
    except InvalidSignature as e:
        raise Refused("rig-result", f"{path}: the signature does not verify") from e


def rig_key(path: Path) -> MLDSA87PrivateKey:
    """The rig's own key, made at first use; its seed lies in a file that only its owner reads."""
    if path.exists():
        return MLDSA87PrivateKey.from_seed_bytes(path.read_bytes())
    key = MLDSA87PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, key.private_bytes_raw(), mode=0o600)
    return key


def digest_of(text: str) -> str:
    """SHA-384, lower-case hex."""
    return hashlib.sha384(text.encode()).hexdigest()
