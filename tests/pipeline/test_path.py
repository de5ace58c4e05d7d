"""The path goes on: an item that cannot be used is dropped and counted, and memory stays bounded."""

from __future__ import annotations

import dataclasses
import json

import pytest

from appliance.domain import DetectedFrame, Detection, Geodetic, Identity, Plot, Receipt, Report
from appliance.fusion import FusionSettings
from appliance.pipeline import path as module
from appliance.pipeline.path import OnePath, PathPlan
from appliance.pipeline.telling import TellingSettings
from appliance.tracking.camera import CameraModel

SECOND = 1_000_000_000
T = 1_700_000_000 * SECOND
HERE = Geodetic(latitude_deg=50.8, longitude_deg=-1.1)
CAMERA = CameraModel(
    pose=dataclasses.replace(HERE, altitude_m=10.0),
    heading_rad=0.0,
    pitch_rad=0.1,
    width_px=1280,
    height_px=720,
    fx_px=1000.0,
    fy_px=1000.0,
    cx_px=640.0,
    cy_px=360.0,
)
PLAN = PathPlan(
    unit="quay-01",
    origin=HERE,
    fusion=FusionSettings(origin=HERE, unit="quay-01"),
    telling=TellingSettings(picture_interval_ns=SECOND, entity_interval_ns=SECOND // 5),
    receipt=Receipt(config_digest="", bundles={}, engines={}, clock="replayed", position_integrity="none"),
    cameras={"mast": CAMERA},
)


@pytest.fixture
def path() -> OnePath:
    return OnePath(PLAN)


def frame(at_ns: int, width_px: int = 1280, height_px: int = 720) -> DetectedFrame:
    box = (0.4 * width_px, 0.5 * height_px, 0.45 * width_px, 0.8 * height_px)
    person = Detection(box_px=box, category="person", label="person", confidence=0.9)
    return DetectedFrame(
        sensor_id="mast", sequence=0, captured_ns=at_ns, width_px=width_px, height_px=height_px, detections=(person,)
    )


def ship(at_ns: int) -> Plot:
    return Plot(
        sensor_id="ais",
        observation_id=f"ais:{at_ns}",
        observed_ns=at_ns,
        kind="position",
        values=(50.8, -1.1),
        covariance=((25.0, 0.0), (0.0, 25.0)),
        identities=(Identity(kind="mmsi", value="235070762"),),
        cooperative=True,
    )


def said(sensor_id: str, report_id: str) -> Report:
    return Report(sensor_id=sensor_id, report_id=report_id, author="a", received_ns=T, text="one boat at 50.81 -1.11")


def test_a_frame_that_is_not_newer_is_counted_and_the_path_goes_on(path: OnePath) -> None:
    path.step(frame(T), T)
    path.step(frame(T), T + 1)
    path.step(frame(T - SECOND), T + 2)
    path.step(frame(T + SECOND), T + SECOND)
    assert path.counts["frames_refused:order"] == 2
    assert path.counts["detections"] == 2


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080), (1920, 1088)], ids=str)
def test_a_stream_at_another_size_puts_things_where_the_lens_would(size: tuple[int, int]) -> None:
    places = []
    for each in ((1280, 720), size):
        path = OnePath(PLAN)
        for n in range(30):
            path.step(frame(T + n * SECOND // 10, *each), T + n * SECOND // 10)
        (entity,) = path.entities(T + 3 * SECOND)
        places.append((entity.position.latitude_deg, entity.position.longitude_deg))
    assert places[1] == pytest.approx(places[0], abs=2e-6)


def test_a_picture_of_other_proportions_is_not_laid_on_the_ground(path: OnePath) -> None:
    for n in range(30):
        path.step(frame(T + n * SECOND // 10, 640, 480), T + n * SECOND // 10)
    assert path.counts["frames_refused:size"] == 30
    assert path.entities(T + 3 * SECOND) == ()


def test_a_clock_that_is_set_back_silences_nothing(path: OnePath) -> None:
    path.tick(T + 1_000_000 * SECOND)
    told = [result for n in range(50) for result in path.step(ship(T + n * SECOND), T + n * SECOND)]
    assert sum(result.priority == "picture" for result in told) == 50


def test_a_report_is_heard_once_from_a_feed_and_never_silences_another_feed(path: OnePath) -> None:
    for report in (said("inbox", "1"), said("inbox", "1"), said("patrol", "1")):
        path.step(report, T)
    assert path.counts["reports_repeated"] == 1
    assert path.counts["claims"] == 2


def test_what_is_remembered_of_things_in_the_sky_is_bounded(path: OnePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INTRODUCED", 3)
    for n in range(10):
        plot = Plot(
            sensor_id="mast",
            observation_id=f"mast:{n}",
            observed_ns=T,
            kind="bearing",
            values=(1.0,),
            covariance=((1e-4,),),
            origin=CAMERA.pose,
            identities=(Identity(kind="tracklet", value=f"mast:{n}"),),
            categories={"aircraft/drone": 1.0},
        )
        path._introduced(plot, CAMERA)
        assert path._introduced(plot, CAMERA) == plot, "introduced once"
    assert len(path._bearings_known) == 3


def test_the_receipt_names_what_the_newest_frame_ran_on() -> None:
    receipt = dataclasses.replace(PLAN.receipt, engines={"people": "onnxruntime", "boats": "onnxruntime"})
    path = OnePath(dataclasses.replace(PLAN, receipt=receipt, models={"mast": "people"}))

    def told(at_ns: int, engine: str) -> dict[str, str]:
        results = path.step(dataclasses.replace(frame(at_ns), engine=engine), at_ns)
        pictures = [json.loads(result.payload) for result in results if result.topic.endswith("/picture")]
        engines: dict[str, str] = pictures[-1]["receipt"]["engines"]
        return engines

    assert told(T, "onnxruntime") == {"people": "onnxruntime", "boats": "onnxruntime"}
    assert told(T + SECOND, "tensorrt plan sha384:ab") == {"people": "tensorrt plan sha384:ab", "boats": "onnxruntime"}
    assert told(T + 2 * SECOND, "onnxruntime")["people"] == "onnxruntime"
    assert told(T + 3 * SECOND, "")["people"] == "onnxruntime", "a recording of before says nothing of engines"
