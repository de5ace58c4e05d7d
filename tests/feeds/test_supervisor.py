"""The supervisor: what it does with sources that fail, flood, end, or will not stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from appliance.domain import Report
from appliance.errors import BadRecord, FeedUnavailable, UsageError
from appliance.feeds import Feed, FeedSpec, open_feed
from appliance.feeds.source import Source, Tap
from appliance.feeds.spec import ReportOptions, VideoOptions
from appliance.feeds.supervisor import Backoff


def a_report(n: int) -> Report:
    return Report(sensor_id="s", report_id=str(n), author="a", received_ns=n, text="text")


class Script:
    """A source that does one thing per run and remembers how often it ran."""

    def __init__(self, *acts: Callable[[Tap], None]) -> None:
        self.acts = acts
        self.runs = 0

    def run(self, tap: Tap) -> None:
        act = self.acts[min(self.runs, len(self.acts) - 1)]
        self.runs += 1
        act(tap)


def puts(*numbers: int) -> Callable[[Tap], None]:
    def act(tap: Tap) -> None:
        for n in numbers:
            tap.put(a_report(n))

    return act


def waits(tap: Tap) -> None:
    while True:
        tap.wait(60)


def fails(tap: Tap) -> None:
    raise FeedUnavailable("the camera is away")


@pytest.fixture
def feed_of(spec: Callable[..., FeedSpec]):
    feeds: list[Feed] = []

    def make(source: Source, *, live: bool, **changes) -> Feed:
        feed = Feed(spec(**changes), source, live=live)
        feeds.append(feed)
        return feed

    yield make
    for feed in feeds:
        feed.stop()


def test_a_file_feed_delivers_everything_and_ends(feed_of, drain) -> None:
    feed = feed_of(Script(puts(*range(1000))), live=False, capacity=3)
    feed.start()
    assert [item.report_id for item in drain(feed)] == [str(n) for n in range(1000)]
    status = feed.status()
    assert (status.state, status.received, status.dropped_oldest, status.last_item_ns) == ("ended", 1000, 0, 999)


def test_a_full_live_feed_drops_the_oldest_and_counts_it(feed_of, eventually) -> None:
    def flood(tap: Tap) -> None:
        puts(*range(10))(tap)
        waits(tap)

    feed = feed_of(Script(flood), live=True, capacity=3)
    feed.start()
    eventually(lambda: feed.status().received == 10)
    assert [feed.take(0).report_id for _ in range(3)] == ["7", "8", "9"]
    assert feed.status().dropped_oldest == 7
    assert feed.take(0) is None


def test_a_full_live_feed_of_reports_holds_them_back_instead(feed_of, eventually, take_n) -> None:
    feed = feed_of(Script(puts(*range(10))), live=True, kind="reports", capacity=3)
    feed.start()
    eventually(lambda: feed.status().received == 3)
    assert [item.report_id for item in take_n(feed, 10)] == [str(n) for n in range(10)]
    assert feed.status().dropped_oldest == 0


def test_a_source_that_is_away_is_tried_again_and_again(feed_of, take_n) -> None:
    feed = feed_of(Script(fails, fails, fails, puts(1, 2)), live=True)
    feed.start()
    assert [item.report_id for item in take_n(feed, 2)] == ["1", "2"]
    status = feed.status()
    assert status.restarts >= 3
    assert status.last_error in {"the camera is away", "the source closed"}


def test_the_pause_between_tries_doubles_up_to_its_cap_and_starts_small_after_an_item() -> None:
    backoff = Backoff(1, 5)
    assert [backoff.pause_s(progress=progress) for progress in (False, False, False, False, True, False)] == [
        1,
        2,
        4,
        5,
        1,
        2,
    ]


def test_a_file_that_is_unusable_as_a_whole_fails_with_its_reason(feed_of, eventually) -> None:
    def unusable(tap: Tap) -> None:
        raise BadRecord("video", "not one frame of it can be decoded")

    source = Script(unusable)
    feed = feed_of(source, live=False)
    feed.start()
    eventually(lambda: feed.ended)
    assert feed.status().state == "failed"
    assert "not one frame" in feed.status().last_error
    assert source.runs == 1


def test_a_mistake_in_a_source_is_shown_and_does_not_end_a_live_feed(feed_of, take_n) -> None:
    def mistaken(tap: Tap) -> None:
        raise ZeroDivisionError("ours")

    feed = feed_of(Script(mistaken, puts(1)), live=True)
    feed.start()
    take_n(feed, 1)
    assert feed.status().restarts >= 1


def test_a_mistake_in_a_file_source_ends_it_as_failed(feed_of, eventually) -> None:
    def mistaken(tap: Tap) -> None:
        raise ZeroDivisionError("ours")

    feed = feed_of(Script(mistaken), live=False)
    feed.start()
    eventually(lambda: feed.ended)
    assert feed.status().last_error == "unexpected ZeroDivisionError: ours"


@pytest.mark.parametrize(
    "act", [waits, fails, puts(*range(100))], ids=["waiting", "backing off", "blocked by a full queue"]
)
def test_stop_ends_a_feed_whatever_it_waits_for(feed_of, act, eventually) -> None:
    feed = feed_of(Script(act), live=False, capacity=2, backoff_first_s=60, backoff_cap_s=60)
    feed.start()
    eventually(lambda: act is waits or feed.status().state in {"backing-off", "running"})
    feed.stop()
    assert not feed._thread.is_alive()
    assert feed.status().state == "ended"


def test_what_was_queued_can_still_be_taken_after_stop(feed_of, eventually) -> None:
    feed = feed_of(Script(puts(1, 2, 3)), live=False, capacity=2)
    feed.start()
    eventually(lambda: feed.status().received == 2)
    feed.stop()
    assert not feed.ended
    assert [feed.take(0).report_id, feed.take(0).report_id] == ["1", "2"]
    assert feed.take(0) is None
    assert feed.ended


def test_stop_without_start_and_twice_is_no_fault(feed_of) -> None:
    feed = feed_of(Script(waits), live=True)
    feed.stop()
    feed.stop()


def test_the_source_hears_that_an_item_is_done_with_only_when_the_next_is_asked_for(feed_of, take_n) -> None:
    done: list[str] = []

    def act(tap: Tap) -> None:
        tap.put(a_report(1), taken=lambda: done.append("1"))
        tap.put(a_report(2), taken=lambda: done.append("2"))

    feed = feed_of(Script(act), live=False)
    feed.start()
    take_n(feed, 1)
    assert done == []
    take_n(feed, 1)
    assert done == ["1"]
    assert feed.take(0.01) is None
    assert done == ["1", "2"]


def test_take_waits_no_longer_than_it_is_told(feed_of) -> None:
    feed = feed_of(Script(waits), live=True)
    feed.start()
    assert feed.take(0.01) is None
    assert feed.take(0) is None


def test_a_waiting_consumer_is_woken_by_the_end_of_the_file(feed_of) -> None:
    go = threading.Event()

    def act(tap: Tap) -> None:
        go.wait(30)

    feed = feed_of(Script(act), live=False)
    feed.start()
    threading.Timer(0.05, go.set).start()
    begun = time.monotonic()
    assert feed.take(50) is None
    assert time.monotonic() - begun < 40
    assert feed.ended


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "sonar"}, "feed kind"),
        ({"name": ""}, "feed name"),
        ({"name": "a\nb"}, "feed name"),
        ({"capacity": 0}, "capacity"),
        ({"backoff_first_s": 0}, "backoff"),
        ({"backoff_first_s": 2, "backoff_cap_s": 1}, "backoff"),
        ({"options": VideoOptions()}, "VideoOptions"),
        ({"kind": "video", "options": ReportOptions()}, "ReportOptions"),
        ({"uri": "rtsp://host/x"}, "begin with"),
        ({"kind": "reports", "uri": "tcp://0.0.0.0:5000"}, "loopback or private"),
        ({"kind": "reports", "uri": "tcp://8.8.8.8:5000"}, "loopback or private"),
        ({"kind": "reports", "uri": "tcp://some.host:5000"}, "IP address"),
    ],
)
def test_a_spec_without_a_meaning_is_refused_before_anything_starts(spec, changes, expected) -> None:
    with pytest.raises(UsageError, match=expected):
        open_feed(spec(**changes))


def test_a_file_that_is_not_there_yet_is_waited_for(started, tmp_path, eventually, drain) -> None:
    path = tmp_path / "late.jsonl"
    feed = started("reports", f"file:{path}")
    eventually(lambda: feed.status().restarts >= 2)
    assert feed.status().state in {"backing-off", "starting"}
    assert "cannot open" in feed.status().last_error
    part = tmp_path / "part"
    part.write_text('{"time": 1000, "text": "two boats"}\n')
    part.rename(path)
    assert [item.text for item in drain(feed)] == ["two boats"]
