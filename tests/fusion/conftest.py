"""A small true world for fusion: things that move straight, a radar, AIS, and how they are put into plots."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from appliance.domain import Claim, Geodetic, Identity, Plot
from appliance.estimation import Sector
from appliance.fusion import Fusion, FusionSettings, SensorModel
from appliance.geodesy import LocalFrame

ORIGIN = Geodetic(latitude_deg=49.5, longitude_deg=6.1)
SECOND = 1_000_000_000


@dataclass
class World:
    """Makes plots and claims in local metres, with reproducible noise."""

    seed: int = 0
    frame: LocalFrame = field(default_factory=lambda: LocalFrame(ORIGIN))
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def settings(self, **changes: object) -> FusionSettings:
        radar = SensorModel(coverage=Sector(origin=ORIGIN, far_m=8000.0))
        base: dict[str, object] = {"origin": ORIGIN, "unit": "test", "sensors": {"radar": radar}}
        return FusionSettings(**(base | changes))  # type: ignore[arg-type]

    def fusion(self, **changes: object) -> Fusion:
        return Fusion(self.settings(**changes))

    def place(self, east: float, north: float) -> Geodetic:
        return self.frame.position(east, north)

    def radar(self, east: float, north: float, t_ns: int, name: str, *, noise: float = 1.0) -> Plot:
        r = math.hypot(east, north) + noise * self.rng.normal(0, 15)
        b = math.atan2(east, north) + noise * self.rng.normal(0, 0.0087)
        return Plot(
            sensor_id="radar", observation_id=f"r{t_ns}-{name}", observed_ns=t_ns, kind="range_bearing",
            values=(abs(r), b), covariance=((225.0, 0.0), (0.0, 0.0087**2)), origin=ORIGIN,
        )  # fmt: skip

    def bearing(self, east: float, north: float, t_ns: int, name: str, origin: Geodetic) -> Plot:
        oe, on, _ = self.frame.local(origin)
        b = math.atan2(east - oe, north - on) + self.rng.normal(0, 0.005)
        return Plot(
            sensor_id="df", observation_id=f"b{t_ns}-{name}", observed_ns=t_ns, kind="bearing",
            values=(b,), covariance=((0.005**2,),), origin=origin,
        )  # fmt: skip

    def position(
        self, east: float, north: float, t_ns: int, name: str, *, sensor: str = "eo", sigma: float = 10.0,
        mmsi: str | None = None, **more: object,
    ) -> Plot:  # fmt: skip
        at = self.place(east + self.rng.normal(0, sigma), north + self.rng.normal(0, sigma))
        return Plot(
            sensor_id=sensor, observation_id=f"{sensor}{t_ns}-{name}", observed_ns=t_ns, kind="position",
            values=(at.latitude_deg, at.longitude_deg), covariance=((sigma**2, 0.0), (0.0, sigma**2)),
            identities=() if mmsi is None else (Identity(kind="mmsi", value=mmsi),), cooperative=mmsi is not None,
            **more,
        )  # type: ignore[arg-type]  # fmt: skip

    def clutter(self, t_ns: int, count: int) -> list[Plot]:
        return [self.radar(*self.rng.uniform(-5000, 5000, 2), t_ns, f"c{j}") for j in range(self.rng.poisson(count))]

    def claim(
        self, east: float, north: float, t_ns: int, category: str, *, sigma: float = 50.0, **more: object
    ) -> Claim:
        base: dict[str, object] = {
            "sensor_id": "reports", "report_id": f"rep{t_ns}-{category}", "index": 0, "span": (0, 4), "text": "seen",
            "category": category, "count": 1, "negated": False, "position": self.place(east, north),
            "covariance_m2": ((sigma**2, 0.0), (0.0, sigma**2)), "observed_ns": t_ns, "confidence": 0.8,
        }  # fmt: skip
        return Claim(**(base | more))  # type: ignore[arg-type]


@pytest.fixture
def world() -> World:
    return World()
