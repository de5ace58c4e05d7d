"""Where everything lies on a stick, and how long metadata may be: names and bounds only.

    m/1.root.json … m/K.root.json   every root version
    m/timestamp.json   m/N.snapshot.json   m/N.targets.json   m/N.<integrator>.json
    t/<integrator>/<product>/<sha384>.<file>

The same tree as a folder or in one uncompressed tar. Names found on media are compared with expected ones and are
never used as paths.
"""

from __future__ import annotations

from typing import Final

METADATA: Final = "m"
TARGETS: Final = "t"
#: A metadata and a payload name: 2 + 2·33 + 97 + 64 characters is the longest there can be.
MAX_NAME: Final = 256
#: Far more than 64 roots, 64 roles and 64 files of a few dozen products.
MAX_MEMBERS: Final = 8192
#: ML-DSA-87 (FIPS 204): 4627 bytes of signature, 2592 of public key. A root with 64 keys still fits.
MAX_ROOT_BYTES: Final = 512 * 1024
MAX_TIMESTAMP_BYTES: Final = 32 * 1024
MAX_SNAPSHOT_BYTES: Final = 256 * 1024
MAX_TARGETS_BYTES: Final = 2 * 1024 * 1024


def root_name(version: int) -> str:
    """``m/3.root.json``."""
    return f"{METADATA}/{version}.root.json"


def metadata_name(role: str, version: int | None) -> str:
    """``m/timestamp.json`` where ``version`` is None, else ``m/7.snapshot.json``."""
    return f"{METADATA}/{role}.json" if version is None else f"{METADATA}/{version}.{role}.json"


def target_name(product: str, path: str, sha384: str) -> str:
    """``t/acme/people/<sha384>.model.onnx``."""
    return f"{TARGETS}/{product}/{sha384}.{path}"


def target_path(product: str, path: str) -> str:
    """The name by which signed metadata lists a file: ``acme/people/model.onnx``."""
    return f"{product}/{path}"
