"""The radio profile: within its budget, the important first, and nothing from outside that breaks its reader."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.domain import Dispute, Entity, Geodetic, Identity, Receipt
from appliance.errors import BadRecord
from appliance.pipeline import radio_wire as wire
from appliance.pipeline.bodies import EntityBody
from appliance.pipeline.radio import FRAME_COST_BYTES, Radio, RadioSettings
from appliance.pipeline.radio_state import RadioRead, RadioState
from appliance.pipeline.results import Result, alert_result, entity_body, entity_result, picture_result
from appliance.pipeline.times import time_ns, time_text

SECOND = 1_000_000_000
START = 1_900_000_000 * SECOND
RECEIPT = Receipt(config_digest="00", bundles={}, engines={}, clock="synchronised", position_integrity="gnss")
SETTINGS = RadioSettings(bits_per_s=2000.0, key_interval_s=60.0)
IDS = [f"01ARZ3NDEKTSV4RRFFQ69G5{n:03d}" for n in range(300)]


def entity(n: int = 0, **change: Any) -> Entity:
    made = Entity(
        entity_id=IDS[n],
        status="confirmed",
        category="vessel/ship",
        categories={"vessel/ship": 1.0},
        existence=0.97,
        count=1,
        position=Geodetic(latitude_deg=50.8 + n / 100, longitude_deg=-1.1, altitude_m=3.2),
        covariance_m2=((16.0, 3.0), (3.0, 9.0)),
        velocity_mps=(1.5, -7.25, 0.0),
        velocity_covariance_m2ps2=((1.0, 0.0), (0.0, 1.0)),
        identities=(Identity(kind="mmsi", value=f"{235_000_000 + n}"), Identity(kind="tracklet", value="x")),
        updated_ns=START,
        evidence=(),
    )
    return dataclasses.replace(made, **change)


def told(made: Entity, at_ns: int) -> Result:
    return entity_result(made, unit="alpha", produced_ns=at_ns, receipt=RECEIPT)


def alert(claimed: str = "a") -> Result:
    dispute = Dispute(entity_id=IDS[0], raised_ns=START, claimed=claimed, observed="b", sources=("ais", "radar"))
    return alert_result(dispute, unit="alpha", produced_ns=START + SECOND)


def cost(frames: tuple[Result, ...]) -> int:
    return sum(len(frame.payload) + FRAME_COST_BYTES for frame in frames)


def sender(**change: Any) -> Radio:
    return Radio("alpha", dataclasses.replace(SETTINGS, **change), now_ns=START)


def run(radio: Radio, seconds: float, step_s: float = 1.0, *, after_s: float = 0.0) -> list[tuple[float, Result]]:
    """Frames that go out while nothing new is told, and when."""
    out = []
    for n in range(1, round(seconds / step_s) + 1):
        at_s = after_s + n * step_s
        out += [(at_s, frame) for frame in radio.pack((), START + round(at_s * SECOND))]
    return out


def read_all(frames: list[tuple[float, Result]], state: RadioState | None = None) -> list[RadioRead]:
    state = state or RadioState("alpha")
    return [state.read(frame.payload, 1) for _, frame in frames]


def entities(reads: list[RadioRead]) -> dict[str, EntityBody]:
    return {body.entity_id: body for read in reads for body in read.entities}


# ---- one entity, there and back


@given(
    lat=st.floats(-90, 90),
    lon=st.floats(-180, 180),
    sigma=st.tuples(st.floats(0.1, 1e5), st.floats(0.1, 1e5), st.floats(-1, 1)),
    speed=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    existence=st.floats(0, 1),
    age_s=st.floats(0, 1e4),
    status=st.sampled_from(wire.STATUSES),
)
@example(lat=0.0, lon=0.0, sigma=(2.0, 3.0, 1.0), speed=(0.0, 0.0), existence=0.5, age_s=0.0, status="confirmed")
@settings(max_examples=60)
def test_an_entity_comes_back_as_it_was_told_within_the_stated_roundings(
    lat: float, lon: float, sigma: tuple[float, float, float], speed: tuple[float, float], existence: float,
    age_s: float, status: Any,
) -> None:  # fmt: skip
    east, north, rho = sigma
    before = entity(
        status=status,
        position=Geodetic(latitude_deg=lat, longitude_deg=lon, altitude_m=12.0),
        covariance_m2=((east**2, rho * east * north), (rho * east * north, north**2)),
        velocity_mps=(*speed, 0.0),
        existence=existence,
        updated_ns=START - round(age_s * SECOND),
    )
    body = entity_body(before, unit="alpha", produced_ns=START, receipt=RECEIPT)
    state = wire.state_of(body)
    wire.check(state)
    key = wire.Key(1, 0, 0, wire.ulid_bytes(body.entity_id), body.category, body.identities, state)
    frame = wire.RadioFrame(1, START // SECOND, 0, 1, (), (key,), ())
    after = wire.entity_of(wire.decode(wire.encode(frame)), key, state, 0, unit="alpha")
    assert (after.entity_id, after.status, after.category, after.count) == (body.entity_id, status, body.category, 1)
    assert abs(after.position.lat - lat) <= 0.6e-6
    assert abs(after.position.lon - lon) <= 0.6e-6
    assert abs(after.velocity_mps.east - speed[0]) <= 0.051
    assert abs(after.existence - existence) <= 0.0251
    assert abs(time_ns(after.time) - before.updated_ns) <= SECOND // 10
    assert after.produced == time_text(START)
    (ee, en), (ne, nn) = after.position.covariance_m2
    assert 0.8 < math.sqrt(ee) / east < 1.25
    assert 0.8 < math.sqrt(nn) / north < 1.25
    assert en == ne
    assert ee * nn - en * en >= -1e-6 * ee * nn, "a covariance stays one"
    assert (after.receipt.clock, after.receipt.position_integrity) == ("synchronised", "gnss")


@given(st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=25, max_size=25), st.sampled_from("01234567"))
def test_an_id_is_sixteen_bytes(rest: str, first: str) -> None:
    assert wire.ulid_text(wire.ulid_bytes(first + rest)) == first + rest


def test_a_change_costs_less_than_half_of_a_key() -> None:
    radio = sender()
    radio.pack([told(entity(), START)], START)
    ((_, first),) = run(radio, 5)
    moved = entity(position=Geodetic(latitude_deg=50.8003, longitude_deg=-1.1002, altitude_m=3.2))
    (second,) = radio.pack([told(moved, START + 6 * SECOND)], START + 6 * SECOND)
    key, delta = wire.decode(first.payload), wire.decode(second.payload)
    assert (len(key.keys), len(key.deltas), len(delta.keys), len(delta.deltas)) == (1, 0, 0, 1)
    assert 5 * len(wire.encode(delta.deltas[0])) < 2 * len(wire.encode(key.keys[0]))
    after = entities(read_all([(0, first), (0, second)]))[IDS[0]]
    assert (after.position.lat, after.position.lon) == (50.8003, -1.1002)
    assert after.identities == {"mmsi": "235000000"}, "a tracklet is nothing to a reader"


# ---- the budget


@given(
    bits=st.sampled_from([600.0, 1200.0, 2000.0, 9600.0]),
    steps=st.lists(
        st.tuples(st.floats(0.05, 20), st.lists(st.integers(0, 150), max_size=40), st.booleans()), max_size=40
    ),
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_told_the_link_carries_no_more_than_its_budget(
    bits: float, steps: list[tuple[float, list[int], bool]]
) -> None:
    radio, now_ns, sent = sender(bits_per_s=bits), START, 0
    burst = 2 * (radio.payload_bytes + FRAME_COST_BYTES)
    for pause_s, changed, alarm in steps:
        now_ns += round(pause_s * SECOND)
        results = [told(entity(n, updated_ns=now_ns), now_ns) for n in changed] + ([alert()] if alarm else [])
        frames = radio.pack(results, now_ns)
        assert all(len(frame.payload) <= radio.payload_bytes for frame in frames)
        sent += cost(frames)
        assert sent <= bits / 8 * (now_ns - START) / SECOND + burst


def test_a_grant_is_paid_for_before_anything_is_said() -> None:
    radio = sender()
    radio.spend(6340)
    radio.pack([told(entity(), START)], START)
    ((at_s, _),) = run(radio, 60)
    assert 28 <= at_s <= 36, "6.3 kB and a first frame at 234 bytes a second"


def test_an_alert_does_not_wait_for_a_whole_frame() -> None:
    radio = sender()
    radio.pack([*(told(entity(n), START) for n in range(200)), alert()], START)
    (at_s, frame), *_ = run(radio, 10)
    assert at_s <= 3.0
    (alarm,) = wire.decode(frame.payload).alarms
    assert (alarm.claimed, alarm.observed) == ("a", "b")
    assert radio.pack((), START + 3 * SECOND) == ()


def test_alerts_are_bounded_and_what_is_given_up_is_counted() -> None:
    radio = sender()
    radio.pack([alert(str(n)) for n in range(70)], START)
    assert radio.counts["radio_alerts_given_up"] == 6
    said = [a.dispute.claimed for read in read_all(run(radio, 120)) for a in read.alerts]
    assert said == [str(n) for n in range(6, 70)]


def test_everybody_gets_a_turn_and_of_an_entity_only_the_newest_state_is_sent() -> None:
    radio = sender()
    radio.pack([told(entity(n), START) for n in range(100)], START)
    reads = read_all(run(radio, 60))
    assert len(entities(reads)) == 100
    for round_ in range(5):
        at = START + (61 + round_) * SECOND
        radio.pack([told(entity(n, existence=0.5 + round_ / 20, updated_ns=at), at) for n in range(100)], at)
    assert radio.counts["radio_replaced"] > 300


def test_pictures_are_left_out_and_counted() -> None:
    from appliance.domain import Picture  # noqa: PLC0415

    radio = sender()
    picture = Picture(unit="alpha", produced_ns=START, entities=(), disputes=(), receipt=RECEIPT)
    radio.pack([picture_result(picture)], START)
    assert run(radio, 20) == []
    assert radio.counts["radio_left_out"] == 1


def test_the_same_results_give_the_same_frames() -> None:
    def frames() -> list[bytes]:
        radio = sender()
        radio.pack([told(entity(n), START) for n in range(50)], START)
        return [frame.payload for _, frame in run(radio, 100)]

    assert frames() == frames()


# ---- loss and restart


def moving(radio: Radio, seconds: int, count: int = 8) -> list[tuple[float, Result]]:
    out: list[tuple[float, Result]] = []
    for second in range(1, seconds + 1):
        now_ns = START + second * SECOND
        places = [Geodetic(latitude_deg=50 + n / 10 + second * 1e-4, longitude_deg=1.0) for n in range(count)]
        results = [told(entity(n, position=place, updated_ns=now_ns), now_ns) for n, place in enumerate(places)]
        out += [(float(second), frame) for frame in radio.pack(results, now_ns)]
    return out


@given(lost=st.sets(st.integers(0, 20), max_size=10))
@settings(max_examples=25, deadline=None)
def test_who_missed_frames_has_everything_again_after_the_next_keys(lost: set[int]) -> None:
    frames = moving(sender(key_interval_s=30.0), 200)
    whole, holed = RadioState("alpha"), RadioState("alpha")
    left = [frame for n, frame in enumerate(frames) if n not in lost]
    all_of_it, rest = entities(read_all(frames, whole)), entities(read_all(left, holed))
    assert len(frames) > 30
    assert rest == all_of_it


def test_a_delta_without_its_key_is_counted_and_gives_nothing() -> None:
    frames = moving(sender(), 30, count=2)
    read = RadioState("alpha").read(frames[-1][1].payload, 1)
    assert (read.entities, read.missed) == ((), 2)


def test_a_restarted_reader_goes_on_with_the_keys_that_it_stored() -> None:
    frames = moving(sender(), 40, count=3)
    state = RadioState("alpha")
    for _, frame in frames[:-1]:
        state.read(frame.payload, 1)
    again = RadioState("alpha", state.export())
    assert again.read(frames[-1][1].payload, 1) == state.read(frames[-1][1].payload, 1)
    assert RadioState("alpha", b"rubbish").read(frames[-1][1].payload, 1).missed == 3


def test_a_new_epoch_begins_with_keys_and_an_old_one_says_nothing_any_more() -> None:
    radio, state = sender(), RadioState("alpha")
    frames = moving(radio, 20, count=2)
    read_all(frames, state)
    radio.restart()
    fresh = run(radio, 10, after_s=20)
    reads = [state.read(frame.payload, 2) for _, frame in fresh]
    assert len(entities(reads)) == 2
    assert state.read(frames[-1][1].payload, 1).entities == ()


def test_what_is_gone_is_told_before_what_changed_and_its_number_is_forgotten() -> None:
    radio, state = sender(), RadioState("alpha")
    radio.pack([told(entity(n), START) for n in range(3)], START)
    read_all(run(radio, 5), state)
    gone = told(entity(1, status="deleted", existence=0.0), START + 6 * SECOND)
    radio.pack([told(entity(0, existence=0.6), START + 6 * SECOND), gone], START + 6 * SECOND)
    frames = run(radio, 5, after_s=6)
    first = wire.decode(frames[0][1].payload)
    assert [delta.number for delta in first.deltas] == [2, 1]
    reads = read_all(frames, state)
    assert (reads[0].entities[0].entity_id, reads[0].entities[0].status) == (IDS[1], "deleted")
    assert state.read(frames[0][1].payload, 1).missed == 1, "its key is forgotten"


# ---- hostile input


def packed(**change: Any) -> bytes:
    key = [1, 0, 0, bytes(16), "vessel", {}, [0, 1, 20, 1, 0, 0, 0, 5, 5, 0, 0, 0]]
    frame: dict[str, Any] = {"v": 1, "b": 1000, "c": 0, "i": 0, "a": [], "k": [key], "d": []}
    return msgspec.msgpack.encode(list({**frame, **change}.values()))


HOSTILE = {
    "nothing": b"",
    "text": b'{"schema":"edge/entity/1"}',
    "too long": packed() + bytes(5000),
    "trailing": packed() + b"\x00",
    "another version": packed(v=2),
    "a huge array that is not there": b"\xdd\xff\xff\xff\xff",
    "a huge string that is not there": b"\x97\x01\xdb\xff\xff\xff\xff",
    "nested": b"\x91" * 4000,
    "an extension type": b"\xc7\x04\x01abcd",
    "a float": packed(b=1.5),
    "a negative base": packed(b=-1),
    "an unknown clock": packed(c=3),
    "one field more": msgspec.msgpack.encode([1, 0, 0, 0, [], [], [], 1]),
    "a short id": packed(k=[[1, 0, 0, b"x", "v", {}, [0] * 12]]),
    "a state of eleven": packed(k=[[1, 0, 0, bytes(16), "v", {}, [0] * 11]]),
    "a latitude of 91": packed(k=[[1, 0, 0, bytes(16), "v", {}, [0, 0, 0, 0, 91_000_000, 0, 0, 0, 0, 0, 0, 0]]]),
    "an unknown status": packed(k=[[1, 0, 0, bytes(16), "v", {}, [0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]]),
    "a long category": packed(k=[[1, 0, 0, bytes(16), "v" * 65, {}, [0] * 12]]),
    "many identities": packed(k=[[1, 0, 0, bytes(16), "v", {str(n): "" for n in range(17)}, [0] * 12]]),
    "fewer values than bits": packed(d=[[1, 0, 0, 0b11, [1]]]),
    "more values than bits": packed(d=[[1, 0, 0, 0b1, [1, 2]]]),
    "a mask of thirteen bits": packed(d=[[1, 0, 0, 1 << 12, [1]]]),
    "a delta out of the world": packed(d=[[1, 0, 0, 1 << 4, [2**31]]]),
    "the year 40000": packed(b=2**40),
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_frame_is_refused_and_changes_nothing(payload: bytes) -> None:
    state = RadioState("alpha")
    state.read(packed(), 1)
    before = state.export()
    with pytest.raises(BadRecord):
        state.read(payload, 1)
    assert state.export() == before


@given(data=st.data())
@settings(max_examples=150)
def test_a_damaged_frame_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    frames = moving(sender(), 12, count=4)
    raw = bytearray(frames[data.draw(st.integers(0, len(frames) - 1))][1].payload)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    state = RadioState("alpha")
    try:
        state.read(bytes(raw[: data.draw(st.integers(0, len(raw)))]), 1)
    except BadRecord:
        assert state.export() == RadioState("alpha").export()
