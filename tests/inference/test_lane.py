"""The lane: order kept, nothing lost that must not be, everything counted, and a clear end."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from appliance.domain import DetectedFrame
from appliance.errors import EngineUnavailable
from appliance.inference.detector import Detector
from appliance.inference.lane import LIVE_ANSWERS, MAX_FAILURES, Lane

Make = Callable[..., Any]
WAIT_S = 20.0


class Engine:
    """A runner that answers for every picture, unless told to wait at its gate or to fail."""

    provider = "fake engine 1"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.failures = 0
        self.mistake: Exception | None = None
        self.batches: list[int] = []

    def run(self, batch: np.ndarray[Any, Any]) -> Mapping[str, np.ndarray[Any, Any]]:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.failures > 0:
            self.failures -= 1
            raise EngineUnavailable("the engine is away")
        if self.mistake is not None:
            raise self.mistake
        self.batches.append(len(batch))
        boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (len(batch), 1, 1))
        return {"boxes": boxes, "scores": np.full((len(batch), 1, 1), 0.5, np.float32)}


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def open_lane(engine: Engine, looking_manifest: Make) -> Iterator[Callable[..., Lane]]:
    lanes: list[Lane] = []

    def make(**options: Any) -> Lane:
        lanes.append(Lane("small", Detector(looking_manifest(), engine), **options))
        return lanes[-1]

    yield make
    engine.gate.set()
    for lane in lanes:
        lane.close()


def everything(lane: Lane, sensor_id: str, count: int) -> list[DetectedFrame]:
    found = []
    for _ in range(count):
        answer = lane.take(sensor_id, WAIT_S)
        assert answer is not None
        found.append(answer)
    return found


def test_every_frame_of_replayed_cameras_is_answered_in_order(open_lane: Callable[..., Lane], picture: Make) -> None:
    lane = open_lane(capacity=3)
    cameras = ("north", "south", "west")
    for sensor_id in cameras:
        lane.add_camera(sensor_id, live=False)

    def feed(sensor_id: str) -> None:
        for number in range(40):
            assert lane.submit(picture(200, sensor_id=sensor_id, sequence=number), WAIT_S)

    threads = [threading.Thread(target=feed, args=(sensor_id,)) for sensor_id in cameras]
    for thread in threads:
        thread.start()
    for _ in range(40):
        for sensor_id in cameras:
            assert everything(lane, sensor_id, 1)[0].sensor_id == sensor_id
    for thread in threads:
        thread.join()
    status = lane.status()
    assert (status.answered, status.dropped_oldest, status.bad, status.state) == (120, 0, {}, "running")
    assert all(lane.outstanding(sensor_id) == 0 for sensor_id in cameras)


def test_answers_come_in_the_order_of_the_frames(open_lane: Callable[..., Lane], picture: Make) -> None:
    lane = open_lane(capacity=50)
    for number in range(30):
        assert lane.submit(picture(200, sequence=number), WAIT_S)
    assert [found.sequence for found in everything(lane, "cam", 30)] == list(range(30))


def test_what_waits_is_batched_over_cameras(open_lane: Callable[..., Lane], engine: Engine, picture: Make) -> None:
    lane = open_lane(capacity=8)
    engine.gate.clear()
    assert lane.submit(picture(200, sensor_id="first"))
    assert engine.entered.wait(WAIT_S)
    for number in range(2):
        for sensor_id in ("north", "south", "west"):
            assert lane.submit(picture(200, sensor_id=sensor_id, sequence=number))
    engine.gate.set()
    for sensor_id in ("north", "south", "west"):
        assert [found.sequence for found in everything(lane, sensor_id, 2)] == [0, 1]
    assert engine.batches == [1, 4, 2]
    assert lane.status().batches == 3


def test_a_live_camera_drops_its_oldest_frames_and_counts_them(
    open_lane: Callable[..., Lane], engine: Engine, picture: Make
) -> None:
    lane = open_lane(capacity=2)
    lane.add_camera("cam", live=True)
    engine.gate.clear()
    assert lane.submit(picture(200, sequence=0))
    assert engine.entered.wait(WAIT_S)
    assert all(lane.submit(picture(200, sequence=number)) for number in range(1, 8))
    assert lane.status().dropped_oldest == 5
    assert lane.status().waiting == 2
    engine.gate.set()
    seen = [found.sequence for found in everything(lane, "cam", 2)]
    assert seen == [0, 6]


def test_whoever_takes_a_live_cameras_answers_may_pause_for_a_second(
    open_lane: Callable[..., Lane], picture: Make
) -> None:
    lane = open_lane()
    lane.add_camera("cam", live=True)
    for number in range(LIVE_ANSWERS + 2):
        assert lane.submit(picture(200, sequence=number))
        while lane.status().answered <= number:
            time.sleep(0.001)
    assert lane.status().dropped_oldest == 2
    assert [found.sequence for found in everything(lane, "cam", LIVE_ANSWERS)] == list(range(2, LIVE_ANSWERS + 2))


def test_a_live_camera_that_nobody_listens_to_does_not_hold_up_the_others(
    open_lane: Callable[..., Lane], picture: Make
) -> None:
    lane = open_lane(capacity=2)
    lane.add_camera("ignored", live=True)
    lane.add_camera("heard", live=False)
    for number in range(20):
        assert lane.submit(picture(200, sensor_id="ignored", sequence=number))
        assert lane.submit(picture(200, sensor_id="heard", sequence=number), WAIT_S)
        assert everything(lane, "heard", 1)[0].sequence == number
    assert lane.outstanding("ignored") <= LIVE_ANSWERS + 3


def test_a_full_replayed_camera_makes_submit_wait_and_say_no(
    open_lane: Callable[..., Lane], engine: Engine, picture: Make
) -> None:
    lane = open_lane(capacity=2)
    lane.add_camera("cam", live=False)
    engine.gate.clear()
    assert lane.submit(picture(200, sequence=0))
    assert engine.entered.wait(WAIT_S)
    assert lane.submit(picture(200, sequence=1))
    assert lane.submit(picture(200, sequence=2))
    assert not lane.submit(picture(200, sequence=3), 0.01)
    assert lane.outstanding("cam") == 3
    engine.gate.set()
    assert [found.sequence for found in everything(lane, "cam", 3)] == [0, 1, 2]
    assert lane.status().dropped_oldest == 0


def test_answers_that_nobody_takes_hold_a_replayed_camera_back(open_lane: Callable[..., Lane], picture: Make) -> None:
    lane = open_lane(capacity=2)
    for number in range(4):  # two answers that wait to be taken, two frames that wait to be seen
        assert lane.submit(picture(200, sequence=number), WAIT_S)
    assert not lane.submit(picture(200, sequence=4), 0.05)
    assert [found.sequence for found in everything(lane, "cam", 4)] == [0, 1, 2, 3]


def test_a_frame_that_is_no_picture_is_counted_and_the_rest_is_answered(
    open_lane: Callable[..., Lane], engine: Engine, picture: Make
) -> None:
    lane = open_lane(capacity=8)
    engine.gate.clear()
    assert lane.submit(picture(200, sequence=0))
    assert engine.entered.wait(WAIT_S)
    assert lane.submit(picture(200, sequence=1))
    assert lane.submit(picture(np.zeros((5, 5), np.uint8), sequence=2))
    assert lane.submit(picture(200, sequence=3))
    engine.gate.set()
    assert [found.sequence for found in everything(lane, "cam", 3)] == [0, 1, 3]
    status = lane.status()
    assert (status.state, status.bad, status.answered) == ("running", {"frame-shape": 1}, 3)
    assert status.last_error is not None
    assert "expected (height, width, 3) uint8" in status.last_error
    assert lane.outstanding("cam") == 0


def test_an_engine_that_comes_back_loses_no_frame(
    open_lane: Callable[..., Lane], engine: Engine, picture: Make
) -> None:
    lane = open_lane()
    engine.failures = 2
    assert lane.submit(picture(200, sequence=5))
    assert everything(lane, "cam", 1)[0].sequence == 5
    status = lane.status()
    assert (status.state, status.failures, status.last_error) == ("running", 2, "the engine is away")


def test_an_engine_that_stays_away_fails_the_lane_and_says_so(
    open_lane: Callable[..., Lane], engine: Engine, picture: Make
) -> None:
    lane = open_lane()
    assert lane.submit(picture(200, sequence=0))
    assert everything(lane, "cam", 1)
    engine.failures = 1000
    assert lane.submit(picture(200, sequence=1))
    assert lane.take("cam", WAIT_S) is None
    status = lane.status()
    assert (status.state, status.failures, status.last_error) == ("failed", MAX_FAILURES, "the engine is away")
    with pytest.raises(EngineUnavailable, match="lane small: the engine is away"):
        lane.submit(picture(200, sequence=2), WAIT_S)
    lane.close()
    assert lane.status().state == "failed"
    assert lane.status().let_go == 1


def test_a_mistake_in_a_runner_fails_the_lane_and_names_it(
    open_lane: Callable[..., Lane], engine: Engine, picture: Make
) -> None:
    lane = open_lane()
    engine.mistake = ZeroDivisionError("by nothing")
    assert lane.submit(picture(200))
    assert lane.take("cam", WAIT_S) is None
    status = lane.status()
    assert (status.state, status.last_error) == ("failed", "ZeroDivisionError: by nothing")


def test_a_closed_lane_takes_nothing_more_and_wakes_who_waits(
    open_lane: Callable[..., Lane], engine: Engine, picture: Make
) -> None:
    lane = open_lane(capacity=1)
    engine.gate.clear()
    assert lane.submit(picture(200, sequence=0))
    assert engine.entered.wait(WAIT_S)
    assert lane.submit(picture(200, sequence=1))
    said: list[bool] = []
    waiting = threading.Thread(target=lambda: said.append(lane.submit(picture(200, sequence=2), WAIT_S)))
    waiting.start()
    closing = threading.Thread(target=lane.close)
    closing.start()
    waiting.join(WAIT_S)
    engine.gate.set()
    closing.join(WAIT_S)
    assert said == [False]
    assert lane.status().state == "closed"
    assert lane.status().let_go == 1
    assert not lane.submit(picture(200, sequence=3))
    first = lane.take("cam")
    assert first is not None
    assert first.sequence == 0
    assert lane.take("cam", WAIT_S) is None


def test_a_camera_that_never_submitted_has_nothing(open_lane: Callable[..., Lane]) -> None:
    lane = open_lane()
    assert lane.take("nobody", 0.0) is None
    assert lane.outstanding("nobody") == 0


def test_no_pixel_is_held_while_a_lane_waits_for_work(open_lane: Callable[..., Lane], picture: Make) -> None:
    lane = open_lane()
    pixels = np.full((48, 64, 3), 99, np.uint8)
    gone = weakref.ref(pixels)
    assert lane.submit(picture(pixels))
    del pixels
    assert everything(lane, "cam", 1)
    assert lane.submit(picture(20, sequence=1))  # once this is answered the lane has let go of all of the first
    assert everything(lane, "cam", 1)
    gc.collect()
    assert gone() is None


def test_a_status_says_who_answers_and_for_how_long(open_lane: Callable[..., Lane], picture: Make) -> None:
    lane = open_lane()
    assert lane.submit(picture(200))
    assert everything(lane, "cam", 1)
    status = lane.status()
    assert (status.name, status.provider, status.answered, status.waiting) == ("small", "fake engine 1", 1, 0)
    assert status.busy_ns > 0
    assert status.unusable_boxes == 0


def test_a_lane_needs_room_for_one_frame(engine: Engine, looking_manifest: Make) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Lane("small", Detector(looking_manifest(), engine), capacity=0)


# --- another engine takes over


class Renamed(Engine):
    provider = "another engine 2"


def test_another_engine_takes_over_between_two_batches_and_no_frame_is_lost(
    open_lane: Callable[..., Lane], looking_manifest: Make, picture: Make
) -> None:
    lane = open_lane(capacity=3)
    lane.add_camera("cam", live=False)
    answers: list[DetectedFrame] = []
    reader = threading.Thread(target=lambda: answers.extend(everything(lane, "cam", 200)))
    reader.start()
    for number in range(200):
        assert lane.submit(picture(200, sequence=number), WAIT_S)
        if number == 100:
            lane.replace(Detector(looking_manifest(), Renamed()))
    reader.join(WAIT_S)
    assert [answer.sequence for answer in answers] == list(range(200))
    engines = [answer.engine for answer in answers]
    first = engines.index("another engine 2")
    assert 90 < first <= 101
    assert set(engines[:first]) == {"fake engine 1"}
    assert set(engines[first:]) == {"another engine 2"}
    status = lane.status()
    assert (status.provider, status.answered, status.failures, status.reverted) == ("another engine 2", 200, 0, None)


def test_an_engine_that_stops_answering_is_left_at_once_for_the_one_before_and_no_frame_is_lost(
    open_lane: Callable[..., Lane], looking_manifest: Make, picture: Make
) -> None:
    lane = open_lane(capacity=20)
    broken = Renamed()
    broken.failures = 1000
    lane.replace(Detector(looking_manifest(), broken))
    for number in range(10):
        assert lane.submit(picture(200, sequence=number), WAIT_S)
    assert [(answer.sequence, answer.engine) for answer in everything(lane, "cam", 10)] == [
        (number, "fake engine 1") for number in range(10)
    ]
    status = lane.status()
    assert (status.state, status.provider, status.failures) == ("running", "fake engine 1", 1)
    assert status.reverted == "another engine 2: the engine is away"


def test_there_is_no_way_back_beyond_the_engine_before(
    open_lane: Callable[..., Lane], engine: Engine, looking_manifest: Make, picture: Make
) -> None:
    engine.failures = 1000
    lane = open_lane()
    broken = Renamed()
    broken.failures = 1000
    lane.replace(Detector(looking_manifest(), broken))
    assert lane.submit(picture(200), WAIT_S)
    assert lane.take("cam", WAIT_S) is None
    assert lane.status().state == "failed"
