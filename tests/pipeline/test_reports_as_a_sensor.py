"""What people write, in four languages, as a sensor: through reading and fusion, to entities."""

from __future__ import annotations

import math

import pytest

from appliance.domain import Claim, Entity, Geodetic, Plot, Report
from appliance.fusion import Fusion, FusionSettings
from appliance.geodesy import LocalFrame
from appliance.reading import read

SECOND = 1_000_000_000
START = 1_767_268_800 * SECOND
HERE = Geodetic(latitude_deg=49.6, longitude_deg=6.12)
BRIDGE = Geodetic(latitude_deg=49.61, longitude_deg=6.13)
NAMES = dict.fromkeys(("bridge", "pont", "Brücke", "Bréck"), BRIDGE)
FRAME = LocalFrame(HERE)


def claims(text: str, at_s: int, grade: str | None = "B2") -> tuple[Claim, ...]:
    report = Report(
        sensor_id="watch", report_id=f"{text}{at_s}", author="post 3", received_ns=START + at_s * SECOND, text=text,
        grade=grade,
    )  # fmt: skip
    return read(report, near=HERE, gazetteer=NAMES)


def seen(things: int, *, until_s: int = 20) -> Fusion:
    """So many trucks side by side at the bridge, seen by a camera until then."""
    fusion = Fusion(FusionSettings(origin=HERE, unit="post"))
    east, north, _ = FRAME.local(BRIDGE)
    for k in range(1, until_s + 1):
        t, plots = START + k * SECOND, []
        for i in range(things):
            at = FRAME.position(east + 40.0 * i - 40.0, north + 3.0 * math.sin(k))
            plots.append(
                Plot(sensor_id="eo", observation_id=f"{k}:{i}", observed_ns=t, kind="position",
                     values=(at.latitude_deg, at.longitude_deg), covariance=((64.0, 0.0), (0.0, 64.0)),
                     categories={"vehicle": 0.9})
            )  # fmt: skip
        fusion.observe_plots("eo", t, plots, t)
    return fusion


def standing(fusion: Fusion, at_s: int) -> list[Entity]:
    return [e for e in fusion.entities(START + at_s * SECOND) if e.status not in {"deleted", "tentative"}]


TRUCKS = (
    "Three trucks at the bridge.",
    "Trois camions au pont.",
    "Drei Lastwagen an der Brücke.",
    "Dräi Camionen op der Bréck.",
)
NOTHING = ("Nothing at the bridge.", "Rien au pont.", "Nichts an der Brücke.", "Näischt op der Bréck.")


@pytest.mark.parametrize("text", TRUCKS)
def test_three_trucks_join_the_three_vehicles_that_stand_there(text: str) -> None:
    fusion = seen(3)
    fusion.observe_claims(claims(text, 20), START + 20 * SECOND)
    entities = standing(fusion, 20)
    assert len(entities) == 3
    assert all(any(e.kind == "claim" for e in entity.evidence) for entity in entities)


@pytest.mark.parametrize("text", TRUCKS)
def test_what_is_left_of_the_count_stands_as_reported_and_fades(text: str) -> None:
    fusion = seen(1)
    fusion.observe_claims(claims(text, 20), START + 20 * SECOND)
    (reported,) = [e for e in standing(fusion, 20) if e.status == "reported"]
    assert reported.count == 2
    assert reported.category == "vehicle/truck"
    assert math.sqrt(reported.covariance_m2[0][0]) == pytest.approx(300.0, rel=0.05), "a name is good to 300 m"
    (later,) = [e for e in standing(fusion, 920) if e.status == "reported"]
    assert later.existence < 0.6 * reported.existence


@pytest.mark.parametrize("text", NOTHING)
def test_nothing_at_the_bridge_lowers_what_was_reported_there(text: str) -> None:
    fusion = Fusion(FusionSettings(origin=HERE, unit="post"))
    fusion.observe_claims(claims("Three trucks at the bridge.", 10), START + 10 * SECOND)
    (before,) = standing(fusion, 60)
    (denial,) = claims(text, 60)
    assert denial.negated
    fusion.observe_claims((denial,), START + 60 * SECOND)
    left = standing(fusion, 60)
    assert not left or left[0].existence < 0.4 * before.existence


@pytest.mark.parametrize("text", NOTHING)
def test_nothing_at_the_bridge_lowers_what_no_sensor_has_seen_since(text: str) -> None:
    fusion, same = seen(1), seen(1)
    fusion.observe_claims(claims(text, 55), START + 55 * SECOND)
    (lowered,), (untouched,) = standing(fusion, 55), standing(same, 55)
    assert lowered.existence < untouched.existence
    assert [o.kind for o in fusion.against(lowered.entity_id, START + 55 * SECOND)] == ["denial"]


NOTHING_NEW = (
    "Nothing new at the bridge.",
    "Rien de neuf au pont.",
    "Nichts Neues an der Brücke.",
    "Näischt Neies op der Bréck.",
)


@pytest.mark.parametrize("text", NOTHING_NEW)
def test_nothing_new_is_no_denial(text: str) -> None:
    assert not claims(text, 60)


@pytest.mark.parametrize(("better", "worse"), [("A1", "C3"), ("B2", "E5"), ("A2", "A4")])
def test_a_better_grade_is_believed_more(better: str, worse: str) -> None:
    existence = []
    for grade in (better, worse):
        fusion = Fusion(FusionSettings(origin=HERE, unit="post", told_existence=0.0))
        fusion.observe_claims(claims("Three trucks at the bridge.", 10, grade), START + 10 * SECOND)
        existence += [e.existence for e in standing(fusion, 10)] or [0.0]
    assert existence[0] > existence[1]


def test_a_finer_grid_square_is_a_smaller_place_and_joins_only_what_is_near() -> None:
    spread = []
    for text in ("A truck at 49.61, 6.13.", "A truck at 49.610, 6.130.", "A truck at 49.61000, 6.13000."):
        (claim,) = claims(text, 10)
        assert claim.covariance_m2 is not None
        spread.append(claim.covariance_m2[1][1])
    assert spread == sorted(spread, reverse=True)
    assert spread[0] > 50 * spread[1]
