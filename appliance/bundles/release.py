"""What one release of one product is: the signed ``release.json``, as values.

Not the manifest of a model (``manifest.py``), not TUF metadata (``metadata.py``). A release says which files belong
to it, for whom it is and where it stands in the order of releases. Unknown fields are refused: a field that this
version does not know may be the one that says "not for you".
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from appliance.errors import BundleRefused

SCHEMA: Final = "edge-release/1"
RELEASE_FILE: Final = "release.json"
MANIFEST_FILE: Final = "model.json"

#: 64 files of 64 characters and 96 hex digits fit many times over.
MAX_RELEASE_BYTES: Final = 256 * 1024
#: One network of 8 GiB is the most that the device's memory and a ustar header can hold.
MAX_FILE_BYTES: Final = 8 * 1024**3 - 1
MAX_FILES: Final = 64

PRODUCT_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31}\Z"
FILE_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,63}\Z"
DIGEST_PATTERN: Final = r"^[0-9a-f]{96}\Z"
RELEASE_ID_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31}#[1-9][0-9]{0,18}\Z"

Product = Annotated[str, msgspec.Meta(pattern=PRODUCT_PATTERN)]
Counter = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
#: A network is one whole file: weights beside it would be opened by whatever name the graph gives.
Role = Literal["onnx", "manifest", "card", "calibration", "labels", "golden", "sbom"]


class ReleaseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of a release. ``path`` is a flat name; ``sha384`` is lower-case hex."""

    path: Annotated[str, msgspec.Meta(pattern=FILE_PATTERN)]
    role: Role
    length: Annotated[int, msgspec.Meta(ge=1, le=MAX_FILE_BYTES)]
    sha384: Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN)]


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``release.json``: what is installed together, for whom, and in which order.

    ``units`` are unit ids, group names or ``*``. ``hw`` empty means any hardware. ``release_counter`` grows with every
    release of one product. ``revokes`` are release ids (``acme/people#3``) that may no longer run. ``issued`` is UTC.
    """

    schema: Literal["edge-release/1"]
    product: Product
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}\Z")]
    release_counter: Counter
    files: Annotated[tuple[ReleaseFile, ...], msgspec.Meta(min_length=1, max_length=MAX_FILES)]
    units: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=4096)]
    issued: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
    hw: Annotated[tuple[Name, ...], msgspec.Meta(max_length=64)] = ()
    min_app: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){0,3}\Z")] = "0"
    supersedes: Counter | None = None
    revokes: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=RELEASE_ID_PATTERN)], ...], msgspec.Meta(max_length=1024)
    ] = ()
    notes: Annotated[str, msgspec.Meta(max_length=4096)] = ""

    @property
    def release_id(self) -> str:
        """Names this release for ever: product and counter."""
        return f"{self.product}#{self.release_counter}"

    @property
    def issued_ns(self) -> int:
        """When it was issued, nanoseconds since the epoch.

        Raises: BundleRefused ("issued") for a day or hour that no calendar has.
        """
        try:
            moment = datetime.fromisoformat(self.issued)
        except ValueError as e:
            raise BundleRefused("issued", f"release.json: issued is not a time: {self.issued}") from e
        return int(moment.timestamp()) * 1_000_000_000

    def the_file(self, role: Role) -> ReleaseFile:
        """The one file of a role of which the policy allows exactly one (``onnx``, ``manifest``)."""
        return next(file for file in self.files if file.role == role)


class _SchemaOnly(msgspec.Struct):
    schema: str = ""


_DECODER: Final = msgspec.json.Decoder(Release)
_SCHEMA_DECODER: Final = msgspec.json.Decoder(_SchemaOnly)


def parse_release(raw: bytes) -> Release:
    """Reads ``release.json``.

    Raises: BundleRefused: "too-long", "release-schema" where another version of the format speaks, "release" for
    anything that does not hold to the format.
    """
    if len(raw) > MAX_RELEASE_BYTES:
        raise BundleRefused("too-long", f"release.json: at most {MAX_RELEASE_BYTES} bytes; found {len(raw)}")
    try:
        schema = _SCHEMA_DECODER.decode(raw).schema
        if schema != SCHEMA:
            raise BundleRefused("release-schema", f"release.json: expected schema {SCHEMA}; found {schema[:64]!r}")
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise BundleRefused("release", f"release.json: {e}") from e


def encode_release(release: Release) -> bytes:
    """The one form in which the bench writes a release: indented, so that a person can read what is signed."""
    return msgspec.json.format(msgspec.json.encode(release), indent=1) + b"\n"


def is_product(name: str) -> bool:
    """Whether ``name`` is shaped like ``integrator/product``."""
    return re.fullmatch(PRODUCT_PATTERN, name) is not None
