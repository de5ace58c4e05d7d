"""A recorded run made again gives the same results, byte for byte; and every entity can say why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import call
from appliance.recorder import Recorder


def test_a_run_made_again_is_the_same_byte_for_byte(
    mission: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = mission("dashcam")
    assert call(["replay", str(run.recording.path), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["difference"] is None
    assert body["same"] > 20


def test_a_recording_that_was_changed_shows_the_first_difference(
    mission: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = mission("dashcam").recording
    with Recorder(tmp_path / "r.mcap", plan=recording.plan, max_bytes=10**8) as changed:
        for index, arrival in enumerate(recording.arrivals()):
            if index != 20:
                changed.arrival(arrival.observation, arrival.now_ns)
        for topic, payload in recording.told():
            changed.told(topic, payload, 0)
    assert call(["replay", str(tmp_path / "r.mcap"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["difference"]["then"].startswith("edge/v1/car-01/")


def test_an_entity_says_what_it_rests_on_and_what_would_be_without_it(
    mission: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = mission("dashcam")
    entity = next(iter(run.entities()))
    assert call(["explain", entity, "--recording", str(run.recording.path)]) == 0
    told = capsys.readouterr().out
    assert "vehicle/car" in told
    assert "It rests on" in told
    assert "Without windscreen it would not be in the picture." in told


def test_a_name_that_fits_no_entity_is_bad_usage(
    mission: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["explain", "999999999", "--recording", str(mission("dashcam").recording.path)]) == 2
    assert "fits 0" in capsys.readouterr().err
