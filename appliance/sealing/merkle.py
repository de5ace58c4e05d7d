"""The Merkle tree over an epoch's frames (RFC 6962 §2.1, SHA-384), kept as its right edge alone.

Not here: the audit log, which is another tree with its own proofs. Here only a root is asked for, so log₂(n) hashes are
all that is kept.
"""

from __future__ import annotations

import hashlib
from typing import Final

DIGEST_BYTES: Final = 48
EMPTY_ROOT: Final = hashlib.sha384(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf: SHA-384(0x00 || data)."""
    digest = hashlib.sha384(b"\x00")
    digest.update(data)
    return digest.digest()


class Frontier:
    """A tree that grows at its right edge: ``size`` leaves, and the roots of its full subtrees, largest first."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        size = self.size
        while size & 1:
            leaf = _node(self._peaks.pop(), leaf)
            size >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The Merkle tree hash of all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = _node(peak, root)
        return root

    def to_bytes(self) -> bytes:
        """Size (8 bytes, big-endian), then the subtree roots, largest first."""
        return self.size.to_bytes(8, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Frontier:
        """What ``to_bytes`` gave. Raises ValueError where size and subtrees do not fit together."""
        size, peaks = int.from_bytes(raw[:8], "big"), raw[8:]
        if len(raw) < 8 or len(peaks) != size.bit_count() * DIGEST_BYTES:
            raise ValueError(f"a frontier of {size} leaves cannot have {len(peaks)} bytes of subtrees")
        frontier = cls()
        frontier.size = size
        frontier._peaks = [peaks[at : at + DIGEST_BYTES] for at in range(0, len(peaks), DIGEST_BYTES)]
        return frontier


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha384(b"\x01" + left + right).digest()
