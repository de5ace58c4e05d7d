"""The real Solent AIS recording, 91 vessels in 84 minutes, with text reports that mention some of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from appliance.domain import Entity, Plot
from appliance.fusion import FusionSettings
from appliance.pipeline.path import OnePath

#: Which vessel each report describes; looked up in the recording at the place and time that the report gives.
DESCRIBED = {
    "watch-1": "356793000",
    "watch-2": "247007000",
    "watch-3": "370869000",
    "watch-4": "240244000",
    "watch-5": "235006680",
    "watch-6": "566029000",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def again(mission: Callable[[str], Any]) -> tuple[dict[str, str], dict[str, set[str]], list[Entity]]:
    """The run once more with evidence kept without bound: the MMSI of every report, the entities' evidence, the end.

    A mission keeps the newest evidence of each source; to ask for every single report, all of it has to be kept.
    """
    run = mission("solent")
    plan = run.plan
    keep = {**{f.name: getattr(plan.fusion, f.name) for f in dataclasses.fields(FusionSettings)}}
    keep["evidence_per_source"] = 30_000
    path = OnePath(dataclasses.replace(plan, fusion=FusionSettings(**keep)))
    reported: dict[str, str] = {}
    evidence: dict[str, set[str]] = {}
    now_ns = asked_ns = 0
    for arrival in run.recording.arrivals():
        now_ns = arrival.now_ns
        if isinstance(arrival.observation, Plot):
            (identity,) = (i for i in arrival.observation.identities if i.kind == "mmsi")
            reported[arrival.observation.observation_id] = identity.value
        if arrival.observation is not None:
            path.step(arrival.observation, now_ns)
        if now_ns - asked_ns > 600 * 10**9:
            asked_ns = now_ns
            _collect(path.entities(now_ns), evidence)
    last = list(path.entities(now_ns))
    _collect(last, evidence)
    return reported, evidence, last


def _collect(entities: tuple[Entity, ...] | list[Entity], evidence: dict[str, set[str]]) -> None:
    for entity in entities:
        for identity in entity.identities:
            if identity.kind == "mmsi":
                evidence.setdefault(identity.value, set()).update(e.observation_id for e in entity.evidence)


def test_every_good_report_is_taken_and_the_one_bad_row_is_refused_and_counted(mission: Callable[[str], Any]) -> None:
    run = mission("solent")
    assert run.code == 0
    (ais, watch) = run.summary["status"]["feeds"]
    assert ais["received"] == 18_622
    assert ais["bad"] == {"jump": 1}, "line 8209: a moored vessel reports itself 55° to the east, once"
    assert watch["received"] == 6


def test_99_in_100_reports_end_as_evidence_on_the_right_vessel(again: Any) -> None:
    reported, evidence, _ = again
    right = sum(observation in evidence.get(mmsi, ()) for observation, mmsi in reported.items())
    assert len(reported) == 18_622
    assert right >= 0.99 * len(reported), f"{right} of {len(reported)}"


def test_no_report_ends_on_a_vessel_of_another_number(again: Any) -> None:
    reported, evidence, _ = again
    owners = {observation: mmsi for mmsi, observations in evidence.items() for observation in observations}
    wrong = [observation for observation, mmsi in reported.items() if owners.get(observation, mmsi) != mmsi]
    assert len(wrong) <= 0.001 * len(reported)


def test_all_91_vessels_are_told_and_none_has_two_numbers(mission: Callable[[str], Any]) -> None:
    told = [{b["identities"]["mmsi"] for b in bodies if "mmsi" in b["identities"]}
            for bodies in mission("solent").entities().values()]  # fmt: skip
    assert len(set().union(*told)) == 91
    assert all(len(numbers) <= 1 for numbers in told)


@pytest.mark.parametrize("report", sorted(DESCRIBED))
def test_each_text_report_joins_the_vessel_that_it_describes(report: str, mission: Callable[[str], Any]) -> None:
    joined = set()
    for bodies in mission("solent").entities().values():
        for body in bodies:
            claims = [e for e in body["evidence"] if e["kind"] == "claim"]
            if any(e["observation_id"].startswith(report) for e in claims):
                joined.add(body["identities"].get("mmsi", "nobody"))
    assert joined == {DESCRIBED[report]}
