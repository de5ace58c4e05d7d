"""Following things: numbers that stay, things that vanish and come back, and frames full of noise."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import DetectedFrame, Detection, Track
from appliance.errors import BadRecord
from appliance.tracking import ImageTracker, TrackerSettings, boxes, warm

Look = Callable[..., Detection]
MakeFrame = Callable[..., DetectedFrame]


def follow(tracker: ImageTracker, frames: Sequence[DetectedFrame]) -> list[tuple[Track, ...]]:
    return [tracker.step(frame) for frame in frames]


def confirmed(tracks: Sequence[Track]) -> list[Track]:
    return [track for track in tracks if track.status == "confirmed"]


def by_id(tracks: Sequence[Track], track_id: int) -> Track:
    return next(track for track in tracks if track.track_id == track_id)


def test_a_thing_keeps_its_number_and_its_box(look: Look, frame: MakeFrame) -> None:
    steps = follow(ImageTracker(), [frame(n, [look(100 + 4 * n, 300)]) for n in range(40)])
    assert {track.track_id for tracks in steps for track in tracks} == {1}
    last = steps[-1][0]
    assert last.status == "confirmed"
    assert last.box_px == pytest.approx((236.0, 250.0, 276.0, 350.0), abs=1.0)
    assert (last.hits, last.first_ns, last.updated_ns) == (40, 0, frame(39).captured_ns)
    assert last.categories == {"person": 1.0}
    assert 0.0 < last.box_variance_px2[0] < 25.0
    assert last.box_variance_px2[1] > last.box_variance_px2[0]
    assert last.confidence == pytest.approx(0.9)


def test_two_people_who_cross_keep_their_numbers(look: Look, frame: MakeFrame) -> None:
    frames = [frame(n, [look(100 + 5 * n, 300), look(500 - 5 * n, 330, height=120)]) for n in range(80)]
    steps = follow(ImageTracker(), frames)
    start, end = steps[0], steps[-1]
    right_going, left_going = (min(start, key=lambda t: t.box_px[0]), max(start, key=lambda t: t.box_px[0]))
    assert by_id(end, right_going.track_id).box_px[0] > 450
    assert by_id(end, left_going.track_id).box_px[0] < 150
    assert len({track.track_id for tracks in steps for track in tracks}) == 2


@pytest.mark.parametrize("hidden", [3, 10, 25])
def test_a_person_behind_a_lamp_post_coasts_and_comes_back_with_the_same_number(
    look: Look, frame: MakeFrame, hidden: int
) -> None:
    seen = [n for n in range(80) if not 30 <= n < 30 + hidden]
    steps = follow(ImageTracker(), [frame(n, [look(100 + 3 * n, 300)] if n in seen else []) for n in range(80)])
    assert {t.status for t in steps[30]} == {"coasting"}
    assert steps[30][0].updated_ns == frame(29).captured_ns
    assert steps[29 + hidden][0].box_px[0] > steps[29][0].box_px[0] + 2 * hidden
    assert [t.track_id for t in steps[-1]] == [1]
    assert steps[-1][0].status == "confirmed"


def test_what_stays_away_is_deleted_once_and_never_comes_back(look: Look, frame: MakeFrame) -> None:
    tracker = ImageTracker(TrackerSettings(max_coast_s=0.5))
    frames = [frame(n, [look(300, 300)] if n < 20 or n >= 60 else []) for n in range(70)]
    steps = follow(tracker, frames)
    deleted = [(n, t) for n, tracks in enumerate(steps) for t in tracks if t.status == "deleted"]
    assert [(n, t.track_id, t.updated_ns) for n, t in deleted] == [(32, 1, frame(19).captured_ns)]
    assert steps[33] == ()
    assert {t.track_id for t in steps[-1]} == {2}


def test_doubtful_looks_carry_a_track_through_but_never_begin_one(look: Look, frame: MakeFrame) -> None:
    def score(n: int) -> float:
        return 0.2 if 20 <= n < 30 else 0.9

    looks = [[look(100 + 3 * n, 300, score=score(n)), look(800, 300, score=0.3)] for n in range(50)]
    steps = follow(ImageTracker(), [frame(n, found) for n, found in enumerate(looks)])
    assert all(tracks[0].updated_ns == frame(n).captured_ns for n, tracks in enumerate(steps))
    assert {t.track_id for tracks in steps for t in tracks} == {1}


def test_a_doubtful_look_does_not_wake_a_track_that_was_lost_before(look: Look, frame: MakeFrame) -> None:
    looks = [[look(300, 300)]] * 20 + [[]] * 3 + [[look(300, 300, score=0.2)]]
    steps = follow(ImageTracker(), [frame(n, found) for n, found in enumerate(looks)])
    assert [t.status for t in steps[-1]] == ["coasting"]


def test_one_look_in_the_middle_of_a_film_is_believed_only_when_it_comes_again(look: Look, frame: MakeFrame) -> None:
    quiet = [frame(n) for n in range(10)]
    steps = follow(ImageTracker(), [*quiet, frame(10, [look(300, 300)]), frame(11), frame(12), frame(13)])
    assert [t.status for t in steps[10]] == ["tentative"]
    assert not any(confirmed(tracks) for tracks in steps)
    assert steps[-1] == ()
    again = follow(ImageTracker(), [*quiet, *(frame(n, [look(300, 300)]) for n in range(10, 16))])
    assert [t.status for t in again[-1]] == ["confirmed"]


def test_what_stands_there_in_the_first_frame_is_believed_at_once(look: Look, frame: MakeFrame) -> None:
    first = ImageTracker().step(frame(0, [look(300, 300, score=0.95), look(600, 300, score=0.65)]))
    assert [t.status for t in first] == ["confirmed", "tentative"]


def test_flicker_is_not_believed(look: Look, frame: MakeFrame) -> None:
    steps = follow(ImageTracker(), [frame(n, [look(300, 300, score=0.65)] if n % 3 == 1 else []) for n in range(90)])
    assert not any(confirmed(tracks) for tracks in steps)


def test_empty_frames_are_looks_too(frame: MakeFrame) -> None:
    tracker = ImageTracker()
    assert follow(tracker, [frame(n) for n in range(5)]) == [()] * 5


def test_the_order_of_detections_changes_nothing(look: Look, frame: MakeFrame) -> None:
    dice = random.Random(5)
    straight, shuffled = ImageTracker(), ImageTracker()
    for n in range(60):
        found = [look(150 * k + 3 * n, 200 + 20 * (k % 3), score=0.5 + 0.05 * (k % 4)) for k in range(7)]
        mixed = dice.sample(found, len(found))
        assert straight.step(frame(n, found)) == shuffled.step(frame(n, mixed))


def test_a_flickering_label_within_a_family_stays_one_track_and_shows_in_its_categories(
    look: Look, frame: MakeFrame
) -> None:
    labels = ["vehicle/car", "vehicle/car", "vehicle/truck"]
    found = [[look(100 + 5 * n, 300, width=80, height=60, category=labels[n % 3])] for n in range(45)]
    last = follow(ImageTracker(), [frame(n, looks) for n, looks in enumerate(found)])[-1]
    assert [t.track_id for t in last] == [1]
    assert sum(last[0].categories.values()) == pytest.approx(1.0)
    assert last[0].categories["vehicle/car"] == pytest.approx(2 / 3, abs=0.05)
    assert list(last[0].categories) == sorted(last[0].categories)


def test_another_family_in_the_same_place_is_another_track(look: Look, frame: MakeFrame) -> None:
    found = [[look(300, 300, category="person" if n < 20 else "vehicle/bicycle")] for n in range(40)]
    last = follow(ImageTracker(), [frame(n, looks) for n, looks in enumerate(found)])[-1]
    assert {t.track_id: next(iter(t.categories)) for t in last} == {1: "person", 2: "vehicle/bicycle"}


def test_what_was_unknown_takes_the_first_known_family(look: Look, frame: MakeFrame) -> None:
    labels = ["unknown"] * 10 + ["vessel/boat"] * 20 + ["person"] * 10
    steps = follow(ImageTracker(), [frame(n, [look(300, 300, category=label)]) for n, label in enumerate(labels)])
    assert {t.track_id for t in steps[29]} == {1}
    assert {t.track_id for t in steps[-1]} == {1, 2}


def test_one_thing_told_twice_is_one_track(look: Look, frame: MakeFrame) -> None:
    twice = [look(300, 300, category="vehicle/car"), look(302, 301, category="vehicle/van", score=0.8)]
    steps = follow(ImageTracker(), [frame(n, twice) for n in range(20)])
    assert {t.track_id for tracks in steps for t in tracks} == {1}


def test_frame_rate_and_dropped_frames_do_not_matter(look: Look, frame: MakeFrame) -> None:
    def at(n: int) -> list[Detection]:
        return [look(100 + 3 * n, 300), look(1000 - 4 * n, 400)]

    kept = [n for n in range(100) if n % 7 in {0, 1, 4}]
    steps = follow(ImageTracker(), [frame(n, at(n)) for n in kept])
    assert {t.track_id for tracks in steps for t in tracks} == {1, 2}
    slow = follow(ImageTracker(), [frame(n, at(n)) for n in range(0, 100, 6)])
    assert {t.track_id for tracks in slow for t in tracks} == {1, 2}


def test_what_leaves_the_picture_does_not_coast_outside(look: Look, frame: MakeFrame) -> None:
    def at(n: int) -> list[Detection]:
        return [look(1100 + 12 * n, 300)] if 1100 + 12 * n < 1290 else []

    steps = follow(ImageTracker(), [frame(n, at(n)) for n in range(30)])
    assert by_id(steps[16], 1).status == "deleted"  # four fifths of the box are outside by then
    assert steps[17:] == [()] * 13


def test_a_frame_that_is_not_later_is_refused_and_changes_nothing(look: Look, frame: MakeFrame) -> None:
    one, other = ImageTracker(), ImageTracker()
    for n in range(5):
        assert one.step(frame(n, [look(300, 300)])) == other.step(frame(n, [look(300, 300)]))
    for late in (4, 2):
        with pytest.raises(BadRecord) as caught:
            one.step(frame(late, [look(900, 300)]))
        assert caught.value.reason == "order"
    assert one.step(frame(6, [look(300, 300)])) == other.step(frame(6, [look(300, 300)]))


def test_a_frame_of_another_camera_is_a_mistake_of_ours(frame: MakeFrame) -> None:
    tracker = ImageTracker()
    tracker.step(frame(0))
    with pytest.raises(ValueError, match="mast"):
        tracker.step(dataclasses.replace(frame(1), sensor_id="gate"))


def test_boxes_that_are_none_are_dropped_and_counted(look: Look, frame: MakeFrame) -> None:
    good = look(300, 300)
    bad = [(5.0, 5.0, 5.0, 9.0), (9.0, 5.0, 5.0, 9.0), (math.nan, 0.0, 5.0, 5.0), (0.0, 0.0, math.inf, 5.0)]
    tracker = ImageTracker()
    tracks = tracker.step(frame(0, [good, *(dataclasses.replace(good, box_px=box) for box in bad)]))
    assert len(tracks) == 1
    assert tracker.unusable == 4


def test_a_picture_full_of_noise_is_bounded(look: Look, frame: MakeFrame) -> None:
    tracker = ImageTracker(TrackerSettings(max_tracks=20))
    found = [look(30 * i, 30 * j, width=20, height=20) for i in range(10) for j in range(10)]
    assert len(tracker.step(frame(0, found))) == 20


def test_the_same_frames_give_the_same_tracks(look: Look, frame: MakeFrame) -> None:
    def play() -> list[tuple[Track, ...]]:
        dice = random.Random(8)
        return follow(ImageTracker(), [frame(n, _noise(dice, look)) for n in range(100)])

    assert play() == play()


def _noise(dice: random.Random, look: Look) -> list[Detection]:
    return [
        look(
            dice.uniform(-50, 1300),
            dice.uniform(-50, 800),
            width=dice.uniform(0.5, 400),
            height=dice.uniform(0.5, 400),
            category=dice.choice(["person", "vehicle/car", "unknown", "animal"]),
            score=dice.random(),
        )
        for _ in range(dice.randrange(12))
    ]


def test_a_thousand_frames_of_noise_leave_only_sound_tracks(look: Look, frame: MakeFrame) -> None:
    dice = random.Random(3)
    tracker, time, last_id = ImageTracker(), 0.0, 0
    for _ in range(1000):
        time += dice.choice([0.001, 1.0, 1.0, 40.0])
        tracks = tracker.step(frame(time, _noise(dice, look)))
        ids = [track.track_id for track in tracks]
        assert ids == sorted(set(ids))
        assert not any(track.track_id <= last_id and track.hits == 1 and track.first_ns == track.updated_ns
                       and track.first_ns == frame(time).captured_ns for track in tracks)  # fmt: skip
        last_id = max([last_id, *ids])
        for track in tracks:
            values = np.array([*track.box_px, *track.box_variance_px2, track.confidence])
            assert np.isfinite(values).all()
            assert track.box_px[2] > track.box_px[0]
            assert track.box_px[3] > track.box_px[1]
            assert min(track.box_variance_px2) > 0.0
            assert sum(track.categories.values()) == pytest.approx(1.0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(*(st.floats(allow_nan=True, allow_infinity=True, width=32) for _ in range(4)), st.floats(0, 1)),
            max_size=5,
        ),
        max_size=12,
    )
)
def test_any_numbers_at_all_are_survived(film: list[list[tuple[float, ...]]]) -> None:
    tracker = ImageTracker()
    for n, rows in enumerate(film):
        found = tuple(
            Detection(box_px=(a, b, c, d), category="person", label="person", confidence=score)
            for a, b, c, d, score in rows
        )
        frame = DetectedFrame(
            sensor_id="mast", sequence=n, captured_ns=n * 40_000_000, width_px=640, height_px=480, detections=found
        )
        assert all(np.isfinite(track.box_px).all() for track in tracker.step(frame))


def test_warming_up_compiles_all_that_a_frame_needs(look: Look, frame: MakeFrame) -> None:
    warm()
    functions = (boxes.pair, boxes.predict, boxes.update, boxes._to_corners, boxes.is_twin)
    before = [len(function.layouts) for function in functions]
    follow(ImageTracker(), [frame(n, [look(300, 300), look(302, 301)]) for n in range(5)])
    assert [len(function.layouts) for function in functions] == before
    assert min(before) >= 1
