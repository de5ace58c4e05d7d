"""Who is who: MMSI, tracklets, strays, disputes; and a real recording of 91 vessels."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.domain import Geodetic, Identity, Plot
from appliance.fusion import Fusion, FusionSettings, SensorModel

SECOND = 1_000_000_000


def test_ais_joins_what_radar_already_follows(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 31):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(1000 + 8 * k, 500, t, "a")], t)
        if k % 10 == 5:
            fusion.observe_plots(
                "ais", t, [world.position(1000 + 8 * k, 500, t, "a", sensor="ais", mmsi="235000001")], t
            )
    (entity,) = fusion.entities(30 * SECOND)
    assert entity.identities == (Identity(kind="mmsi", value="235000001"),)
    assert {e.source_id for e in entity.evidence} == {"radar", "ais"}


@pytest.mark.parametrize(
    ("number", "apart_m", "entities"),
    [("eo:1", 4.0, 1), ("eo:2", 1.0, 1), ("eo:2", 4.0, 2)],
    ids=["the same number", "a new number where it must be", "a new number where it may be"],
)
def test_a_number_that_a_camera_gives_anew_speaks_for_somebody_else(
    world: Any, number: str, apart_m: float, entities: int
) -> None:
    """Two seconds after one went out of sight, one comes into it, so far from where the first is expected."""
    fusion = world.fusion(sensors={"eo": SensorModel(clutter_density_per_m2=1e-3)})
    for k in range(1, 31):
        t, east, name = k * SECOND // 2, 0.5 * k, "eo:1"
        if k > 20:
            t, east, name = t + 3 * SECOND // 2, east + 1.5 + apart_m, number
        plot = world.position(east, 0, t, f"{k}", sigma=0.5)
        plot = dataclasses.replace(plot, identities=(Identity(kind="tracklet", value=name),))
        fusion.observe_plots("eo", t, [plot], t)
    assert len([e for e in fusion.entities(t) if e.status in ("confirmed", "coasting")]) == entities


def test_a_moored_vessel_that_reports_every_three_minutes_stays(world: Any) -> None:
    fusion = world.fusion()
    for k in range(10):
        t = k * 180 * SECOND + SECOND
        plot = world.position(
            700, 700, t, "a", sensor="ais", mmsi="235000001", velocity_mps=(0.0, 0.0), velocity_variance_m2ps2=0.25
        )
        fusion.observe_plots("ais", t, [plot], t)
        assert [e.status for e in fusion.entities(t + 179 * SECOND)] == ["confirmed"]
    assert len({e.entity_id for e in fusion.entities(t)}) == 1


def test_radar_misses_do_not_unmake_a_vessel_that_goes_on_reporting(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 101):
        t = k * SECOND
        fusion.observe_plots("radar", t, [], t)
        if k % 10 == 1:
            fusion.observe_plots("ais", t, [world.position(700, 700, t, "a", sensor="ais", mmsi="235000001")], t)
    (entity,) = fusion.entities(100 * SECOND)
    assert entity.status == "confirmed"


def test_a_camera_track_keeps_to_its_entity_and_moves_with_its_number(world: Any) -> None:
    fusion = world.fusion()
    number = (Identity(kind="tracklet", value="eo:7"),)
    for k in range(1, 11):
        t = k * SECOND
        plot = world.position(300, 300 + 2 * k, t, "a")
        fusion.observe_plots("eo", t, [dataclasses.replace(plot, identities=number)], t)
    (entity,) = fusion.entities(10 * SECOND)
    assert entity.identities == number
    assert fusion.carrier(number[0]) == entity.entity_id
    assert {e.kind for e in entity.evidence} == {"detection"}


def _harbour(world: Any, seconds: int, drift_mps: float, *, vessels: int = 4) -> tuple[Fusion, int | None]:
    """Vessels seen by radar that say where they are; from the 60th second the first says so ever more wrongly."""
    fusion = world.fusion()
    at = world.rng.uniform(-3000, 3000, (vessels, 2))
    speed = world.rng.uniform(-6, 6, (vessels, 2))
    raised = None
    for k in range(1, seconds):
        at = at + speed
        t = k * SECOND
        plots = [world.radar(*at[i], t, f"{i}") for i in range(vessels) if world.rng.random() < 0.9]
        fusion.observe_plots("radar", t, plots + world.clutter(t, 5), t)
        lie = np.array([min(2000.0, drift_mps * max(k - 60, 0)), 0.0])
        for i in range(vessels):
            if (k + 3 * i) % 10 == 0:
                said = at[i] + (lie if i == 0 else 0.0)
                fusion.observe_plots("ais", t, [world.position(*said, t, f"{i}", sensor="ais", mmsi=f"23500000{i}")], t)
        if raised is None and fusion.disputes(t):
            raised = k
    return fusion, raised


@pytest.mark.parametrize("drift_mps", [2000.0, 33.0, 10.0])
def test_ais_that_leaves_its_radar_return_is_disputed_within_a_minute_and_both_are_kept(
    world: Any, drift_mps: float
) -> None:
    fusion, raised = _harbour(world, 121, drift_mps)
    assert raised is not None
    assert raised <= 120
    (dispute,) = fusion.disputes(120 * SECOND)
    assert "235000000" in dispute.claimed
    assert dispute.sources == ("ais", "radar")
    disputed = next(e for e in fusion.entities(120 * SECOND) if e.entity_id == dispute.entity_id)
    assert Identity(kind="mmsi", value="235000000") in disputed.identities
    assert len([e for e in fusion.entities(120 * SECOND) if e.status == "confirmed"]) == 5


def test_honest_traffic_raises_no_dispute(world: Any) -> None:
    for seed in range(2):
        world.seed = seed
        world.__post_init__()
        fusion, raised = _harbour(world, 400, 0.0)
        assert raised is None
        assert not fusion.disputes(400 * SECOND)


def test_a_dispute_ends_when_the_claims_come_back(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 200):
        t = k * SECOND
        fusion.observe_plots("radar", t, [world.radar(1500, 1500, t, "a")], t)
        if k % 5 == 0:
            away = 1500.0 if 60 < k < 120 else 0.0
            fusion.observe_plots(
                "ais", t, [world.position(1500 + away, 1500, t, "a", sensor="ais", mmsi="235000001")], t
            )
        if k == 119:
            assert len(fusion.disputes(t)) == 1
    assert not fusion.disputes(199 * SECOND)


def test_a_single_wild_report_is_put_aside(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 30):
        t = k * SECOND
        away = 9000.0 if k == 15 else 0.0
        fusion.observe_plots("ais", t, [world.position(1500 + away, 1500, t, "a", sensor="ais", mmsi="235000001")], t)
    assert fusion.refused == {"stray": 1}
    assert len(fusion.entities(29 * SECOND)) == 1


def test_a_vessel_that_turns_up_elsewhere_unseen_keeps_its_entity(world: Any) -> None:
    fusion = world.fusion()
    for k in range(1, 40):
        t = k * 10 * SECOND
        away = 9000.0 if k >= 20 else 0.0
        fusion.observe_plots("ais", t, [world.position(1500 + away, 1500, t, "a", sensor="ais", mmsi="235000001")], t)
    (entity,) = fusion.entities(390 * SECOND)
    assert world.frame.local(entity.position)[0] > 10_000


def _solent(folder: Path) -> list[Plot]:
    plots = []
    with (folder / "feeds" / "ais" / "SolentAIS_20160112_130211.csv").open(newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            when = datetime.datetime.fromisoformat(row["Time"] + "+00:00")
            speed, course = float(row["SOG_knots"]) * 0.514444, math.radians(float(row["COG_degrees"]))
            plots.append(
                Plot(
                    sensor_id="ais",
                    observation_id=f"row{i}",
                    observed_ns=round(when.timestamp() * 1000) * 1_000_000,
                    kind="position",
                    values=(float(row["Latitude_degrees"]), float(row["Longitude_degrees"])),
                    covariance=((100.0, 0.0), (0.0, 100.0)),
                    identities=(Identity(kind="mmsi", value=row["MMSI"]),),
                    velocity_mps=(speed * math.sin(course), speed * math.cos(course)),
                    velocity_variance_m2ps2=0.25,
                    cooperative=True,
                )
            )
    return plots


@pytest.mark.slow
def test_every_good_report_of_a_real_recording_is_evidence_on_its_own_vessel(shared_data: Path) -> None:
    fusion = Fusion(FusionSettings(origin=Geodetic(latitude_deg=50.78, longitude_deg=-1.15)))
    right, seen, plots = 0, set(), _solent(shared_data)
    for plot in plots:
        fusion.observe_plots("ais", plot.observed_ns, [plot], plot.observed_ns)
        slot = fusion._state.book.slot(plot.identities[0])
        if slot >= 0 and fusion._state.dossiers[slot].plots["ais"][-1][0] is plot:
            right += 1
            seen.add(plot.identities[0])
    assert len(plots) == 18_623
    assert fusion.refused == {"place": 1}
    assert right >= 0.99 * (len(plots) - 1)
    assert len(seen) == 91
    last_ns = plots[-1].observed_ns
    assert not fusion.disputes(last_ns)
    entities = fusion.entities(last_ns)
    carried = [identity for entity in entities for identity in entity.identities]
    assert len(carried) == len(set(carried)) == len(entities)
