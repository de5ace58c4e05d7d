from __future__ import annotations

import pytest

from appliance.domain import Geodetic, Plot
from appliance.pipeline.scans import MAX_PLOTS_PER_SCAN, ScanGatherer

SECOND = 1_000_000_000


def plot(sensor_id: str, at_s: float, *, cooperative: bool = False) -> Plot:
    return Plot(
        sensor_id=sensor_id,
        observation_id=f"{sensor_id}:{at_s}",
        observed_ns=int(at_s * SECOND),
        kind="range_bearing",
        values=(1000.0, 0.5),
        covariance=((1.0, 0.0), (0.0, 1e-6)),
        origin=Geodetic(latitude_deg=0, longitude_deg=0),
        cooperative=cooperative,
    )


def test_plots_of_one_turn_of_the_aerial_are_one_scan() -> None:
    scans = ScanGatherer({"radar": 2 * SECOND})
    assert [scans.add(plot("radar", t), 0) for t in (10.0, 10.5, 11.9)] == [(), (), ()]
    (done,) = scans.add(plot("radar", 12.0), 0)
    assert [p.observed_ns for p in done.plots] == [10 * SECOND, int(10.5 * SECOND), int(11.9 * SECOND)]
    assert done.observed_ns == int(11.9 * SECOND)


def test_a_sensor_that_does_not_scan_passes_through() -> None:
    (done,) = ScanGatherer({}).add(plot("ais", 1.0), 0)
    assert done.sensor_id == "ais"
    assert len(done.plots) == 1


def test_a_cooperative_plot_waits_for_no_scan() -> None:
    assert len(ScanGatherer({"mixed": SECOND}).add(plot("mixed", 1.0, cooperative=True), 0)) == 1


def test_a_scan_that_nothing_follows_is_closed_by_the_clock() -> None:
    scans = ScanGatherer({"radar": SECOND})
    scans.add(plot("radar", 5.0), 100)
    assert scans.overdue(100 + SECOND - 1) == ()
    assert len(scans.overdue(100 + SECOND)) == 1
    assert scans.overdue(100 + 9 * SECOND) == ()


def test_time_that_jumps_back_closes_the_scan() -> None:
    scans = ScanGatherer({"radar": SECOND})
    scans.add(plot("radar", 100.0), 0)
    assert len(scans.add(plot("radar", 3.0), 0)) == 1


def test_flush_returns_every_open_scan_in_order_of_time() -> None:
    scans = ScanGatherer({"a": SECOND, "b": SECOND})
    scans.add(plot("b", 7.0), 0)
    scans.add(plot("a", 9.0), 0)
    assert [scan.sensor_id for scan in scans.flush()] == ["b", "a"]
    assert scans.flush() == ()


@pytest.mark.parametrize("times", [MAX_PLOTS_PER_SCAN + 1])
def test_a_flood_in_one_scan_is_bounded(times: int) -> None:
    scans = ScanGatherer({"radar": SECOND})
    done = [scan for _ in range(times) for scan in scans.add(plot("radar", 1.0), 0)]
    assert [len(scan.plots) for scan in done] == [MAX_PLOTS_PER_SCAN]
