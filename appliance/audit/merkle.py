"""An append-only Merkle tree over SHA-384: appending, roots, inclusion and consistency proofs.

RFC 6962 §2.1 (and RFC 9162 §2.1.3, §2.1.4 for the verification algorithms) with SHA-384 in place of SHA-256: a leaf is
H(0x00 ‖ data), a node H(0x01 ‖ left ‖ right), the empty tree H(""). Appending needs only the *compact range*: the
roots of the complete subtrees, at most one for each power of two, so a log of any length is continued from a few
hundred bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HASH_BYTES: Final = 48


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962 §2.1: H(0x00 ‖ data)."""
    return hashlib.sha384(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 §2.1: H(0x01 ‖ left ‖ right)."""
    return hashlib.sha384(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The tree of ``size`` leaves, as the roots of its complete subtrees, largest first."""

    size: int = 0
    subtrees: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> CompactRange:
        """The tree with one more leaf (a leaf *hash*)."""
        subtrees, size, top = list(self.subtrees), self.size, leaf
        while size & 1:
            top = node_hash(subtrees.pop(), top)
            size >>= 1
        return CompactRange(self.size + 1, (*subtrees, top))

    def root(self) -> bytes:
        """The tree's root; for no leaves the hash of nothing."""
        if not self.subtrees:
            return hashlib.sha384(b"").digest()
        root = self.subtrees[-1]
        for left in reversed(self.subtrees[:-1]):
            root = node_hash(left, root)
        return root


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, by the definition (RFC 6962 §2.1); what ``CompactRange`` must agree with."""
    if not leaves:
        return hashlib.sha384(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return node_hash(tree_root(leaves[:split]), tree_root(leaves[split:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The audit path of leaf ``index`` (RFC 6962 §2.1.1), lowest first.

    Raises: IndexError where there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} in a tree of {len(leaves)}")
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*inclusion_proof(leaves[:split], index), tree_root(leaves[split:]))
    return (*inclusion_proof(leaves[split:], index - split), tree_root(leaves[:split]))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Proof that the first ``old_size`` leaves have not changed (RFC 6962 §2.1.2); empty for 0 or all leaves.

    Raises: IndexError for an old size beyond the tree.
    """
    if not 0 <= old_size <= len(leaves):
        raise IndexError(f"no {old_size} leaves in a tree of {len(leaves)}")
    if old_size in (0, len(leaves)):
        return ()
    return _subproof(leaves, old_size, complete=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, complete: bool) -> tuple[bytes, ...]:
    if old_size == len(leaves):
        return () if complete else (tree_root(leaves),)
    split = _split(len(leaves))
    if old_size <= split:
        return (*_subproof(leaves[:split], old_size, complete=complete), tree_root(leaves[split:]))
    return (*_subproof(leaves[split:], old_size - split, complete=False), tree_root(leaves[:split]))


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``leaf`` is leaf ``index`` of the tree of ``size`` leaves with this root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and result == root


def verify_consistency(*, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of ``size`` leaves begins with the tree of ``old_size`` (RFC 9162 §2.1.4.2)."""
    if not 0 <= old_size <= size:
        return False
    if old_size == 0:
        return not proof
    if old_size == size:
        return not proof and old_root == root
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        return False
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_result = new_result = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_result, new_result = node_hash(sibling, old_result), node_hash(sibling, new_result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_result = node_hash(new_result, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old_result == old_root and new_result == root


def _split(size: int) -> int:
    """The largest power of two below ``size`` (RFC 6962 §2.1)."""
    return 1 << ((size - 1).bit_length() - 1)
