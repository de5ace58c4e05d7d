"""Honest traffic that looks dishonest, and dishonest traffic that looks honest: what is disputed, and what is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from appliance.domain import Identity
from benchmarks import disputes as harbour

SECOND = 1_000_000_000
ONE = Identity(kind="mmsi", value="235000001")
TWO = Identity(kind="mmsi", value="235000002")


@pytest.mark.slow
def test_half_an_hour_of_honest_traffic_in_an_unkind_harbour_raises_no_dispute() -> None:
    assert harbour.run(4, 1800).disputes == ()


@pytest.mark.slow
def test_a_ferry_whose_ais_drifts_2_km_from_her_radar_return_is_flagged_within_a_minute() -> None:
    found = harbour.drift("ferry", 33.0, seed=2)
    assert found.heard
    assert found.from_2_km_s <= 60.0


def test_a_long_ship_whose_aerial_stands_far_from_her_echo_is_one_entity_without_dispute(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 121):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(100, 2000 + 5 * k, t, "a")], t)
        if k % 6 == 0:
            plot = world.position(100, 2000 + 5 * k - 110, t, "a", sensor="ais", mmsi=ONE.value)
            fusion.observe_plots("ais", t, [plot], t)
            assert not fusion.disputes(t)
    (entity,) = [e for e in fusion.entities(120 * SECOND) if e.status == "confirmed"]
    assert entity.identities == (ONE,)
    assert {e.source_id for e in entity.evidence} == {"radar", "ais"}


def test_two_that_met_and_parted_under_each_others_identity_get_their_own_back(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 241):
        t = k * SECOND
        one, two = np.array([-600.0 + 5 * k, 1000.0]), np.array([600.0 - 5 * k, 1000.0])
        plots = [world.radar(*one, t, "1"), world.radar(*two, t, "2")]
        if 105 <= k <= 135:  # as they pass, the radar has one echo of both, then takes each for the other
            plots = [world.radar(*(0.5 * (one + two)), t, "m")]
        fusion.observe_plots("radar", t, plots, t)
        if k == 136:
            _exchange_what_the_radar_follows(fusion)
        for name, at in ((ONE, one), (TWO, two)):
            if k % 10 == (0 if name is ONE else 5) and not 100 < k < 140:
                fusion.observe_plots("ais", t, [world.position(*at, t, name.value, sensor="ais", mmsi=name.value)], t)
                assert not fusion.disputes(t)
    found = {e.identities: world.frame.local(e.position)[0] for e in fusion.entities(240 * SECOND) if e.identities}
    assert found[(ONE,)] == pytest.approx(600.0, abs=60.0)
    assert found[(TWO,)] == pytest.approx(-600.0, abs=60.0)


def _exchange_what_the_radar_follows(fusion: Any) -> None:
    """Whatever the radar made of the meeting, make it the wrong thing."""
    state = fusion._state
    one, two = state.book.slot(ONE), state.book.slot(TWO)
    bank = state.core.bank
    for values in (bank.x, bank.p, bank.w, bank.mean, bank.cov):
        values[[one, two]] = values[[two, one]]


def test_a_vessel_that_claims_to_be_where_another_is_seen_is_disputed_all_the_same(world: Any) -> None:
    """To jump onto somebody else's echo is no excuse: excused is only who may have been mistaken for a neighbour."""
    fusion = world.fusion()
    for k in range(1, 121):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(1500, 1500, t, "a"), world.radar(-1500, 1500, t, "b")], t)
        if k % 5 == 0:
            at = (1500, 1500) if k < 60 else (-1500, 1500)
            fusion.observe_plots("ais", t, [world.position(*at, t, "a", sensor="ais", mmsi=ONE.value)], t)
    (dispute,) = fusion.disputes(120 * SECOND)
    assert ONE.value in dispute.claimed
    held = next(e for e in fusion.entities(120 * SECOND) if ONE in e.identities)
    assert held.entity_id == dispute.entity_id
    assert world.frame.local(held.position)[0] == pytest.approx(1500, abs=60)


def _boat(world: Any, fusion: Any, k: int, off_m: float, *, seen: bool = True, others: tuple[Any, ...] = ()) -> None:
    """One second of a boat that goes east at 3 m/s and says every half minute that it is ``off_m`` farther east."""
    t, east = k * SECOND, 3.0 * k
    if k % 2 == 0:
        echoes = [world.radar(east, 1000.0, t, "boat")] if seen else []
        echoes += [world.radar(*at, t, f"other-{j}") for j, at in enumerate(others)]
        fusion.observe_plots("radar", t, echoes, t)
    if k % 30 == 0 and not math.isnan(off_m):
        at = (east + off_m, 1000.0)
        plot = world.position(
            *at, t, "boat", sensor="ais", mmsi=ONE.value, velocity_mps=(3.0, 0.0), velocity_variance_m2ps2=0.25
        )
        fusion.observe_plots("ais", t, [plot], t)


def _carrier(world: Any, fusion: Any, k: int) -> tuple[float, float]:
    (entity,) = [e for e in fusion.entities(k * SECOND) if ONE in e.identities]
    east, north, _ = world.frame.local(entity.position)
    return east - 3.0 * k, north - 1000.0


def test_a_claim_just_off_its_echo_does_not_drag_the_boat_from_it(world: Any) -> None:
    """The echo was lost for six seconds: a state in doubt takes what it is told, and the next echo is nobody's."""
    fusion = world.fusion()
    for k in range(1, 241):
        _boat(world, fusion, k, 0.0 if k < 180 else 120.0 if k < 210 else 2000.0, seen=k not in (176, 178, 180))
        if k in (182, 200, 230):
            assert _carrier(world, fusion, k) == pytest.approx((0.0, 0.0), abs=50.0)
    assert [e.status for e in fusion.entities(240 * SECOND)].count(
        "confirmed"
    ) == 2  # the boat, and where it says it is
    (dispute,) = fusion.disputes(240 * SECOND)
    assert ONE.value in dispute.claimed


def test_claims_near_somebody_whom_the_boat_never_met_are_disputed_after_a_silence(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 301):
        off_m = 0.0 if k < 150 else math.nan if k < 260 else 2000.0
        if k % 60 == 5:
            plot = world.position(2800.0, 1150.0, k * SECOND, "moored", sensor="ais", mmsi=TWO.value)
            fusion.observe_plots("ais", k * SECOND, [plot], k * SECOND)
        _boat(world, fusion, k, off_m, others=((2800.0, 1150.0),))
    (dispute,) = fusion.disputes(300 * SECOND)
    assert ONE.value in dispute.claimed
    assert dispute.raised_ns <= 300 * SECOND


def test_a_dispute_stands_between_two_reports_of_a_boat_that_reports_every_half_minute(world: Any) -> None:
    fusion = world.fusion()
    standing = []
    for k in range(1, 361):
        _boat(world, fusion, k, 0.0 if k < 200 else 2000.0)
        standing += [len(fusion.disputes(k * SECOND))] if k >= 241 else []
    assert set(standing) == {1}
