"""The Merkle tree against its own definition, RFC 6962's structure, and forgeries."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audit.merkle import (
    CompactRange,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(40)]


def test_leaves_and_nodes_are_told_apart() -> None:
    """RFC 6962 §2.1: without the prefixes a node could be passed off as a record."""
    assert leaf_hash(b"") == hashlib.sha384(b"\x00").digest()
    assert node_hash(b"a", b"b") == hashlib.sha384(b"\x01ab").digest()
    assert tree_root([]) == hashlib.sha384(b"").digest() == CompactRange().root()


def test_the_shape_is_that_of_rfc_6962() -> None:
    """§2.1.3: seven leaves are (((0 1)(2 3))((4 5) 6))."""
    d = LEAVES
    left = node_hash(node_hash(d[0], d[1]), node_hash(d[2], d[3]))
    assert tree_root(d[:7]) == node_hash(left, node_hash(node_hash(d[4], d[5]), d[6]))


def test_appending_agrees_with_the_definition_at_every_size() -> None:
    tree = CompactRange()
    for size, leaf in enumerate(LEAVES):
        assert tree.root() == tree_root(LEAVES[:size])
        assert len(tree.subtrees) == size.bit_count()
        tree = tree.append(leaf)


def test_every_leaf_of_every_tree_is_proved_and_no_other_passes() -> None:
    for size in range(1, 20):
        root = tree_root(LEAVES[:size])
        for index in range(size):
            proof = inclusion_proof(LEAVES[:size], index)
            assert verify_inclusion(leaf=LEAVES[index], index=index, size=size, proof=proof, root=root)
            assert not verify_inclusion(leaf=LEAVES[index + 1], index=index, size=size, proof=proof, root=root)
            assert not verify_inclusion(leaf=LEAVES[index], index=size, size=size, proof=proof, root=root)
            assert not verify_inclusion(
                leaf=LEAVES[index], index=index, size=size, proof=[*proof, LEAVES[0]], root=root
            )
            if proof:
                assert not verify_inclusion(leaf=LEAVES[index], index=index, size=size, proof=proof[:-1], root=root)


def test_every_older_tree_is_proved_to_be_the_beginning_of_every_newer() -> None:
    for size in range(20):
        for old_size in range(size + 1):
            proof = consistency_proof(LEAVES[:size], old_size)
            facts = {"old_size": old_size, "size": size, "root": tree_root(LEAVES[:size])}
            assert verify_consistency(old_root=tree_root(LEAVES[:old_size]), proof=proof, **facts)
            if old_size > 0:
                assert not verify_consistency(old_root=LEAVES[39], proof=proof, **facts)
            if proof:
                assert not verify_consistency(old_root=tree_root(LEAVES[:old_size]), proof=proof[:-1], **facts)


def test_a_tree_with_one_changed_record_is_not_consistent() -> None:
    changed = [*LEAVES[:3], LEAVES[39], *LEAVES[4:10]]
    proof = consistency_proof(changed, 6)
    old_root = tree_root(LEAVES[:6])
    assert not verify_consistency(old_size=6, old_root=old_root, size=10, root=tree_root(changed), proof=proof)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(IndexError):
        inclusion_proof(LEAVES[:size], index)


@pytest.mark.parametrize("old_size", [-1, 4])
def test_there_is_no_proof_for_a_tree_larger_than_this(old_size: int) -> None:
    with pytest.raises(IndexError):
        consistency_proof(LEAVES[:3], old_size)


@settings(max_examples=60, deadline=None)
@given(st.integers(-2, 40), st.integers(-2, 40), st.lists(st.sampled_from(LEAVES), max_size=8))
def test_random_proofs_neither_pass_nor_crash(index: int, size: int, proof: list[bytes]) -> None:
    forged = node_hash(b"forged", b"root")
    assert not verify_inclusion(leaf=LEAVES[0], index=index, size=size, proof=proof, root=forged)
    if index > 0:
        assert not verify_consistency(old_size=index, old_root=LEAVES[0], size=size, root=forged, proof=proof)
