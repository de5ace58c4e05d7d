"""The outbox: what is put is there after anything, goes out in order, and leaves by rule alone."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from appliance.bus import Outbox, Priority
from appliance.errors import BusUnavailable
from appliance.sealing import Envelope, EnvelopeKind

NS = 1_000_000_000


def envelope(
    counter: int, *, epoch: int = 1, kind: EnvelopeKind = "frame", size: int = 100, of: int | None = None
) -> Envelope:
    """A frame of the entity ``of``; left out, of one that no other frame is of."""
    topic = (
        f"edge/v1/alpha/entity/{counter if of is None else of}" if kind == "frame" else f"edge/v1/alpha/{kind}/{epoch}"
    )
    return Envelope(topic=topic, kind=kind, epoch=epoch, counter=counter, data=bytes([counter % 256]) * size)


def drain(outbox: Outbox) -> list[tuple[str, int]]:
    """Topic and first byte of everything that can be sent."""
    return [(item.topic.split("/")[3], item.data[0]) for item in outbox.claim(10_000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def test_what_was_put_is_there_for_the_next_process(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put(envelope(0, kind="grant"))
    outbox.put_many([(envelope(n), Priority.ENTITY) for n in range(5)])
    outbox.close()
    again = Outbox(path)
    assert drain(again) == [("grant", 0), *(("entity", n) for n in range(5))]
    assert again.status().waiting == 6
    again.close()


def test_what_was_put_survives_a_process_that_is_killed_at_once(path: Path, repository: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from appliance.bus import Outbox; from appliance.sealing import Envelope\n"
        "box = Outbox(Path(sys.argv[1]))\n"
        "for n in range(20):\n"
        "    box.put(Envelope(topic='edge/v1/alpha/picture', kind='frame', epoch=1, counter=n, data=bytes([n])))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=repository, check=False)
    assert done.returncode == -9
    outbox = Outbox(path)
    assert drain(outbox) == [("picture", n) for n in range(20)]
    outbox.close()


def test_the_more_important_goes_first_and_the_older_among_equals(path: Path) -> None:
    outbox = Outbox(path)
    for n, priority in enumerate([Priority.STATUS, Priority.PICTURE, Priority.ENTITY, Priority.ALERT, Priority.ENTITY]):
        outbox.put(envelope(n), priority=priority)
    outbox.put(envelope(9, kind="close"))
    outbox.put(envelope(8, kind="grant"))
    assert [first for _, first in drain(outbox)] == [8, 3, 2, 4, 1, 0, 9]
    outbox.close()


def test_an_envelope_is_claimed_once_until_the_link_starts_again(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put_many([(envelope(n), Priority.ENTITY) for n in range(3)])
    assert [item.seq for item in outbox.claim(2)] == [1, 2]
    assert [item.seq for item in outbox.claim(2)] == [3]
    assert outbox.claim(2) == []
    outbox.rewind()
    assert [item.seq for item in outbox.claim(5)] == [1, 2, 3]
    outbox.close()


def test_what_was_acknowledged_is_sent_again_by_the_next_connection_after_the_rest(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put_many([(envelope(n), Priority.ENTITY) for n in range(4)])
    outbox.acknowledge([item.seq for item in outbox.claim(2)])
    outbox.rewind()
    assert [(item.seq, item.again) for item in outbox.claim(9)] == [(3, False), (4, False), (1, True), (2, True)]
    assert (outbox.status().waiting, outbox.status().acknowledged) == (2, 2)
    outbox.close()


def test_units_that_are_killed_early_come_round_to_the_whole_resend_window(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put_many([(envelope(n), Priority.ENTITY) for n in range(6)])
    outbox.acknowledge([item.seq for item in outbox.claim(6)], now_ns=1)
    came: list[int] = []
    for start in range(2, 5):  # each has time for two
        outbox.rewind()
        came += [item.seq for item in outbox.claim(2)]
        outbox.acknowledge(came[-2:], now_ns=start)
    assert came == [1, 2, 3, 4, 5, 6]
    outbox.close()


def test_what_is_to_be_repeated_is_not_forgotten_before_it_was(path: Path) -> None:
    outbox = Outbox(path, resend_s=0.0)
    outbox.put(envelope(9, kind="grant"))
    outbox.put_many([(envelope(n), Priority.ENTITY) for n in range(3)])
    outbox.acknowledge([item.seq for item in outbox.claim(4)])
    outbox.repeat()
    outbox.prune()
    outbox.put(envelope(7))
    assert [first for _, first in drain(outbox)] == [7, 0, 1, 2], "the broker retains the grant"
    outbox.acknowledge([2, 3])
    outbox.prune()
    outbox.rewind()
    assert [first for _, first in drain(outbox)] == [9, 7, 2]
    outbox.close()


def test_what_is_new_goes_before_the_resend_window_of_which_a_few_are_given_at_a_time(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put_many([(envelope(n), Priority.ENTITY) for n in range(6)])
    outbox.acknowledge([item.seq for item in outbox.claim(6)])
    outbox.rewind()
    outbox.put_many([(envelope(n), Priority.ENTITY) for n in (6, 7)])
    given = [[(item.data[0], item.again) for item in outbox.claim(20, again=most)] for most in (2, 0, 3, 9)]
    assert given == [
        [(6, False), (7, False), (0, True), (1, True)],
        [],
        [(2, True), (3, True), (4, True)],
        [(5, True)],
    ]
    outbox.close()


def test_what_was_acknowledged_is_forgotten_after_the_resend_window(path: Path) -> None:
    outbox = Outbox(path, resend_s=0.0)
    outbox.put_many([(envelope(n), Priority.ENTITY) for n in range(4)])
    outbox.acknowledge([item.seq for item in outbox.claim(3)])
    assert outbox.prune() == []
    outbox.rewind()
    assert [item.seq for item in outbox.claim(9)] == [4]
    assert outbox.status().bytes == 100
    outbox.close()


def test_a_grant_stays_until_nothing_of_its_epoch_is_kept(path: Path) -> None:
    outbox = Outbox(path, resend_s=0.0)
    for epoch in (1, 2):
        outbox.put(envelope(0, epoch=epoch, kind="grant"))
    outbox.put(envelope(0, epoch=1))
    items = outbox.claim(9)
    outbox.acknowledge(item.seq for item in items if item.retain)
    assert outbox.prune() == []
    outbox.acknowledge(item.seq for item in items)
    assert outbox.prune() == ["edge/v1/alpha/grant/1"]
    outbox.rewind()
    assert [item.topic for item in outbox.claim(9)] == ["edge/v1/alpha/grant/2"]
    outbox.close()


def test_waiting_ends_when_everything_is_acknowledged(path: Path) -> None:
    outbox = Outbox(path)
    assert outbox.wait_acknowledged(0)
    outbox.put(envelope(0))
    assert not outbox.wait_acknowledged(0.01)
    thread = threading.Timer(0.05, lambda: outbox.acknowledge([1]))
    thread.start()
    assert outbox.wait_acknowledged(10)
    thread.join()
    outbox.close()


def test_many_threads_share_commits_and_lose_nothing(path: Path) -> None:
    outbox = Outbox(path)
    threads = [
        threading.Thread(target=lambda t=t: [outbox.put(envelope(t * 20 + n)) for n in range(20)]) for t in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(first for _, first in drain(outbox)) == sorted(n % 256 for n in range(160))
    assert outbox.status().put == 160
    outbox.close()


# ---- bounds


def test_the_resend_window_goes_first_when_room_is_short(path: Path) -> None:
    outbox = Outbox(path, max_bytes=1000)
    outbox.put_many([(envelope(n), Priority.STATUS) for n in range(10)])
    outbox.acknowledge([item.seq for item in outbox.claim(4)])
    outbox.put_many([(envelope(n), Priority.STATUS) for n in range(10, 13)])
    assert outbox.status().shed == {}
    outbox.rewind()
    assert sorted(item.data[0] for item in outbox.claim(99)) == [3, *range(4, 13)]
    outbox.close()


def test_alerts_are_given_up_last_and_every_loss_is_told_by_the_close(path: Path) -> None:
    outbox = Outbox(path, max_bytes=1000)
    outbox.put(envelope(0, kind="grant"))
    kinds = [Priority.STATUS, Priority.ALERT, Priority.PICTURE, Priority.ENTITY]
    outbox.put_many([(envelope(n), kinds[n % 4]) for n in range(9)])
    outbox.put_many([(envelope(n), Priority.ALERT) for n in range(9, 13)])
    assert outbox.status().shed == {"full": 4}
    assert outbox.shed_runs(1) == ((0, 0), (2, 2), (4, 4), (8, 8))
    outbox.put_many([(envelope(n), Priority.ALERT) for n in range(13, 20)])
    assert [(t, n) for t, n in drain(outbox)] == [("grant", 0), *(("entity", n) for n in range(11, 20))]
    assert outbox.status().bytes == 1000
    assert outbox.shed_runs(1) == ((0, 10),)
    outbox.close()


def test_an_envelope_that_the_broker_will_never_take_is_given_up_and_told(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put(envelope(5))
    (item,) = outbox.claim(1)
    outbox.give_up(item.seq, "Packet too large")
    assert outbox.shed_runs(1) == ((5, 5),)
    assert (outbox.status().waiting, outbox.status().shed) == (0, {"Packet too large": 1})
    outbox.rewind()
    assert outbox.claim(9) == []
    outbox.close()


# ---- epochs


def test_epochs_go_up_and_never_repeat(path: Path) -> None:
    outbox = Outbox(path)
    assert [outbox.next_epoch(0), outbox.next_epoch(0)] == [1, 2]
    outbox.close()
    again = Outbox(path)
    assert again.next_epoch(0) == 3
    assert again.next_epoch(1_700_000_000 * NS) == 1_700_000_000
    assert again.next_epoch(5 * NS) == 1_700_000_001  # the clock went back; the epoch does not
    again.close()


@pytest.mark.parametrize("lost", ["database", "file"])
def test_the_epoch_outlives_the_loss_of_either_place_where_it_is_stored(path: Path, lost: str) -> None:
    outbox = Outbox(path)
    assert outbox.next_epoch(41 * NS) == 41
    outbox.close()
    if lost == "database":
        for part in path.parent.glob(path.name + "*"):
            if part.suffix != ".epoch":
                part.unlink()
    else:
        path.with_name(path.name + ".epoch").write_text("not a number\n")
    again = Outbox(path)
    assert again.next_epoch(0) == 42
    again.close()


# ---- trouble


def test_a_full_disk_is_a_clear_state_and_passes(path: Path) -> None:
    outbox = Outbox(path)
    pages = outbox._store._writer.execute("PRAGMA page_count").fetchone()[0]
    outbox._store._writer.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(BusUnavailable, match="full"):
        outbox.put_many([(envelope(n, size=3000), Priority.ENTITY) for n in range(20)])
    assert outbox.status().state == "failing"
    assert outbox.claim(99) == []
    outbox._store._writer.execute("PRAGMA max_page_count=100000")
    outbox.put(envelope(1))
    assert (outbox.status().state, outbox.status().waiting) == ("good", 1)
    outbox.close()


def test_a_read_only_store_is_a_clear_state_and_passes(path: Path) -> None:
    outbox = Outbox(path)
    outbox._store._writer.execute("PRAGMA query_only=ON")
    with pytest.raises(BusUnavailable, match="readonly"):
        outbox.put(envelope(0))
    outbox._store._writer.execute("PRAGMA query_only=OFF")
    outbox.put(envelope(1))
    assert [first for _, first in drain(outbox)] == [1]
    outbox.close()


def test_a_damaged_file_is_moved_aside_and_told(path: Path) -> None:
    path.write_bytes(b"this is no database, and it is long enough to be looked at" * 100)
    outbox = Outbox(path)
    (aside,) = outbox.status().moved_aside
    assert aside.read_bytes().startswith(b"this is no database")
    outbox.put(envelope(0))
    outbox.close()


def test_a_file_damaged_in_the_middle_is_found_when_it_is_opened(path: Path) -> None:
    outbox = Outbox(path)
    outbox.put_many([(envelope(n, size=2000), Priority.ENTITY) for n in range(50)])
    outbox.close()
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)
    again = Outbox(path)
    assert len(again.status().moved_aside) == 1
    assert again.next_epoch(0) == 1
    again.close()


def test_a_file_damaged_in_use_is_replaced_and_the_current_grant_is_not_lost(path: Path) -> None:
    outbox = Outbox(path)
    epoch = outbox.next_epoch(0)
    outbox.put(envelope(0, epoch=epoch, kind="grant"))
    outbox.put(envelope(1, epoch=epoch))
    outbox._store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outbox._store._close_connections()
    path.write_bytes(b"\xff" * 20_000)
    outbox._store._writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    outbox._store._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    outbox.put(envelope(2, epoch=epoch))
    status = outbox.status()
    assert (status.state, status.shed, len(status.moved_aside)) == ("good", {"damaged": 2}, 1)
    assert drain(outbox) == [("grant", 0), ("entity", 2)]
    assert outbox.next_epoch(0) == epoch + 1
    outbox.close()


def test_an_outbox_belongs_to_one_process_at_a_time(path: Path) -> None:
    outbox = Outbox(path)
    with pytest.raises(BusUnavailable, match="another process"):
        Outbox(path)
    outbox.close()
    Outbox(path).close()


def test_a_file_of_a_newer_release_is_left_alone(path: Path) -> None:
    Outbox(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(BusUnavailable, match="newer release"):
        Outbox(path)
    assert not list(path.parent.glob("*damaged*"))


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BusUnavailable):
        Outbox(tmp_path / "file" / "outbox.sqlite")


def statements() -> int:
    return sum(type(thing).__qualname__ == "Statement" for thing in gc.get_objects())


def test_claims_of_whatever_size_are_one_statement(path: Path) -> None:
    """Each text of SQL stays compiled: texts by the number of envelopes filled a cache for as long as it took."""
    outbox = Outbox(path)
    outbox.put_many([(envelope(counter), Priority.ENTITY) for counter in range(100)])
    assert len(outbox.claim(1)) == 1
    before = statements()
    for most in range(2, 12):
        assert len(outbox.claim(most)) == most
    assert statements() == before
    outbox.close()


def test_looking_for_what_is_too_old_is_one_statement_at_any_time(path: Path) -> None:
    steady_s = 0.0
    outbox = Outbox(path, max_age_s=15.0, steady_s=lambda: steady_s)
    outbox.put(envelope(0))
    before = statements()
    for counter in range(1, 6):
        steady_s += 11.0
        outbox.put(envelope(counter))
    assert statements() == before
    assert outbox.status().shed == {"age": 4}
    outbox.close()
