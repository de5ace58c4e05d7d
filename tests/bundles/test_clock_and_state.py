"""Time without a clock, and floors that do not go down."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundles.clock import BUILD_NS, MAX_AHEAD_NS, raise_floor, reference_time
from appliance.bundles.release import Release, ReleaseFile
from appliance.bundles.state import (
    TrustState,
    after_confirm,
    after_install,
    after_refresh,
    encode_state,
    parse_state,
)
from appliance.errors import BundleRefused

DAY_NS = 86_400 * 10**9
FLOOR_NS = BUILD_NS + 30 * DAY_NS


def _release(counter: int, issued: str, revokes: tuple[str, ...] = ()) -> Release:
    return Release(
        schema="edge-release/1",
        product="acme/people",
        version="1",
        release_counter=counter,
        files=(ReleaseFile(path="model.onnx", role="onnx", length=1, sha384="0" * 96),),
        units=("*",),
        issued=issued,
        revokes=revokes,
    )


@pytest.mark.parametrize(
    ("clock_ns", "now_ns", "state"),
    [
        (0, FLOOR_NS, "behind"),
        (FLOOR_NS - 1, FLOOR_NS, "behind"),
        (FLOOR_NS, FLOOR_NS, "believed"),
        (FLOOR_NS + DAY_NS, FLOOR_NS + DAY_NS, "believed"),
        (FLOOR_NS + MAX_AHEAD_NS, FLOOR_NS + MAX_AHEAD_NS, "believed"),
        (FLOOR_NS + MAX_AHEAD_NS + 1, FLOOR_NS, "far-ahead"),
    ],
)
def test_a_clock_is_believed_only_where_it_can_be_true(clock_ns: int, now_ns: int, state: str) -> None:
    reference = reference_time(floor_ns=FLOOR_NS, clock_ns=clock_ns)
    assert (reference.now_ns, reference.clock) == (now_ns, state)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**62), st.integers(-(2**62), 2**62))
def test_no_clock_makes_it_earlier_than_the_floor(floor_ns: int, clock_ns: int) -> None:
    assert reference_time(floor_ns=floor_ns, clock_ns=clock_ns).now_ns >= floor_ns


def test_the_floor_never_goes_down() -> None:
    assert raise_floor(FLOOR_NS, 0) == FLOOR_NS
    assert raise_floor(0, 0) == BUILD_NS
    assert raise_floor(FLOOR_NS, FLOOR_NS + 1) == FLOOR_NS + 1


def test_an_installation_moves_time_and_versions_and_not_the_counter() -> None:
    state = after_install(
        TrustState(),
        _release(5, "2027-01-01T00:00:00Z", ("acme/people#3", "other/x#1")),
        root_version=2,
        timestamp_version=9,
    )
    assert (state.root_version, state.timestamp_version, state.counters) == (2, 9, {})
    assert state.floor_ns == 1_798_761_600 * 10**9
    assert state.revoked == {"acme/people#3"}, "a release speaks for its own product alone"
    earlier = after_install(state, _release(6, "2026-12-01T00:00:00Z"), root_version=1, timestamp_version=10)
    assert (earlier.floor_ns, earlier.root_version) == (state.floor_ns, 2)
    assert earlier.revoked == state.revoked


def test_a_confirmation_raises_the_counter_and_nothing_lowers_it() -> None:
    state = after_confirm(TrustState(), "acme/people", 5)
    assert after_confirm(state, "acme/people", 3).floor_counter("acme/people") == 5
    assert state.floor_counter("acme/boats") == 0


def test_a_refresh_moves_versions_alone() -> None:
    state = after_refresh(TrustState(), root_version=3, timestamp_version=4)
    assert state == msgspec.structs.replace(TrustState(), root_version=3, timestamp_version=4)


def test_a_state_is_written_in_one_form_and_read_back() -> None:
    state = after_confirm(after_confirm(TrustState(revoked=frozenset({"b/b#2", "a/a#1"})), "z/z", 1), "a/a", 2)
    assert parse_state(encode_state(state)) == state
    other = after_confirm(after_confirm(TrustState(revoked=frozenset({"a/a#1", "b/b#2"})), "a/a", 2), "z/z", 1)
    assert encode_state(other) == encode_state(state)


def test_a_state_from_before_this_software_has_the_floor_of_this_software() -> None:
    assert parse_state(encode_state(TrustState(floor_ns=5))).floor_ns == BUILD_NS


def test_revocations_have_an_end() -> None:
    state = TrustState(revoked=frozenset(f"acme/people#{number}" for number in range(1, 16_385)))
    with pytest.raises(BundleRefused, match="trust-state"):
        after_install(
            state, _release(5, "2027-01-01T00:00:00Z", ("acme/people#99999",)), root_version=1, timestamp_version=1
        )


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_a_state_that_cannot_be_read_is_refused(raw: bytes) -> None:
    try:
        parse_state(raw)
    except BundleRefused as e:
        assert e.reason == "trust-state"  # noqa: PT017 - `{}` is a state: that of a new device
