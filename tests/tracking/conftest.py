"""Builders that the tests of this room share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from appliance.domain import DetectedFrame, Detection, Geodetic, Track
from appliance.tracking.camera import CameraModel

SECOND_NS = 1_000_000_000


@pytest.fixture(scope="session")
def camera() -> CameraModel:
    """Twenty metres over the water, looking a little down to the north-east."""
    return CameraModel(
        pose=Geodetic(latitude_deg=54.32, longitude_deg=10.14, altitude_m=60.0),
        heading_rad=math.radians(40.0),
        pitch_rad=math.radians(6.0),
        width_px=1280,
        height_px=720,
        fx_px=1100.0,
        fy_px=1100.0,
        cx_px=640.0,
        cy_px=360.0,
        sigma_heading_rad=0.004,
        sigma_pitch_rad=0.002,
        sigma_roll_rad=0.004,
        sigma_position_m=0.5,
        sigma_terrain_m=0.3,
        ground_altitude_m=40.0,
        max_range_m=8000.0,
    )


@pytest.fixture(scope="session")
def track_at() -> Callable[..., Track]:
    """A confirmed track whose foot is at a pixel."""

    def build(
        x: float, y: float, *, width: float = 20.0, height: float = 40.0, category: str = "person", **changes: object
    ) -> Track:
        fields: dict[str, object] = {
            "sensor_id": "mast",
            "track_id": 7,
            "status": "confirmed",
            "box_px": (x - width / 2, y - height, x + width / 2, y),
            "box_variance_px2": (1.0, 1.0),
            "categories": {category: 1.0},
            "confidence": 0.9,
            "first_ns": 0,
            "updated_ns": 5 * SECOND_NS,
            "hits": 9,
        }
        return Track(**{**fields, **changes})  # type: ignore[arg-type]

    return build


@pytest.fixture(scope="session")
def look() -> Callable[..., Detection]:
    """One detection by its centre and size."""

    def build(
        x: float, y: float, *, width: float = 40.0, height: float = 100.0, category: str = "person", score: float = 0.9
    ) -> Detection:
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return Detection(box_px=box, category=category, label=category, confidence=score)

    return build


@pytest.fixture(scope="session")
def frame() -> Callable[..., DetectedFrame]:
    """Frame number ``n`` of a camera with 25 frames a second."""

    def build(n: int, detections: Sequence[Detection] = (), *, rate_hz: float = 25.0) -> DetectedFrame:
        return DetectedFrame(
            sensor_id="mast",
            sequence=n,
            captured_ns=round(n * SECOND_NS / rate_hz),
            width_px=1280,
            height_px=720,
            detections=tuple(detections),
        )

    return build
