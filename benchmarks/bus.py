"""The bus: acknowledged messages against bare paho, and how long an observation takes to be opened by its reader.

    python -m benchmarks bus

**Messages.** 1-KiB frames with QoS 1 to one Mosquitto on loopback, without TLS. The floor is paho with its own thread,
as fast as the broker acknowledges, with nothing stored. Ours are stored durably before they are sent and stay until
they were acknowledged.

**Observation to opened.** Plots at a fixed rate along the whole path: fused, told, sealed, durable in the outbox, over
Mosquitto with mutual TLS 1.3, opened, durable in the reader's store, handed to the user in another process. Every
observation is told. Broker, unit and reader share this machine's clock. Two floors beside it: bare paho in the place of
unit and reader (same broker, same rate, same size, nothing sealed or stored), and the disk, which the path waits for
twice: two appends of a page, each with its fsync, one after the other, at the same rate.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho

from appliance.bus import Link, Outbox, Priority, TlsFiles
from appliance.daemon.publisher import Publisher
from appliance.domain import Geodetic, Identity, Plot, Receipt
from appliance.fusion import FusionSettings
from appliance.pipeline.path import OnePath, PathPlan
from appliance.pipeline.telling import TellingSettings
from appliance.pipeline.warm import warm
from appliance.sealing import Envelope, PrivateIdentity, Sender, generate
from benchmarks.tables import Table
from tests.support.brokers import LocalCa, Mosquitto

MESSAGES = 4000
PUTS = 500
PAYLOAD_BYTES = 1024
PAGE_BYTES = 4096
ROUNDS = 3
RATE = 200
SECONDS = 30.0
WARM_S = 3.0
ENTITIES = 20
TARGET_P99_MS = 20.0
HERE = Geodetic(latitude_deg=49.6, longitude_deg=6.1)


def main() -> None:
    """Measure and print both tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _broker(folder / "plain") as broker:
            rounds = [(_bare_rate(broker), *_our_rates(broker, folder / f"box-{n}")) for n in range(ROUNDS)]
        _print_rates(np.median(np.array(rounds), axis=0))
        ca = LocalCa(folder / "ca")
        with _broker(folder / "tls", ca) as broker:
            bare, disk = _bare_latency(broker, ca), _disk_latency(folder)
            _print_latencies(bare, disk, *_our_latency(broker, ca, folder / "unit"))


@contextmanager
def _broker(folder: Path, ca: LocalCa | None = None) -> Iterator[Mosquitto]:
    folder.mkdir()
    broker = Mosquitto(folder, ca)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


# ---- messages


def _bare_rate(broker: Mosquitto) -> float:
    """Acknowledged messages per second of paho alone."""
    client = _client(broker, None)
    done = threading.Semaphore(0)
    client.on_publish = lambda *_: done.release()
    began = time.perf_counter()
    for _ in range(MESSAGES):
        client.publish("edge/v1/bench/entity/1", bytes(PAYLOAD_BYTES), qos=1)
    for _ in range(MESSAGES):
        done.acquire()
    rate = MESSAGES / (time.perf_counter() - began)
    client.loop_stop()
    client.disconnect()
    return rate


def _our_rates(broker: Mosquitto, folder: Path) -> tuple[float, float]:
    """Acknowledged messages per second: of a full outbox that meets its broker, and put one after the other."""
    outbox = Outbox(folder / "outbox.sqlite")
    link = Link(outbox, broker.url, unit="bench")
    outbox.put_many([(_frame(n), Priority.ENTITY) for n in range(MESSAGES)])
    began = time.perf_counter()
    link.start()
    drained = _acknowledged(outbox, MESSAGES, began)
    began = time.perf_counter()
    for n in range(PUTS):
        outbox.put(_frame(MESSAGES + n))
    put = _acknowledged(outbox, PUTS, began)
    link.stop()
    outbox.close()
    return drained, put


def _acknowledged(outbox: Outbox, messages: int, began: float) -> float:
    assert outbox.wait_acknowledged(120)
    return messages / (time.perf_counter() - began)


def _frame(number: int) -> Envelope:
    topic = f"edge/v1/bench/entity/{number % ENTITIES}"
    return Envelope(topic=topic, kind="frame", epoch=1, counter=number, data=bytes(PAYLOAD_BYTES))


