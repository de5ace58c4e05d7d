"""ASTERIX: what becomes a plot, what is ignored, and streams that break."""

from __future__ import annotations

import itertools
import math
import socket
import subprocess
import sys
from typing import Any

import pytest
from asterix import generated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.domain import Identity, Plot
from appliance.feeds import asterix_blocks
from appliance.feeds.asterix_blocks import RADAR, TRACKER
from appliance.feeds.radar import RadarReader
from appliance.feeds.spec import SensorSigma
from appliance.feeds.streams import Chunk

NOON_NS = 1_700_000_000 // 86_400 * 86_400 * 10**9 + 43_200 * 10**9
SOURCE = (("SAC", 25), ("SIC", 7))


def plot048(**items: Any) -> dict[str, Any]:
    record = {"010": SOURCE, "140": (43_200.0, "s"), "040": (("RHO", (10.0, "NM")), ("THETA", (90.0, "°")))}
    record.update({name.removeprefix("i"): value for name, value in items.items()})
    return {name: value for name, value in record.items() if value is not None}


def track062(**items: Any) -> dict[str, Any]:
    record = {"010": SOURCE, "070": (43_200.0, "s"), "105": (("LAT", (50.5, "°")), ("LON", (-1.25, "°"))), "040": 77}
    record.update({name.removeprefix("i"): value for name, value in items.items()})
    return {name: value for name, value in record.items() if value is not None}


@pytest.fixture
def read(spec, tap):
    def plots(*parts: bytes, received_ns: int | None = NOON_NS, whole: bool = True, **changes: Any) -> list[Plot]:
        reader = RadarReader(spec(**{"kind": "radar", **changes}))
        found: list[Plot] = []
        for i, part in enumerate(parts):
            chunk = Chunk(part, received_ns, i == 0, whole and i == len(parts) - 1)
            found += [plot for _, plot in reader.read(chunk, tap)]
        return found

    return plots


