"""The set of seen counters and the tree over frames, against plain reference implementations."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.sealing import seen as seen_module
from appliance.sealing.merkle import Frontier, leaf_hash
from appliance.sealing.seen import Seen


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=80), st.integers(0, 61))
def test_the_runs_hold_exactly_what_was_added(counters: list[int], count: int) -> None:
    seen, reference = Seen(), set[int]()
    for counter in counters:
        assert seen.add(counter) == (counter not in reference)
        reference.add(counter)
    assert {c for c in range(62) if c in seen} == reference
    assert len(seen) == len(reference)
    assert Seen(seen.runs).runs == seen.runs
    missing = {c for first, last in seen.missing(count) for c in range(first, last + 1)}
    assert missing == set(range(count)) - reference


def test_too_many_gaps_give_up_the_oldest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    gaps = seen_module.MAX_RUNS + 1
    for counter in range(0, gaps * 2, 2):
        seen.add(counter)
    assert len(seen.runs) == seen_module.MAX_RUNS
    assert (seen.floor, seen.forgotten) == (2, 1)
    assert 1 in seen
    assert 3 not in seen


@pytest.mark.parametrize("runs", [[(3, 2)], [(-1, 4)], [(0, 4), (5, 6)], [(4, 5), (1, 2)]])
def test_runs_that_cannot_be_are_an_error(runs: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Seen(runs)


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if not leaves:
        return hashlib.sha384(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha384(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha384(b"\x01" + _root(leaves[:k]) + _root(leaves[k:])).digest()


def test_the_frontier_gives_the_root_of_rfc_6962_at_every_size() -> None:
    frontier, leaves = Frontier(), list[bytes]()
    for number in range(70):
        assert frontier.root() == _root(leaves)
        assert Frontier.from_bytes(frontier.to_bytes()).root() == _root(leaves)
        leaves.append(b"frame %d" % number)
        frontier.append(leaf_hash(leaves[-1]))


@pytest.mark.parametrize("raw", [b"", b"\0" * 7, (3).to_bytes(8, "big") + b"x" * 48, (1).to_bytes(8, "big")])
def test_a_frontier_that_does_not_fit_its_size_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier.from_bytes(raw)