def _print_rates(medians: Any) -> None:
    bare, drained, put = medians
    table = Table(("publisher", "acknowledged/s", "of bare"))
    table.row("bare paho, nothing stored", f"{bare:.0f}", "1.00")
    table.row("outbox and link, a backlog", f"{drained:.0f}", f"{drained / bare:.2f}")
    table.row("outbox and link, one durable put each", f"{put:.0f}", f"{put / bare:.2f}")
    print(f"{MESSAGES} frames of {PAYLOAD_BYTES} bytes, QoS 1, one Mosquitto, median of {ROUNDS} rounds in turn\n")
    print(table)


# ---- observation to opened


def _our_latency(broker: Mosquitto, ca: LocalCa, folder: Path) -> tuple[list[float], float]:
    """Milliseconds from each observation to its opening, sorted, and the bytes of a frame beyond its payload."""
    device, reader = generate("device", "bench"), generate("recipient", "reader")
    folder.mkdir()
    (folder / "reader.json").write_text(reader.to_json())
    (folder / "bench.json").write_text(device.public.to_json())
    tls = ca.issue("unit")
    outbox = Outbox(folder / "outbox.sqlite")
    link = Link(outbox, broker.url, unit="bench", tls=tls)
    sender = Sender("bench", outbox.next_epoch(time.time_ns()), device, (reader.public,), issued_ns=0)
    publisher = Publisher(sender, outbox)
    publisher.open()
    link.start()
    child = _start_reader(broker, ca, folder)
    _feed(publisher)
    overhead = _overhead(device)
    publisher.close()
    outbox.wait_acknowledged(30)
    said, _ = child.communicate(timeout=60)
    link.stop()
    outbox.close()
    waited = sorted(json.loads(said.splitlines()[-1]))
    return waited, overhead


def _start_reader(broker: Mosquitto, ca: LocalCa, folder: Path) -> subprocess.Popen[str]:
    files = ca.issue("reader")
    arguments = [broker.url, str(folder), str(files.ca), str(files.certificate), str(files.key)]
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bus", "--reader", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "connected\n"
    return child


def _feed(publisher: Publisher) -> None:
    """Observations at ``RATE`` along the path."""
    plan = _plan()
    warm(plan)
    path = OnePath(plan)
    for number, since_s in _paced(SECONDS):
        observed_ns = time.time_ns()
        publisher.publish(path.step(_plot(number, observed_ns, since_s), observed_ns))


def _overhead(device: PrivateIdentity) -> float:
    sender = Sender("bench", 1, device, (generate("recipient", "other").public,), issued_ns=0)
    return len(sender.seal("edge/v1/bench/entity/1", bytes(PAYLOAD_BYTES)).data) - PAYLOAD_BYTES


def _plot(number: int, at_ns: int, since_s: float) -> Plot:
    """The next position report of one of ``ENTITIES`` vessels, a kilometre apart, each under way."""
    which = number % ENTITIES
    place = Geodetic(latitude_deg=49.6 + 0.01 * which + since_s * 4e-5, longitude_deg=6.1)
    return Plot(
        sensor_id="ais",
        observation_id=f"ais:{at_ns}",
        observed_ns=at_ns,
        kind="position",
        values=(place.latitude_deg, place.longitude_deg),
        covariance=((25.0, 0.0), (0.0, 25.0)),
        identities=(Identity(kind="mmsi", value=f"{200_000_000 + which}"),),
        cooperative=True,
    )


def _plan() -> PathPlan:
    receipt = Receipt(config_digest="", bundles={}, engines={}, clock="free-running", position_integrity="surveyed")
    return PathPlan(
        unit="bench",
        origin=HERE,
        fusion=FusionSettings(unit="bench", origin=HERE),
        telling=TellingSettings(picture_interval_ns=10**9, entity_interval_ns=0),
        receipt=receipt,
    )


