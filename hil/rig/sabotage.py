"""Builds of the appliance with one promise broken on purpose: ``python -m hil.rig.sabotage NAME ARGUMENTS…``.

They show that the rig can fail. Each replaces one function of the product and then runs the ``appliance`` command as it
is. Nothing of this is ever on a device in service: the product does not import it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

_SLOW_MOVE_S = 3.0
_SOON_NS, _ANOTHER_TIME_NS = 500_000_000, 60_000_000_000
_IMPATIENT_S = 0.5
_MOMENT_BYTES = 16_000_000
_STUCK_FRAMES = 10


def outbox_forgets() -> None:
    """What was sealed and not yet sent is forgotten at the next start."""
    from appliance.bus.store import Store  # noqa: PLC0415 - each sabotage loads what it breaks and nothing else

    real = Store.__init__

    def forget(self: Any, path: Any, *arguments: Any) -> None:
        for name in (path.name, path.name + "-wal", path.name + "-shm"):
            path.with_name(name).unlink(missing_ok=True)
        real(self, path, *arguments)

    Store.__init__ = forget  # type: ignore[method-assign]


def results_told_again() -> None:
    """Every result is sealed and told twice, as new."""
    from appliance.daemon.publisher import Publisher  # noqa: PLC0415

    real = Publisher.publish
    Publisher.publish = lambda self, results: real(self, [r for one in results for r in (one, one)])  # type: ignore[method-assign]


def never_reconnects() -> None:
    """The link gives up when it has lost its broker once."""
    from appliance.bus.link import Link  # noqa: PLC0415

    real = Link._serve
    sessions = itertools.count()

    def once(self: Any) -> None:
        if next(sessions):
            self._stopping.wait()
        real(self)

    Link._serve = once  # type: ignore[method-assign]


def feed_gives_up() -> None:
    """A feed whose source has failed is never tried again."""
    from appliance.feeds.supervisor import Backoff  # noqa: PLC0415

    Backoff.pause_s = lambda self, *, progress: 1e6  # type: ignore[method-assign]  # noqa: ARG005


def any_stick() -> None:
    """Bytes of a stick are taken without a look at their digests and signatures."""
    from appliance.slots.store import Slots  # noqa: PLC0415

    real = Slots.install

    def install(self: Any, media: Any, product: str, now_ns: int, **more: Any) -> Any:
        with contextlib.suppress(Exception):
            return real(self, media, product, now_ns, **more)
        sys.exit(0)

    Slots.install = install  # type: ignore[method-assign]


def throws_away_what_a_disk_refuses() -> None:
    """What a disk refuses is thrown away, and nobody is told."""
    from appliance.bus.outbox import Outbox  # noqa: PLC0415
    from appliance.errors import BusUnavailable  # noqa: PLC0415

    real = Outbox.put_many

    def put_many(self: Any, envelopes: Any) -> None:
        with contextlib.suppress(BusUnavailable):
            real(self, envelopes)

    Outbox.put_many = put_many  # type: ignore[method-assign]


def heat_unseen() -> None:
    """The doctor sees no thermal zone."""
    from appliance.host import machine  # noqa: PLC0415

    machine.thermal_zones = lambda *_: ()  # type: ignore[assignment]


def clock_believed() -> None:
    """The path works by the highest time that it has seen: a clock that was set back stops it."""
    from appliance.daemon import daemon  # noqa: PLC0415

    highest = [0]
    real = daemon.now_ns

    def stuck() -> int:
        highest[0] = max(highest[0], real())
        return highest[0]

    daemon.now_ns = stuck  # type: ignore[assignment]


def dies_of_garbage() -> None:
    """A record that cannot be read ends the daemon, and the service manager starts it again."""
    from appliance.feeds.supervisor import Feed  # noqa: PLC0415

    Feed.bad = lambda self, reason, count=1: os._exit(1)  # type: ignore[method-assign]  # noqa: ARG005


def dies_of_the_same_again() -> None:
    """A sensor that says what it said a second ago, at the same time of its own, ends the daemon."""
    _dies_of_observations(lambda known_ns, _, now_ns: known_ns is not None and now_ns - known_ns > _SOON_NS)


def dies_of_what_comes_twice() -> None:
    """What comes twice at once ends the daemon."""
    _dies_of_observations(lambda known_ns, _, now_ns: known_ns is not None and now_ns - known_ns <= _SOON_NS)


def dies_of_another_time() -> None:
    """A plot, fix or report of another time than ours ends the daemon."""
    _dies_of_observations(lambda _, observed_ns, now_ns: abs(observed_ns - now_ns) > _ANOTHER_TIME_NS)


def dies_of_a_stuck_picture() -> None:
    """A camera that shows one picture again and again ends the daemon."""
    from appliance.domain import Frame  # noqa: PLC0415
    from appliance.feeds.supervisor import Feed  # noqa: PLC0415

    real = Feed.put
    seen: list[tuple[bytes, int]] = [(b"", 0)]

    def put(self: Any, item: Any, taken: Any = None) -> None:
        if isinstance(item, Frame):
            picture = hashlib.sha256(item.pixels).digest()
            before, times = seen[0]
            seen[0] = picture, times + 1 if picture == before else 0
            if seen[0][1] >= _STUCK_FRAMES:
                os._exit(1)
        real(self, item, taken)

    Feed.put = put  # type: ignore[method-assign]


def believes_its_camera() -> None:
    """A camera's stamps are believed for good: one that jumps is taken to show another time."""
    from appliance.feeds.video_clock import StreamClock  # noqa: PLC0415

    def believed(self: Any, pts_ns: int, wall_ns: int) -> int:
        if self._offset_ns is None:
            self._offset_ns = wall_ns - pts_ns
        return int(pts_ns + self._offset_ns)

    StreamClock._live = believed  # type: ignore[method-assign]


