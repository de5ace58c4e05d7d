"""Why an entity is believed: the recorded run made again, with each source and without it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from appliance.cli import call
from appliance.domain import Geodetic, Identity, Observation, Plot, Receipt, Report
from appliance.estimation import Sector
from appliance.fusion import FusionSettings, SensorModel
from appliance.geodesy import LocalFrame
from appliance.pipeline.bodies import ExplanationBody
from appliance.pipeline.path import OnePath, PathPlan
from appliance.pipeline.telling import TellingSettings
from appliance.recorder import Recorder, open_recording

SECOND = 1_000_000_000
START = 1_767_268_800 * SECOND
ORIGIN = Geodetic(latitude_deg=49.5, longitude_deg=6.1)
FRAME = LocalFrame(ORIGIN)
MMSI = "235000001"


def plan() -> PathPlan:
    radar = SensorModel(coverage=Sector(origin=ORIGIN, far_m=8000.0))
    return PathPlan(
        unit="quay-01",
        origin=ORIGIN,
        fusion=FusionSettings(origin=ORIGIN, unit="quay-01", sensors={"radar": radar}),
        telling=TellingSettings(picture_interval_ns=SECOND, entity_interval_ns=SECOND),
        receipt=Receipt(config_digest="", bundles={}, engines={}, clock="replayed", position_integrity="surveyed"),
        scan_periods_ns={"radar": SECOND},
    )


def plot(sensor: str, east: float, north: float, t_ns: int, sigma_m: float = 10.0, **more: Any) -> Plot:
    at = FRAME.position(east, north)
    return Plot(
        sensor_id=sensor, observation_id=f"{sensor}:{t_ns}:{more.pop('name', 'a')}", observed_ns=t_ns, kind="position",
        values=(at.latitude_deg, at.longitude_deg), covariance=((sigma_m**2, 0.0), (0.0, sigma_m**2)), **more,
    )  # fmt: skip


def report(text: str, t_ns: int, **more: Any) -> Report:
    return Report(sensor_id="watch", report_id=f"r{t_ns}", author="mole", received_ns=t_ns, text=text, **more)


def recorded(path: Path, observations: list[Observation], seconds: int) -> Path:
    """What the daemon would have recorded of these observations."""
    made, the_plan = OnePath(plan()), plan()
    with Recorder(path, plan=msgspec.json.encode(the_plan), max_bytes=10**8) as recorder:
        for one in observations:
            now_ns = one.received_ns if isinstance(one, Report) else one.observed_ns  # type: ignore[union-attr]
            recorder.arrival(one, now_ns)
            for result in made.step(one, now_ns):
                recorder.told(result.topic, result.payload, now_ns)
        recorder.end(START + seconds * SECOND)
        for result in made.finish(START + seconds * SECOND):
            recorder.told(result.topic, result.payload, START + seconds * SECOND)
    return path


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vessel that radar sees four times in five, that says who she is, and that a camera takes for a car."""
    rng = np.random.default_rng(5)
    seen: list[Observation] = []
    for k in range(1, 61):
        t, at = START + k * SECOND, (500.0 + 4.0 * k, 900.0)
        noisy = [tuple(np.array(at) + rng.normal(0, 8, 2)) for _ in range(3)]
        if k % 5:
            seen.append(plot("radar", *noisy[0], t))
        seen.append(plot("radar", -2500.0, 300.0, t, name="other"))
        if k % 10 == 3:
            names = (Identity(kind="mmsi", value=MMSI), Identity(kind="name", value="Marie Astrid"))
            seen.append(plot("ais", *noisy[1], t, identities=names, cooperative=True, categories={"vessel/ship": 0.95}))
        if k in (20, 40):
            seen.append(plot("camera", *noisy[2], t, categories={"vehicle/car": 0.6, "vessel/ship": 0.3}))
    at = FRAME.position(740.0, 900.0)
    where = f"{at.latitude_deg:.5f}, {at.longitude_deg:.5f}"
    seen.append(report(f"No vessel at {where}.", START + 60 * SECOND, grade="B2"))
    return recorded(tmp_path_factory.mktemp("harbour") / "run.mcap", seen, 61)


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> ExplanationBody:
    assert call(["explain", *arguments, "--json"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    return msgspec.json.decode(out, type=ExplanationBody)  # refuses what the schema does not know


def test_it_tells_what_an_entity_rests_on_what_speaks_against_it_and_what_would_be_without(
    harbour: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = explained(capsys, MMSI, "--recording", str(harbour))
    rests = {source.source_id: source.observations for source in body.rests_on}
    assert rests == {"ais": 6, "camera": 2, "radar": pytest.approx(48, abs=2)}
    against = {one.kind: one for one in body.against}
    assert set(against) == {"missed", "category", "denial"}
    assert against["missed"].source_id == "radar"
    assert against["missed"].count == pytest.approx(12, abs=2)
    assert against["missed"].llr == pytest.approx(against["missed"].count * math.log(0.1), rel=0.2)
    assert against["category"].says == "camera takes it for vehicle/car, not vessel/ship"
    without = {one.source_id: one for one in body.without}
    assert without["radar"].there
    assert without["ais"].there
    assert without["ais"].category == "vehicle/car", "but for AIS the camera alone says what it is"
    assert without["camera"].category == "vessel/ship"
    assert all(one.moved_m < 60.0 for one in without.values() if one.moved_m is not None)


def test_in_words_it_is_the_same(harbour: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["explain", "Marie Astrid", "--recording", str(harbour)]) == 0
    told = capsys.readouterr()
    assert "It rests on 6 observations of ais" in told.out
    assert "radar looked at its place and did not see it, 12 times" in told.out.replace("11 times", "12 times")
    assert "Without ais it would exist with" in told.out
    assert "a person reports that there was none" in told.out
    assert "the run without radar" in told.err, "progress in plain lines where there is no terminal"


def test_a_thing_that_one_source_alone_saw_would_not_be_there_without_it(
    harbour: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["explain", MMSI, "--recording", str(harbour), "--json", "--quick"]) == 0
    known = json.loads(capsys.readouterr().out)["entity"]["entity_id"]
    entities = told_of(harbour)
    other = next(entity for entity in entities if entity != known)
    body = explained(capsys, other, "--recording", str(harbour))
    assert [one.there for one in body.without] == [False]
    assert "Without radar it would not be in the picture." in body.sentences


def told_of(recording: Path) -> list[str]:
    told = [json.loads(payload) for topic, payload in open_recording(recording).told() if "/entity/" in topic]
    return sorted({body["entity_id"] for body in told})


def test_a_thing_that_is_gone_at_the_end_is_explained_where_it_was_last_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Observation] = [plot("radar", 400.0, 400.0 + 3 * k, START + k * SECOND) for k in range(1, 21)]
    seen += [plot("radar", -3000.0, 0.0, START + k * SECOND) for k in range(21, 80)]
    recording = recorded(tmp_path / "gone.mcap", seen, 80)
    gone = min(told_of(recording))
    body = explained(capsys, gone, "--recording", str(recording))
    assert body.entity.status in {"confirmed", "coasting"}
    assert body.at < "2026-01-01T12:01:00"


def test_the_same_question_twice_has_the_same_answer(harbour: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(capsys, MMSI, "--recording", str(harbour)) == explained(capsys, MMSI, "--recording", str(harbour))


def test_watching_changes_no_result() -> None:
    observations = [plot("radar", 400.0, 3.0 * k, START + k * SECOND) for k in range(1, 30) if k % 4]
    both = []
    for watching in (False, True):
        path = OnePath(plan(), watching=watching)
        told = [path.step(one, one.observed_ns) for one in observations]
        both.append((told, path.finish(START + 40 * SECOND)))
    assert both[0] == both[1]


@pytest.mark.parametrize(("name", "found"), [("999999999", 0), ("0", 2)])
def test_a_name_that_fits_not_exactly_one_entity_is_bad_usage(
    name: str, found: int, harbour: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["explain", name, "--recording", str(harbour)]) == 2
    assert f"fits {found}" in capsys.readouterr().err


def test_what_is_no_recording_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.mcap").write_bytes(b"not a recording")
    assert call(["explain", MMSI, "--recording", str(tmp_path / "r.mcap")]) == 2
    assert "expected" in capsys.readouterr().err
