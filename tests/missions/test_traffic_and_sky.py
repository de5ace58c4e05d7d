"""The dash-cam clip and the thermal drone clip: real pictures, an integrator's models."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.domain import DetectedFrame


def test_the_two_cars_ahead_are_two_entities(mission: Callable[[str], Any]) -> None:
    run = mission("dashcam")
    assert run.code == 0
    entities = run.entities()
    followed = [bodies for bodies in entities.values() if len(bodies) >= 10]
    assert len(followed) == 2
    assert {body["category"] for bodies in followed for body in bodies} == {"vehicle/car"}


def test_the_cars_are_ahead_and_as_far_as_the_picture_says(mission: Callable[[str], Any]) -> None:
    run = mission("dashcam")
    origin = run.plan.origin
    for bodies in run.entities().values():
        place = bodies[-1]["position"]
        north_m = (place["lat"] - origin.latitude_deg) * 111_000
        east_m = (place["lon"] - origin.longitude_deg) * 111_000 * math.cos(math.radians(origin.latitude_deg))
        assert 10 <= north_m <= 40, "a car whose wheels stand 130 pixels below the centre is some 20 m ahead"
        assert -2 <= east_m <= 12, "both drive in lanes to the right"


def truth(path: Path) -> dict[int, tuple[float, float, float, float]]:
    """Boxes of the clip's own annotation: frame → x, y, width, height; frames without the drone are left out."""
    with path.open(newline="") as handle:
        rows = [{key: row[key] for key in ("frame", "x", "y", "w", "h")} for row in csv.DictReader(handle)]
    boxes = [[float(value or 0) for value in row.values()] for row in rows]
    return {int(frame): (x, y, w, h) for frame, x, y, w, h in boxes if w > 0}


def test_the_drone_is_one_aircraft_whose_range_is_not_known(mission: Callable[[str], Any]) -> None:
    run = mission("drone")
    assert run.code == 0
    entities = [bodies for bodies in run.entities().values() if len(bodies) >= 10]
    assert len(entities) == 1
    for body in entities[0]:
        assert body["category"] == "aircraft", "the model was not shown drones, so it may not say drone"
    (ee, _), (_, nn) = entities[0][0]["position"]["covariance_m2"]
    assert nn > 20 * ee, "the camera looks north: across the view it is known, along the view it is not"


def test_detections_lie_on_the_drone(mission: Callable[[str], Any], shared_data: Path) -> None:
    annotated = truth(shared_data / "drone_cc0" / "IR_DRONE_025.csv")
    hits = looks = 0
    for arrival in mission("drone").recording.arrivals():
        frame = arrival.observation
        if not isinstance(frame, DetectedFrame) or frame.sequence not in annotated:
            continue
        x, y, w, h = annotated[frame.sequence]
        looks += 1
        hits += any(
            x - w <= (d.box_px[0] + d.box_px[2]) / 2 <= x + 2 * w
            and y - h <= (d.box_px[1] + d.box_px[3]) / 2 <= y + 2 * h
            for d in frame.detections
        )
    assert looks > 100
    assert hits >= 0.5 * looks
