"""The rig's judgement: campaigns refused with their place, readings from records, outcomes, signatures, reports."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey

from appliance.errors import ConfigError, Refused
from hil.demo.score import Opened
from hil.devices.device import DeviceTimeout
from hil.rig.budgets import Limit
from hil.rig.campaign import Loaded, Trial, load_campaign, trials_on
from hil.rig.faults.every import FAULTS
from hil.rig.faults.sensors import moved_m
from hil.rig.measures import MEASURES
from hil.rig.record import Epoch, Happened, Record, Told
from hil.rig.reports.html import page
from hil.rig.reports.junit import junit
from hil.rig.reports.plot import runs
from hil.rig.result import Result, Series, TrialResult, read_signed, write_signed
from hil.rig.run import Prepared, tried
from hil.rig.sabotage import SABOTAGES
from hil.rig.sampler import parsed
from hil.rig.slope import fitted
from hil.rig.verdict import Outcome, judged, worst
from hil.scene.mission import CAMERA

CAMPAIGNS = Path(__file__).resolve().parents[2] / "hil" / "campaigns"
TRIAL = Trial(name="x", says="x", duration_s=30, measure=())
BEGUN = 1_000_000_000_000


def load(path: Path) -> Loaded:
    return load_campaign(path, faults=FAULTS, measures=MEASURES, sabotages=SABOTAGES)


def record(**more: object) -> Record:
    return Record(begun_ns=BEGUN, ended_ns=BEGUN + 30 * 10**9, lap_s=60.0, seed=7, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["smoke", "acceptance", "soak", "adversary", "upgrade"])
def test_the_shipped_campaigns_make_sense(name: str) -> None:
    assert load(CAMPAIGNS / f"{name}.toml").campaign.name == name


def test_each_fault_is_broken_somewhere_in_what_is_shipped() -> None:
    campaigns = [load(CAMPAIGNS / f"{name}.toml").campaign for name in ("acceptance", "adversary", "upgrade")]
    used = {step.fault for campaign in campaigns for trial in campaign.trials for step in trial.steps}
    assert used == set(FAULTS)


def test_acceptance_breaks_each_feed_of_the_mission() -> None:
    trials = load(CAMPAIGNS / "acceptance.toml").campaign.trials
    garbled = {step.target for trial in trials for step in trial.steps if step.fault == "sensor-garbage"}
    assert garbled == {"camera", "radar", "ais", "gnss", "reports"}


def test_trials_with_faults_are_longer_where_a_device_comes_back_slowly() -> None:
    campaign = load(CAMPAIGNS / "smoke.toml").campaign
    longer = msgspec.structs.replace(campaign, trials=(*campaign.trials, TRIAL))
    assert [trial.duration_s for trial in trials_on(longer, "qemu-amd64")] == [88, 30]
    assert [trial.duration_s for trial in trials_on(longer, "local")] == [28, 30]


def test_what_a_kind_of_device_can_do_goes_before_what_a_trial_wants() -> None:
    limits = load(CAMPAIGNS / "smoke.toml").limits
    own = {"latency_p50_ms": Limit(at_most=3000), "recovery_s": Limit(at_most=40)}
    assert limits.of("latency_p50_ms", "qemu-arm64", own).at_most is None
    assert limits.of("latency_p50_ms", "local", own).at_most == 3000
    assert limits.of("recovery_s", "qemu-arm64", own).at_most == 40
    assert limits.of("silence_s", "qemu-arm64", own) == limits.limits["silence_s"]


@pytest.mark.parametrize("name", ["smoke", "acceptance", "adversary", "upgrade"])
def test_each_trial_names_a_broken_build_that_it_must_catch(name: str) -> None:
    assert [trial.name for trial in load(CAMPAIGNS / f"{name}.toml").campaign.trials if not trial.catches] == []


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        (('fault = "daemon-kill"', 'fault = "daemon-hug"'), "trials[0].steps[0].fault", "daemon-kill"),
        (("at_s = 10", "at_s = 99"), "trials[0].steps[0].at_s", "before the trial's duration_s"),
        (('"results_lost"', '"results_found"'), "trials[0].measure", "results_lost"),
        (("results-told-again", "kindness"), "trials[0].catches", "results-told-again"),
        (
            ('results-told-again = "results_doubled"', 'results-told-again = "recall"'),
            "trials[0].catches",
            "one of the trial's measure",
        ),
        (("duration_s = 28", "duration = 28"), "trials[0].duration", "'duration_s'"),
    ],
)
def test_a_wrong_campaign_is_refused_with_its_place(
    tmp_path: Path, change: tuple[str, str], key: str, expected: str
) -> None:
    (tmp_path / "budgets.toml").write_bytes((CAMPAIGNS / "budgets.toml").read_bytes())
    text = (CAMPAIGNS / "smoke.toml").read_text()
    assert change[0] in text
    (tmp_path / "c.toml").write_text(text.replace(*change))
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "c.toml")
    assert any(fault.key == key and expected in fault.expected for fault in refused.value.faults)


def test_a_hole_in_the_counters_is_a_lost_result_and_one_that_was_given_up_is_not() -> None:
    heard = ((5, 0), (5, 1), (5, 4))
    lost, _ = MEASURES["results_lost"].read(record(names=heard, durable=heard, shed=((5, 3),)), TRIAL)
    assert lost == 1


def test_a_durable_result_that_never_came_is_lost() -> None:
    lost, _ = MEASURES["results_lost"].read(record(names=((5, 0),), durable=((5, 0), (5, 1))), TRIAL)
    assert lost == 1


def test_of_a_long_trial_the_units_own_closes_count() -> None:
    closed = Epoch(epoch=5, count=100, missing=3, given_up=0, results="incomplete")
    assert MEASURES["results_lost"].read(record(epochs=(closed,)), TRIAL)[0] == 3


def test_a_fault_after_which_nothing_comes_is_never_recovered_from() -> None:
    fault = Happened(fault="link-cut", target="", from_ns=BEGUN, to_ns=BEGUN + 10**9)
    value, says = MEASURES["recovery_s"].read(record(happened=(fault,)), TRIAL)
    assert judged("recovery_s", "", value, "s", Limit(at_most=20)).outcome is Outcome.FAIL
    assert "link-cut" in says


def test_what_cannot_be_taken_fails_where_a_limit_asks_for_it() -> None:
    assert judged("watts", "power", None, "W", Limit()).outcome is Outcome.PASS
    assert judged("gospa_m", "", None, "m", Limit(at_most=1)).outcome is Outcome.FAIL
    assert judged("gospa_m", "", float("nan"), "m", Limit(at_most=1)).outcome is Outcome.FAIL


def test_a_leak_is_a_slope_and_noise_is_none() -> None:
    leak = fitted([(float(s), 100.0 + 20.0 * s / 3600.0) for s in range(0, 3600, 10)])
    noise = fitted([(float(s), 100.0 + (s // 10) % 2) for s in range(0, 3600, 10)])
    assert leak is not None
    assert noise is not None
    assert leak.per_hour == pytest.approx(20.0)
    assert noise.low < 0.1
    assert noise.high > -0.1
    assert fitted([(0.0, 1.0), (60.0, 1.0)]) is None


def test_the_worst_outcome_wins_and_nothing_done_proves_nothing() -> None:
    assert worst([Outcome.PASS, Outcome.FAIL]) is Outcome.FAIL
    assert worst([Outcome.FAIL, Outcome.ABORTED, Outcome.ERROR]) is Outcome.ABORTED
    assert worst([]) is Outcome.ERROR


def test_a_look_at_a_daemon_that_has_just_gone_is_no_sample() -> None:
    assert parsed(0, 1, "process 1\nfds 0\n") is None


def test_libraries_that_a_neighbour_lets_go_are_no_growth() -> None:
    def look(clean_kb: int) -> str:
        return f"process 1\nRss: 300000 kB\nPrivate_Clean: {clean_kb} kB\nPrivate_Dirty: 200000 kB\nSwap: 10 kB\n"

    alone, beside = parsed(0, 1, look(70_000)), parsed(0, 1, look(0))
    assert alone is not None
    assert beside is not None
    assert alone.own_bytes == beside.own_bytes == 200_010 * 1024


@pytest.mark.parametrize("gives_its_log", [True, False])
def test_why_a_trial_failed_is_told_also_where_the_device_gives_no_log(
    gives_its_log: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def log(part: str) -> str:
        assert "off" not in done, "a machine that is off has no log"
        if not gives_its_log:
            raise DeviceTimeout("it does not answer")
        return "the daemon's log"

    def hangs(*_: object) -> Record:
        raise DeviceTimeout("the daemon has not ended")

    monkeypatch.setattr("hil.rig.run.run_trial", hangs)
    device = SimpleNamespace(log=log, power_off=lambda: done.append("off"))
    ready = Prepared(device=device, kit=None, world=None, folder=Path())  # type: ignore[arg-type]
    live = SimpleNamespace(began=done.append, ended=done.append, played=None)
    loaded = load(CAMPAIGNS / "smoke.toml")
    told = tried(ready, loaded, loaded.campaign.trials[0], live)  # type: ignore[arg-type]
    assert (told.outcome, told.why) == (Outcome.TIMEOUT, "the daemon has not ended")
    assert told.log == ("the daemon's log" if gives_its_log else "no log: it does not answer")
    assert "off" in done


def result() -> Result:
    bad = judged("results_lost", "results <lost>", 2.0, "results", Limit(at_most=0), "\x00<script>")
    line = Series(name="memory", unit="MB", points=((0.0, 1.0), (9.0, 2.0)))
    trial = TrialResult(
        name="t", says="says & more", outcome=Outcome.FAIL, readings=(bad,), series=(line,), played_s=10.0
    )
    return Result(
        campaign="c", says="s", digest="d", outcome=Outcome.FAIL, device="local", facts={}, began="now", took_s=1.0,
        trials=(trial,),
    )  # fmt: skip


def test_a_result_is_read_again_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    raw = write_signed(result(), MLDSA87PrivateKey.generate(), path)
    assert read_signed(path) == result()
    path.write_bytes(raw.replace(b"FAIL", b"PASS"))
    with pytest.raises(Refused):
        read_signed(path)
    path.write_bytes(raw)
    with pytest.raises(Refused):
        read_signed(path, MLDSA87PrivateKey.generate().public_key())


def test_reports_hold_the_readings_and_nothing_that_acts() -> None:
    text = page(result())
    assert "<script" not in text
    assert "http" not in text
    assert "results &lt;lost&gt;" in text
    suite = ET.fromstring(junit(result())).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"


def truck(at_s: float, name: str, north_deg: float, category: str = "vehicle/truck") -> Opened:
    place = {"lat": 49.0 + north_deg, "lon": 0.0}
    body = {
        "schema": "edge/entity/1", "entity_id": name, "status": "confirmed", "category": category, "position": place,
    }  # fmt: skip
    return Opened(opened_ns=BEGUN + round(at_s * 1e9), body=body)


def test_a_picture_that_moves_is_measured_whatever_its_things_are_called_now() -> None:
    told = [truck(0, "A", 0.0), truck(1, "B", 0.0001, "vehicle/car"), truck(9, "A", 0.0), truck(11, "C", 0.001)]
    assert moved_m(told, BEGUN + 10 * 10**9) == pytest.approx(0.0009 * 111_320.0)
    assert moved_m([*told[:3], truck(12, "C", 0.0001)], BEGUN + 10 * 10**9) == 0.0
    assert math.isnan(moved_m(told[:3], BEGUN + 10 * 10**9))


def test_where_nothing_was_measured_no_line_is_drawn() -> None:
    points = [(float(x), 1.0) for x in (0, 1, 2, 3, 10, 11)]
    assert [len(run) for run in runs(points)] == [4, 2]
    assert runs(points[:1]) == [points[:1]]


def test_a_report_says_what_failed_in_words_with_unit_and_limit() -> None:
    text = page(result())
    assert "results &lt;lost&gt;: <b>2 results</b>, limit ≤ 0 results" in text
    assert "not judged" in page(msgspec.structs.replace(result(), trials=(unjudged(),)))


def unjudged() -> TrialResult:
    told = judged("watts", "power", None, "W", Limit(), "this board tells no power")
    return TrialResult(name="t", says="s", outcome=Outcome.PASS, readings=(told,), played_s=10.0)


def test_frames_that_were_missed_are_told_with_where_they_were_let_go() -> None:
    feeds = [{"name": CAMERA, "dropped_oldest": 5}, {"name": "radar", "dropped_oldest": 9}]
    status = {"counts": {"DetectedFrame": 90}, "feeds": feeds, "lanes": [{"dropped_oldest": 3}]}
    missed, says = MEASURES["frames_missed"].read(record(frames_sent=100, last_status=status), TRIAL)
    assert missed == 10
    assert says == "100 sent, 90 looked at; 5 gave way to newer ones before the model, 3 at it"


def told_after(fault: Happened, seen_s: float) -> float | None:
    evidence = [{"source_id": "mast-radar:7", "time": stamp(seen_s)}]
    body = {"schema": "edge/entity/1", "produced": stamp(13.0), "evidence": evidence}
    told = (Told(opened_ns=BEGUN + 13 * 10**9, body=body),)
    return MEASURES["recovery_s"].read(record(happened=(fault,), told=told), TRIAL)[0]


def stamp(at_s: float) -> str:
    return datetime.fromtimestamp(BEGUN / 1e9 + at_s, UTC).isoformat()


def test_a_unit_that_only_tells_what_it_knew_has_not_recovered() -> None:
    fault = Happened(fault="memory-pressure", target="", from_ns=BEGUN, to_ns=BEGUN + 10 * 10**9)
    assert told_after(fault, seen_s=12.0) == pytest.approx(3.0)
    assert told_after(fault, seen_s=9.0) == math.inf
