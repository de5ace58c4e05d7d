"""A unit with a radio's budget, run and listened to by the commands that a person uses."""

from __future__ import annotations

import json
from typing import Any

from tests.daemon.test_wire import FEEDS
from tests.support.brokers import until

RADIO = 'resend_window_s = 3600\nprofile = "radio"\nradio_bits_per_s = 100000'


def test_entities_come_through_a_thin_link_with_what_was_left_out_named(house: Any, mosquitto: Any, plots: Any) -> None:
    plots(house.folder, 300, 60.0)
    mission = house.write_mission(mosquitto.url, FEEDS)
    mission.write_text(mission.read_text().replace("resend_window_s = 3600", RADIO))
    reader = house.listen(mosquitto.url, "ops")
    daemon = house.run_daemon("--until-end")
    assert daemon.wait(120) == 0, house.log_of(daemon)
    counts = json.loads(house.out_of(daemon))["counts"]
    assert counts["radio_frames"] == json.loads(house.out_of(daemon))["sealed"] > 0
    assert counts["radio_left_out"] > 0, "pictures"
    until(lambda: len(house.results(reader)) >= counts["radio_keys"] + counts["radio_deltas"], 60)
    results = house.results(reader)
    assert {result["schema"] for result in results} == {"edge/entity/1"}
    assert all(result["topic"] == "edge/v1/quay-01/radio" for result in results)
    assert all("evidence" in result["left_out"] and result["evidence"] == [] for result in results)
    assert len({(result["epoch"], result["counter"], result["index"]) for result in results}) == len(results)
    assert any(result["identities"] for result in results)