def _dies_of_observations(fatal: Callable[[int | None, int, int], bool]) -> None:
    """``fatal`` gets when the same came before (None: never), when it was observed, and the time."""
    from appliance.domain import Fix, Plot, Report  # noqa: PLC0415
    from appliance.feeds.gnss import FixMaker  # noqa: PLC0415
    from appliance.feeds.supervisor import Feed  # noqa: PLC0415

    put, full = Feed.put, FixMaker._full
    known: dict[object, int] = {}

    def look(same: object, observed_ns: int, now_ns: int) -> None:
        if fatal(known.get(same), observed_ns, now_ns):
            os._exit(1)
        known.setdefault(same, now_ns)

    def putting(self: Any, item: Any, taken: Any = None) -> None:
        match item:
            case Plot():
                look((item.sensor_id, item.observed_ns, item.values), item.observed_ns, time.time_ns())
            case Report():
                look((item.sensor_id, item.report_id), item.received_ns, time.time_ns())
            case Fix():  # the same again does not come as far as this
                look(item, item.observed_ns, time.time_ns())
        put(self, item, taken)

    def reading(self: Any, kind: str, message: Any, tap: Any) -> Any:
        now_ns = time.time_ns()
        look((kind, str(message.time), str(message.lat), str(message.lon)), now_ns, now_ns)
        return full(self, kind, message, tap)

    Feed.put, FixMaker._full = putting, reading  # type: ignore[method-assign]


def old_epoch_again() -> None:
    """A start takes the epoch of the one before, whose secrets are gone."""
    from appliance.bus.outbox import Outbox  # noqa: PLC0415

    real = Outbox.next_epoch

    def again(self: Any, now_ns: int) -> int:
        stored = self._store.read("SELECT value FROM meta WHERE key = 'epoch'")
        return int(stored[0][0]) if stored else real(self, now_ns)

    Outbox.next_epoch = again  # type: ignore[method-assign]


def gives_up_the_slow() -> None:
    """What a broker has not acknowledged within half a second is given up."""
    from appliance.bus.link import Link  # noqa: PLC0415

    real = Link._collect

    def collect(self: Any, connection: Any) -> None:
        heard_at = self._heard_at
        real(self, connection)
        if time.monotonic() - heard_at > _IMPATIENT_S:
            for mid in [mid for mid, item in self._in_flight.items() if item is not None]:
                self._give_up(self._in_flight.pop(mid), "slow")

    Link._collect = collect  # type: ignore[method-assign]


def goes_deaf() -> None:
    """Each observation takes some megabytes for a moment; once they are refused, nothing is heard any more."""
    from appliance.pipeline.path import OnePath  # noqa: PLC0415

    real, deaf = OnePath.step, threading.Event()

    def step(self: Any, observation: Any, now_ns: int) -> Any:
        try:
            mmap.mmap(-1, _MOMENT_BYTES).close()
        except OSError:
            deaf.set()
        return () if deaf.is_set() else real(self, observation, now_ns)

    OnePath.step = step  # type: ignore[method-assign]


def slow() -> None:
    """Every frame waits a second before it is looked at."""
    from appliance.inference.detector import Detector  # noqa: PLC0415

    real = Detector.detect

    def late(self: Any, *arguments: Any, **more: Any) -> Any:
        threading.Event().wait(1.0)
        return real(self, *arguments, **more)

    Detector.detect = late  # type: ignore[method-assign]


