"""What the sensors of the scene put on the wire is standard, and decodes to the truth."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import mgrs
import pytest
from asterix.base import Bits, RawDatablock
from asterix.generated import Cat_048_1_31 as Cat048
from pyais import decode
from pynmeagps import NMEAReader

from appliance.domain import Geodetic
from hil.scene import ais, gnss, radar
from hil.scene.asterix import MAX_RECORDS, RadarPlot, datagram
from hil.scene.harbour import AURELIA, ORIGIN
from hil.scene.variety import inside
from hil.scene.words import as_decimal, as_dms, as_mgrs, as_utm, spoken
from hil.scene.world import Ground, Scene, motion

START_NS = 1_763_906_400_000_000_000
"""2025-11-23T14:00:00Z."""


def _decoded(raw: bytes) -> list[dict[str, float]]:
    """Every record of a datagram by libasterix: seconds of the day, metres, radians."""
    rows = []
    for block in RawDatablock.parse(Bits.from_bytes(raw)):
        assert block.get_category() == 48
        for record in Cat048.cv_uap.parse(block.get_raw_records()):
            polar = record.get_item("040").variation
            rows.append(
                {
                    "sac": record.get_item("010").variation.get_item("SAC").as_uint(),
                    "type": record.get_item("020").variation.get_item("TYP").as_uint(),
                    "time_s": record.get_item("140").variation.content.as_quantity("s"),
                    "range_m": polar.get_item("RHO").variation.content.as_quantity("NM") * 1852.0,
                    "bearing_rad": math.radians(polar.get_item("THETA").variation.content.as_quantity("°")),
                }
            )
    return rows


def test_a_datagram_decodes_to_the_plots_that_went_in() -> None:
    plots = [
        RadarPlot(observed_ns=START_NS + 123_000_000, range_m=1234.5, bearing_rad=1.25),
        RadarPlot(observed_ns=START_NS + 223_000_000, range_m=87.0, bearing_rad=2 * math.pi - 1e-7),
    ]
    rows = _decoded(datagram(plots))
    assert [(row["sac"], row["type"]) for row in rows] == [(200, 1), (200, 1)]
    for row, plot in zip(rows, plots, strict=True):
        assert row["range_m"] == pytest.approx(plot.range_m, abs=1852 / 512 + 1e-6)
        turned = math.remainder(row["bearing_rad"] - plot.bearing_rad, 2 * math.pi)
        assert turned == pytest.approx(0.0, abs=math.pi / 65536 + 1e-9)
        assert row["time_s"] == pytest.approx(plot.observed_ns % (86400 * 10**9) / 1e9, abs=1 / 256 + 1e-6)


def test_a_datagram_of_none_or_too_many_is_not_made() -> None:
    plot = RadarPlot(observed_ns=START_NS, range_m=100.0, bearing_rad=0.0)
    with pytest.raises(ValueError, match="found 0"):
        datagram([])
    with pytest.raises(ValueError, match=f"found {MAX_RECORDS + 1}"):
        datagram([plot] * (MAX_RECORDS + 1))


def test_midnight_wraps_to_zero() -> None:
    almost = START_NS // 86_400_000_000_000 * 86_400_000_000_000 + 86_400_000_000_000 - 1_000_000
    (row,) = _decoded(datagram([RadarPlot(observed_ns=almost, range_m=100.0, bearing_rad=0.0)]))
    assert row["time_s"] == 0.0


def test_radar_plots_lie_on_the_things_they_came_from(scene: Scene) -> None:
    errors, clutter, seen = [], 0, set()
    for number in range(40):
        for plot in radar.turn(scene, number):
            if plot.of is None:
                clutter += 1
                continue
            seen.add(plot.of)
            thing = scene.thing(plot.of)
            truth = motion(thing.loop, (plot.observed_ns - scene.start_ns) / 1e9)
            range_m = math.hypot(truth.east_m, truth.north_m)
            cross_m = math.remainder(plot.bearing_rad - math.atan2(truth.east_m, truth.north_m), 2 * math.pi) * range_m
            spread_m = radar.SPREAD_OF_LENGTH * thing.length_m
            errors.append((plot.range_m - range_m) / math.hypot(radar.RANGE_SIGMA_M, spread_m))
            errors.append(cross_m / math.hypot(radar.BEARING_SIGMA_RAD * range_m, spread_m))
    assert max(abs(error) for error in errors) < 5.0
    assert 10 < clutter < 120
    assert seen == {thing.name for thing in scene.things if thing.radar_section > 0.0}


def test_the_radar_is_blind_over_the_quay(scene: Scene) -> None:
    for number in range(40):
        for plot in radar.turn(scene, number):
            ground = (plot.range_m * math.sin(plot.bearing_rad), plot.range_m * math.cos(plot.bearing_rad))
            assert not inside(scene.quay, ground)


def test_sectors_give_all_plots_of_all_turns_in_order(scene: Scene) -> None:
    told = [plot for sector in radar.turns(scene, 5.0) for plot in sector]
    assert told == [plot for number in range(4) for plot in radar.turn(scene, number)]
    assert [plot.observed_ns for plot in told] == sorted(plot.observed_ns for plot in told)


def test_every_sentence_decodes_to_the_truth(scene: Scene) -> None:
    ground = Ground(scene.origin)
    names: dict[int, str] = {}
    for one in ais.transmissions(scene, 30.0):
        message = decode(*one.sentences[:2]) if one.sentences[0].split(",")[1] == "2" else decode(one.sentences[0])
        assert message.mmsi == one.mmsi
        if not one.position:
            names[one.mmsi] = message.shipname
            continue
        truth = motion(scene.thing(one.of).loop, one.time_s)
        east, north = ground.to_local(Geodetic(latitude_deg=message.lat, longitude_deg=message.lon))
        assert math.hypot(east - truth.east_m, north - truth.north_m) < 6 * ais.POSITION_SIGMA_M
        assert message.speed * ais.KNOT_MPS == pytest.approx(truth.speed_mps, abs=0.06)
        assert message.second == (scene.start_ns + int(one.time_s * 1e9)) // 10**9 % 60
    assert names == {t.transponder.mmsi: t.transponder.name for t in scene.things if t.transponder is not None}


def test_the_same_scene_sends_the_same(scene: Scene) -> None:
    assert ais.transmissions(scene, 20.0) == ais.transmissions(scene, 20.0)
    assert radar.turn(scene, 3) == radar.turn(scene, 3)
    assert list(gnss.sentences(scene, 5.0)) == list(gnss.sentences(scene, 5.0))


def test_the_receiver_says_where_the_mast_stands(scene: Scene) -> None:
    for time_s, pair in gnss.sentences(scene, 3.0):
        for sentence in pair:
            message = NMEAReader.parse(sentence + "\r\n")
            assert message.lat == pytest.approx(scene.origin.latitude_deg, abs=1e-4)
            assert message.lon == pytest.approx(scene.origin.longitude_deg, abs=1e-4)
            moment = datetime.fromtimestamp(scene.time_ns(time_s) / 1e9, tz=UTC)
            assert (message.time.hour, message.time.minute, message.time.second) == (
                moment.hour,
                moment.minute,
                moment.second,
            )


def test_people_write_in_four_languages_about_things_that_are_there(scene: Scene) -> None:
    reports = spoken(scene, 30.0)
    assert {report.language for report in reports} == {"en", "fr", "de", "lb"}
    assert all(0.0 < report.time_s < 30.0 for report in reports)
    assert len({report.report_id for report in reports}) == len(reports)
    for report in reports:
        for name in report.about:
            scene.thing(name)
    assert any(str(AURELIA.mmsi) in report.text for report in reports)
    assert spoken(scene, 30.0) == reports


def test_places_are_written_as_people_write_them() -> None:
    place = Ground(ORIGIN).to_geodetic(120.0, -45.0)
    square = as_mgrs(place).replace(" ", "")
    lat, lon = mgrs.MGRS().toLatLon(square)
    assert (lat, lon) == pytest.approx((place.latitude_deg, place.longitude_deg), abs=2e-4)
    assert as_decimal(place).split()[1::2] == ["N", "E"]
    assert as_utm(place).startswith("31U ")
    assert "°" in as_dms(place)
