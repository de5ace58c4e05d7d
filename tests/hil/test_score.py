"""The judge: perfect messages score perfectly, and each kind of fault shows in its own figure."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from appliance.pipeline.times import time_text
from hil.demo.play import Listener
from hil.demo.score import CUT_M, Judge, Opened, latency_ms, nanoseconds, percentile
from hil.scene.mission import CAMERA
from hil.scene.world import Ground, Scene, motion

Change = Callable[[str, dict[str, Any]], None]


def _nothing(name: str, body: dict[str, Any]) -> None:
    """Leaves a message as it is."""


def _messages(scene: Scene, change: Change = _nothing, delay_ms: int = 40, offset_m: float = 0.0) -> list[Opened]:
    """What a perfect appliance would say of every thing, four times a second for twelve seconds."""
    ground = Ground(scene.origin)
    messages = []
    for step in range(48):
        for index, thing in enumerate(scene.things):
            time_s = step / 4
            now = motion(thing.loop, time_s)
            place = ground.to_geodetic(now.east_m + offset_m, now.north_m)
            at_ns = scene.time_ns(time_s)
            body: dict[str, Any] = {
                "schema": "edge/entity/1",
                "entity_id": f"E{index}",
                "time": time_text(at_ns),
                "produced": time_text(at_ns + 10_000_000),
                "status": "confirmed",
                "category": thing.category,
                "position": {"lat": place.latitude_deg, "lon": place.longitude_deg},
                "velocity_mps": {"east": now.east_mps, "north": now.north_mps},
                "evidence": [{"source_id": CAMERA, "observation_id": str(step), "time": time_text(at_ns)}],
            }
            change(thing.name, body)
            messages.append(Opened(opened_ns=at_ns + delay_ms * 1_000_000, body=body))
    return messages


def test_a_perfect_appliance_has_a_perfect_score(scene: Scene) -> None:
    accuracy = Judge(scene, _messages(scene)).accuracy(2.0, 10.0)
    assert accuracy.moments == 9
    assert accuracy.recall == 1.0
    assert accuracy.false_per_moment == 0.0
    assert accuracy.rmse_m < 0.2
    assert accuracy.gospa_m < 0.6
    assert (accuracy.category_exact, accuracy.category_right) == (1.0, 1.0)
    assert accuracy.changes_of_identity == 0


def test_an_offset_shows_in_the_position_alone(scene: Scene) -> None:
    accuracy = Judge(scene, _messages(scene, offset_m=6.0)).accuracy(2.0, 10.0)
    assert accuracy.rmse_m == pytest.approx(6.0, abs=0.2)
    assert accuracy.recall == 1.0


def test_what_is_silent_or_only_reported_is_missed(scene: Scene) -> None:
    def only_reported(name: str, body: dict[str, Any]) -> None:
        if name == "Aurelia":
            body["status"] = "reported"

    accuracy = Judge(scene, _messages(scene, only_reported)).accuracy(2.0, 10.0)
    assert accuracy.recall == pytest.approx(0.9)
    assert accuracy.false_per_moment == 0.0


def test_an_entity_far_from_everything_is_false(scene: Scene) -> None:
    def far(name: str, body: dict[str, Any]) -> None:
        if name == "Petrel":
            body["position"]["lat"] += 0.1

    pairing = Judge(scene, _messages(scene, far)).pairing(5.0)
    assert (pairing.missed, pairing.false) == (1, 1)
    assert pairing.gospa_m == pytest.approx(CUT_M, abs=0.1)


def test_a_parent_category_is_right_and_not_exact_and_a_sibling_is_wrong(scene: Scene) -> None:
    def vaguer(name: str, body: dict[str, Any]) -> None:
        body["category"] = {"car": "vehicle", "first truck": "vehicle/car"}.get(name, body["category"])

    accuracy = Judge(scene, _messages(scene, vaguer)).accuracy(2.0, 10.0)
    assert accuracy.category_exact == pytest.approx(0.8)
    assert accuracy.category_right == pytest.approx(0.9)


def test_another_entity_for_the_same_thing_is_a_change_of_identity(scene: Scene) -> None:
    def renamed(name: str, body: dict[str, Any]) -> None:
        if name == "car":
            late = nanoseconds(body["time"]) >= scene.time_ns(6.0)
            body["entity_id"] = "late" if late else "early"
            if not late and nanoseconds(body["time"]) >= scene.time_ns(5.7):
                body["status"] = "deleted"

    assert Judge(scene, _messages(scene, renamed)).accuracy(2.0, 10.0).changes_of_identity == 1


def test_an_entity_moves_on_between_messages_and_not_for_ever(scene: Scene) -> None:
    judge = Judge(scene, [])
    body = {
        "position": {"lat": scene.origin.latitude_deg, "lon": scene.origin.longitude_deg},
        "velocity_mps": {"east": 2.0, "north": 0.0},
        "time": time_text(scene.start_ns),
    }
    assert judge.place(body, scene.time_ns(2.0)) == pytest.approx((4.0, 0.0), abs=1e-3)
    assert judge.place(body, scene.time_ns(500.0)) == pytest.approx((10.0, 0.0), abs=1e-3)


def test_latency_is_from_the_newest_frame_to_the_opening_and_each_frame_counts_once(scene: Scene) -> None:
    messages = _messages(scene, delay_ms=40)
    waited = latency_ms([*messages, *messages], CAMERA)
    assert len(waited) == len(messages)
    assert waited == pytest.approx([40.0] * len(waited), abs=1e-6)
    assert latency_ms(messages, "another camera") == []


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile([], 0.5) is None
    assert [percentile([1.0, 2.0, 3.0, 4.0], part) for part in (0.0, 0.5, 0.75, 0.99, 1.0)] == [1.0, 2.0, 3.0, 4.0, 4.0]


def test_times_are_read_to_the_nanosecond() -> None:
    assert nanoseconds("2025-11-23T14:00:00.123456789Z") == 1_763_906_400_123_456_789
    assert nanoseconds(time_text(1_763_906_400_000_000_007)) == 1_763_906_400_000_000_007


def test_the_beginning_is_read_from_the_first_status_that_knows_it() -> None:
    listener = Listener(io.StringIO())
    silent = {"schema": "edge/status/1", "feeds": [{"name": CAMERA, "received": 0, "last_item_ns": None}]}
    listener.hear(json.dumps(silent), 1)
    assert listener.begun_ns() is None
    seen = {"schema": "edge/status/1", "feeds": [{"name": CAMERA, "received": 4, "last_item_ns": 1_300_000_000}]}
    listener.hear(json.dumps(seen), 2)
    listener.hear("what is this", 3)
    assert listener.begun_ns() == 1_000_000_000
    assert listener.odd == ["what is this"]
    assert len(listener.opened()) == 2
