"""Entity identifiers: ULIDs that the same input makes again, byte for byte.

48 bits of time in ms and 80 bits of SHA-256 over unit, sequence and first observation, in Crockford's base 32
(github.com/ulid/spec). Nothing is random: a replay gives the same identifiers.
"""

from __future__ import annotations

import hashlib
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def entity_id(unit: str, sequence: int, first_observation: str, observed_ns: int) -> str:
    """26 characters that sort by time to the millisecond."""
    digest = hashlib.sha256(f"{unit}\0{sequence}\0{first_observation}".encode("utf-8", "surrogatepass")).digest()
    milliseconds = min(max(observed_ns // 1_000_000, 0), (1 << 48) - 1)
    number = milliseconds << 80 | int.from_bytes(digest[:10], "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