def test_what_the_library_loads_is_never_looked_through_again() -> None:
    code = (
        "import gc\n"
        "from appliance.feeds import asterix_blocks\n"
        "asterix_blocks.load_radar()\n"
        "assert gc.isenabled() and len(gc.get_objects()) < 10_000 < 20_000 < gc.get_freeze_count()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("editions", [RADAR, TRACKER])
def test_what_is_left_out_of_the_library_is_missed_nowhere(editions: Any) -> None:
    """Every class that is made says what the library's own says but for types, and no function of it lacks a name."""
    made = asterix_blocks._record_types(tuple(editions.items()))
    for category, record in made.items():
        whole = generated.manifest["CATS"][category]
        own = next(each for each in whole if each.cv_edition == editions[category]).cv_record
        assert _described(record) == _described(own)
    names = vars(sys.modules[generated.__name__])
    of_ours = next(iter(made.values())).parse.__func__.__globals__
    for name, found in of_ours.items():
        if isinstance(found, type) and found.__module__ == generated.__name__:
            for function in vars(found).values():
                code = getattr(getattr(function, "__func__", getattr(function, "fget", function)), "__code__", None)
                missed = [] if code is None else [each for each in code.co_names if each in names and not of_ours[each]]
                assert missed == [], (name, missed)


def _described(kind: Any, seen: frozenset[str] = frozenset()) -> Any:
    """What a generated class says, with what it speaks of, to the bottom."""
    if isinstance(kind, (list, tuple)):
        return [_described(each, seen) for each in kind]
    if isinstance(kind, dict):
        return {key: _described(each, seen) for key, each in kind.items()}
    if not isinstance(kind, type) or kind.__module__ != generated.__name__ or kind.__name__ in seen:
        return kind.__name__ if isinstance(kind, type) else kind
    said = {
        name: value for name, value in vars(kind).items() if name.startswith("cv_") and not name.startswith("cv_arg")
    }
    return kind.__name__, {name: _described(value, seen | {kind.__name__}) for name, value in said.items()}


def test_a_plot_is_a_range_and_bearing_from_the_radar(read, asterix_block, tap) -> None:
    (plot,) = read(asterix_block(48, plot048(i161=(0, 77))))
    assert (plot.kind, plot.cooperative, plot.observed_ns) == ("range_bearing", False, NOON_NS)
    assert plot.values == pytest.approx((18_520.0, math.pi / 2), abs=1e-3)
    assert plot.origin is not None
    assert plot.identities == (Identity(kind="tracklet", value="sensor:25/7:77"),)
    assert plot.categories == {}
    assert plot.velocity_mps is None
    assert tap.bads == {}


def test_height_lays_the_slant_range_on_the_ground(read, asterix_block) -> None:
    (plot,) = read(asterix_block(48, plot048(i090=(0, 0, (300.0, "FL")))))
    assert plot.altitude_m == pytest.approx(9144.0)
    assert plot.values[0] == pytest.approx(math.sqrt(18_520.0**2 - 9144.0**2), abs=0.1)


def test_an_unvalidated_flight_level_is_not_used(read, asterix_block) -> None:
    (plot,) = read(asterix_block(48, plot048(i090=(1, 0, (300.0, "FL")))))
    assert plot.altitude_m is None


def test_a_three_dimensional_radar_speaks_before_the_flight_level(read, asterix_block) -> None:
    (plot,) = read(asterix_block(48, plot048(i110=(0, (1000.0, "ft")), i090=(0, 0, (300.0, "FL")))))
    assert plot.altitude_m == pytest.approx(304.8, abs=4)


def test_a_mode_s_reply_says_who_it_is_and_that_it_flies(read, asterix_block) -> None:
    (plot,) = read(asterix_block(48, plot048(i220=0x4D0221, i240="LGL8021")))
    assert Identity(kind="icao", value="4d0221") in plot.identities
    assert Identity(kind="name", value="LGL8021") in plot.identities
    assert plot.categories == {"aircraft": 1.0}


def test_track_velocity_is_laid_on_east_and_north(read, asterix_block) -> None:
    (plot,) = read(asterix_block(48, plot048(i200=(("GSP", (0.1, "NM/s")), ("HDG", (90.0, "°"))))))
    assert plot.velocity_mps == pytest.approx((185.2, 0.0), abs=0.2)
    assert plot.velocity_variance_m2ps2 == 4.0


def test_calculated_cartesian_position_stands_in_for_the_measured(read, asterix_block) -> None:
    (plot,) = read(asterix_block(48, plot048(i040=None, i042=(("X", (-3.0, "NM")), ("Y", (4.0, "NM"))))))
    assert plot.values == pytest.approx((9260.0, math.atan2(-3, 4) % (2 * math.pi)), abs=1e-2)


def test_the_mission_may_say_how_well_the_radar_measures(read, asterix_block) -> None:
    (plot,) = read(asterix_block(48, plot048()), sigma=SensorSigma(range_m=5.0, bearing_rad=0.01))
    assert plot.covariance == ((25.0, 0.0), (0.0, 0.0001))


def test_simulated_targets_ended_tracks_and_other_categories_are_counted_and_not_shown(
    read, asterix_block, tap
) -> None:
    simulated = plot048(i020=((1, 1, 0, 0, 0, None),))
    test_target = plot048(i020=((1, 0, 0, 0, 0, None), (1, 0, 0, 0, 0, 0, None)))
    over = plot048(i170=((0, 0, 0, 0, 0, None), (1, 0, 0, 0, 0, None)))
    north = {"010": SOURCE, "000": 1, "030": (43_200.0, "s")}
    foreign = bytes([63, 0, 5, 0x80, 0x01])
    data = asterix_block(48, simulated, test_target, over) + asterix_block(34, north) + foreign
    assert read(data) == []
    assert tap.ignoreds == {"simulated target": 2, "track ended": 1, "service message": 1, "other category": 1}
    assert tap.bads == {}


def test_a_system_track_is_a_position_with_velocity_and_the_trackers_accuracy(read, asterix_block) -> None:
    record = track062(
        i185=(("VX", (3.0, "m/s")), ("VY", (-4.0, "m/s"))),
        i130=(1000.0, "ft"),
        i500={"APC": (("X", (20.0, "m")), ("Y", (30.0, "m"))), "ATV": (("X", (1.0, "m/s")), ("Y", (2.0, "m/s")))},
        i380={"ADR": 0x4D0221, "ID": "LGL8021"},
    )
    (plot,) = read(asterix_block(62, record))
    assert plot.kind == "position"
    assert plot.values == pytest.approx((50.5, -1.25), abs=1e-5)
    assert plot.velocity_mps == (3.0, -4.0)
    assert plot.velocity_variance_m2ps2 == 4.0
    assert plot.covariance == ((400.0, 0.0), (0.0, 900.0))
    assert plot.altitude_m == pytest.approx(304.8, abs=2)
    assert [identity.kind for identity in plot.identities] == ["tracklet", "icao", "name"]


def test_geographic_accuracy_is_turned_into_metres(read, asterix_block) -> None:
    accuracy = {"APW": (("LAT", (0.001, "°")), ("LON", (0.001, "°")))}
    (plot,) = read(asterix_block(62, track062(i500=accuracy)))
    assert math.sqrt(plot.covariance[1][1]) == pytest.approx(111.12, rel=0.02)
    assert math.sqrt(plot.covariance[0][0]) == pytest.approx(70.7, rel=0.02)


def test_a_record_without_a_position_or_with_an_impossible_time_is_refused(read, asterix_block, tap) -> None:
    late = plot048(i140=(90_000.0, "s"))
    data = asterix_block(48, plot048(i040=None), late, plot048()) + asterix_block(62, track062(i105=None))
    assert len(read(data)) == 1
    assert tap.bads == {"no position": 2, "time of day": 1}


def test_a_radar_without_a_place_gives_no_plots_and_says_why(read, asterix_block, tap) -> None:
    assert read(asterix_block(48, plot048()), origin=None) == []
    assert tap.bads == {"no origin": 1}


def test_midnight_is_no_event(read, asterix_block) -> None:
    midnight = NOON_NS + 43_200 * 10**9
    times = (86_399.0, 86_399.5, 0.5, 1.0)
    block = asterix_block(48, *(plot048(i140=(time, "s")) for time in times))
    live = read(block, received_ns=midnight + 10**8)
    replay = read(block, received_ns=None, start_ns=midnight - 10**9)
    assert [plot.observed_ns - midnight for plot in live] == [-(10**9), -5 * 10**8, 5 * 10**8, 10**9]
    assert [plot.observed_ns for plot in replay] == [plot.observed_ns for plot in live]


def test_a_recording_longer_than_a_day_keeps_its_days(read, asterix_block) -> None:
    hours = [hour * 3600.0 for hour in range(0, 24, 6)] * 3
    block = b"".join(asterix_block(48, plot048(i140=(time, "s"))) for time in hours)
    plots = read(block, received_ns=None, start_ns=NOON_NS - 43_200 * 10**9)
    steps = {b.observed_ns - a.observed_ns for a, b in itertools.pairwise(plots)}
    assert steps == {6 * 3600 * 10**9}


def test_a_broken_record_costs_its_block_and_no_more(read, asterix_block, tap) -> None:
    good = asterix_block(48, plot048())
    body = good[3:] + b"\xff\xff\xff"
    broken = bytes([48]) + (len(body) + 3).to_bytes(2, "big") + body
    plots = read(good + broken + good)
    assert len(plots) == 3
    assert tap.bads == {"broken record": 1}


def test_lost_framing_is_found_again_and_counted_once(read, asterix_block, tap) -> None:
    good = asterix_block(48, plot048(), plot048())
    plots = read(good, b"\x00\x01\xfe" * 5 + good[:7], good, good, received_ns=None)
    assert len(plots) >= 4
    assert tap.bads["lost framing"] in {1, 2}


def test_a_block_cut_off_at_the_end_of_a_file_is_counted(read, asterix_block, tap) -> None:
    good = asterix_block(48, plot048())
    assert len(read(good + good[:-4])) == 1
    assert tap.bads == {"lost framing": 1}


def test_a_block_of_empty_records_does_not_hold_us_up(read, tap) -> None:
    assert read(bytes([48]) + (16_000).to_bytes(2, "big") + bytes(15_997)) == []
    assert tap.bads == {"broken record": 1}


def test_pieces_of_any_size_give_the_same_plots(read, asterix_block) -> None:
    data = b"".join(asterix_block(48, plot048(i161=(0, n)), plot048()) for n in range(6))
    whole = read(data, received_ns=None)
    pieces = read(*[data[i : i + 5] for i in range(0, len(data), 5)], received_ns=None)
    assert whole == pieces
    assert len(whole) == 12


def test_observation_ids_are_different_and_the_same_in_every_replay(started, drain, asterix_block, text_file) -> None:
    path = text_file(b"".join(asterix_block(48, plot048(), plot048()) for _ in range(50)))
    first, second = (drain(started("radar", f"file:{path}", start_ns=NOON_NS)) for _ in range(2))
    assert first == second
    assert len({plot.observation_id for plot in first}) == 100


def test_radar_over_udp(started, asterix_block, free_port, take_n, eventually) -> None:
    port = free_port(socket.SOCK_DGRAM)
    feed = started("radar", f"udp://127.0.0.1:{port}")
    eventually(lambda: feed.status().state == "running")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"\x30\x00", ("127.0.0.1", port))
        sender.sendto(asterix_block(48, plot048()) + asterix_block(62, track062()), ("127.0.0.1", port))
        plots = take_n(feed, 2)
    assert [plot.kind for plot in plots] == ["range_bearing", "position"]
    assert feed.status().bad == {"lost framing": 1}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_whatever_break_the_reader(read, asterix_block, data) -> None:
    good = asterix_block(48, plot048()) + asterix_block(62, track062())
    at = data.draw(st.integers(0, len(good)))
    noise = data.draw(st.binary(max_size=80))
    flipped = bytearray(good)
    flipped[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    for plot in read(good[:at] + noise + bytes(flipped) + good[at:], received_ns=None):
        assert all(math.isfinite(value) for value in plot.values)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(category=st.sampled_from([34, 48, 62]), body=st.binary(min_size=1, max_size=120))
def test_no_block_whatever_breaks_the_decoder(read, category, body) -> None:
    for plot in read(bytes([category]) + (len(body) + 3).to_bytes(2, "big") + body):
        assert all(math.isfinite(value) for value in plot.values)