def _read(url: str, folder: str, *files: str) -> None:
    """The reader's process: opens, and says at the end how old each observation was."""
    from appliance.bus import Reader  # noqa: PLC0415 - the child alone
    from appliance.sealing import Closed, Opened, PublicIdentity  # noqa: PLC0415

    home = Path(folder)
    identity = PrivateIdentity.from_json((home / "reader.json").read_bytes())
    unit = PublicIdentity.from_json((home / "bench.json").read_bytes())
    ca, certificate, key = map(Path, files)
    tls = TlsFiles(ca=ca, certificate=certificate, key=key)
    waited: list[float] = []
    began_ns = 0
    with Reader(url, identity, [unit], home / "inbox.sqlite", tls=tls) as reader:
        assert reader.wait_connected(20)
        print("connected", flush=True)
        while not isinstance(result := reader.take(60.0), Closed):
            opened_ns = time.time_ns()
            if not isinstance(result, Opened) or "/entity/" not in result.topic:
                continue
            body = json.loads(result.payload)
            at_ns = max(int(evidence["observation_id"].partition(":")[2]) for evidence in body["evidence"])
            began_ns = began_ns or at_ns
            if at_ns - began_ns > WARM_S * 1e9:
                waited.append((opened_ns - at_ns) / 1e6)
        reader.done()
    print(json.dumps(waited), flush=True)


def _bare_latency(broker: Mosquitto, ca: LocalCa) -> list[float]:
    """Milliseconds from publish to callback, with paho's own threads at both ends."""
    waited: list[float] = []
    unit, reader = _client(broker, ca.issue("bare-unit")), _client(broker, ca.issue("bare-reader"))
    reader.on_message = lambda _c, _u, m: waited.append((time.time_ns() - int(m.payload[:20])) / 1e6)
    reader.subscribe("bare/#", qos=1)
    time.sleep(0.5)
    for _ in _paced(SECONDS / 3):
        unit.publish("bare/entity", f"{time.time_ns():020d}".encode() + bytes(PAYLOAD_BYTES), qos=1)
    time.sleep(0.5)
    for client in (unit, reader):
        client.loop_stop()
        client.disconnect()
    return sorted(waited)


def _disk_latency(folder: Path) -> list[float]:
    """Milliseconds for two durable pages, one after the other, in two files."""
    waited: list[float] = []
    with (folder / "one").open("wb", 0) as one, (folder / "other").open("wb", 0) as other:
        for _ in _paced(SECONDS / 3):
            began = time.perf_counter()
            for file in (one, other):
                file.write(bytes(PAGE_BYTES))
                os.fsync(file.fileno())
            waited.append((time.perf_counter() - began) * 1e3)
    return sorted(waited)


def _paced(seconds: float) -> Iterator[tuple[int, float]]:
    """Numbers at ``RATE``, and how long after the first each came."""
    began = time.perf_counter()
    for number in range(round(RATE * seconds)):
        late = began + number / RATE - time.perf_counter()
        if late > 0:
            time.sleep(late)
        yield number, time.perf_counter() - began


def _client(broker: Mosquitto, tls: TlsFiles | None) -> paho.Client:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    if tls is not None:
        client.tls_set(str(tls.ca), str(tls.certificate), str(tls.key))
    client.max_inflight_messages_set(20)
    client.max_queued_messages_set(0)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    assert connected.wait(10)
    return client


def _print_latencies(bare: list[float], disk: list[float], ours: list[float], overhead: float) -> None:
    table = Table(("from observation to opened, ms", "count", "p50", "p90", "p99", "worst"))
    rows = {
        "bare paho, publish to callback": bare,
        "the disk alone, two pages in turn": disk,
        "whole path, sealed, durable twice": ours,
    }
    for name, waited in rows.items():
        figures = (*(float(np.percentile(waited, p)) for p in (50, 90, 99)), waited[-1])
        table.row(name, str(len(waited)), *(f"{figure:.1f}" for figure in figures))
    expected = round(RATE * (SECONDS - WARM_S))
    print(
        f"\n{RATE} observations/s, {ENTITIES} entities, Mosquitto with mutual TLS 1.3, load {os.getloadavg()[0]:.1f}\n"
    )
    print(table)
    print(f"\nopened after warm-up: {len(ours)} of about {expected}; p99 wanted: at most {TARGET_P99_MS:.0f} ms")
    print(f"envelope: {overhead:.0f} bytes over a payload of {PAYLOAD_BYTES}   (wanted: at most 110)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--reader"]:
        _read(*sys.argv[2:])
    else:
        main()
