"""The plain plot feed: CSV and JSON lines say the same, and what is wrong is refused."""

from __future__ import annotations

import json
import math
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.domain import Geodetic, Identity, Plot
from appliance.feeds.plots import COLUMNS, PlotParser
from appliance.feeds.spec import SensorSigma
from appliance.feeds.streams import Chunk, LineReader

POSITION = {"time": "2026-03-01T12:00:00Z", "kind": "position", "latitude_deg": 49.6, "longitude_deg": 6.1}
NOON_NS = 1_772_366_400 * 10**9


@pytest.fixture
def read(spec, tap):
    def plots(text: str | bytes, *, received_ns: int | None = None, **changes: Any) -> list[Plot]:
        raw = text if isinstance(text, bytes) else text.encode()
        reader = LineReader(PlotParser(spec(**{"kind": "plots", **changes})).parse)
        return [plot for _, plot in reader.read(Chunk(raw, received_ns, True, True), tap)]

    return plots


def test_csv_and_json_say_the_same(read) -> None:
    row = {
        **POSITION,
        "position_sigma_m": 12.5,
        "velocity_east_mps": 1.5,
        "velocity_north_mps": -2.0,
        "velocity_sigma_mps": 0.5,
        "altitude_m": 120.0,
        "category": "aircraft/drone",
        "category_probability": 0.75,
        "identity_kind": "tracklet",
        "identity": "7",
        "cooperative": True,
        "id": "r1",
    }
    csv = ",".join(row) + "\n" + ",".join(str(value) for value in row.values()) + "\n"
    (from_csv,), (from_json,) = read(csv), read(json.dumps(row))
    assert from_csv == from_json
    assert from_json == Plot(
        sensor_id="sensor",
        observation_id="sensor:r1",
        observed_ns=NOON_NS,
        kind="position",
        values=(49.6, 6.1),
        covariance=((156.25, 0.0), (0.0, 156.25)),
        identities=(Identity(kind="tracklet", value="7"),),
        categories={"aircraft/drone": 0.75, "unknown": 0.25},
        velocity_mps=(1.5, -2.0),
        velocity_variance_m2ps2=0.25,
        altitude_m=120.0,
        cooperative=True,
    )


def test_ranges_and_bearings_stand_where_their_sensor_stands(read) -> None:
    text = "time,kind,range_m,bearing_deg\n1000,range_bearing,1500,-90\n1001,bearing,,45\n"
    a, b = read(text, sigma=SensorSigma(range_m=10.0, bearing_rad=0.02))
    assert a.values == pytest.approx((1500.0, 1.5 * math.pi))
    assert a.covariance == ((100.0, 0.0), (0.0, 0.02**2))
    assert b.values == pytest.approx((math.pi / 4,))
    assert len(b.covariance) == 1
    assert a.origin == b.origin == Geodetic(latitude_deg=50.8, longitude_deg=-1.1)
    assert (a.observed_ns, a.observation_id) == (1000 * 10**9, "sensor:2")


def test_the_sigma_of_a_row_speaks_before_the_missions(read) -> None:
    row = {**POSITION, "position_sigma_m": 3.0}
    assert read(json.dumps(row), sigma=SensorSigma(position_m=50.0))[0].covariance[0][0] == 9.0
    assert read(json.dumps(POSITION), sigma=SensorSigma(position_m=50.0))[0].covariance[0][0] == 2500.0
    assert read(json.dumps(POSITION))[0].covariance[0][0] == 400.0


def test_a_live_row_without_a_time_was_observed_when_it_came(read) -> None:
    row = {key: value for key, value in POSITION.items() if key != "time"}
    assert read(json.dumps(row), received_ns=77)[0].observed_ns == 77


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "sonar"}, "row"),
        ({"latitude_deg": 91}, "row"),
        ({"longitude_deg": "6.1"}, "row"),
        ({"latitude_deg": None}, "row"),
        ({"position_sigma_m": 0}, "row"),
        ({"position_sigmam": 3}, "row"),
        ({"time": None}, "time"),
        ({"time": "noon"}, "time"),
        ({"time": 1e300}, "time"),
        ({"time": -5}, "time"),
        ({"category": "submarine"}, "category"),
        ({"identity": "7"}, "row"),
        ({"identity": "7", "identity_kind": "mmsi"}, "mmsi"),
        ({"identity": "", "identity_kind": "name"}, "row"),
        ({"category_probability": 1.5}, "row"),
        ({"id": "x" * 101}, "row"),
        ({"kind": "range_bearing", "bearing_deg": 3}, "row"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused_and_the_next_is_read(read, tap, change, reason) -> None:
    text = json.dumps({**POSITION, **change}) + "\n" + json.dumps(POSITION)
    assert len(read(text)) == 1
    assert tap.bads == {reason: 1}


def test_a_bearing_without_a_place_is_refused(read, tap) -> None:
    assert read(json.dumps({"time": 1, "kind": "bearing", "bearing_deg": 3}), origin=None) == []
    assert tap.bads == {"no origin": 1}


@pytest.mark.parametrize(
    ("text", "bads"),
    [
        ("1000,position,49,6\n", {"no header": 1}),
        ("time,kind,latitude\n1000,position,49\n", {"header": 1, "no header": 1}),
        ("time,kind,kind\n", {"header": 1}),
        ("time,kind,latitude_deg,longitude_deg\n1000,position,49\n", {"columns": 1}),
        ('time,kind\n1000,"position\n', {"columns": 1}),
        (b"time,kind\n\xff\xfe,position\n", {"columns": 1}),
        ("{" * 5000, {"row": 1}),
        ('{"kind": "position", "time": NaN}', {"row": 1}),
    ],
)
def test_tables_without_a_usable_shape_are_refused(read, tap, text, bads) -> None:
    assert read(text) == []
    assert tap.bads == bads


def test_plots_replay_from_a_file_and_arrive_over_udp_and_tcp(
    started, drain, take_n, text_file, free_port, listener, eventually
) -> None:
    line = json.dumps(POSITION).encode() + b"\n"
    assert len(drain(started("plots", f"file:{text_file(line * 3)}"))) == 3
    port = free_port(socket.SOCK_DGRAM)
    feed = started("plots", f"udp://127.0.0.1:{port}")
    eventually(lambda: feed.status().state == "running")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(line + line, ("127.0.0.1", port))
        assert len(take_n(feed, 2)) == 2
    feed = started("plots", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"time,kind,latitude_deg,longitude_deg\n1000,position,49,6\n")
        assert take_n(feed, 1)[0].values == (49.0, 6.0)


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=8))
def test_no_json_row_whatever_breaks_the_parser(read, row) -> None:
    for plot in read(json.dumps({**POSITION, **row})):
        assert all(math.isfinite(value) for value in plot.values)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=120))
def test_no_bytes_whatever_break_the_parser(read, noise) -> None:
    read(b"time,kind,latitude_deg,longitude_deg\n" + noise)
