"""Progress: whatever a builder tells, the fraction only rises and never claims to be done before it is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engines.progress import ProgressTree, paced

NAMES = st.sampled_from(["Building engine", "Timing tactics", "Timing graph nodes", "a", "b", "c"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), NAMES, st.none() | NAMES, st.integers(-3, 1000)),
        st.tuples(st.just("step"), NAMES, st.integers(-2, 2000)),
        st.tuples(st.just("end"), NAMES),
        st.tuples(st.just("wait"), st.floats(-1, 100)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.booleans())
def test_the_fraction_only_rises_and_is_never_one_before_the_end(events: list[Any], rtx: bool) -> None:
    tree, now, before = ProgressTree(0.0, rtx=rtx), 0.0, 0.0
    for kind, *rest in events:
        if kind == "wait":
            now += rest[0]
        else:
            getattr(tree, kind)(*rest, now)
        told = tree.at(now)
        assert before <= told.fraction < 1.0
        assert told.left_s is None or told.left_s >= 0.0
        before = told.fraction
    tree.finish()
    assert tree.at(now).fraction == 1.0


def test_a_real_builds_phases_are_shared_out_by_the_time_that_they_take() -> None:
    """The phases that TensorRT tells, in their order; the root never reports its last step."""
    tree = ProgressTree(0.0)
    tree.start("Building engine", None, 6, 0.0)
    for step in range(4):
        tree.step("Building engine", step, 0.1)
    assert tree.at(0.1).fraction < 0.1
    tree.start("Building engine from subgraph", "Building engine", 1, 0.1)
    tree.start("Computing profile costs", "Building engine from subgraph", 1, 0.1)
    tree.start("Timing tactics", "Computing profile costs", 1, 0.1)
    tree.start("Timing graph nodes", "Timing tactics", 100, 0.1)
    fractions = []
    for step in range(100):
        tree.step("Timing graph nodes", step, 1.0 + step)
        fractions.append(tree.at(1.0 + step).fraction)
    assert 0.2 < fractions[49] < 0.6
    assert fractions[99] > fractions[49]
    half = tree.at(100.0)
    assert half.left_s is not None
    for name in ("Timing graph nodes", "Timing tactics", "Computing profile costs", "Building engine from subgraph"):
        tree.end(name, 101.0)
    tree.step("Building engine", 4, 101.0)
    tree.end("Building engine", 102.0)
    assert tree.at(102.0).fraction == pytest.approx(0.99)


def test_a_silent_step_creeps_and_never_reaches_its_end() -> None:
    tree = ProgressTree(0.0)
    tree.start("work", None, 2, 0.0)
    tree.step("work", 0, 10.0)
    told = [tree.at(10.0 + second).fraction for second in range(0, 2000, 10)]
    assert told[0] == pytest.approx(0.495)
    assert told[-1] > 0.9
    assert all(later > earlier for earlier, later in pairwise(told[:10]))
    assert max(told) < 0.95


def test_time_left_is_not_told_before_there_is_a_pace() -> None:
    assert paced(0.0, "x", 10.0).left_s is None
    assert paced(0.5, "x", 0.1).left_s is None
    assert paced(0.25, "x", 10.0).left_s == pytest.approx(30.0)
