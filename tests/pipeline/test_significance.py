"""What is worth telling of an entity, and what is not."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain import Entity, Evidence, Geodetic, Identity
from appliance.pipeline.significance import Significance, Told, is_news, sigma_m

SECOND = 1_000_000_000
M = 1.0 / (6_371_008.8 * math.pi / 180.0)
LIMITS = Significance(deviation_sigmas=0.5, deviation_m=1.0, move_m=25.0, existence_step=0.1, refresh_ns=30 * SECOND)


def seen(number: int, source: str = "radar", kind: str = "plot") -> Evidence:
    return Evidence(
        source_id=source,
        observation_id=f"{source}:{number}",
        kind=kind,  # type: ignore[arg-type]
        observed_ns=number * SECOND,
        log_likelihood_ratio=1.0,
        says="",
    )


ENTITY = Entity(
    entity_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    status="confirmed",
    category="vessel",
    categories={"vessel": 1.0},
    existence=0.8,
    count=1,
    position=Geodetic(latitude_deg=0.0, longitude_deg=0.0),
    covariance_m2=((16.0, 0.0), (0.0, 4.0)),
    velocity_mps=(0.0, 2.0, 0.0),
    velocity_covariance_m2ps2=((1.0, 0.0), (0.0, 1.0)),
    identities=(Identity(kind="mmsi", value="235070762"),),
    updated_ns=0,
    evidence=(seen(0),),
)


def at(north_m: float, east_m: float = 0.0, **change: object) -> Entity:
    place = Geodetic(latitude_deg=north_m * M, longitude_deg=east_m * M)
    return dataclasses.replace(ENTITY, position=place, updated_ns=1, **change)  # type: ignore[arg-type]


def news(after: Entity, *, after_s: float = 1.0, disputed: bool = False, limits: Significance = LIMITS) -> bool:
    told = Told(entity=ENTITY, at_ns=0, disputed=False)
    return is_news(told, after, now_ns=round(after_s * SECOND), disputed=disputed, limits=limits)


def test_a_thing_that_goes_on_as_it_was_told_is_no_news() -> None:
    assert not news(at(2.0))
    assert not news(at(20.0), after_s=10)


def test_a_thing_that_is_not_where_its_velocity_puts_it_is_news_beyond_a_fraction_of_its_sigma() -> None:
    assert sigma_m(ENTITY) == pytest.approx(4.0)
    assert not news(at(2.0, east_m=1.9))
    assert news(at(2.0, east_m=2.1))
    assert news(at(0.0), after_s=2), "it stopped"


def test_a_sure_position_is_not_told_for_less_than_the_least_distance() -> None:
    sure = dataclasses.replace(ENTITY, covariance_m2=((0.01, 0.0), (0.0, 0.01)), velocity_mps=(0.0, 0.0, 0.0))
    told = Told(entity=sure, at_ns=0, disputed=False)
    moved = [dataclasses.replace(sure, position=Geodetic(latitude_deg=m * M, longitude_deg=0.0)) for m in (0.9, 1.1)]
    assert [is_news(told, entity, now_ns=SECOND, disputed=False, limits=LIMITS) for entity in moved] == [False, True]


def test_a_thing_that_has_gone_far_is_told_however_it_goes() -> None:
    assert not news(at(24.0), after_s=12)
    assert news(at(26.0), after_s=13)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "coasting"},
        {"category": "vessel/boat"},
        {"count": 2},
        {"identities": ()},
        {"existence": 0.69},
        {"covariance_m2": ((65.0, 0.0), (0.0, 4.0))},
        {"covariance_m2": ((3.9, 0.0), (0.0, 1.0))},
        {"evidence": (seen(0), seen(1, "camera"))},
        {"evidence": (seen(0), seen(1, "radar", "claim"))},
    ],
    ids=["status", "category", "count", "identity", "existence", "less sure", "surer", "a new source", "a claim"],
)
def test_each_of_these_is_news(change: dict[str, object]) -> None:
    assert news(at(2.0, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"existence": 0.75},
        {"covariance_m2": ((36.0, 0.0), (0.0, 4.0))},
        {"evidence": (seen(7),)},
        {"evidence": (seen(6), seen(7))},
        {"categories": {"vessel": 0.99, "unknown": 0.01}},
    ],
    ids=["existence", "a little less sure", "a newer look", "one more look", "category weights"],
)
def test_none_of_these_is_news(change: dict[str, object]) -> None:
    assert not news(at(2.0, **change))


def test_a_dispute_raised_is_news() -> None:
    assert news(at(2.0), disputed=True)


def test_what_did_not_change_is_told_again_at_the_refresh() -> None:
    still = dataclasses.replace(LIMITS, move_m=math.inf)
    assert not news(at(58.0), after_s=29.0, limits=still)
    assert news(at(60.0), after_s=30.0, limits=still)
    assert not news(at(2e6), after_s=1e6, limits=dataclasses.replace(still, refresh_ns=0))


def test_a_clock_that_was_set_back_makes_everything_old() -> None:
    assert news(at(-2.0), after_s=-1.0)


def test_the_antimeridian_is_no_distance() -> None:
    west = dataclasses.replace(
        ENTITY, position=Geodetic(latitude_deg=0, longitude_deg=179.999999), velocity_mps=(0, 0, 0)
    )
    east = dataclasses.replace(west, position=Geodetic(latitude_deg=0, longitude_deg=-179.999999))
    told = Told(entity=west, at_ns=0, disputed=False)
    assert not is_news(told, east, now_ns=SECOND, disputed=False, limits=LIMITS)


def test_without_thresholds_every_observation_is_news() -> None:
    assert news(at(2.0), limits=Significance())
    assert not is_news(
        Told(entity=ENTITY, at_ns=0, disputed=False), ENTITY, now_ns=10**15, disputed=False, limits=Significance()
    )


@given(
    off=st.floats(-1e4, 1e4),
    seconds=st.floats(0, 29.9),
    sigmas=st.floats(0.1, 10),
    metres=st.floats(0.1, 100),
)
def test_what_is_not_told_is_never_farther_off_than_the_thresholds_allow(
    off: float, seconds: float, sigmas: float, metres: float
) -> None:
    limits = dataclasses.replace(LIMITS, deviation_sigmas=sigmas, deviation_m=metres, move_m=math.inf)
    after = at(2.0 * seconds, east_m=off)
    if not news(after, after_s=seconds, limits=limits):
        assert abs(off) <= max(sigmas * sigma_m(ENTITY), metres) * 1.001