def follows_its_receiver() -> None:
    """Camera and radar are taken to stand where the GNSS receiver says, on a mast that was surveyed."""
    from appliance.domain import Fix, Geodetic, Plot  # noqa: PLC0415
    from appliance.pipeline.path import OnePath  # noqa: PLC0415

    real, fitted = OnePath.step, OnePath._fitted
    fixes: list[Geodetic] = []

    def moved(place: Geodetic) -> Geodetic:
        if not fixes:
            return place
        north, east = (getattr(fixes[-1], name) - getattr(fixes[0], name) for name in ("latitude_deg", "longitude_deg"))
        latitude_deg, longitude_deg = place.latitude_deg + north, place.longitude_deg + east
        return dataclasses.replace(place, latitude_deg=latitude_deg, longitude_deg=longitude_deg)

    def step(self: Any, observation: Any, now_ns: int) -> Any:
        if isinstance(observation, Fix):
            fixes.append(observation.position)
            del fixes[1:-1]
        if isinstance(observation, Plot) and observation.origin is not None:
            observation = dataclasses.replace(observation, origin=moved(observation.origin))
        return real(self, observation, now_ns)

    def placed(self: Any, frame: Any) -> Any:
        camera = fitted(self, frame)
        return dataclasses.replace(camera, pose=moved(camera.pose))

    OnePath.step, OnePath._fitted = step, placed  # type: ignore[method-assign]


def believes_its_receivers_clock() -> None:
    """The path works by the time that the GNSS receiver says."""
    from appliance.daemon import daemon  # noqa: PLC0415
    from appliance.domain import Fix  # noqa: PLC0415
    from appliance.feeds.supervisor import Feed  # noqa: PLC0415

    now_ns, put, ahead_ns = daemon.now_ns, Feed.put, [0]

    def putting(self: Any, item: Any, taken: Any = None) -> None:
        if isinstance(item, Fix):
            ahead_ns[0] = item.observed_ns - now_ns()
        put(self, item, taken)

    daemon.now_ns = lambda: now_ns() + ahead_ns[0]  # type: ignore[assignment]
    Feed.put = putting  # type: ignore[method-assign]


def obeys_texts() -> None:
    """A report that orders everything to be deleted is obeyed."""
    from appliance.pipeline.path import OnePath  # noqa: PLC0415

    real, ordered = OnePath._hear, threading.Event()

    def hear(self: Any, report: Any, now_ns: int) -> None:
        if "delete every entity" in report.text.casefold():
            ordered.set()
            self._fusion.entities = lambda _: ()
        real(self, report, now_ns)

    OnePath._hear = hear  # type: ignore[method-assign]


def writes_over_what_serves() -> None:
    """A release is installed into the slot that serves, and takes its time."""
    from appliance.slots.disk import Disk  # noqa: PLC0415
    from appliance.slots.record import ProductRecord  # noqa: PLC0415

    move = Disk.move_folder

    def slowly(self: Any, source: Any, target: Any) -> None:
        threading.Event().wait(_SLOW_MOVE_S)
        move(self, source, target)

    Disk.move_folder = slowly  # type: ignore[method-assign]
    ProductRecord.inactive = property(lambda self: self.active or "a")  # type: ignore[assignment,method-assign]


def open_broker() -> None:
    """The broker is provisioned so that whoever has a certificate may do everything."""
    from appliance.provision import broker  # noqa: PLC0415

    real = broker.desired

    def everything(*arguments: Any) -> Any:
        access = real(*arguments)
        return msgspec.structs.replace(access, defaults=dict.fromkeys(access.defaults, True))

    broker.desired = everything


SABOTAGES = MappingProxyType(
    {
        "outbox-forgets": outbox_forgets,
        "results-told-again": results_told_again,
        "never-reconnects": never_reconnects,
        "feed-gives-up": feed_gives_up,
        "any-stick": any_stick,
        "throws-away": throws_away_what_a_disk_refuses,
        "heat-unseen": heat_unseen,
        "clock-believed": clock_believed,
        "dies-of-garbage": dies_of_garbage,
        "dies-of-the-same-again": dies_of_the_same_again,
        "dies-of-what-comes-twice": dies_of_what_comes_twice,
        "dies-of-another-time": dies_of_another_time,
        "dies-of-a-stuck-picture": dies_of_a_stuck_picture,
        "believes-its-camera": believes_its_camera,
        "old-epoch-again": old_epoch_again,
        "gives-up-the-slow": gives_up_the_slow,
        "goes-deaf": goes_deaf,
        "slow": slow,
        "follows-its-receiver": follows_its_receiver,
        "believes-its-receivers-clock": believes_its_receivers_clock,
        "obeys-texts": obeys_texts,
        "open-broker": open_broker,
        "writes-over-what-serves": writes_over_what_serves,
    }
)


def program_of(name: str) -> tuple[str, ...]:
    """What a local device starts in place of ``appliance``."""
    return (sys.executable, "-m", "hil.rig.sabotage", name)


def main(arguments: Sequence[str]) -> None:
    """Break the named promise, then be ``appliance``."""
    broken: Callable[[], None] = SABOTAGES[arguments[0]]
    broken()
    from appliance.cli import main as appliance  # noqa: PLC0415 - after the sabotage

    sys.argv = ["appliance", *arguments[1:]]
    appliance()


if __name__ == "__main__":
    main(sys.argv[1:])
