from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from mcap.reader import SeekingReader

from appliance.domain import DetectedFrame, Detection, Fix, Geodetic, Identity, Observation, Plot, Report
from appliance.errors import Stop
from appliance.recorder import Arrival, Recorder, make_room, open_recording
from appliance.recorder.chunks import ChunkWriter

HERE = Geodetic(latitude_deg=50.8, longitude_deg=-1.1)
OBSERVATIONS: tuple[Observation, ...] = (
    DetectedFrame(
        sensor_id="camera",
        sequence=3,
        captured_ns=1_700_000_000_123_456_789,
        width_px=640,
        height_px=360,
        detections=(Detection(box_px=(1.5, 2, 3, 4), category="person", label="person", confidence=0.5),),
    ),
    Plot(
        sensor_id="ais",
        observation_id="ais:1",
        observed_ns=2,
        kind="position",
        values=(50.8, -1.1),
        covariance=((1.0, 0.0), (0.0, 1.0)),
        identities=(Identity(kind="mmsi", value="235070762"),),
        categories={"vessel": 1.0},
        velocity_mps=(1.0, 2.0),
        cooperative=True,
    ),
    Fix(sensor_id="gnss", observed_ns=3, position=HERE, horizontal_sigma_m=2.0, satellites=9, quality="autonomous"),
    Report(sensor_id="inbox", report_id="r1", author="Léa", received_ns=4, text="zwee Schëffer", grade="B2"),
)


OLD_PLOT = (
    b'{"sensor_id":"ais","observation_id":"ais:1","observed_ns":2,"kind":"position","values":[50.8,-1.1],'
    b'"covariance":[[1.0,0.0],[0.0,1.0]],"origin":null,"identities":[{"kind":"mmsi","value":"235070762"}],'
    b'"categories":{"vessel":1.0},"velocity_mps":[1.0,2.0],"velocity_variance_m2ps2":null,"altitude_m":null,'
    b'"cooperative":true}'
)


def record(path: Path, *, max_bytes: int = 10_000_000, times: int = 1) -> Recorder:
    recorder = Recorder(path, plan=b'{"unit":"quay-01"}', max_bytes=max_bytes)
    for _ in range(times):
        for index, observation in enumerate(OBSERVATIONS):
            recorder.arrival(observation, 100 + index)
        recorder.arrival(None, 200)
        recorder.end(201)
        recorder.told("edge/v1/quay-01/picture", b'{"a":1}', 201)
    return recorder


def test_a_plot_that_was_recorded_before_sensors_told_what_their_plots_share_is_read(tmp_path: Path) -> None:
    with (tmp_path / "old.mcap").open("wb") as file:
        writer = ChunkWriter(file, library="edge-appliance", chunk_bytes=1 << 16)
        writer.metadata("plan", {"plan": "{}"})
        channel = writer.channel("Plot", "json", writer.schema("edge/json", "jsonschema", b"{}"))
        writer.message(channel, 7, OLD_PLOT)
        writer.finish()
    (arrival,) = open_recording(tmp_path / "old.mcap").arrivals()
    assert arrival == Arrival(observation=OBSERVATIONS[1], now_ns=7)


def test_what_was_recorded_is_read_back_exactly(tmp_path: Path) -> None:
    record(tmp_path / "r.mcap").close()
    recording = open_recording(tmp_path / "r.mcap")
    assert recording.plan == b'{"unit":"quay-01"}'
    assert list(recording.arrivals()) == [
        *(Arrival(observation=o, now_ns=100 + i) for i, o in enumerate(OBSERVATIONS)),
        Arrival(observation=None, now_ns=200),
        Arrival(observation=None, now_ns=201, last=True),
    ]
    assert list(recording.told()) == [("edge/v1/quay-01/picture", b'{"a":1}')]


def test_a_recording_cut_off_is_read_up_to_its_last_whole_chunk(tmp_path: Path) -> None:
    path = tmp_path / "r.mcap"
    record(path, times=500).close()
    whole = len(list(open_recording(path).arrivals()))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = len(list(open_recording(path).arrivals()))
    assert 0 < cut < whole


def test_a_full_recording_stops_and_the_run_goes_on(tmp_path: Path) -> None:
    recorder = record(tmp_path / "r.mcap", max_bytes=1_000, times=2_000)
    assert recorder.full
    recorder.close()
    assert (tmp_path / "r.mcap").stat().st_size < 200_000


def test_an_existing_recording_is_never_written_over(tmp_path: Path) -> None:
    record(tmp_path / "r.mcap").close()
    with pytest.raises(FileExistsError):
        record(tmp_path / "r.mcap")


@pytest.mark.parametrize("content", [b"", b"not a recording", b"\x89MCAP0\r\n"], ids=["empty", "text", "magic alone"])
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.mcap").write_bytes(content)
    with pytest.raises(Stop, match="expected"):
        open_recording(tmp_path / "r.mcap")


def test_an_absent_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="No such file"):
        open_recording(tmp_path / "r.mcap")


def test_a_recording_is_for_its_owner_alone(tmp_path: Path) -> None:
    record(tmp_path / "new" / "r.mcap").close()
    assert (tmp_path / "new" / "r.mcap").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_full_recording_holds_all_that_was_told_of_its_last_observation(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.mcap", plan=b"{}", max_bytes=1_000)
    for n in range(5_000):
        recorder.arrival(OBSERVATIONS[2], n)
        for part in range(3):
            recorder.told(f"edge/v1/quay-01/entity/{part}", b"{}", n)
    recorder.end(5_000)
    recorder.close()
    recording = open_recording(tmp_path / "r.mcap")
    assert recorder.full
    assert not recording.is_whole()
    assert len(list(recording.told())) == 3 * len(list(recording.arrivals()))


def test_a_recording_that_goes_on_to_the_end_is_whole(tmp_path: Path) -> None:
    record(tmp_path / "r.mcap").close()
    assert open_recording(tmp_path / "r.mcap").is_whole()


def test_the_oldest_recordings_make_room_and_those_of_other_units_stay(tmp_path: Path) -> None:
    for number, name in enumerate(("quay-01-000001", "quay-01-000002", "quay-01-000003", "mole-02-000001")):
        path = tmp_path / f"{name}.mcap"
        path.write_bytes(b"x" * 100)
        os.utime(path, ns=(number, number))
    make_room(tmp_path, "quay-01", keep_bytes=250)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["mole-02-000001", "quay-01-000002", "quay-01-000003"]
    make_room(tmp_path / "none", "quay-01", keep_bytes=0)


def test_a_long_recording_keeps_nothing_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "r.mcap").open("wb") as file:
        writer = ChunkWriter(file, library="test", chunk_bytes=1)
        channel = writer.channel("t", "json", writer.schema("s", "jsonschema", b"{}"))

        def chunks(number: int) -> int:
            for k in range(number):
                writer.message(channel, k, b"{}")
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            grown = -chunks(100) + chunks(3_000)
        finally:
            tracemalloc.stop()
        writer.finish()
    assert grown < 10_000


def test_a_reader_that_looks_for_an_index_reads_it_too(tmp_path: Path) -> None:
    record(tmp_path / "r.mcap").close()
    with (tmp_path / "r.mcap").open("rb") as file:
        topics = [channel.topic for _, channel, _ in SeekingReader(file).iter_messages()]
    assert topics == ["DetectedFrame", "Plot", "Fix", "Report", "tick", "end", "result"]
