"""Brokers that die, refuse or fill up, and stores that fail: nothing is lost and nothing comes twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.bus import Link, Outbox, Priority, Reader
from appliance.bus import intake as intake_module
from appliance.bus.inbox import Inbox, Raw
from appliance.bus.intake import Intake
from appliance.bus.link import MOST_AGAIN
from appliance.errors import BusUnavailable
from appliance.sealing import Envelope, NotForUs, Opened, PrivateIdentity, Sender

TOPIC = "edge/v1/alpha/entity/01J"


def raw(envelope: Envelope) -> Raw:
    return Raw(topic=envelope.topic, data=envelope.data)


@pytest.fixture
def sender(device: PrivateIdentity, recipient: PrivateIdentity) -> Sender:
    return Sender("alpha", 1, device, [recipient.public], 1)


@pytest.fixture
def inbox(tmp_path: Path) -> Any:
    store = Inbox(tmp_path / "inbox")
    yield store
    store.close()


# ---- brokers


def test_a_broker_killed_and_restarted_in_the_middle_loses_nothing(
    mosquitto: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    """Mosquitto without persistence forgets acknowledged messages, sessions and retained grants when it is killed."""
    outbox = Outbox(tmp_path / "outbox.sqlite")
    sender = Sender("alpha", outbox.next_epoch(0), device, [recipient.public], 1)
    outbox.put(sender.grant())
    link = Link(outbox, mosquitto.url, unit="alpha", settle_s=3)
    link.start()
    total = 600
    with Reader(mosquitto.url, recipient, [device.public], tmp_path / "inbox") as reader:
        assert reader.wait_connected(20)

        def send() -> None:
            for n in range(total):
                outbox.put(sender.seal(TOPIC, b"%d" % n), priority=Priority.ENTITY)
                if n % 200 == 100:
                    mosquitto.kill()
                    mosquitto.start()

        thread = threading.Thread(target=send)
        thread.start()
        got = []
        while len(got) < total:
            result = reader.take(40)
            assert isinstance(result, Opened), (result, reader.status(), link.status(), outbox.status())
            got.append(int(result.payload))
        thread.join()
        assert reader.take(0.5) is None
        assert sorted(got) == list(range(total))
        assert outbox.wait_acknowledged(20)
        assert link.status().connections >= 2
        assert link.status().again > 0
    link.stop()
    outbox.close()


def test_a_reader_that_was_away_while_the_broker_died_still_gets_the_resend_window(
    mosquitto: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite")
    sender = Sender("alpha", outbox.next_epoch(0), device, [recipient.public], 1)
    outbox.put(sender.grant())
    link = Link(outbox, mosquitto.url, unit="alpha")
    link.start()
    outbox.put_many([(sender.seal(TOPIC, b"%d" % n), Priority.ENTITY) for n in range(50)])
    assert outbox.wait_acknowledged(20)  # nobody was there: the broker has acknowledged and forgotten
    with Reader(mosquitto.url, recipient, [device.public], tmp_path / "inbox") as reader:
        assert reader.wait_connected(20)
        link.stop()
        link = Link(outbox, mosquitto.url, unit="alpha")
        link.start()
        results = [reader.take(20) for _ in range(50)]
        assert [int(r.payload) for r in results if isinstance(r, Opened)] == list(range(50))
    link.stop()
    outbox.close()


def test_a_reader_that_comes_back_within_the_resend_window_but_after_the_others_has_missed_nothing(
    mosquitto: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, wait_until: Callable[..., None]
) -> None:
    """The unit has been back for longer than ``settle_s``, and a broker without readers has acknowledged everything."""
    outbox = Outbox(tmp_path / "outbox.sqlite", resend_s=4.0)
    sender = Sender("alpha", outbox.next_epoch(0), device, [recipient.public], 1)
    outbox.put(sender.grant())
    outbox.put_many([(sender.seal(TOPIC, b"%d" % n), Priority.ENTITY) for n in range(50)])
    link = Link(outbox, mosquitto.url, unit="alpha", settle_s=0.2)
    link.start()
    wait_until(lambda: link.status().again >= 50, 20)
    with Reader(mosquitto.url, recipient, [device.public], tmp_path / "inbox") as reader:
        assert reader.wait_connected(20)
        results = [reader.take(20) for _ in range(50)]
        assert sorted(int(r.payload) for r in results if isinstance(r, Opened)) == list(range(50))
        wait_until(lambda: outbox.status().bytes < 10_000, 20)  # the grant alone
    link.stop()
    outbox.close()


def test_what_is_new_does_not_wait_for_the_resend_window(
    mosquitto: Any, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    def frame(n: int) -> tuple[Envelope, Priority]:
        return Envelope(topic=TOPIC, kind="frame", epoch=1, counter=n, data=b"%d" % n), Priority.ENTITY

    kept = 100 * MOST_AGAIN
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.put_many([frame(n) for n in range(kept)])
    outbox.acknowledge([item.seq for item in outbox.claim(kept)])
    link = Link(outbox, mosquitto.url, unit="alpha")
    link.start()
    wait_until(lambda: link.status().again > 0, 20)
    began = time.monotonic()
    outbox.put_many([frame(kept)])
    assert outbox.wait_acknowledged(20)
    assert link.status().again < kept / 2
    wait_until(lambda: link.status().again == kept, 60)
    assert time.monotonic() - began > 1.0, "a share of the link, not all of it"
    link.stop()
    outbox.close()


def test_a_link_without_a_broker_goes_on_trying_and_loses_nothing(
    make_mosquitto: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    broker = make_mosquitto()
    broker.kill()
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.put(Envelope(topic=TOPIC, kind="frame", epoch=1, counter=0, data=b"x"))
    link = Link(outbox, broker.url, unit="alpha")
    link.start()
    wait_until(lambda: link.status().state == "backing-off", 20)
    assert link.status().last_error is not None
    assert outbox.status().waiting == 1
    broker.start()
    assert outbox.wait_acknowledged(20)
    assert link.status().last_error is None
    link.stop()
    outbox.close()


def test_a_frame_that_is_too_large_for_the_broker_does_not_block_the_rest(
    make_mosquitto: Callable[..., Any], tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity
) -> None:
    broker = make_mosquitto(extra="max_packet_size 20000")
    outbox = Outbox(tmp_path / "outbox.sqlite")
    sender = Sender("alpha", outbox.next_epoch(0), device, [recipient.public], 1)
    outbox.put(sender.grant())
    outbox.put(sender.seal(TOPIC, bytes(30_000)))
    outbox.put(sender.seal(TOPIC, b"small"))
    with Reader(broker.url, recipient, [device.public]) as reader:
        assert reader.wait_connected(20)
        link = Link(outbox, broker.url, unit="alpha")
        link.start()
        result = reader.take(20)
        assert isinstance(result, Opened)
        assert result.payload == b"small"
        assert outbox.wait_acknowledged(20)
        assert link.status().refused == {"Packet too large": 1}
        assert outbox.shed_runs(sender.epoch) == ((0, 0),)
        link.stop()
    outbox.close()


def test_a_reader_that_may_not_subscribe_says_so(
    make_mosquitto: Callable[..., Any],
    tmp_path: Path,
    device: PrivateIdentity,
    recipient: PrivateIdentity,
    wait_until: Callable[..., None],
) -> None:
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if plugin is None:
        pytest.skip("the dynamic-security plugin of Mosquitto is not installed here")
    rules = tmp_path / "rules.json"
    rules.write_text(
        '{"defaultACLAccess": {"publishClientSend": false, "publishClientReceive": false, "subscribe": false,'
        ' "unsubscribe": true}, "anonymousGroup": "nobody", "groups": [{"groupname": "nobody", "roles": []}],'
        ' "roles": [], "clients": []}'
    )
    broker = make_mosquitto(extra=f"plugin {plugin}\nplugin_opt_config_file {rules}")
    with Reader(broker.url, recipient, [device.public]) as reader:
        wait_until(lambda: "does not grant" in str(reader.status().last_error), 20)
        assert reader.status().connections == 0
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.put(Envelope(topic=TOPIC, kind="frame", epoch=1, counter=0, data=b"x"))
    link = Link(outbox, broker.url, unit="alpha")
    link.start()
    wait_until(lambda: "refused" in str(link.status().last_error), 20)
    assert outbox.status().waiting == 1
    assert link.status().refused["Not authorized"] >= 1
    link.stop()
    outbox.close()


# ---- the recipient's store


def test_frames_that_come_before_their_grant_wait_and_open_with_it(
    inbox: Inbox, device: PrivateIdentity, recipient: PrivateIdentity, sender: Sender
) -> None:
    intake = Intake(inbox, [recipient], [device.public])
    frames = [sender.seal(TOPIC, b"%d" % n) for n in range(4)]
    assert intake.take([raw(frame) for frame in frames[:2]]) == []
    assert inbox.waiting_count == 2
    deliveries = intake.take([raw(frames[2]), raw(sender.grant()), raw(frames[3])])
    assert sorted(d.result.counter for d in deliveries if isinstance(d.result, Opened)) == [0, 1, 2, 3]
    assert (inbox.waiting_count, inbox.waiting_bytes) == (0, 0)


def test_what_waits_for_a_grant_is_bounded(
    inbox: Inbox, device: PrivateIdentity, recipient: PrivateIdentity, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "MAX_WAITING", 20)
    monkeypatch.setattr(intake_module, "MAX_WAITING_BYTES", 3000)
    intake = Intake(inbox, [recipient], [device.public])
    for n in range(60):
        intake.take([raw(sender.seal(TOPIC, b"%d" % n))])
    assert inbox.waiting_count <= 21
    assert intake.counts["dropped_waiting"] == 60 - inbox.waiting_count
    latest = [d.result for d in intake.take([raw(sender.grant())])]
    assert latest[-1] == Opened(topic=TOPIC, payload=b"59", unit="alpha", epoch=1, counter=59)


def test_a_batch_that_cannot_be_stored_is_as_if_it_had_never_come(
    inbox: Inbox, device: PrivateIdentity, recipient: PrivateIdentity, sender: Sender
) -> None:
    intake = Intake(inbox, [recipient], [device.public])
    intake.take([raw(sender.grant())])
    frames = [raw(sender.seal(TOPIC, b"%d" % n + bytes(4000))) for n in range(20)]
    pages = inbox._store._writer.execute("PRAGMA page_count").fetchone()[0]
    inbox._store._writer.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(BusUnavailable, match="full"):
        intake.take(frames)
    inbox._store._writer.execute("PRAGMA max_page_count=100000")
    again = intake.take(frames)
    assert len([d for d in again if isinstance(d.result, Opened)]) == 20
    assert intake.take(frames) == []


def test_a_store_that_is_full_of_unread_results_takes_no_more(
    inbox: Inbox, device: PrivateIdentity, recipient: PrivateIdentity, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "MAX_STORED_BYTES", 500)
    intake = Intake(inbox, [recipient], [device.public])
    (first, *_) = intake.take([raw(sender.grant()), raw(sender.seal(TOPIC, bytes(600)))])
    frame = raw(sender.seal(TOPIC, b"next"))
    with pytest.raises(BusUnavailable, match="nobody has asked"):
        intake.take([frame])
    inbox.handed_over([first.seq])
    assert len(intake.take([frame])) == 1


def test_stored_results_of_an_identity_that_may_no_longer_open_them_are_dropped_and_counted(
    inbox: Inbox, device: PrivateIdentity, recipient: PrivateIdentity, stranger: PrivateIdentity, sender: Sender
) -> None:
    Intake(inbox, [recipient], [device.public]).take([raw(sender.grant()), raw(sender.seal(TOPIC, b"x"))])
    other = Intake(inbox, [stranger], [device.public])
    assert [d.result for d in other.not_for_us()] == [NotForUs(unit="alpha", epoch=1, kind="grant")]
    assert other.reload(0, 10) == ([], 1)
    assert other.refused == {"audience": 1}
    assert inbox.stored(0, 10) == []


def test_a_slow_user_costs_disk_and_no_results(
    mosquitto: Any, tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.bus.reader._MOST_IN_MEMORY", 16)
    outbox = Outbox(tmp_path / "outbox.sqlite")
    sender = Sender("alpha", outbox.next_epoch(0), device, [recipient.public], 1)
    outbox.put(sender.grant())
    with Reader(mosquitto.url, recipient, [device.public], tmp_path / "inbox") as reader:
        assert reader.wait_connected(20)
        link = Link(outbox, mosquitto.url, unit="alpha")
        link.start()
        outbox.put_many([(sender.seal(TOPIC, b"%d" % n), Priority.ENTITY) for n in range(300)])
        assert outbox.wait_acknowledged(20)
        results = [reader.take(20) for _ in range(300)]
        assert [int(r.payload) for r in results if isinstance(r, Opened)] == list(range(300))
        assert len(reader._deliveries) <= 16
        link.stop()
    outbox.close()


def test_a_damaged_store_of_a_reader_is_moved_aside_and_it_goes_on(
    tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity, sender: Sender
) -> None:
    path = tmp_path / "inbox"
    path.write_bytes(b"\x00nonsense" * 1000)
    inbox = Inbox(path)
    assert len(inbox.moved_aside) == 1
    intake = Intake(inbox, [recipient], [device.public])
    assert len(intake.take([raw(sender.grant()), raw(sender.seal(TOPIC, b"x"))])) == 1
    inbox.close()


def test_two_readers_do_not_share_a_store(tmp_path: Path, device: PrivateIdentity, recipient: PrivateIdentity) -> None:
    reader = Reader("mqtt://127.0.0.1:9", recipient, [device.public], tmp_path / "inbox")
    with pytest.raises(BusUnavailable, match="another process"):
        Reader("mqtt://127.0.0.1:9", recipient, [device.public], tmp_path / "inbox")
    reader.stop()
